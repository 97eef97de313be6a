from __future__ import annotations

import math
import re
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tts_trt.errors import ConfigError, QuantError
from tts_trt.quant.binding import Binding
from tts_trt.quant.histogram import BINS, Histogram
from tts_trt.quant.observe import Observer, TensorStats, load_stats, save_stats
from tts_trt.quant.rows import ROWS, RowSample, row_hashes

BINDING = Binding("a" * 64, {"gpt": "b" * 64, "vocoder": "c" * 64}, "d" * 64)

finite = st.floats(width=32, allow_nan=False, allow_infinity=False)


def same(a: Histogram, b: Histogram) -> bool:
    fields = (a.exponent, a.maximum, a.zeros) == (b.exponent, b.maximum, b.zeros)
    return fields and np.array_equal(a.counts, b.counts)


def histogram(values: Sequence[float] | NDArray[np.float32]) -> Histogram:
    found = Histogram()
    found.add(np.asarray(values, np.float32))
    return found


@given(st.lists(finite, max_size=40), st.data())
@settings(deadline=None, max_examples=150)
def test_a_histogram_depends_on_the_values_alone(values: list[float], data: st.DataObject) -> None:
    whole, parts, merged = histogram(values), Histogram(), Histogram()
    shuffled = data.draw(st.permutations(values))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(values)), max_size=4)))
    for a, b in zip([0, *cuts], [*cuts, len(values)], strict=True):
        parts.add(np.array(shuffled[a:b], np.float32))
        merged.merge(histogram(shuffled[a:b]))
    assert same(parts, whole)
    assert same(merged, whole)


@given(st.lists(finite, min_size=1, max_size=40))
@settings(deadline=None, max_examples=100)
def test_every_value_is_in_its_bin(values: list[float]) -> None:
    found = histogram(values)
    expected = np.zeros(BINS, int)
    for value in values:
        expected[math.floor(abs(value) / found.width)] += 1
    assert np.array_equal(found.counts, expected)
    assert found.maximum == max(map(abs, values))
    assert found.zeros == values.count(0)
    assert found.total == len(values)
    assert found.maximum == 0 or found.counts[BINS // 2 :].sum() > 0


@pytest.mark.parametrize("value", [0.0, 1e-45, 1e-30, 1.0, 3.4e38])
def test_extreme_values_have_a_histogram(value: float) -> None:
    found = histogram([value, -value])
    assert (found.total, found.maximum) == (2, float(np.float32(value)))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("axis", [None, 1])
def test_what_is_not_finite_is_refused_by_name_and_changes_nothing(bad: float, axis: int | None) -> None:
    observer = Observer()
    values = np.ones((2, 3), np.float32)
    observer.add("gpt.h.0", values, axis)
    with pytest.raises(QuantError, match="tensor gpt.h.0: .*(nan|inf)"):
        observer.add("gpt.h.0", np.where(values > 0, [1, bad, 2], 0), axis)
    assert same(observer.stats()["gpt.h.0"].histogram, histogram(values))


def test_float64_beyond_float32_is_not_finite() -> None:
    with pytest.raises(QuantError, match="inf"):
        Histogram().add(np.array([1e300]))


def observed(batches: Sequence[NDArray[np.float32]], axis: int) -> TensorStats:
    observer = Observer()
    for batch in batches:
        observer.add("x", batch, axis)
    return observer.stats()["x"]


@given(st.integers(0, 2**32 - 1), st.integers(1, 900), st.lists(st.integers(0, 900), max_size=5))
@settings(deadline=None, max_examples=50)
def test_statistics_do_not_depend_on_order_batches_or_layout(seed: int, rows: int, cuts: list[int]) -> None:
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(rows, 3)).astype(np.float32).round(1)
    whole = observed([vectors], 1)
    parts = np.split(rng.permutation(vectors), sorted(min(cut, rows) for cut in cuts))
    by_channel = [np.ascontiguousarray(part.T)[None] for part in parts]
    for other in (observed(parts, -1), observed(by_channel, 1)):
        assert same(other.histogram, whole.histogram)
        assert other.channel_max is not None and other.rows is not None
        assert np.array_equal(other.channel_max, np.abs(vectors).max(axis=0))
        assert np.array_equal(other.rows, whole.rows)


