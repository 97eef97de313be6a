"""Which device, how much room, and that nothing stays open when a bundle does not."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tests.model.tiny import TINY
from tests.runtime.fake_driver import FakeDriver
from tts_trt.errors import EngineError, UsageError
from tts_trt.runtime import executors
from tts_trt.runtime.cuda import CudaDevice
from tts_trt.runtime.device import HOST
from tts_trt.runtime.fake import fake_engines
from tts_trt.spec import Limits, cache_slots, graph_specs

SPECS = graph_specs(TINY, Limits(batch=4))


def manifest(
    executor: str = "onnxruntime", float_type: str = "float16", graph_bytes: int = 1000
) -> SimpleNamespace:
    files = {f"graphs/{name}.onnx": SimpleNamespace(bytes=graph_bytes, sha256="ab" * 32) for name in SPECS}
    files["assets/config.json"] = SimpleNamespace(bytes=5, sha256="cd" * 32)
    return SimpleNamespace(
        executor=SimpleNamespace(name=executor),
        float_type=float_type,
        files=files,
        graph=lambda name: SimpleNamespace(file=f"graphs/{name}.onnx"),
    )


@pytest.mark.parametrize(
    ("device", "executor", "index"),
    [
        ("auto", "onnxruntime", None),
        ("auto", "tensorrt", 0),
        ("auto", "tensorrt-rtx", 0),
        ("cpu", "onnxruntime", None),
        ("cuda", "onnxruntime", 0),
        ("cuda:3", "tensorrt", 3),
    ],
)
def test_devices_by_name(device: str, executor: str, index: int | None) -> None:
    assert executors.device_index(device, executor) == index


def test_devices_that_do_not_fit_are_refused() -> None:
    with pytest.raises(UsageError, match="engines of tensorrt need a GPU, not cpu"):
        executors.device_index("cpu", "tensorrt")
    for unknown in ("gpu", "cuda:", "cuda:-1", "cuda:1x", ""):
        with pytest.raises(UsageError, match="there is no device"):
            executors.device_index(unknown, "tensorrt")


@pytest.mark.parametrize(("float_type", "itemsize"), [("float16", 2), ("float32", 4)])
def test_needs_are_the_files_and_the_largest_cache(float_type: str, itemsize: int) -> None:
    g = TINY.gpt
    cache = 4 * 2 * g.layers * g.heads * cache_slots(TINY, Limits()) * g.head_dim * itemsize
    found = executors.needs(manifest(float_type=float_type), SPECS)  # type: ignore[arg-type]
    assert found == {"weights": 1000 * len(SPECS), "cache": cache}


def test_an_unknown_executor_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="built for abacus, which cannot run here"):
        executors.open_engines(tmp_path, manifest("abacus"), SPECS)  # type: ignore[arg-type]


def test_too_little_room_is_said_before_anything_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = FakeDriver(total=400 << 20)

    class Small(CudaDevice):
        def __init__(self, index: int) -> None:
            super().__init__(index, driver=driver, runtime=driver.runtime)

    monkeypatch.setattr(executors, "CudaDevice", Small)
    big = manifest("tensorrt", graph_bytes=40 << 20)
    with pytest.raises(EngineError, match=f"weights {40 * len(SPECS)}, cache") as caught:
        executors.open_engines(tmp_path, big, SPECS)  # type: ignore[arg-type]
    assert "MiB" in str(caught.value)
    driver.check_all_returned()


def test_what_was_opened_is_closed_when_a_later_graph_does_not_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engines, closed = fake_engines(TINY), []

    def opener(*_: object) -> executors.Opener:
        def open_one(name: str, *_: object) -> object:
            if name == "vocoder":
                raise EngineError("vocoder is of another world")
            engine = engines[name]
            monkeypatch.setattr(engine, "close", lambda: closed.append(name))
            return engine

        return open_one  # type: ignore[return-value]

    monkeypatch.setattr(executors, "_opener", opener)
    with pytest.raises(EngineError, match="another world"):
        executors.open_engines(tmp_path, manifest(), SPECS)  # type: ignore[arg-type]
    assert sorted(closed) == sorted(set(SPECS) - {"vocoder"})


def test_compiled_kernels_are_kept_apart_by_plan_version_and_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    places = {
        executors.kernel_cache(plan * 32, version, HOST)
        for plan in ("ab", "cd")
        for version in ("1.7", "1.8")
    }
    assert len(places) == 4 and all(tmp_path in p.parents for p in places)
    assert np.all([" " not in p.name for p in places])
