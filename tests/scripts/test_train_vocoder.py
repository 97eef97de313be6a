"""What the nano vocoder is trained against: nothing to gain at the recording itself, and bands before bins."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from scripts.nano.data import Utterance
from scripts.nano.loop import nano_dims
from scripts.nano.train_vocoder import CROP, Losses, crops
from tts_trt.frontend.features import log_mel

DIMS = nano_dims().audio
SAMPLES = CROP * DIMS.hop


def losses(made: torch.Tensor, real: torch.Tensor) -> dict[str, float]:
    found = Losses(lambda _: made, DIMS, "cpu")((torch.zeros(len(real), DIMS.n_mels, CROP), real), 0)
    return {name: float(value) for name, value in found.items()}


def noise(seed: int, level: float = 0.1) -> torch.Tensor:
    return level * torch.randn(2, SAMPLES, generator=torch.Generator().manual_seed(seed))


def test_the_recording_itself_loses_nothing() -> None:
    assert losses(noise(0), noise(0)) == {"loss": 0.0, "spectral": 0.0, "mel": 0.0, "periods": 0.0}


def test_noise_of_the_same_colour_is_nearer_than_noise_of_another() -> None:
    """As a listener has it; bin by bin both are as far away."""
    alike, darker = losses(noise(1), noise(0)), losses(noise(1).cumsum(1) * 0.3, noise(0))
    assert alike["mel"] < 0.5 * darker["mel"]


def test_a_level_shows_in_every_band() -> None:
    assert losses(2.0 * noise(0), noise(0))["mel"] == pytest.approx(0.693, abs=0.01)


def buzz(pitch: float) -> torch.Tensor:
    """(1,S) twelve harmonics."""
    at = torch.arange(SAMPLES) / DIMS.sample_rate
    return 0.02 * sum(torch.sin(2 * torch.pi * k * pitch * at + k * k) for k in range(1, 13))[None]


def test_the_nearer_the_pitch_the_less_the_periods_lose() -> None:
    found = [losses(buzz(pitch), buzz(80.0))["periods"] for pitch in (80.0, 81.0, 83.0, 88.0)]
    assert found == sorted(found) and found[0] == 0.0 and found[-1] > 2 * found[1]


def test_silence_has_no_periods_to_lose() -> None:
    half = noise(0)
    half[:, SAMPLES // 2 :] *= 1e-4
    other = half.clone()
    other[:, SAMPLES // 2 :] = noise(1)[:, SAMPLES // 2 :] * 1e-4
    assert losses(other, half)["periods"] < 0.1 * losses(noise(1), half)["periods"]


def test_a_crop_comes_with_its_own_mel() -> None:
    rng = np.random.default_rng(3)
    wave = (3000 * np.sin(np.cumsum(rng.uniform(0.01, 1.5, 4 * SAMPLES)))).astype(np.int16)
    mel, real = next(crops([Utterance(wave, "", [], 0, 0, 1.0, [], [])], DIMS, 3, 0))
    whole = slice(2, CROP - 2)  # frames that see nothing beyond the crop
    for row in range(3):
        own = log_mel(real[row].numpy(), DIMS)
        np.testing.assert_allclose(mel[row].numpy()[:, whole], own[:, whole], atol=1e-3)
