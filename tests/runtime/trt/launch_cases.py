"""Ad-hoc launches; run by test_trt_engine.py, once per library, in a process of its own."""

from __future__ import annotations

import gc
import threading

import numpy as np
import pytest

from tests.runtime.trt.rig import Open, numbers, step_inputs, step_outputs
from tests.runtime.trt.stand_in import Library
from tests.runtime.watched_device import WatchedDevice
from tts_trt.errors import EngineError
from tts_trt.runtime.device import HOST


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
