"""How something was said: pitch, level, brightness, voicing and tempo of a wave, and which emotion that sounds like.

S samples, F frames of 10 ms, N utterances, K features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tts_trt.errors import UsageError
from tts_trt.frontend.tokenizer import BOUNDARY, MARKS, PhoneTokenizer
from tts_trt.quality.frames import FRAME_S, Floats, power_spectra, window_samples

PITCH_HZ = (60.0, 400.0)
SILENT_DB = 30.0  # below the level of the loud frames
SHORTEST_PAUSE_S = 0.12  # a gap below this is a stop consonant
SPLIT_HZ = 1000.0  # tilt is the power above over the power below
FEATURES = ("pitch", "pitch_spread", "level_db", "tilt_db", "tempo")


@dataclass(frozen=True)
class Prosody:
    """Pitch in semitones above 1 Hz and tilt in dB over voiced frames, level in dB over all frames with speech."""

    seconds: float
    speech_seconds: float  # without the silence around it and pauses inside it
    voiced_share: float  # of the speech
    pitch: float  # not a number where nothing is voiced
    pitch_spread: float
    level_db: float
    tilt_db: float


def prosody(wave_S: NDArray[np.float32], rate: int) -> Prosody:
    """UsageError for a wave too short to hold speech, or without any sound."""
    low_F, high_F = _powers(wave_S, rate)
    power_F = low_F + high_F
    speaking_F = speaking(power_F)
    pitch_F = pitch_track(wave_S, rate)[: len(power_F)]
    voiced_F = np.pad(pitch_F > 0, (0, len(power_F) - len(pitch_F))) & speaking_F
    # fricatives are bright in any mood, so brightness is that of the voiced frames
    heard_F = voiced_F if voiced_F.any() else speaking_F
    semitones = 12 * np.log2(pitch_F[voiced_F[: len(pitch_F)]])
    return Prosody(
        seconds=len(wave_S) / rate,
        speech_seconds=float(speaking_F.sum()) * FRAME_S,
        voiced_share=float(voiced_F.sum() / speaking_F.sum()),
        pitch=float(np.mean(semitones)) if len(semitones) else float("nan"),
        pitch_spread=float(np.std(semitones)) if len(semitones) else float("nan"),
        level_db=float(10 * np.log10(power_F[speaking_F].mean())),
        tilt_db=float(10 * np.log10(high_F[heard_F].sum() / max(low_F[heard_F].sum(), 1e-12))),
    )


def pitch_track(wave_S: NDArray[np.float32], rate: int) -> Floats:
    """F0 in Hz per frame, 0 where unvoiced (F), by WORLD's DIO, refined by StoneMask. UsageError without pyworld."""
    world = _pyworld()
    samples = np.ascontiguousarray(wave_S, np.float64)
    f0, times = world.dio(
        samples, rate, f0_floor=PITCH_HZ[0], f0_ceil=PITCH_HZ[1], frame_period=1e3 * FRAME_S
    )
    track_F: Floats = world.stonemask(samples, f0, times, rate)
    return track_F


def speaking(power_F: Floats) -> NDArray[np.bool_]:
    """Frames with speech (F): not far below the loud ones, short gaps between such frames included."""
    loud_F = power_F > np.quantile(power_F, 0.95) * 10 ** (-SILENT_DB / 10)
    edges = np.flatnonzero(loud_F)
    for before, after in pairwise(edges):
        if after - before <= round(SHORTEST_PAUSE_S / FRAME_S):
            loud_F[before:after] = True
    return loud_F


def spoken_seconds(tokenizer: PhoneTokenizer, text: str) -> float:
    """Expected seconds of the phones of normalised text at rate 1; boundaries and marks, which are pauses, left out."""
    symbols = tokenizer.decode(tokenizer.encode(text))
    return sum(tokenizer.durations[s] for s in symbols if s != BOUNDARY and s not in MARKS)


def measured_rate(tokenizer: PhoneTokenizer, text: str, found: Prosody) -> float:
    """Speaking rate of an utterance: what its text takes at rate 1, over what it took."""
    return spoken_seconds(tokenizer, text) / found.speech_seconds


