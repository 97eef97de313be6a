"""Predicted opinions: their ends and their order, and a reason where there is none."""

from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from tests.quality.sounds import RATE, buzz, joined, noise, silence
from tts_trt.errors import UsageError
from tts_trt.quality.opinion import Opinion, Predictor, pesq, stoi
from tts_trt.quality.speech import resampled

VOICES = Path(__file__).parents[2] / "tts_trt" / "assets" / "nano" / "voices"


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    wave, rate = soundfile.read(VOICES / "slt.wav", dtype="float32")
    return resampled(wave, rate, RATE)[: 3 * RATE]


def value(opinion: Opinion) -> float:
    assert opinion.value is not None, opinion.reason
    return opinion.value


def test_pesq_falls_as_noise_rises(speech: np.ndarray) -> None:
    pytest.importorskip("pesq")
    level = float(speech.std())
    scores = [value(pesq(speech, speech + noise(3.0, level * x), RATE)) for x in (0.0, 0.03, 0.3)]
    assert scores[0] == pytest.approx(4.644, abs=0.001)
    assert scores[0] > scores[1] > scores[2] > 1.0 and scores[2] < 1.6


def test_the_baseline_is_the_reference(speech: np.ndarray) -> None:
    package = pytest.importorskip("pesq")
    noisy = speech + noise(3.0, float(speech.std()) * 0.1)
    expected, swapped = (package.pesq(RATE, *pair, "wb") for pair in ((speech, noisy), (noisy, speech)))
    assert value(pesq(speech, noisy, RATE)) == pytest.approx(expected, abs=1e-3)
    assert abs(expected - swapped) > 0.05


def test_pesq_takes_other_rates(speech: np.ndarray) -> None:
    pytest.importorskip("pesq")
    fast = resampled(speech, RATE, 22_050)
    assert value(pesq(fast, fast * np.float32(0.5), 22_050)) == pytest.approx(4.64, abs=0.05)
    whistle = 0.05 * np.sin(2 * np.pi * 9500 * np.arange(len(fast)) / 22_050)  # 16 kHz has no room for it
    assert value(pesq(fast, fast + whistle.astype(np.float32), 22_050)) == pytest.approx(4.64, abs=0.05)


def test_stoi_falls_as_noise_rises(speech: np.ndarray) -> None:
    pytest.importorskip("pystoi")
    level = float(speech.std())
    scores = [value(stoi(speech, speech + noise(3.0, level * x), RATE)) for x in (0.0, 0.3, 3.0)]
    assert scores[0] == pytest.approx(1, abs=1e-6) and scores[0] > scores[1] > scores[2]
    assert value(stoi(speech, speech + noise(3.0, level), RATE, extended=True)) < value(
        stoi(speech, speech + noise(3.0, level), RATE)
    )


@pytest.mark.parametrize("measure", [pesq, stoi])
def test_silence_is_a_reason(measure: Any, speech: np.ndarray) -> None:
    for pair in ((speech, silence(3.0)), (silence(3.0), speech), (silence(3.0), silence(3.0))):
        assert measure(*pair, RATE) == Opinion(None, "silence: -120 dBFS")
    with pytest.raises(UsageError, match="expected the same"):
        measure(speech, speech[1:], RATE)
    with pytest.raises(UsageError, match="nan"):
        measure(speech * np.float32(np.nan), speech, RATE)


def test_too_little_sound_is_a_reason() -> None:
    pytest.importorskip("pystoi")
    short = joined(buzz(0.2), silence(1.0))
    assert stoi(short, short, RATE) == Opinion(None, "less than 0.4 s of the baseline is loud enough")
    with pytest.raises(UsageError, match="expected at least 4800"):
        pesq(buzz(0.29), buzz(0.29), RATE)


@pytest.mark.parametrize(("measure", "package"), [(pesq, "pesq"), (stoi, "pystoi")])
def test_a_missing_package_is_a_reason(
    measure: Any, package: str, monkeypatch: pytest.MonkeyPatch, speech: np.ndarray
) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == package:
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    found = measure(speech, speech, RATE)
    assert found.value is None and f"{package} is not installed" in found.reason


def steady(wave_S: np.ndarray, rate: int) -> float:
    assert wave_S.dtype == np.float32 and rate == RATE
    return 3.5


def excited(wave_S: np.ndarray, rate: int) -> float:
    return 7.0


def lost(wave_S: np.ndarray, rate: int) -> float:
    return float("nan")


def test_a_predictor_of_ones_own_is_asked() -> None:
    predictor = Predictor.named(f"{__name__}:steady")
    assert predictor(buzz(1.0).astype(np.float64), RATE) == Opinion(3.5)
    assert predictor(silence(1.0), RATE).reason == "silence: -120 dBFS"
    for name, given in (("excited", "7"), ("lost", "nan")):
        found = Predictor.named(f"{__name__}:{name}")(buzz(1.0), RATE)
        assert found.value is None and f"gave {given}, expected 1 to 5" in found.reason


@pytest.mark.parametrize(
    "name", ["mos", ":f", "no_such_module_here:f", f"{__name__}:nothing", f"{__name__}:RATE"]
)
def test_a_predictor_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(UsageError):
        Predictor.named(name)
