"""What ``import tts_trt`` offers, and what it costs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import tts_trt
from tts_trt import errors

ROOT = Path(__file__).parents[1]


def test_every_public_name_resolves() -> None:
    for name in tts_trt.__all__:
        assert getattr(tts_trt, name).__name__ == name
    assert set(tts_trt.__all__) <= set(dir(tts_trt))


def test_all_errors_are_public() -> None:
    defined = {name for name, value in vars(errors).items() if isinstance(value, type)}
    assert defined <= set(tts_trt.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Synthesiser'"):
        tts_trt.Synthesiser  # noqa: B018


def imported_by(statement: str) -> set[str]:
    code = (
        f"{statement}\nimport sys, json; print(json.dumps(sorted(m.partition('.')[0] for m in sys.modules)))"
    )
    run = [sys.executable, "-c", code]
    result = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, check=True)
    return set(json.loads(result.stdout))


def test_importing_the_package_loads_the_standard_library_only() -> None:
    # .pth files of the environment may load packages of their own before any statement
    loaded = imported_by("import tts_trt") - imported_by("pass") - set(sys.stdlib_module_names)
    assert loaded == {"tts_trt"}


def test_importing_the_package_is_fast() -> None:
    code = "import time; t = time.perf_counter(); import tts_trt; print(time.perf_counter() - t)"
    run = [sys.executable, "-c", code]
    seconds = [
        float(subprocess.run(run, cwd=ROOT, capture_output=True, text=True, check=True).stdout)
        for _ in range(3)
    ]
    assert min(seconds) < 0.1


def test_the_version_is_the_installed_one() -> None:
    from importlib.metadata import PackageNotFoundError, version

    try:
        installed = version("tts-trt")
    except PackageNotFoundError:
        pytest.skip("tts-trt is not installed: make setup")
    assert installed == tts_trt.__version__
