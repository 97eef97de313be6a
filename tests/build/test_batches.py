from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tts_trt.build.batches import COUNTS, POINTS_INTO, CalibrationShape, calibration_shape, fitted_batches
from tts_trt.dims import ModelDims
from tts_trt.errors import BuildError
from tts_trt.spec import GraphSpec, graph_specs

SPECS = graph_specs(ModelDims())
VOCODER = SPECS["vocoder"]
BINS = VOCODER.input("mel").shape[1]


def spoken(*lengths: int, frames: int | None = None) -> dict[str, np.ndarray]:
    """A recording of the vocoder: frame t of row r is 100 r + t + 1."""
    frames = frames or max(lengths)
    mel = np.zeros((len(lengths), BINS, frames), np.float32)
    for r, length in enumerate(lengths):
        mel[r, :, :length] = 100 * r + np.arange(length) + 1
    return {"mel": mel, "lengths": np.array(lengths, np.int64)}


def fit(source: list[dict[str, Any]], spec: GraphSpec = VOCODER, **axes: int) -> list[dict[str, np.ndarray]]:
    return list(fitted_batches(source, calibration_shape(spec, axes)))


def test_every_length_input_of_the_contracts_is_known_by_its_axis() -> None:
    for spec in SPECS.values():
        named = {t.name for t in spec.inputs if t.name.endswith("lengths")}
        if spec.name == "sampler":
            named.discard("prompt_lengths")  # a number that no axis of this graph has
        assert COUNTS.get(spec.name, {}).keys() == named
        axes = spec.profiles[0].keys() - {"B"}
        known = COUNTS.get(spec.name, {}) | POINTS_INTO.get(spec.name, {})
        assert set(known.values()) <= axes
        assert all(spec.input(name).dtype == "int64" for name in known)


def test_a_recording_of_the_right_shape_passes_unchanged() -> None:
    recording = spoken(5, 3)
    (batch,) = fit([recording], B=2, T=5)
    assert batch.keys() == recording.keys()
    for name, array in recording.items():
        np.testing.assert_array_equal(batch[name], array)
        assert batch[name].dtype == array.dtype


def test_a_short_row_is_padded_behind_its_end() -> None:
    (batch,) = fit([spoken(5)], B=1, T=8)
    assert batch["mel"].shape == (1, BINS, 8)
    assert batch["mel"][0, 0].tolist() == [1, 2, 3, 4, 5, 0, 0, 0]
    assert batch["lengths"].tolist() == [5]


@pytest.mark.parametrize("padding", [0, 3])
def test_a_long_row_keeps_its_last_real_frames(padding: int) -> None:
    (batch,) = fit([spoken(9, frames=9 + padding)], B=1, T=4)
    assert batch["mel"][0, 0].tolist() == [6, 7, 8, 9]
    assert batch["lengths"].tolist() == [4]


def test_the_reference_is_cut_before_the_speech() -> None:
    """Of ten frames, six of them reference, the last five are kept: one of reference, four of speech."""
    spec = SPECS["flow_step"]
    recording = {
        t.name: np.zeros([{"B": 1, "T": 10}.get(a, a) for a in t.shape], t.dtype) for t in spec.inputs
    }
    recording["x"][...] = np.arange(10)
    recording["condition"][...] = np.arange(10)[:, None]
    recording |= {"lengths": np.array([10]), "prompt_lengths": np.array([6])}
    (batch,) = fit([recording], spec, B=1, T=5)
    assert batch["x"][0, 3].tolist() == [5, 6, 7, 8, 9]
    assert batch["condition"][0, :, 7].tolist() == [5, 6, 7, 8, 9]
    assert (batch["lengths"].tolist(), batch["prompt_lengths"].tolist()) == ([5], [1])
    (batch,) = fit([recording], spec, B=1, T=4)
    assert batch["prompt_lengths"].tolist() == [0]


