"""What the nano vocoder is trained on: crops of waves with the mel that belongs to them."""

import numpy as np
import pytest

pytest.importorskip("torch")

from scripts.nano.data import Utterance
from scripts.nano.loop import nano_dims
from scripts.nano.train_vocoder import CROP, Crops
from tts_trt.frontend.features import log_mel

DIMS = nano_dims().audio
FRAMES = 3 * CROP


def utterance(frames: int) -> Utterance:
    """Each sample says in which frame it is."""
    wave = np.repeat(np.arange(1, frames + 1), DIMS.hop).astype(np.int16)
    return Utterance(wave, "", [], 0, 0, 1.0, [], [])


def made(frames: int) -> np.ndarray:
    """Each column says which frame it is."""
    return np.tile(np.arange(1, frames + 1, dtype=np.float16), (DIMS.n_mels, 1))


def test_a_made_mel_comes_with_its_stretch_of_the_recording() -> None:
    crops = Crops([utterance(FRAMES)], DIMS, {0: made(FRAMES)})
    starts = set()
    for seed in range(40):
        mel, wave = crops.of_made(np.random.default_rng(seed))
        assert mel.shape == (DIMS.n_mels, CROP)
        np.testing.assert_allclose(wave.reshape(CROP, DIMS.hop)[:, 0] * 32768, mel[0])
        starts.add(int(mel[0, 0]))
    assert len(starts) > 10


def test_a_recording_shorter_than_its_mel_ends_in_silence() -> None:
    crops = Crops([utterance(CROP - 2)], DIMS, {0: made(CROP)})
    _, wave = crops.of_made(np.random.default_rng(0))
    assert len(wave) == CROP * DIMS.hop
    assert not wave[-2 * DIMS.hop :].any()


def test_every_second_crop_has_a_made_mel_where_there_are_any() -> None:
    recordings = [utterance(FRAMES), utterance(FRAMES)]
    mel, wave = next(Crops(recordings, DIMS, {1: made(FRAMES)}).endless(6, 0))
    whole = [bool((mel[row] == mel[row].round()).all()) for row in range(6)]
    assert whole == [False, True] * 3
    assert tuple(wave.shape) == (6, CROP * DIMS.hop)
    mel, _ = next(Crops(recordings, DIMS, {}).endless(6, 0))
    assert not any((mel[row] == mel[row].round()).all() for row in range(6))


def test_a_made_mel_too_short_for_a_crop_is_left_out() -> None:
    assert not Crops([utterance(FRAMES)], DIMS, {0: made(CROP - 1)}).made


def test_the_mel_of_a_recorded_crop_is_the_whole_recordings_own() -> None:
    spoken = Utterance(
        (3000 * np.sin(np.arange(FRAMES * DIMS.hop) / 9)).astype(np.int16), "", [], 0, 0, 1.0, [], []
    )
    crops = Crops([spoken], DIMS, {})
    rng = np.random.default_rng(5)
    mel, wave = crops.of_recorded(rng)
    gain = np.abs(wave).max() / np.abs(spoken.float_wave()).max()
    whole = log_mel(spoken.float_wave() * gain, DIMS)
    first = min(range(FRAMES - CROP), key=lambda f: float(np.abs(whole[:, f : f + CROP] - mel).max()))
    np.testing.assert_allclose(whole[:, first : first + CROP], mel, atol=1e-2)