def features(found: Prosody, tempo: float) -> Floats:
    """(K) in the order of ``FEATURES``; ``tempo`` is the measured rate."""
    return np.array([found.pitch, found.pitch_spread, found.level_db, found.tilt_db, np.log2(tempo)])


class EmotionClassifier:
    """Nearest class centroid, in units of the spread within classes, of features measured against their voice's own.

    The distance is Mahalanobis' with one covariance for all classes: linear discriminant analysis with equal priors
    (Fisher 1936). Two voices acting alike then look alike, however low or loud each is.
    """

    def __init__(self, features_NK: Floats, labels: Sequence[str], voices: Sequence[str]) -> None:
        """Learn from acted speech. UsageError unless every voice acts every emotion, with some utterances to spare."""
        classes, speakers = np.asarray(labels), np.asarray(voices)
        self.labels = tuple(sorted(set(labels)))
        acted = {(voice, label) for voice, label in zip(voices, labels, strict=True)}
        expected = len(set(voices)) * len(self.labels)
        if len(acted) < expected or len(features_NK) <= expected + features_NK.shape[1]:
            raise UsageError(
                f"{len(features_NK)} utterances of {len(acted)} of the {expected} pairs of voice and emotion, "
                f"expected all pairs and more than {expected + features_NK.shape[1]} utterances"
            )
        self._scales = {
            v: (np.nanmean(features_NK[speakers == v], 0), np.nanstd(features_NK[speakers == v], 0) + 1e-9)
            for v in sorted(set(voices))
        }
        scaled_NK = self._scaled(features_NK, voices)
        self._centroids = np.stack([scaled_NK[classes == label].mean(0) for label in self.labels])
        within_NK = scaled_NK - self._centroids[[self.labels.index(label) for label in labels]]
        covariance = within_NK.T @ within_NK / (len(within_NK) - len(self.labels))
        self._precision = np.linalg.inv(covariance + 1e-6 * np.eye(len(covariance)))

    def __call__(self, features_NK: Floats, voices: Sequence[str]) -> list[str]:
        """The emotion each utterance sounds like. UsageError for a voice never learnt."""
        gap_NLK = self._scaled(features_NK, voices)[:, None] - self._centroids[None]
        distance_NL = np.einsum("nlk,kj,nlj->nl", gap_NLK, self._precision, gap_NLK)
        return [self.labels[i] for i in distance_NL.argmin(1)]

    def _scaled(self, features_NK: Floats, voices: Sequence[str]) -> Floats:
        if unknown := set(voices) - self._scales.keys():
            raise UsageError(
                f"no voice {', '.join(sorted(unknown))} was learnt, only {', '.join(self._scales)}"
            )
        means, spreads = (np.stack([self._scales[v][i] for v in voices]) for i in (0, 1))
        # where nothing is voiced there is no pitch: the voice's mean says nothing about the emotion
        scaled_NK: Floats = np.nan_to_num((features_NK - means) / spreads, nan=0.0)
        return scaled_NK


def confusion(truth: Sequence[str], found: Sequence[str]) -> dict[str, dict[str, int]]:
    """True label -> label found -> how often."""
    labels = sorted({*truth, *found})
    pairs = list(zip(truth, found, strict=True))
    return {t: {f: pairs.count((t, f)) for f in labels} for t in sorted(set(truth))}


def _powers(wave_S: NDArray[np.float32], rate: int) -> tuple[Floats, Floats]:
    """Mean square below and above SPLIT_HZ (F) each."""
    power_FK = power_spectra(wave_S, rate)
    split = int(SPLIT_HZ / rate * window_samples(rate))
    low_F, high_F = power_FK[:, 1:split].sum(1), power_FK[:, split:].sum(1)
    if not (low_F + high_F).any():
        raise UsageError("the wave is all zeros, expected speech")
    return low_F, high_F


def _pyworld() -> Any:
    try:
        import pyworld
    except ImportError as error:
        raise UsageError("pitch needs pyworld", hint="pip install 'tts-trt[quality]'") from error
    return pyworld
