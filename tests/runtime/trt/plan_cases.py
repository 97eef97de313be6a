"""Opening plans, and closing; run by test_trt_engine.py, once per library, in a process of its own."""

from __future__ import annotations

import gc
from dataclasses import replace
from pathlib import Path

import pytest

from tests import bindings
from tests.runtime.trt.rig import (
    LIBRARY,
    PLANS,
    STEP,
    WAVE,
    Open,
    numbers,
    only_rtx,
    step_inputs,
    step_outputs,
)
from tests.runtime.trt.stand_in import Library
from tests.runtime.watched_device import WatchedDevice
from tts_trt.errors import EngineError
from tts_trt.runtime.device import HOST
from tts_trt.runtime.trt_engine import PlanMemory, TrtEngine
from tts_trt.trt import Backend

CACHE = "cache_out shares memory with None; the contract says cache"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dtypes": {"pos": "INT32"}}, "pos is int32, expected int64"),
        ({"dtypes": {"y": "HALF"}}, "y is float16, expected float32"),
        ({"shapes": {"cache": (-1, 9, 4)}}, r"cache has shape \(-1, 9, 4\), expected \('B', 8, 4\)"),
        ({"shapes": {"total": (-1, 1)}}, "total has shape"),
        ({"aliases": {}}, CACHE),
        ({"aliases": {"cache_out": "cache", "y": "x"}}, "y shares memory with x; the contract says None"),
        ({"on_host": ("pos",)}, "pos is to lie in host memory"),
        ({"spec": replace(STEP, profiles=STEP.profiles[:1])}, "1 profiles; the contract has 2"),
        (
            {"spec": replace(STEP, profiles=(STEP.profiles[0], {"B": (1, 2, 3), "S": (1, 1, 1)}))},
            r"profile 1 takes x from \(1, 1, 4\) to \(3, 1, 4\); the contract says from .* to \(4, 1, 4\)",
        ),
        ({"spec": replace(STEP, inputs=STEP.inputs[::-1])}, None),
        (
            {"spec": replace(STEP, inputs=STEP.inputs[:2])},
            "inputs are pos, x; the contract says cache, pos, x",
        ),
    ],
)
def test_a_plan_is_held_to_its_contract(
    opened: Open, device: WatchedDevice, library: Library, changes: dict, message: str | None
) -> None:
    library.plans[b"odd"] = replace(PLANS[b"step"], **changes)
    if message is None:
        opened("odd")
        return
    with pytest.raises(EngineError, match=f"odd.plan: .*{message}") as caught:
        opened("odd")
    assert f"tts-trt build --executor {bindings.name_of(LIBRARY)}" in str(caught.value)
    assert library.freed == 1 and device.charged == 0


def test_a_plan_that_cannot_be_read_is_an_error(
    rig: tuple[Backend, Library], device: WatchedDevice, tmp_path: Path
) -> None:
    backend = rig[0]
    (tmp_path / "empty.plan").touch()
    (tmp_path / "strange.plan").write_bytes(b"of another library".ljust(100))
    for name, message in (
        ("missing", "cannot be read: .*No such file"),
        ("empty", "cannot be read: cannot mmap an empty file"),
        ("strange", f"cannot be opened by {backend.name} {backend.version} on cuda:0 NVIDIA Fake"),
    ):
        with pytest.raises(EngineError, match=message):
            TrtEngine(tmp_path / f"{name}.plan", WAVE, "float32", device, backend)
    (tmp_path / "wave.plan").write_bytes(b"wave".ljust(100))
    TrtEngine(tmp_path / "wave.plan", WAVE, "float32", device, backend).close()
    assert rig[1].runtimes == 4, "one that failed was not let go"
    with pytest.raises(EngineError, match="runs on a GPU, not on cpu"):
        TrtEngine(tmp_path / "strange.plan", WAVE, "float32", HOST, backend)


def test_what_a_plan_needs_is_known(opened: Open, device: WatchedDevice, tmp_path: Path) -> None:
    assert opened("step").memory == PlanMemory(1000, (512 * 4 * 8, 512 * 4))
    assert opened("wave").memory.most == 77 + 100 * 4 * 64
    assert device.charged == 1077
    assert PlanMemory.of_file(tmp_path / "wave.plan") == PlanMemory(100)


def test_closing_gives_everything_back(opened: Open, device: WatchedDevice, library: Library) -> None:
    engine, other = opened("step"), opened("wave")
    inputs = step_inputs(device, 1, 1)
    bound = engine.bind(inputs, step_outputs(engine, inputs))
    larger = step_inputs(device, 4, 1)
    engine.bind(larger, step_outputs(engine, larger))  # gone at once; its workspace waits for the next
    larger.clear()
    engine.launch(inputs)
    other.launch({"x": numbers(1, 1)})
    engine.close()
    engine.close()
    assert device.counters.waits == 1, "contexts went while they were in use"
    assert [c.closed for c in library.contexts] == [True, True, True, False]
    assert (library.runtimes, library.freed, device.charged) == (1, 1, 77)
    for use in (bound.launch, lambda: engine.launch(inputs), lambda: engine.memory):
        with pytest.raises(EngineError, match="graph step is closed"):
            use()
    other.close()
    assert library.freed == 2 and device.charged == 0
    gc.collect()
    assert device.sizes == [4, 8, 16, 16, 128, 512], (
        "more than the tensors and the workspace of the bound graph"
    )
    inputs.clear()
    del bound, use
    gc.collect()
    assert device.counters.used_bytes == 0
    opened("wave")
    assert library.runtimes == 2


def test_a_lost_device_does_not_keep_the_engine_open(
    opened: Open, device: WatchedDevice, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = opened("wave")
    engine.launch({"x": numbers(1, 1)})

    def lost() -> None:
        raise EngineError("lost for good")

    for name in ("synchronize", "active"):
        monkeypatch.setattr(device, name, lost)
        with pytest.raises(EngineError, match="lost for good"):
            engine.close()
        monkeypatch.undo()
        assert library.freed == library.runtimes and library.contexts[-1].closed and not device.charged
        engine = opened("wave")
        engine.launch({"x": numbers(1, 1)})


@only_rtx
@pytest.mark.parametrize(
    ("bits", "message"),
    [
        (("VERSION_MISMATCH",), "wave.plan was built by another version; here: tensorrt-rtx .* on cuda:0"),
        (("UNSUPPORTED_CC",), "was not built for this GPU's compute capability"),
        (
            ("OLD_CUDA_DRIVER", "INSUFFICIENT_GPU_MEMORY"),
            "needs a newer driver, needs more GPU memory than there is",
        ),
        (("MALFORMED_ENGINE",), "is damaged, or of another library"),
    ],
)
def test_the_header_says_whether_a_plan_fits(
    opened: Open, library: Library, bits: tuple[str, ...], message: str
) -> None:
    members = library.EngineInvalidityDiagnostics.__members__
    library.validity = library.EngineValidity.INVALID, sum(int(members[name]) for name in bits)
    with pytest.raises(EngineError, match=message):
        opened("wave")
    library.validity = library.EngineValidity.INVALID, 0  # no reason: the library is asked to open it
    opened("wave")


@only_rtx
def test_a_plan_for_other_gpus_is_a_warning(
    opened: Open, library: Library, caplog: pytest.LogCaptureFixture
) -> None:
    library.validity = library.EngineValidity.SUBOPTIMAL, 0
    opened("wave")
    assert "may be slow here" in caplog.text
