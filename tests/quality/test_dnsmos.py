"""DNSMOS through the network that speechmos ships: noise lowers the opinion, rates and lengths do not change it much."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.quality.sounds import noise
from tts_trt.errors import LibraryError
from tts_trt.quality import dnsmos
from tts_trt.quality.opinion import Predictor
from tts_trt.quality.speech import resampled

VOICES = Path(__file__).parents[2] / "tts_trt" / "assets" / "nano" / "voices"
needs_network = pytest.mark.skipif(dnsmos.model_file() is None, reason="speechmos is not installed")


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    wave, rate = soundfile.read(VOICES / "rms.wav", dtype="float32")
    return resampled(wave, rate, dnsmos.RATE)[: 2 * dnsmos.RATE]


@needs_network
def test_noise_lowers_the_opinion(speech: np.ndarray) -> None:
    predict = Predictor.named(dnsmos.NAME)
    clean = predict(speech, dnsmos.RATE).value
    hissing = predict(speech + noise(2.0, float(speech.std()) * 0.3), dnsmos.RATE).value
    assert clean is not None and hissing is not None
    assert 1 <= hissing < clean - 0.3 <= 5


@needs_network
def test_long_speech_is_heard_in_windows(speech: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    lengths: list[int] = []

    class Counting:
        def run(self, names: None, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
            lengths.append(inputs["input_1"].shape[1])
            return [np.full((1, 3), 3.0)]

    monkeypatch.setattr(dnsmos, "_session", Counting)
    expected = float(np.polyval(dnsmos.OVERALL, 3.0))
    assert dnsmos.predict(np.tile(speech, 6), dnsmos.RATE) == pytest.approx(expected)  # 12 s
    assert len(lengths) == 3 and set(lengths) == {int(dnsmos.WINDOW_S * dnsmos.RATE)}


def test_without_the_package_the_error_says_what_to_install(
    speech: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    dnsmos._session.cache_clear()
    monkeypatch.setattr(dnsmos, "model_file", lambda: None)
    with pytest.raises(LibraryError, match="speechmos"):
        dnsmos.predict(speech, dnsmos.RATE)
