"""Pitch, pauses, level, brightness and tempo of sounds made to have them; emotions told apart within each voice."""

from __future__ import annotations

import builtins
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tts_trt.errors import UsageError
from tts_trt.frontend.tokenizer import PhoneTokenizer
from tts_trt.quality.prosody import (
    FEATURES,
    EmotionClassifier,
    confusion,
    features,
    measured_rate,
    prosody,
    speaking,
    spoken_seconds,
)

RATE = 16_000


def buzz(
    seconds: float, hertz: float = 120.0, *, level: float = 0.05, slope: float = 1.0, swing: float = 0.0
) -> Any:
    """Harmonics 1/k**slope of a pitch that swings by so many semitones, at this RMS (S)."""
    time = np.arange(round(seconds * RATE)) / RATE
    pitch = hertz * 2 ** (swing / 12 * np.sin(2 * np.pi * 2 * time))
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    wave = sum(np.sin(k * phase) / k**slope for k in range(1, 30))
    return (level * wave / np.sqrt(np.mean(wave**2))).astype(np.float32)


def silence(seconds: float) -> Any:
    return np.zeros(round(seconds * RATE), np.float32)


@pytest.fixture(autouse=True)
def _world() -> None:
    pytest.importorskip("pyworld")


@pytest.mark.parametrize("hertz", [90.0, 120.0, 220.0])
def test_a_steady_tone_has_its_pitch_and_level(hertz: float) -> None:
    found = prosody(buzz(1.0, hertz), RATE)
    assert found.pitch == pytest.approx(12 * np.log2(hertz), abs=0.2)
    assert found.pitch_spread < 0.3 and found.voiced_share > 0.9
    assert found.level_db == pytest.approx(20 * np.log10(0.05), abs=0.5)
    assert found.seconds == 1.0 and found.speech_seconds == pytest.approx(1.0, abs=0.05)


def test_the_sample_rate_does_not_matter() -> None:
    slow = buzz(1.0)
    fast = np.repeat(slow, 2)
    a, b = prosody(slow, RATE), prosody(fast, 2 * RATE)
    assert (a.pitch, a.level_db) == pytest.approx((b.pitch, b.level_db), abs=0.3)
    assert a.speech_seconds == pytest.approx(b.speech_seconds, abs=0.03)


def test_a_swinging_pitch_is_spread() -> None:
    found = prosody(buzz(2.0, swing=3.0), RATE)
    assert found.pitch_spread == pytest.approx(3 / np.sqrt(2), abs=0.3)


def test_brighter_and_louder_are_seen_apart() -> None:
    plain, bright, loud = (prosody(w, RATE) for w in (buzz(1.0), buzz(1.0, slope=0.5), buzz(1.0, level=0.1)))
    assert bright.tilt_db > plain.tilt_db + 3 and bright.level_db == pytest.approx(plain.level_db, abs=0.5)
    assert loud.level_db == pytest.approx(plain.level_db + 6.02, abs=0.1)
    assert loud.tilt_db == pytest.approx(plain.tilt_db, abs=0.1)


def test_tilt_is_the_power_above_a_kilohertz_over_that_below() -> None:
    time = np.arange(RATE) / RATE
    for high, db in ((2000.0, -20.0), (3500.0, -20.0)):
        wave = 0.1 * np.sin(2 * np.pi * 250 * time) + 0.01 * np.sin(2 * np.pi * high * time)
        assert prosody(wave.astype(np.float32), RATE).tilt_db == pytest.approx(db, abs=0.3)


def test_pauses_are_no_speech_but_stops_are() -> None:
    stops = np.concatenate([buzz(0.2), silence(0.08)] * 10)
    assert prosody(stops, RATE).speech_seconds == pytest.approx(2.72, abs=0.06)
    pauses = np.concatenate([silence(0.3), *[buzz(0.5), silence(0.3)] * 4])
    assert prosody(pauses, RATE).speech_seconds == pytest.approx(2.0, abs=0.15)


def test_noise_is_not_voiced() -> None:
    noise = 0.05 * np.random.default_rng(0).standard_normal(RATE).astype(np.float32)
    found = prosody(noise, RATE)
    assert found.voiced_share < 0.3 and found.speech_seconds > 0.9
    half = prosody(np.concatenate([noise, buzz(1.0)]), RATE)
    assert half.voiced_share == pytest.approx(0.5, abs=0.15)


def test_a_hum_in_the_pauses_is_not_voice() -> None:
    noise = 0.05 * np.random.default_rng(0).standard_normal(RATE).astype(np.float32)
    found = prosody(np.concatenate([buzz(1.0, 90.0, level=1e-3), noise, buzz(1.0, 180.0)]), RATE)
    assert found.voiced_share == pytest.approx(0.5, abs=0.15)
    assert found.pitch == pytest.approx(12 * np.log2(180), abs=2.0)


