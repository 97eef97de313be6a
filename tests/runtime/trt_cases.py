"""TrtEngine on one library's binding classes; run by test_trt_engine.py, once per library, in a process of its own."""

from __future__ import annotations

import gc
import logging
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests import bindings
from tests.runtime.trt_stand_in import Library, Plan, backend_on
from tests.runtime.watched_device import WatchedDevice
from tts_trt.errors import EngineError
from tts_trt.runtime.device import HOST, Tensor
from tts_trt.runtime.trt_engine import PlanMemory, TrtEngine
from tts_trt.spec import GraphSpec, TensorSpec
from tts_trt.trt import Backend, load_backend

LIBRARY = os.environ["TTS_TRT_TEST_LIBRARY"]
HAS_CACHE = LIBRARY == bindings.RTX
only_rtx = pytest.mark.skipif(not HAS_CACHE, reason="TensorRT-RTX has it")

STEP = GraphSpec(
    "step",
    (
        TensorSpec("x", "float", ("B", "S", 4), "rows to append"),
        TensorSpec("pos", "int64", ("B",), "slot of the first"),
        TensorSpec("cache", "float", ("B", 8, 4), "in place"),
    ),
    (
        TensorSpec("y", "float", ("B", "S", 4), "2 x by profile 0, 10 x by profile 1"),
        TensorSpec("total", "float32", ("B",), "of the cache up to the last row"),
        TensorSpec("cache_out", "float", ("B", 8, 4), "same memory"),
    ),
    ({"B": (1, 2, 4), "S": (2, 4, 8)}, {"B": (1, 2, 4), "S": (1, 1, 1)}),
    {"cache_out": "cache"},
    "",
)
WAVE = GraphSpec(
    "wave",
    (TensorSpec("x", "float", ("B", "T"), ""),),
    (TensorSpec("y", "float", ("B", "T"), "3 x"),),
    ({"B": (1, 2, 4), "T": (1, 8, 64)},),
    {},
    "",
)


def step(arrays: Mapping[str, np.ndarray], profile: int) -> None:
    rows = arrays["x"].shape[1]
    for b, p in enumerate(arrays["pos"]):
        arrays["cache_out"][b, p : p + rows] = arrays["x"][b]
        arrays["total"][b] = arrays["cache"][b, : p + rows].sum()
    np.multiply(arrays["x"], (2, 10)[profile], arrays["y"])


def wave(arrays: Mapping[str, np.ndarray], profile: int) -> None:
    np.multiply(arrays["x"], 3, arrays["y"])


PLANS = {
    b"step": Plan(STEP, step, lambda sizes: 512 * sizes["B"] * sizes["S"]),
    b"wave": Plan(WAVE, wave, lambda sizes: 100 * sizes["B"] * sizes["T"], weights=77),
}


@pytest.fixture
def device() -> WatchedDevice:
    return WatchedDevice()


@pytest.fixture
def rig(device: WatchedDevice) -> tuple[Backend, Library]:
    return backend_on(load_backend(bindings.name_of(LIBRARY)), device, dict(PLANS))


@pytest.fixture
def library(rig: tuple[Backend, Library]) -> Library:
    return rig[1]


Open = Callable[..., TrtEngine]


@pytest.fixture
def opened(rig: tuple[Backend, Library], device: WatchedDevice, tmp_path: Path) -> Iterator[Open]:
    engines = []

    def open_one(name: str, **options: Path) -> TrtEngine:
        (tmp_path / f"{name}.plan").write_bytes(name.encode().ljust(100))
        spec = rig[1].plans[name.encode()].spec
        spec = STEP if spec.name == "step" else spec
        engines.append(TrtEngine(tmp_path / f"{name}.plan", spec, "float32", device, rig[0], **options))
        return engines[-1]

    yield open_one
    for engine in engines:
        engine.close()


def numbers(*shape: int, start: int = 1) -> np.ndarray:
    return (np.arange(np.prod(shape), dtype=np.float32) + start).reshape(shape)


