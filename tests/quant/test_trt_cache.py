from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tts_trt.errors import ConfigError, QuantError
from tts_trt.quant.scales import SMALLEST_SCALE, Binding, ScaleTable
from tts_trt.quant.trt_cache import (
    CalibrationCache,
    cache_from_table,
    load_cache,
    read_cache,
    save_cache,
    scales_from_cache,
    sidecar,
    write_cache,
)

BINDING = Binding("a" * 64, {"gpt": "b" * 64, "vocoder": "c" * 64}, "d" * 64)
SAMPLE = b"TRT-101601-EntropyCalibration2\ninput: 3c010204\n(Unnamed Layer* 0) [Conv]_output: 3f800000\n"

any_text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n"), min_size=1)
names = any_text | st.sampled_from(["a: b", "a: 3f800000", ": ", "[Conv] größe:0 "])
scales = st.floats(0, width=32, allow_nan=False, allow_infinity=False).map(np.float32)
caches = st.dictionaries(names, scales).map(CalibrationCache)


def test_the_format_is_that_of_tensorrt() -> None:
    cache = read_cache(SAMPLE)
    assert cache.scales == {"input": np.float32(1 / 127), "(Unnamed Layer* 0) [Conv]_output": np.float32(1)}
    assert write_cache(cache) == SAMPLE


@given(caches)
@settings(deadline=None)
def test_what_is_written_reads_back_bit_for_bit(cache: CalibrationCache) -> None:
    data = write_cache(cache)
    found = read_cache(data)
    assert list(found.scales) == list(cache.scales)
    assert all(found.scales[name].tobytes() == cache.scales[name].tobytes() for name in cache.scales)
    assert write_cache(found) == data


lines = st.tuples(st.sampled_from(["a", "b: c", " x ", ": ", "größe\r", "\x85"]), st.integers(0, 2**32 - 1))


@given(st.lists(lines.map(lambda line: f"{line[0]}: {line[1]:08x}\n")))
@settings(deadline=None)
def test_what_reads_is_written_back_byte_for_byte(content: list[str]) -> None:
    data = ("TRT-101601-EntropyCalibration2\n" + "".join(content)).encode()
    try:
        cache = read_cache(data)
    except ConfigError:
        return
    assert write_cache(cache) == data


@given(caches, st.data())
@settings(deadline=None)
def test_a_cache_cut_anywhere_but_between_lines_is_refused(
    cache: CalibrationCache, data: st.DataObject
) -> None:
    whole = write_cache(cache)
    cut = whole[: data.draw(st.integers(0, len(whole) - 1))]
    if cut.endswith(b"\n"):
        assert list(read_cache(cut).scales) == list(cache.scales)[: cut.count(b"\n") - 1]
    else:
        with pytest.raises(ConfigError):
            read_cache(cut)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "begins with ''"),
        (b"\x7fELF\xff", "not a calibration cache"),
        (b"name: 3c010204\n", "begins with 'name: 3c010204'"),
        (b"TRT-101601-EntropyCalibration2", "cut short"),
        (SAMPLE[:-1], "cut short"),
        (SAMPLE.replace(b"101601", b"8601"), "found TRT-8601-.*expected TRT-101601-EntropyCalibration2"),
        (SAMPLE.replace(b"Entropy", b"MinMax"), "found TRT-101601-MinMaxCalibration2, expected"),
        (SAMPLE + b"input: 3f800000\n", "line 4 .* names 'input' again"),
        (SAMPLE + b"x: 7fc00000\n", "line 4 .* scale nan"),
        (SAMPLE + b"x: 7f800000\n", "line 4 .* scale inf"),
        (SAMPLE + b"x: bf800000\n", "line 4 .* scale -1.0"),
        (SAMPLE + b"x: 80000000\n", "line 4 .* scale -0.0"),
        (SAMPLE + b"x: 3f8000\n", "line 4 .* expected 'tensor: 8 hex digits'"),
        (SAMPLE + b"x: 3F800000\n", "line 4"),
        (SAMPLE + b"x: 3f800000\r\n", "line 4"),
        (SAMPLE + b"x:3f800000\n", "line 4"),
        (SAMPLE + b": 3f800000\n", "line 4"),
        (SAMPLE + b"\n", "line 4"),
    ],
)
def test_other_text_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        read_cache(data)
    assert error.value.hint == "tts-trt calibrate"


def test_another_version_can_be_asked_for() -> None:
    data = SAMPLE.replace(b"101601", b"101301")
    cache = read_cache(data, version="101301")
    assert write_cache(cache) == data


