"""Bound graphs, and what is kept for TensorRT-RTX; run by test_trt_engine.py, once per library, in a process of its own."""

from __future__ import annotations

import gc
import logging
from pathlib import Path

import numpy as np
import pytest

from tests import bindings
from tests.runtime.trt.rig import (
    HAS_CACHE,
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
