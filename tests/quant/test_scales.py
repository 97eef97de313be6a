from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tts_trt.errors import ConfigError, QuantError
from tts_trt.quant.observe import Observer, TensorStats
from tts_trt.quant.scales import METHODS, SMALLEST_SCALE, Binding, ScaleTable

BINDING = Binding("a" * 64, {"gpt": "b" * 64, "vocoder": "c" * 64}, "d" * 64)


def some_stats() -> dict[str, dict[str, TensorStats]]:
    rng, observer = np.random.default_rng(1), Observer()
    observer.add("h.0: größe/x y", rng.normal(size=(4000, 5)), 1)
    observer.add("zero", np.zeros((2, 3)), 1)
    observer.add("faint", np.full((2, 3), 1e-30), 1)
    return {"gpt": observer.stats()}


TABLE = ScaleTable.of(some_stats(), BINDING)


def test_a_table_has_a_threshold_by_every_method() -> None:
    found = TABLE.thresholds["gpt"]["h.0: größe/x y"]
    largest = some_stats()["gpt"]["h.0: größe/x y"].histogram.maximum
    assert tuple(found) == METHODS
    assert found["max"] == largest
    assert all(largest / 4 < limit < largest for method, limit in found.items() if method != "max")


def test_a_scale_is_a_127th_of_the_threshold() -> None:
    scale = TABLE.scale("gpt", "h.0: größe/x y", "mse")
    assert type(scale) is np.float32
    assert scale == np.float32(TABLE.thresholds["gpt"]["h.0: größe/x y"]["mse"] / 127)


@pytest.mark.parametrize("tensor", ["zero", "faint"])
@pytest.mark.parametrize("method", METHODS)
def test_no_scale_vanishes_in_fp16(tensor: str, method: str) -> None:
    scale = TABLE.scale("gpt", tensor, method)
    assert scale == SMALLEST_SCALE == np.finfo(np.float16).smallest_normal


@pytest.mark.parametrize("asked", [("dit", "zero", "max"), ("gpt", "one", "max"), ("gpt", "zero", "median")])
def test_what_a_table_lacks_is_named(asked: tuple[str, str, str]) -> None:
    with pytest.raises(QuantError, match="dit|one|median"):
        TABLE.scale(*asked)


def test_a_tensor_without_values_is_named() -> None:
    observer = Observer()
    observer.add("never", np.ones((0, 3)), 1)
    with pytest.raises(QuantError, match="gpt, tensor never: the corpus gave it no values"):
        ScaleTable.of({"gpt": observer.stats()}, BINDING)


def test_a_table_of_another_model_is_refused() -> None:
    TABLE.check(BINDING)
    with pytest.raises(QuantError, match="the scale table belongs to another model"):
        TABLE.check(replace(BINDING, model="0" * 64))


names = st.text(min_size=1).filter(lambda name: name.isprintable())
limits = st.floats(0, float(np.finfo(np.float32).max))


@given(
    st.dictionaries(
        names, st.dictionaries(names, st.dictionaries(st.sampled_from(METHODS), limits), max_size=4)
    )
)
@settings(deadline=None, max_examples=50)
def test_a_saved_table_loads_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, thresholds: dict[str, dict[str, dict[str, float]]]
) -> None:
    path = tmp_path_factory.mktemp("table") / "scales.json"
    table = ScaleTable(BINDING, thresholds)
    table.save(path)
    assert ScaleTable.load(path) == table
    first = path.read_bytes()
    reordered = {graph: dict(reversed(thresholds[graph].items())) for graph in reversed(thresholds)}
    ScaleTable(BINDING, reordered).save(path)
    assert path.read_bytes() == first


Change = Callable[[dict[str, Any]], object]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.update(unknown=1), "unknown: Extra inputs"),
        (lambda t: t["binding"].update(gpu="x"), "binding.gpu"),
        (lambda t: t["binding"].pop("corpus"), "binding.corpus: Field required"),
        (lambda t: t["binding"].update(model="abc"), "binding.model"),
        (lambda t: t.update(format="tts-trt scales 2"), "format: Input should be 'tts-trt scales 1'"),
        (lambda t: t["thresholds"]["gpt"].update(x=1.0), "thresholds.gpt.x"),
        (lambda t: t["thresholds"]["gpt"]["zero"].update(median=1.0), "thresholds.gpt.zero.median"),
        (lambda t: t["thresholds"]["gpt"]["zero"].update(max="1"), "thresholds.gpt.zero.max"),
        (lambda t: t["thresholds"]["gpt"]["zero"].update(max=True), "thresholds.gpt.zero.max"),
        (lambda t: t["thresholds"]["gpt"]["zero"].update(max=-1.0), "thresholds.gpt.zero.max"),
        (lambda t: t["thresholds"]["gpt"]["zero"].update(max=float("nan")), "thresholds.gpt.zero.max"),
        (lambda t: t["thresholds"]["gpt"]["zero"].update(max=float("inf")), "thresholds.gpt.zero.max"),
        (lambda t: t["thresholds"]["gpt"]["zero"].update(max=1e39), "thresholds.gpt.zero.max"),
    ],
)
def test_a_table_that_does_not_fit_is_refused(tmp_path: Path, change: Change, message: str) -> None:
    path = tmp_path / "scales.json"
    TABLE.save(path)
    content = json.loads(path.read_bytes())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(ConfigError, match=message) as error:
        ScaleTable.load(path)
    assert str(path) in str(error.value)
    assert error.value.hint == "tts-trt calibrate"


def test_a_table_that_is_cut_short_or_missing_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "scales.json"
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        ScaleTable.load(path)
    TABLE.save(path)
    whole = path.read_bytes()
    for length in (0, 1, 100, len(whole) - 3):
        path.write_bytes(whole[:length])
        with pytest.raises(ConfigError, match="Invalid JSON"):
            ScaleTable.load(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="scales.json"):
        ScaleTable.load(path)


def test_a_failed_write_leaves_the_old_table(tmp_path: Path) -> None:
    path = tmp_path / "scales.json"
    TABLE.save(path)
    with pytest.raises(ValueError, match="thresholds"):
        ScaleTable(BINDING, {"gpt": {"x": {"max": float("nan")}}}).save(path)
    assert ScaleTable.load(path) == TABLE