def step_inputs(device: WatchedDevice, rows: int, count: int, pos: int = 0) -> dict[str, Tensor]:
    return {
        "x": device.upload(numbers(rows, count, 4)),
        "pos": device.upload(np.full(rows, pos)),
        "cache": device.zeros((rows, 8, 4), np.float32),
    }


def step_outputs(engine: TrtEngine, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    axes = {"B": inputs["x"].shape[0], "S": inputs["x"].shape[1]}
    return {name: engine.allocate(name, axes) for name in ("y", "total")} | {"cache_out": inputs["cache"]}


def test_a_launch_computes_and_does_not_wait(opened: Open, device: WatchedDevice) -> None:
    engine = opened("step")
    inputs = step_inputs(device, 2, 3, pos=1)
    out = engine.launch(inputs)
    assert device.counters.waits == 0
    np.testing.assert_array_equal(out["y"].numpy(), 2 * numbers(2, 3, 4))
    np.testing.assert_array_equal(out["total"].numpy(), numbers(2, 3, 4).sum((1, 2)))
    assert out["cache_out"].address == inputs["cache"].address
    np.testing.assert_array_equal(inputs["cache"].numpy()[:, 1:4], numbers(2, 3, 4))
    assert not inputs["cache"].numpy()[:, 4:].any()


def test_one_row_takes_the_profile_made_for_it(opened: Open, device: WatchedDevice, library: Library) -> None:
    engine = opened("step")
    for count, factor in ((1, 10), (2, 2), (1, 10), (8, 2)):
        out = engine.launch(step_inputs(device, 1, count))
        np.testing.assert_array_equal(out["y"].numpy(), factor * numbers(1, count, 4))
    # a context per profile, so that none is switched to and fro
    assert [(c.profile, c.switches, c.runs) for c in library.contexts] == [(1, 1, 2), (0, 0, 2)]


def test_arrays_are_uploaded(opened: Open) -> None:
    out = opened("step").run(
        {"x": numbers(1, 1, 4), "pos": np.array([2]), "cache": np.ones((1, 8, 4), np.float32)}
    )
    assert out["total"] == 8 + 10
    np.testing.assert_array_equal(out["cache_out"][0, 2], numbers(4))


def test_shapes_outside_every_profile_are_named(opened: Open, device: WatchedDevice) -> None:
    engine = opened("step")
    with pytest.raises(EngineError) as caught:
        engine.launch(step_inputs(device, 5, 9) | {"cache": device.zeros((5, 8, 4), np.float32)})
    assert "profile 0: B is 5, allowed 1..4, S is 9, allowed 2..8" in str(caught.value)
    assert "profile 1: B is 5, allowed 1..4, S is 9, allowed 1\n" in str(caught.value)


def test_inputs_may_begin_anywhere(opened: Open, device: WatchedDevice) -> None:
    engine = opened("wave")
    many = device.upload(numbers(4, 2, 3))
    np.testing.assert_array_equal(engine.launch({"x": many[3]})["y"].numpy(), 3 * numbers(4, 2, 3)[3])
    with_gaps = many[:, 0]
    np.testing.assert_array_equal(engine.launch({"x": with_gaps})["y"].numpy(), 3 * numbers(4, 2, 3)[:, 0])


def test_what_is_written_must_lie_where_the_library_can_write(opened: Open, device: WatchedDevice) -> None:
    engine, inputs = opened("step"), step_inputs(device, 1, 2)
    odd, gaps = device.zeros((2, 1, 2, 4), np.float32)[1], device.zeros((1, 2, 8), np.float32)[:, :, :4]
    for wrong in (odd, gaps):
        with pytest.raises(
            EngineError, match="step: y lies at 0x.*expected a contiguous tensor at a multiple of 256"
        ):
            engine.launch(inputs, {"y": wrong})
        with pytest.raises(EngineError, match="x lies at"):
            engine.bind(inputs | {"x": wrong}, step_outputs(engine, inputs))
    caches = device.zeros((3, 8, 4), np.float32)
    with pytest.raises(EngineError, match="cache lies at"):
        engine.launch(inputs | {"cache": caches[1:2]})


def test_outputs_have_the_shape_that_follows_from_the_inputs(opened: Open, device: WatchedDevice) -> None:
    engine, inputs = opened("step"), step_inputs(device, 2, 2)
    given = device.zeros((2, 2, 4), np.float32)
    assert engine.launch(inputs, {"y": given})["y"] is given
    np.testing.assert_array_equal(given.numpy(), 2 * numbers(2, 2, 4))
    small = device.zeros((1, 2, 4), np.float32)
    with pytest.raises(EngineError, match=r"output y is to go to \(1, 2, 4\), it has shape \(2, 2, 4\)"):
        engine.launch(inputs, {"y": small})
    with pytest.raises(EngineError, match="output y is to go to"):
        engine.bind(inputs, step_outputs(engine, inputs) | {"y": small})


def test_tensors_of_another_device_are_refused(opened: Open) -> None:
    engine = opened("wave")
    memory = np.zeros(256 + 64, np.float32)
    first = -memory.ctypes.data % 256 // 4
    with pytest.raises(EngineError, match="a tensor of cpu on cuda:0"):
        engine.launch({"x": HOST.wrap(memory[first : first + 8].reshape(2, 4))})


def test_engines_work_in_one_memory_in_turn(opened: Open, device: WatchedDevice, library: Library) -> None:
    one, two = opened("step"), opened("wave")
    inputs, x = step_inputs(device, 4, 8), device.upload(numbers(4, 8))
    for _ in range(2):
        kept = [one.launch(inputs), two.launch({"x": x})]
    first, second = library.contexts
    assert first.memory and second.memory and first.memory[0] == second.memory[0]
    assert (first.memory[1], second.memory[1]) == (4 * 8 * 512, 3328)  # what each needs, to the next 256
    np.testing.assert_array_equal(kept[1]["y"].numpy(), 3 * numbers(4, 8))


def test_the_workspace_grows_under_queued_work(opened: Open, device: WatchedDevice, library: Library) -> None:
    engine = opened("wave")
    sizes = (1, 8, 40, 2, 64, 3)
    results = [engine.launch({"x": numbers(1, n)}) for n in sizes]
    before = device.counters.used_bytes
    assert device.counters.waits == 0
    for n, out in zip(sizes, results, strict=True):
        np.testing.assert_array_equal(out["y"].numpy(), 3 * numbers(1, n))
    del results, out
    gc.collect()
    # twice the 4096 that 40 columns take, as 64 need 6400; what came before is given back
    assert device.counters.used_bytes == 8192 < before
    assert len(library.contexts) == 1


def test_a_bound_graph_is_only_launched(opened: Open, device: WatchedDevice) -> None:
    engine, inputs = opened("step"), step_inputs(device, 2, 1)
    outputs = step_outputs(engine, inputs)
    bound = engine.bind(inputs, outputs)
    assert bound.recordable == (not HAS_CACHE)
    bindings.used.clear()
    for position in range(3):
        device.write(inputs["pos"], np.full(2, position))
        bound.launch()
    assert set(bindings.used) <= {"IExecutionContext.execute_async_v3", "IExecutionContext.error_recorder"}
    assert device.counters.waits == 0
    np.testing.assert_array_equal(outputs["y"].numpy(), 10 * numbers(2, 1, 4))
    np.testing.assert_array_equal(outputs["total"].numpy(), 3 * numbers(2, 1, 4).sum((1, 2)))


def test_recorded_work_keeps_its_addresses(opened: Open, device: WatchedDevice, library: Library) -> None:
    """Whatever is launched or bound meanwhile, and however often the others' workspaces move."""
    engine, other = opened("step"), opened("wave")
    inputs = step_inputs(device, 1, 1)
    outputs = step_outputs(engine, inputs)
    replay = device.record(engine.bind(inputs, outputs).launch)
    held = []
    for rows in (3, 2, 4):
        more = step_inputs(device, rows, 1)
        held.append(engine.bind(more, step_outputs(engine, more)))
        other.launch({"x": numbers(rows, 64)})
    gc.collect()
    for position in range(5):
        device.write(inputs["pos"], np.full(1, position))
        replay()
        held[-1].launch()
        other.launch({"x": numbers(4, 64)})
    assert device.counters.replays == 3
    assert outputs["total"].numpy() == 5 * numbers(4).sum()
    one, three, two, four = (c.memory[0] for c in library.contexts if c.memory and c.plan.spec is STEP)
    assert three == two and len({one, two, four}) == 3
    assert not {one, two, four} & {c.memory[0] for c in library.contexts if c.memory and c.plan.spec is WAVE}


def test_a_bound_graph_keeps_what_it_works_on(opened: Open, device: WatchedDevice) -> None:
    engine, inputs = opened("step"), step_inputs(device, 1, 1)
    outputs = step_outputs(engine, inputs)
    bound, y = engine.bind(inputs, outputs), outputs["y"]
    inputs.clear()
    outputs.clear()
    gc.collect()
    others = [device.zeros(shape, np.float32) for shape in ((1, 1, 4), (2,), (1,), (1, 8, 4), (512 // 4,))]
    bound.launch()
    np.testing.assert_array_equal(y.numpy(), 10 * numbers(1, 1, 4))
    assert not any(other.numpy().any() for other in others)


def test_the_context_of_a_bound_graph_is_used_again(
    opened: Open, device: WatchedDevice, library: Library
) -> None:
    engine = opened("step")
    for rows in (1, 3, 2):
        inputs = step_inputs(device, rows, 1)
        outputs = step_outputs(engine, inputs)
        bound = engine.bind(inputs, outputs)
        bound.launch()
        del bound  # while it is queued
        gc.collect()
        np.testing.assert_array_equal(outputs["y"].numpy(), 10 * numbers(rows, 1, 4))
    assert len(library.contexts) == 1
    inputs = step_inputs(device, 4, 2)  # the other profile
    kept = engine.bind(inputs, step_outputs(engine, inputs))
    assert [c.profile for c in library.contexts] == [1, 0] and kept


def test_threads_share_an_engine(opened: Open, device: WatchedDevice) -> None:
    engine, wrong = opened("wave"), []

    def work(columns: int) -> None:
        for _ in range(20):
            found = engine.launch({"x": numbers(2, columns)})["y"].numpy()
            if not np.array_equal(found, 3 * numbers(2, columns)):
                wrong.append(columns)

    threads = [threading.Thread(target=work, args=(columns,)) for columns in (3, 17, 64)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_failure_is_told_in_the_librarys_words(
    opened: Open, device: WatchedDevice, library: Library
) -> None:
    engine, inputs = opened("step"), step_inputs(device, 1, 1)
    bound = engine.bind(inputs, step_outputs(engine, inputs))
    for run in (lambda: engine.launch(inputs), bound.launch):
        library.fail = {"execute_async_v3": "illegal memory access"}
        with pytest.raises(
            EngineError, match="(?s)graph step: tensorrt.* cannot run:\n  illegal memory access$"
        ):
            run()
        library.fail = {"execute_async_v3": "something else"}
        with pytest.raises(EngineError) as caught:
            run()
        assert "illegal" not in str(caught.value)
        library.fail = {}
        run()


def test_whatever_the_library_refuses_is_an_error(
    opened: Open, device: WatchedDevice, library: Library
) -> None:
    engine = opened("step")
    for call, message in (
        ("create_execution_context", "gives no execution context"),
        ("set_optimization_profile_async", "cannot change to profile 1"),
        ("set_input_shape", r"refuses shape \(1, 1, 4\) of x"),
        ("set_tensor_address", "refuses the address of x"),
    ):
        library.fail = {call: "as it likes"}
        for use in (engine.launch, lambda inputs: engine.bind(inputs, step_outputs(engine, inputs))):
            with pytest.raises(EngineError, match=f"(?s)graph step: tensorrt.* {message}:\n  as it likes"):
                use(step_inputs(device, 1, 1))
    library.fail, library.unknown = {}, ("total",)
    with pytest.raises(EngineError, match="does not tell the shape of total before it runs$"):
        engine.launch(step_inputs(device, 2, 1))
    library.unknown = ()
    engine.launch(step_inputs(device, 2, 1))


def test_a_refused_shape_leaves_no_half_set_one(
    opened: Open, device: WatchedDevice, library: Library
) -> None:
    engine = opened("step")
    engine.launch(step_inputs(device, 1, 2))
    context = library.contexts[0]
    set_shape = context.set_input_shape
    handle = context.handle_ref()
    handle._values["set_input_shape"] = lambda name, shape: name != "pos" and set_shape(name, shape)
    with pytest.raises(EngineError, match="refuses shape .* of pos"):
        engine.launch(step_inputs(device, 1, 5))
    handle._values["set_input_shape"] = set_shape
    np.testing.assert_array_equal(engine.launch(step_inputs(device, 1, 2))["y"].numpy(), 2 * numbers(1, 2, 4))


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
    engine.launch(inputs)
    other.launch({"x": numbers(1, 1)})
    engine.close()
    engine.close()
    assert device.counters.waits == 1, "contexts went while they were in use"
    assert [c.closed for c in library.contexts] == [True, True, False]
    assert (library.runtimes, library.freed, device.charged) == (1, 1, 77)
    for use in (bound.launch, lambda: engine.launch(inputs), lambda: engine.memory):
        with pytest.raises(EngineError, match="graph step is closed"):
            use()
    other.close()
    assert library.freed == 2 and device.charged == 0
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


def test_cuda_graphs_are_the_librarys_own_business_where_it_has_them(
    opened: Open, device: WatchedDevice, library: Library
) -> None:
    engine, inputs = opened("step"), step_inputs(device, 1, 1)
    engine.launch(inputs)
    bound = engine.bind(inputs, step_outputs(engine, inputs))
    strategies = [context.config._values.get("cuda_graph_strategy") for context in library.contexts]
    whole = library.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE if HAS_CACHE else None
    assert strategies == [None, whole] and bound


@only_rtx
def test_compiled_kernels_are_kept_between_processes(opened: Open, library: Library, tmp_path: Path) -> None:
    cache = tmp_path / "kernels" / "wave.cache"
    engine = opened("wave", runtime_cache=cache)
    engine.launch({"x": numbers(1, 1)})
    library.saved = b"kernels of one shape"
    engine.close()
    assert cache.read_bytes() == b"kernels of one shape"
    written = cache.stat().st_mtime_ns
    library.saved = b""
    engine = opened("wave", runtime_cache=cache)
    engine.launch({"x": numbers(1, 2)})
    assert library.saved == b"kernels of one shape"
    assert {id(context.config._behind._cache) for context in library.contexts} != {id(None)}
    engine.close()
    assert cache.stat().st_mtime_ns == written
    cache.write_bytes(b"of another GPU")
    engine = opened("wave", runtime_cache=cache)
    library.saved = b"kernels anew"
    engine.close()
    assert cache.read_bytes() == b"kernels anew"


@only_rtx
def test_a_cache_that_cannot_be_written_is_a_warning(
    opened: Open, library: Library, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    engine = opened("wave", runtime_cache=tmp_path / "file" / "cache")
    library.saved = b"kernels"
    with caplog.at_level(logging.WARNING):
        engine.close()
    assert "kernels will be compiled again" in caplog.text and library.freed == 1


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