def test_indices_follow_what_they_point_at() -> None:
    spec = SPECS["mel_condition"]
    width = spec.input("latents").shape[2]
    recording = {
        "codes": np.array([[10, 11, 12, 13, 0]]),  # the last code is padding: nothing points at it
        "latents": np.zeros((1, 5, width), np.float32),
        "latent_scale": np.ones(1, np.float32),
        "source_index": np.array([[0, 0, 1, 1, 2, 2, 3, 3]]),
        "target_lengths": np.array([8]),
    }
    (batch,) = fit([recording], spec, B=1, M=2, T=5)
    assert batch["codes"].tolist() == [[12, 13]]
    assert batch["source_index"].tolist() == [[0, 0, 0, 1, 1]]  # the first of five was the code before
    assert batch["target_lengths"].tolist() == [5]
    (batch,) = fit([recording], spec, B=1, M=6, T=9)
    assert batch["codes"].tolist() == [[10, 11, 12, 13, 0, 0]]
    assert batch["source_index"].tolist() == [[0, 0, 1, 1, 2, 2, 3, 3, 0]]


def test_masks_are_cut_and_padded_as_what_they_mask() -> None:
    spec = SPECS["semantic_encoder"]
    rows = np.arange(1, 13, dtype=np.float32)[None, :, None] * np.ones(spec.input("features").shape[2])
    recording = {"features": rows.astype(np.float32), "mask": np.arange(12)[None] < 10}
    (batch,) = fit([recording], spec, B=1, F=8)
    assert batch["features"][0, :, 0].tolist() == [3, 4, 5, 6, 7, 8, 9, 10]
    assert batch["mask"].all()
    (batch,) = fit([recording], spec, B=1, F=14)
    assert batch["mask"].tolist() == [[True] * 10 + [False] * 4]
    assert batch["mask"].dtype == np.bool_


def test_rows_of_several_recordings_fill_batches_and_the_last_repeats_its_own() -> None:
    batches = fit([spoken(4, 5), spoken(6), spoken(7, 8)], B=3, T=10)
    assert [b["lengths"].tolist() for b in batches] == [[4, 5, 6], [7, 8, 7]]
    assert all(b["mel"].shape == (3, BINS, 10) for b in batches)


def test_float_inputs_are_of_the_bundles_type() -> None:
    vocoder = replace(VOCODER, inputs=(replace(VOCODER.inputs[0], dtype="float"), VOCODER.inputs[1]))
    shape = calibration_shape(vocoder, {"B": 1, "T": 4}, float_type="float16")
    (batch,) = fitted_batches([spoken(4)], shape)
    assert (batch["mel"].dtype, batch["lengths"].dtype) == (np.float16, np.int64)


def test_the_shape_is_the_best_of_the_first_profile() -> None:
    shape = calibration_shape(VOCODER)
    best = {axis: sizes[1] for axis, sizes in VOCODER.profiles[0].items()}
    assert shape == CalibrationShape(VOCODER, best)
    assert shape.layout == {
        "mel": ((best["B"], BINS, best["T"]), np.dtype(np.float32)),
        "lengths": ((best["B"],), np.dtype(np.int64)),
    }


@pytest.mark.parametrize(
    ("axes", "message"),
    [({"Q": 3}, "no axis Q; it has B, T"), ({"T": 3}, "axis T is to be 3, expected 4.."), ({"B": 9}, "1..8")],
)
def test_a_shape_outside_the_profile_is_refused(axes: dict[str, int], message: str) -> None:
    with pytest.raises(BuildError, match=message):
        calibration_shape(VOCODER, axes)


def test_a_graph_without_profile_is_refused() -> None:
    with pytest.raises(BuildError, match="graph vocoder has no profile"):
        calibration_shape(replace(VOCODER, profiles=()))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"volume": np.zeros(1)}, "differing from the contract: volume"),
        (
            {"mel": np.zeros((1, BINS + 1, 5), np.float32)},
            r"mel is \(1, \d+, 5\), expected \('B', \d+, 'T'\)",
        ),
        ({"mel": np.zeros((1, BINS), np.float32)}, "mel is"),
        ({"lengths": np.array([5, 5])}, r"lengths is \(2,\), expected \(1,\)"),
        ({"lengths": np.array([5.0])}, "lengths is float64, expected int64"),
        ({"mel": np.full((1, BINS, 5), np.nan, np.float32)}, "mel holds NaN"),
    ],
)
def test_a_recording_that_does_not_fit_is_named(change: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(BuildError, match=f"recording 1 of graph vocoder.*{message}"):
        fit([spoken(5), spoken(5) | change], B=1, T=5)