def test_speech_is_what_is_near_the_loud_frames() -> None:
    power = np.array([1e-6] * 20 + [1.0] * 5 + [1e-2] * 5 + [1e-6] * 20 + [0.5] * 5)
    assert np.flatnonzero(speaking(power)).tolist() == [*range(20, 30), *range(50, 55)]


def tokenizer() -> PhoneTokenizer:
    symbols = ("<s>", "</s>", "_", ",", ".", "?", "!", "k", "ae", "t")
    durations = {"lead": 5.0, "_": 7.0, ",": 9.0, ".": 11.0, "k": 0.1, "ae": 0.2, "t": 0.05}
    return PhoneTokenizer({s: i for i, s in enumerate(symbols)}, {"cat": ("k", "ae", "t")}, durations)


def test_the_rate_is_the_expected_over_the_measured_speech() -> None:
    assert spoken_seconds(tokenizer(), "Cat, cat.") == pytest.approx(0.7)
    found = replace(prosody(buzz(1.0), RATE), speech_seconds=0.5)
    assert measured_rate(tokenizer(), "Cat, cat.", found) == pytest.approx(1.4)


def test_features_are_in_their_order() -> None:
    found = prosody(buzz(1.0), RATE)
    made = dict(zip(FEATURES, features(found, 2.0), strict=True))
    assert made["pitch"] == found.pitch and made["level_db"] == found.level_db and made["tempo"] == 1.0


EMOTIONS, VOICES = ("angry", "calm", "sad"), ("high", "low")


def acted(seed: int, each: int = 20) -> tuple[np.ndarray, list[str], list[str]]:
    """Emotions move the features; voices differ by far more than emotions do."""
    rng = np.random.default_rng(seed)
    moves = {"angry": [2, 1, 3, 2, 0.2], "calm": [0, 0, 0, 0, 0], "sad": [-2, -1, -4, -2, -0.2]}
    rows, labels, voices = [], [], []
    for voice in VOICES:
        for emotion in EMOTIONS:
            for _ in range(each):
                own = np.array([90.0, 3, -20, 5, 0] if voice == "high" else [75.0, 2, -26, -5, 0.3])
                rows.append(own + np.array(moves[emotion]) + rng.normal(0, [0.8, 0.4, 1.2, 1.0, 0.3]))
                labels.append(emotion)
                voices.append(voice)
    return np.stack(rows), labels, voices


def test_emotions_are_told_apart_whatever_the_voice() -> None:
    classify = EmotionClassifier(*acted(0))
    rows, labels, voices = acted(1)
    found = classify(rows, voices)
    assert np.mean([f == t for f, t in zip(found, labels, strict=True)]) > 0.9
    swapped = classify(rows, [VOICES[1 - VOICES.index(v)] for v in voices])
    assert np.mean([f == t for f, t in zip(swapped, labels, strict=True)]) < 0.7


def test_the_scale_of_a_feature_does_not_matter_and_a_missing_pitch_does_no_harm() -> None:
    (rows, labels, voices), (new, _, new_voices) = acted(0), acted(1)
    plain = EmotionClassifier(rows, labels, voices)
    stretched = EmotionClassifier(rows * 1000, labels, voices)
    assert plain(new, new_voices) == stretched(new * 1000, new_voices)
    unvoiced = new.copy()
    unvoiced[:, :2] = np.nan
    assert set(plain(unvoiced, new_voices)) == set(EMOTIONS)


def test_training_speech_must_cover_every_voice_and_emotion() -> None:
    rows, labels, voices = acted(0)
    kept = [i for i in range(len(labels)) if (voices[i], labels[i]) != ("low", "sad")]
    with pytest.raises(UsageError, match="5 of the 6 pairs"):
        EmotionClassifier(rows[kept], [labels[i] for i in kept], [voices[i] for i in kept])
    with pytest.raises(UsageError, match="6 utterances of 6"):
        EmotionClassifier(*acted(0, each=1))
    with pytest.raises(UsageError, match="no voice other"):
        EmotionClassifier(rows, labels, voices)(rows[:1], ["other"])


def test_confusion_counts_truth_by_what_was_found() -> None:
    assert confusion(["a", "a", "b"], ["a", "b", "b"]) == {"a": {"a": 1, "b": 1}, "b": {"a": 0, "b": 1}}


@pytest.mark.parametrize("wave", [silence(0.02), silence(1.0)], ids=["too short", "zeros"])
def test_a_wave_without_speech_is_refused(wave: np.ndarray) -> None:
    with pytest.raises(UsageError, match="expected"):
        prosody(wave, RATE)


def test_a_missing_pyworld_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name == "pyworld":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UsageError, match=r"tts-trt\[quality\]"):
        prosody(buzz(0.5), RATE)
