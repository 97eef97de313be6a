"""Bundle directories: a whole one speaks, a damaged or foreign one is refused before any graph is opened."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.model.tiny import TINY
from tests.runtime.conftest import LEXICON, SYMBOLS
from tts_trt.artifacts import BundleWriter
from tts_trt.dims import to_dict
from tts_trt.errors import BundleError, ConfigError, EngineError
from tts_trt.frontend.audio import write_wav
from tts_trt.manifest import Assets, ExecutorRef, GraphEntry, Host, ModelRef
from tts_trt.runtime import onnx_engine
from tts_trt.runtime.bundle import load_engines
from tts_trt.runtime.request import Request
from tts_trt.runtime.synthesizer import Synthesizer
from tts_trt.spec import Limits, graph_specs

SPECS = graph_specs(TINY)
HASH = "0" * 64
DURATIONS = {"lead": 0.05} | dict.fromkeys(SYMBOLS, 0.08)


def write_bundle(
    target: Path, graphs: Path, recording: np.ndarray, executor: str = "onnxruntime", **config: object
) -> Path:
    tables = {
        "config.json": to_dict(TINY) | config,
        "tokenizer.json": {s: i for i, s in enumerate(SYMBOLS)},
        "lexicon.json": LEXICON,
        "durations.json": DURATIONS,
    }
    with BundleWriter(target) as bundle:
        for name in SPECS:
            for file in (f"{name}.onnx", f"{name}.onnx.data"):
                if (graphs / file).exists():
                    bundle.add(f"graphs/{file}", graphs / file)
        for name, table in tables.items():
            bundle.path(f"assets/{name}").write_text(json.dumps(table))
        write_wav(bundle.path("assets/voices/anna.wav"), recording, TINY.audio.sample_rate)
        bundle.seal(
            tts_trt="0",
            model=ModelRef(name="tiny", weights_sha256=HASH, config_sha256=HASH),
            precision="fp32",
            executor=ExecutorRef(name=executor, version="1"),
            host=Host(gpu=None, sm=None, driver=None, platform="p", cpu="c"),
            latents=TINY.latents,
            float_type="float32",
            limits=to_dict(Limits(batch=4)),
            graphs=tuple(
                GraphEntry(name=n, file=f"graphs/{n}.onnx", onnx_sha256=HASH, dtypes={}, profiles=())
                for n in SPECS
            ),
            assets=Assets(dims="assets/config.json", voices={"anna": "assets/voices/anna.wav"}),
        )
    return target


@pytest.fixture(scope="module")
def whole(graphs: Path, recording: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("bundles") / "tiny", graphs, recording)


@pytest.fixture
def copy(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A bundle to damage; opening a graph of it fails the test."""

    def opened(*_: object) -> None:
        raise AssertionError("a graph was opened before the bundle was verified")

    monkeypatch.setattr(onnx_engine.OrtEngine, "_open", opened)
    return Path(shutil.copytree(whole, tmp_path / "copy"))


def test_a_bundle_speaks_by_the_name_of_its_voice(whole: Path) -> None:
    with Synthesizer.from_bundle(whole, threads=1) as tts:
        assert list(tts.voices) == ["anna"]
        assert tts.limits == Limits(batch=4)
        assert tts.synthesize(Request("See me.", "anna")).seconds > 0
    with pytest.raises(EngineError, match="closed"):
        tts.synthesize(Request("See me.", "anna"))


@pytest.mark.parametrize(
    "name", ["graphs/gpt.onnx", "graphs/gpt.onnx.data", "assets/config.json", "assets/voices/anna.wav"]
)
def test_a_damaged_bundle_is_refused(copy: Path, name: str) -> None:
    content = bytearray((copy / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / name).write_bytes(content)
    with pytest.raises(BundleError, match=f"{Path(name).name}: SHA-256"):
        Synthesizer.from_bundle(copy)
    (copy / name).write_bytes(content[:-1])
    with pytest.raises(BundleError, match="bytes, expected"):
        load_engines(copy, SPECS)
    (copy / name).unlink()
    with pytest.raises(BundleError, match="missing"):
        Synthesizer.from_bundle(copy)


def test_a_folder_that_is_no_bundle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="is not a bundle"):
        Synthesizer.from_bundle(tmp_path)


def test_foreign_bundles_are_refused(graphs: Path, recording: np.ndarray, tmp_path: Path) -> None:
    plans = write_bundle(tmp_path / "plans", graphs, recording, executor="tensorflow")
    with pytest.raises(EngineError, match="built for tensorflow, which cannot run here"):
        Synthesizer.from_bundle(plans)
    unknown = write_bundle(tmp_path / "unknown", graphs, recording, colour="blue")
    with pytest.raises(ConfigError, match="unknown key colour"):
        Synthesizer.from_bundle(unknown)
    other = replace(TINY, gpt=replace(TINY.gpt, dim=64))
    foreign = write_bundle(tmp_path / "foreign", graphs, recording, gpt=to_dict(other)["gpt"])
    with pytest.raises(EngineError, match="expected .*64"):
        Synthesizer.from_bundle(foreign)
