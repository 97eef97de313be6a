"""TensorRT engines: trt/*_cases.py against the binding classes of each library; then what needs none, or a real plan."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.bindings import LIBRARIES, ROOT, run_with
from tests.build.graphs import matmul
from tests.model.tiny import TINY
from tests.runtime.watched_device import WatchedDevice
from tts_trt.build.builder import build_plan
from tts_trt.errors import EngineError
from tts_trt.runtime.device import Tensor
from tts_trt.runtime.trt_contract import profile_for
from tts_trt.runtime.trt_engine import TrtEngine
from tts_trt.runtime.trt_errors import unloadable
from tts_trt.runtime.trt_runtime import Arena
from tts_trt.spec import GraphSpec, graph_specs
from tts_trt.trt import Backend, load_backend


@pytest.mark.parametrize("library", LIBRARIES)
def test_with_the_binding_classes(library: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TTS_TRT_TEST_LIBRARY", library)
    cases = sorted((ROOT / "tests" / "runtime" / "trt").glob("*_cases.py"))
    assert len(cases) == 3
    options = ["-p", "no:cacheprovider", "-c", ROOT / "pyproject.toml", "--confcutdir", cases[0].parent]
    run_with(library, "pytest", *options, *cases, cwd=tmp_path)


def test_a_workspace_grows_by_moving() -> None:
    device = WatchedDevice()
    arena, held = Arena(device), []
    before: list[int] = []
    empty = device.empty

    def watched(shape: tuple[int, ...], dtype: type) -> Tensor:
        before.append(device.counters.used_bytes)
        return empty(shape, dtype)

    device.empty = watched  # type: ignore[method-assign]
    for need, most, capacity in (
        (0, 5000, 256),  # never none
        (1000, 5000, 1024),
        (900, 5000, 1024),  # there already
        (1500, 5000, 2048),  # twice
        (2200, 2300, 2304),  # twice, but no more than can be needed
        (9000, 9000, 9216),
    ):
        work = arena.take(need, most)
        assert work.size == max(256, -(-need // 256) * 256)
        del work
        assert device.counters.used_bytes == capacity
    assert before == [0] * 5, "the old one is there while the new one is made"
    held.append(arena.take(1, 1))
    arena.take(20000, 20000)
    assert device.counters.used_bytes == 9216 + 20480  # who has the old one keeps it
    arena.clear()
    held.clear()
    assert device.counters.used_bytes == 0


def shapes(spec: GraphSpec, **axes: int) -> dict[str, tuple[int, ...]]:
    return {t.name: tuple(axes[a] if isinstance(a, str) else a for a in t.shape) for t in spec.inputs}


def test_every_graph_finds_a_profile_for_its_extremes() -> None:
    for spec in graph_specs(TINY).values():
        for index, ranges in enumerate(spec.profiles):
            for end in range(3):
                assert profile_for(spec, shapes(spec, **{a: r[end] for a, r in ranges.items()})) == index


def test_the_tightest_profile_is_taken() -> None:
    spec = graph_specs(TINY)["gpt"]
    wide = (
        {"B": (1, 2, 8), "S": (1, 8, 64)},
        {"B": (1, 2, 8), "S": (1, 1, 1)},
        {"B": (1, 1, 1), "S": (1, 1, 1)},
    )
    spec = GraphSpec(spec.name, spec.inputs, spec.outputs, wide, spec.aliases, spec.doc)
    assert [profile_for(spec, shapes(spec, B=b, S=s)) for b, s in ((2, 2), (2, 1), (1, 1))] == [0, 1, 2]


REAL = Backend("tensorrt", "11.4.0.106", SimpleNamespace(), None, (), True)
"""The words of real libraries, from their error reports."""


@pytest.mark.parametrize(
    ("reason", "message"),
    [
        (
            "Error Code 6: API Usage Error (The engine plan file is not compatible with this version of TensorRT, "
            "expecting library version 11.4.0.106 got 10.16.1.11, please rebuild.)",
            "the plan was built by version 10.16.1.11, this machine has 11.4.0.106",
        ),
        (
            "Error Code 6: The engine plan file is generated on an incompatible device, expecting compute 9.0 got "
            "compute 8.6, please rebuild.",
            "the plan was built for compute capability 8.6, this machine's GPU has 9.0",
        ),
        (
            "Serialization assertion stdVersionRead == kSERIALIZATION_VERSION failed.Version tag does not match. "
            "Note: Current Version: 239, Serialized Engine Version: 236",
            "by a version that writes format 236, this machine's reads 239",
        ),
        ("Error Code 2: OutOfMemory (Requested size was 1 bytes.)", "the GPU has too little free memory"),
        ("no words that we know", "on cuda:0 H200\n  no words that we know"),
    ],
)
def test_why_a_plan_does_not_open_is_said_in_words(reason: str, message: str) -> None:
    error = unloadable(Path("gpt.plan"), REAL, "cuda:0 H200", reason)
    assert message in str(error)
    assert reason in str(error)
    assert ("tts-trt build --executor tensorrt" in str(error)) == ("memory" not in message)


def test_a_real_plan_without_a_gpu_is_an_error_with_advice(tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx")
    backend = load_backend("tensorrt-rtx")
    onnx, spec = matmul(tmp_path / "matmul.onnx")
    plan = build_plan(backend, onnx, spec, tmp_path / "matmul.plan").path
    with pytest.raises(EngineError) as caught:
        TrtEngine(plan, spec, "float32", WatchedDevice(), backend)
    text = str(caught.value)
    assert f"matmul.plan cannot be opened by tensorrt-rtx {backend.version} on cuda:0 NVIDIA Fake" in text
    assert "no NVIDIA driver, or one older than the library needs" in text
    assert "try: an NVIDIA GPU and its driver; without them: tts-trt build --executor onnxruntime" in text
    plan.write_bytes(plan.read_bytes()[:1000])
    with pytest.raises(EngineError, match="the plan file is cut short"):
        TrtEngine(plan, spec, "float32", WatchedDevice(), backend)
    plan.write_bytes(b"\0" * 1000)
    with pytest.raises(EngineError, match="is damaged, or of another library"):
        TrtEngine(plan, spec, "float32", WatchedDevice(), backend)