@pytest.mark.parametrize("scale", [np.nan, np.inf, -1, -0.0])
def test_scales_that_cannot_be_used_are_not_written(scale: float) -> None:
    with pytest.raises(QuantError, match="the scale of tensor 'x'"):
        write_cache(CalibrationCache({"x": np.float32(scale)}))


@pytest.mark.parametrize("name", ["", "two\nlines", "\ud800"])
def test_names_that_the_format_cannot_hold_are_not_written(name: str) -> None:
    with pytest.raises(QuantError, match="cannot hold the tensor name"):
        write_cache(CalibrationCache({name: np.float32(1)}))


limits = st.floats(0, float(np.finfo(np.float32).max))


@given(st.dictionaries(names, limits))
@settings(deadline=None)
def test_a_table_and_its_cache_have_the_same_scales(thresholds: dict[str, float]) -> None:
    table = ScaleTable(BINDING, {"gpt": {name: {"mse": limit} for name, limit in thresholds.items()}})
    cache = read_cache(write_cache(cache_from_table(table, "gpt", dict.fromkeys(thresholds, "mse"))))
    found = scales_from_cache(cache)
    assert list(found) == list(thresholds)
    for name in thresholds:
        expected = table.scale("gpt", name, "mse")
        assert struct.pack(">f", found[name]) == struct.pack(">f", expected)


def test_each_tensor_has_its_own_method() -> None:
    table = ScaleTable(BINDING, {"gpt": {"a": {"max": 127.0, "mse": 1.0}, "b": {"max": 1.0, "mse": 254.0}}})
    assert cache_from_table(table, "gpt", {"b": "mse", "a": "max"}).scales == {"b": 2, "a": 1}
    with pytest.raises(QuantError, match="'entropy'"):
        cache_from_table(table, "gpt", {"a": "entropy"})


def test_a_scale_of_zero_is_read_but_not_used() -> None:
    cache = read_cache(SAMPLE + b"dead: 00000000\n")
    assert cache.scales["dead"] == 0
    assert scales_from_cache(cache)["dead"] == SMALLEST_SCALE


def test_a_bound_cache_loads_for_its_own_model(tmp_path: Path) -> None:
    path = tmp_path / "gpt.cache"
    save_cache(path, SAMPLE, "gpt", BINDING)
    assert sidecar(path) == tmp_path / "gpt.cache.json"
    assert load_cache(path, "gpt", BINDING) == SAMPLE
    # other graphs of the model do not concern it
    assert load_cache(path, "gpt", replace(BINDING, graphs={"gpt": "b" * 64, "vocoder": "0" * 64})) == SAMPLE


@pytest.mark.parametrize(
    ("present", "message"),
    [
        (replace(BINDING, model="0" * 64), "gpt.cache belongs to another model"),
        (replace(BINDING, corpus="0" * 64), "another corpus"),
        (replace(BINDING, graphs={"gpt": "0" * 64}), "another graph gpt"),
        (replace(BINDING, graphs={"dit": "0" * 64}), "gpt was not calibrated"),
    ],
)
def test_a_cache_of_something_else_is_refused(tmp_path: Path, present: Binding, message: str) -> None:
    save_cache(tmp_path / "gpt.cache", SAMPLE, "gpt", BINDING)
    with pytest.raises(QuantError, match=message):
        load_cache(tmp_path / "gpt.cache", "gpt", present)


def test_a_cache_of_another_graph_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "gpt.cache"
    save_cache(path, SAMPLE, "gpt", BINDING)
    with pytest.raises(QuantError, match="a cache of graph gpt, expected vocoder"):
        load_cache(path, "vocoder", BINDING)
    with pytest.raises(QuantError, match="sampler was not calibrated"):
        save_cache(path, SAMPLE, "sampler", BINDING)


def test_a_changed_cache_or_sidecar_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "gpt.cache"
    save_cache(path, SAMPLE, "gpt", BINDING)
    path.write_bytes(SAMPLE[: SAMPLE.index(b"(")])  # cut between two lines
    with pytest.raises(QuantError, match="not the cache that gpt.cache.json describes"):
        load_cache(path, "gpt", BINDING)
    path.write_bytes(SAMPLE)
    sidecar(path).write_text("{}")
    with pytest.raises(ConfigError, match="gpt.cache.json: cache: Field required"):
        load_cache(path, "gpt", BINDING)
    sidecar(path).unlink()
    with pytest.raises(ConfigError, match="gpt.cache.json cannot be read"):
        load_cache(path, "gpt", BINDING)
