"""Features against the reference, and their behaviour at other dimensions."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.parity import assert_close, load
from tts_trt.dims import AudioDims
from tts_trt.errors import ReferenceAudioError
from tts_trt.frontend import features

FIXTURE = load("frontend")
CASES = ("a", "b")


def given(name: str) -> np.ndarray:
    return FIXTURE.inputs[name].numpy()


def tone(hertz: float, seconds: float, rate: int) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


@pytest.mark.parametrize("case", CASES)
def test_resampling_matches_the_reference(case: str) -> None:
    made = features.hann_sinc_resample(given(f"wave22_{case}")[0], 22050, 16000)
    assert_close(torch.tensor(made)[None], FIXTURE.outputs[f"wave16_{case}"], 1e-5)


@pytest.mark.parametrize(
    ("source", "target"), [(22050, 16000), (16000, 22050), (24000, 16000), (44100, 16000)]
)
def test_resampling_keeps_a_tone(source: int, target: int) -> None:
    made = features.hann_sinc_resample(tone(440.0, 0.5, source), source, target)
    expected = tone(440.0, 0.5, target)
    assert len(made) == -(-int(0.5 * source) * target // source)
    np.testing.assert_allclose(made[200:-200], expected[200 : len(made) - 200], atol=2e-3)


def test_resampling_removes_what_the_lower_rate_cannot_hold() -> None:
    made = features.hann_sinc_resample(tone(10000.0, 0.5, 22050), 22050, 16000)
    assert np.abs(made[200:-200]).max() < 0.02


@pytest.mark.parametrize("case", CASES)
def test_log_mel_matches_the_reference(case: str) -> None:
    made = features.log_mel(given(f"wave22_{case}")[0], AudioDims())
    assert made.dtype == np.float32
    assert_close(torch.tensor(made)[None], FIXTURE.outputs[f"mel_{case}"], 1e-4)


def test_log_mel_follows_its_dims() -> None:
    dims = AudioDims(sample_rate=16000, n_fft=512, hop=200, n_mels=40)
    made = features.log_mel(tone(1000.0, 0.5, 16000), dims)
    assert made.shape == (40, 40)
    centres = features.slaney_filters(16000, 512, 40).argmax(1) * 16000 / 512
    assert abs(centres[made[:, 20].argmax()] - 1000.0) < 16000 / 512 * 2


def test_slaney_filters_have_unit_area() -> None:
    filters = features.slaney_filters(22050, 16384, 80)
    np.testing.assert_allclose(filters.sum(1) * 22050 / 16384, 1.0, rtol=1e-2)


@pytest.mark.parametrize("case", CASES)
def test_fbank_matches_the_reference(case: str) -> None:
    wave = FIXTURE.outputs[f"wave16_{case}"][0].numpy()
    made = torch.tensor(features.kaldi_fbank(wave))
    assert_close(made, FIXTURE.outputs[f"fbank_{case}"], 2e-4)
    centred = torch.tensor(features.style_features(wave))
    assert_close(centred, FIXTURE.outputs[f"fbank_centered_{case}"], 2e-4)


@pytest.mark.parametrize("case", CASES)
def test_semantic_features_match_the_reference(case: str) -> None:
    made, mask = features.seamless_features(FIXTURE.outputs[f"wave16_{case}"][0].numpy())
    assert_close(torch.tensor(made)[None], FIXTURE.outputs[f"seamless_features_{case}"], 2e-4)
    assert mask.tolist() == FIXTURE.outputs[f"seamless_mask_{case}"][0].bool().tolist()


@pytest.mark.parametrize("stride", [1, 2, 4, 7])
def test_stacking_masks_a_last_row_that_is_not_full(stride: int) -> None:
    wave = FIXTURE.outputs["wave16_a"][0].numpy()  # 75 frames
    made, mask = features.seamless_features(wave, stride)
    assert made.shape == (-(-75 // stride), 80 * stride)
    assert mask.sum() == 75 // stride
    single, _ = features.seamless_features(wave, 1)
    np.testing.assert_array_equal(made.reshape(-1, 80)[:75], single)


def test_a_wave_too_short_for_features_is_refused() -> None:
    wave = np.ones(100, dtype=np.float32)
    with pytest.raises(ReferenceAudioError, match="100 samples"):
        features.kaldi_fbank(wave)
    with pytest.raises(ReferenceAudioError, match="100 samples"):
        features.log_mel(wave, AudioDims())