def test_a_full_sample_still_changes() -> None:
    vectors = np.random.default_rng(0).normal(size=(5000, 4)).astype(np.float32)
    whole, parts = observed([vectors], 1).rows, observed(np.split(vectors, 50), 1).rows
    assert whole is not None and parts is not None
    assert np.array_equal(whole, parts)


def test_rows_are_distinct_vectors_that_were_seen() -> None:
    vectors = np.random.default_rng(0).integers(-4, 5, (5000, 4)).astype(np.float32)
    rows = observed([vectors], 1).rows
    assert rows is not None
    sampled, seen = {tuple(row) for row in rows.tolist()}, {tuple(row) for row in vectors.tolist()}
    assert len(rows) == len(sampled) == ROWS
    assert sampled <= seen


def test_repeated_vectors_do_not_crowd_out_others() -> None:
    silence, speech = np.zeros((5000, 8), np.float32), np.eye(8, dtype=np.float32)
    rows = observed([np.concatenate([silence, speech])], 1).rows
    assert rows is not None and len(rows) == 9


@pytest.mark.parametrize("channels", [1, 6, 256])
@pytest.mark.parametrize("last", [1, 2e4, 1e30])
def test_the_sample_is_even_over_the_vectors(channels: int, last: float) -> None:
    vectors = np.linspace(0, last, 20_000, dtype=np.float32)[:, None] * np.ones(channels, np.float32)
    rows = observed([vectors], 1).rows
    assert rows is not None
    quarters = np.histogram(rows[:, 0], 4, range=(0, last))[0]
    assert quarters.min() > 35


def test_hashes_differ_in_every_channel_and_sign() -> None:
    vectors = np.zeros((33, 16), np.float32)
    vectors[np.arange(16), np.arange(16)] = 1
    vectors[np.arange(16, 32), np.arange(16)] = -1
    assert len(np.unique(row_hashes(vectors))) == 33


def test_a_vector_alone_is_a_row() -> None:
    sample = RowSample(3)
    sample.add(np.array([1, 2, 3], np.float32))
    assert sample.rows_RC.tolist() == [[1, 2, 3]]


def test_a_changed_number_of_channels_is_refused() -> None:
    observer = Observer()
    observer.add("x", np.ones((1, 4)), 1)
    with pytest.raises(QuantError, match="tensor x: 5 channels, before it had 4"):
        observer.add("x", np.ones((1, 5)), 1)
    with pytest.raises(QuantError, match="with and without channels"):
        observer.add("x", np.ones((1, 4)), None)


def test_an_empty_array_adds_nothing() -> None:
    found = observed([np.ones((0, 4), np.float32), np.ones((2, 4), np.float32)], 1)
    assert found.histogram.total == 8


def test_a_snapshot_stays_as_it_was() -> None:
    observer = Observer()
    observer.add("x", np.ones((1, 4)), 1)
    before = observer.stats()["x"]
    observer.add("x", np.full((1, 4), 3), 1)
    assert before.histogram.total == 4
    assert before.channel_max is not None and before.channel_max.max() == 1


def some_stats() -> dict[str, dict[str, TensorStats]]:
    rng, observer = np.random.default_rng(1), Observer()
    observer.add("h.0: größe/x y", rng.normal(size=(400, 5)), 1)
    observer.add("zero", np.zeros((2, 3)), 1)
    observer.add("flat", rng.normal(size=9) * 1e-30, None)
    return {"vocoder": observer.stats(), "gpt": {"a": observer.stats()["flat"]}}


