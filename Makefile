# Targets in stage order. `make help` lists them.
#
# Python: PYTHON=... or an active virtual environment is used as it is; otherwise .venv is made here.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

ifneq ($(origin PYTHON),undefined)
  STAMP := .cache/setup$(subst /,_,$(PYTHON))
else ifdef VIRTUAL_ENV
  PYTHON := $(VIRTUAL_ENV)/bin/python
  STAMP := .cache/setup$(subst /,_,$(PYTHON))
else
  PYTHON := .venv/bin/python
  STAMP := .venv/.setup
endif

MODEL ?= nano
OUT ?= engines
WORK ?= build/nano
SMOKE ?=
BUNDLES ?= $(wildcard $(OUT)/$(MODEL)-*-onnxruntime)
TTS_TRT := $(PYTHON) -m tts_trt
PIP := $(PYTHON) -m pip --disable-pip-version-check --quiet

.PHONY: help setup engines check format test bench clean lock train-nano

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

setup: $(STAMP) ## Python packages of requirements.lock and this package, editable

.venv/bin/python:
	@for python in python3.11 python3.12 python3; do \
	  if $$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' 2>/dev/null; then \
	    exec $$python -m venv .venv; \
	  fi; \
	done; echo "Python 3.11 or 3.12 is needed and was not found; try: make setup PYTHON=/path/to/python" >&2; exit 1

$(STAMP): requirements.lock pyproject.toml scripts/stub_bindings.py $(filter .venv/%,$(PYTHON))
	$(PIP) install -r requirements.lock
	$(PIP) install --no-deps --no-build-isolation -e .
	$(PYTHON) scripts/stub_bindings.py \
	  || echo "note: without the TensorRT 10 and 11 bindings their tests are skipped; they need a package index, a C compiler and binutils" >&2
	@mkdir -p $(@D) && touch $@

engines: setup ## export, build and verify every precision for this machine; a demo WAV of each
	$(TTS_TRT) engines --model $(MODEL) --out $(OUT)

check: setup ## format, lint, types
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m ruff check .
	$(PYTHON) -m mypy

format: setup ## rewrite the sources as `check` wants them
	$(PYTHON) -m ruff format .
	$(PYTHON) -m ruff check --fix .

test: setup ## every test that needs no GPU, the installed wheel among them
	$(PYTHON) -m pytest

bench: setup ## speed and memory of the CPU bundles in engines/, or of BUNDLES=...
	@test -n "$(BUNDLES)" || { echo "no bundle of $(MODEL) in $(OUT)/; try: make engines" >&2; exit 1; }
	$(TTS_TRT) bench $(addprefix --bundle ,$(BUNDLES))

clean: ## built engines, caches and reports; .venv and trained weights stay
	rm -rf $(OUT)/*/ $(OUT)/.export out dist build/lib *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

lock: setup ## requirements.lock anew from pyproject.toml
	$(PYTHON) -m scripts.lock

train-nano: setup ## train the embedded voice from nothing (a day; SMOKE=--smoke: a minute); needs flite
	@ldconfig -p | grep -q 'libflite\.so\.1' \
	  || { echo "libflite is missing; try: apt install flite" >&2; exit 1; }
	$(PYTHON) -m scripts.nano.corpus --out $(WORK)/corpus $(SMOKE)
	$(PYTHON) -m scripts.nano.corpus --split heldout --count 240 --out $(WORK)/heldout $(SMOKE)
	$(PYTHON) -m scripts.nano.train_codec --work $(WORK) $(SMOKE)
	$(PYTHON) -m scripts.nano.train_vocoder --work $(WORK) $(SMOKE)
	$(PYTHON) -m scripts.nano.train_gpt --work $(WORK) $(SMOKE)
	$(PYTHON) -m scripts.nano.train_flow --work $(WORK) $(SMOKE)
	$(PYTHON) -m scripts.nano.pack --work $(WORK) --out $(if $(SMOKE),$(WORK)/voice,tts_trt/assets/nano)