def test_saved_statistics_load_as_they_were(tmp_path: Path) -> None:
    stats = some_stats()
    save_stats(tmp_path / "a.npz", stats, BINDING)
    found, binding = load_stats(tmp_path / "a.npz")
    assert binding == BINDING
    assert {g: set(t) for g, t in found.items()} == {g: set(t) for g, t in stats.items()}
    for graph, tensors in stats.items():
        for name, expected in tensors.items():
            loaded = found[graph][name]
            assert same(loaded.histogram, expected.histogram)
            for mine, theirs in (
                (loaded.channel_max, expected.channel_max),
                (loaded.rows, expected.rows),
            ):
                assert (mine is None and theirs is None) or np.array_equal(mine, theirs)
    save_stats(tmp_path / "b.npz", found, binding)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


@given(st.data())
@settings(deadline=None, max_examples=60)
def test_damaged_statistics_are_refused_or_unharmed(tmp_path_factory, data: st.DataObject) -> None:
    path = tmp_path_factory.mktemp("stats") / "a.npz"
    save_stats(path, some_stats(), BINDING)
    whole = path.read_bytes()
    at = data.draw(st.integers(0, len(whole) - 1))
    if data.draw(st.booleans()):
        path.write_bytes(whole[:at])
    else:
        path.write_bytes(whole[:at] + bytes([whole[at] ^ data.draw(st.integers(1, 255))]) + whole[at + 1 :])
    try:
        found, _ = load_stats(path)
    except ConfigError as error:
        assert error.hint == "tts-trt calibrate"
        return
    assert same(found["gpt"]["a"].histogram, some_stats()["gpt"]["a"].histogram)


def test_a_damaged_array_header_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    save_stats(path, some_stats(), BINDING)
    path.write_bytes(path.read_bytes().replace(b"(4096,)", b"(4096,("))
    with pytest.raises(ConfigError, match="0.counts.npy is damaged"):
        load_stats(path)


def rewritten(path: Path, **changes: NDArray[np.generic] | None) -> Path:
    with np.load(path) as file:
        arrays = dict(file) | {re.sub(r"^(\d)_", r"\1.", name): array for name, array in changes.items()}
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n0_counts": None}, "counts is missing"),
        ({"n0_counts": np.zeros(7, np.int64)}, r"int64\(7,\), expected int64\(4096,\)"),
        ({"n0_counts": np.zeros(BINS, np.int32)}, "int32"),
        ({"n0_counts": np.full(BINS, 1)}, "does not end at its maximum"),
        ({"n3_counts": np.eye(1, BINS, dtype=np.int64)[0]}, "6 zeros among 1 of"),
        ({"n2_rows": np.zeros((2, 3), object)}, "pickle"),
        ({"n2_rows": np.zeros((2, 9), np.float32)}, r"float32\(2, 9\), expected float32\(None, 5\)"),
        ({"n2_rows": np.full((2, 5), np.nan, np.float32)}, "not finite"),
        ({"n2_channel_max": np.ones(4, np.float32)}, r"expected float32\(5,\)"),
        ({"index": None}, "no index"),
        ({"index": np.frombuffer(b"{}", np.uint8)}, "binding"),
    ],
)
def test_misfitting_arrays_are_refused(tmp_path: Path, change: dict[str, object], message: str) -> None:
    save_stats(tmp_path / "a.npz", some_stats(), BINDING)
    named = {name.removeprefix("n"): array for name, array in change.items()}
    with pytest.raises(ConfigError, match=message):
        load_stats(rewritten(tmp_path / "a.npz", **named))


def test_a_negative_count_is_refused(tmp_path: Path) -> None:
    stats = some_stats()
    stats["gpt"]["a"].histogram.counts[1] = -1
    save_stats(tmp_path / "a.npz", stats, BINDING)
    with pytest.raises(ConfigError, match="tensor a: negative counts"):
        load_stats(tmp_path / "a.npz")


def test_other_files_are_not_statistics(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        load_stats(tmp_path / "none.npz")
    np.save(tmp_path / "array.npy", np.ones(3))
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as file:
        file.writestr("readme.txt", "no arrays")
    for name in ("array.npy", "other.zip"):
        with pytest.raises(ConfigError, match="not a file of statistics"):
            load_stats(tmp_path / name)
