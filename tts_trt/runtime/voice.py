"""Voices and emotions: everything that is computed from a recording, once.

Legend: F semantic rows, C semantic width, E style width, m mel bins, T mel frames, c condition channels,
N conditioning rows, D width.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from tts_trt.dims import ModelDims
from tts_trt.frontend.audio import load_reference
from tts_trt.frontend.features import (
    FBANK_RATE,
    hann_sinc_resample,
    log_mel,
    seamless_features,
    style_features,
)
from tts_trt.runtime.acoustic import Acoustic, ConditionJob
from tts_trt.runtime.device import Array
from tts_trt.runtime.engine import Engines
from tts_trt.runtime.rows import padded

FloatArray = NDArray[np.float32]
T = TypeVar("T")

Source = str | Path | bytes | NDArray[Any]
"""A path, the bytes of an audio file, or samples (S) or (S, channels)."""

CACHED_VOICES, CACHED_CONDITIONINGS = 32, 128
FEWEST_ROWS, FEWEST_FBANK = 8, 16
"""Lower ends of the reference axes in the graph contracts; shorter references are padded up to them."""


@dataclass(frozen=True)
class Emotion:
    """An emotion reference."""

    key: str  # of the recording's content
    semantic_FC: FloatArray


@dataclass(frozen=True)
class Voice:
    """A timbre reference. ``emotion`` is the emotion of the same recording."""

    name: str
    key: str  # of the recording's content
    semantic_FC: FloatArray
    codes_F: NDArray[np.int64]
    style_E: FloatArray
    mel_mT: FloatArray  # the end of the reference, which the flow goes on from
    condition_Tc: FloatArray  # of the codes of that end, one row per mel frame
    emotion: Emotion


class _Recent(Generic[T]):
    """The last values asked for, by key."""

    def __init__(self, size: int) -> None:
        self._size, self._values, self._lock = size, OrderedDict[Hashable, T](), threading.Lock()

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
                return self._values[key]
        value = make()
        with self._lock:
            self._values[key] = value
            while len(self._values) > self._size:
                self._values.popitem(last=False)
        return value


class VoiceEncoder:
    """Recordings to voices, emotions and the conditioning rows of both together; the recent ones are kept."""

    def __init__(self, engines: Engines, dims: ModelDims) -> None:
        self._engines, self._dims = engines, dims
        self._acoustic = Acoustic(engines, dims)
        self._voices: _Recent[Voice] = _Recent(CACHED_VOICES)
        self._emotions: _Recent[Emotion] = _Recent(CACHED_VOICES)
        self._conditionings: _Recent[FloatArray] = _Recent(CACHED_CONDITIONINGS)

    def encode(self, source: Source, name: str = "", *, source_rate: int | None = None) -> Voice:
        """A voice from the first ``audio.reference_seconds`` of a recording. ReferenceAudioError as
        ``load_reference``; ``source_rate`` (Hz) is for arrays."""
        digest = _digest(source, source_rate)
        return self._voices.get((digest, name), lambda: self._voice(source, name, digest, source_rate))

    def emotion(self, source: Source, *, source_rate: int | None = None) -> Emotion:
        """An emotion reference, decoded at 16 kHz directly."""
        digest = _digest(source, source_rate)
        return self._emotions.get(
            digest, lambda: Emotion(digest, self._semantic(self._load(source, FBANK_RATE, source_rate)))
        )

    def conditioning(
        self, voice: Voice, emotion: Emotion, alpha: float, vector: tuple[float, ...]
    ) -> FloatArray:
        """-> (N,D). ``alpha`` 0 keeps the voice's own emotion, 1 takes the reference's; ``vector`` is mixed in on top."""
        key = (voice.key, emotion.key, alpha, vector)
        return self._conditionings.get(key, lambda: self._conditioning(voice, emotion, alpha, vector))

    def _voice(self, source: Source, name: str, digest: str, source_rate: int | None) -> Voice:
        audio = self._dims.audio
        wave_S = self._load(source, audio.sample_rate, source_rate)
        # the speaker path resamples what the model hears, the emotion path the recording itself
        wave16_S = hann_sinc_resample(wave_S, audio.sample_rate, FBANK_RATE)
        semantic_FC = self._semantic(wave16_S)
        same = audio.sample_rate == FBANK_RATE
        codes_F = self._codes(semantic_FC)
        mel_mT = log_mel(wave_S, audio)
        (condition_Tc,) = self._acoustic.conditions([ConditionJob(codes_F, None, mel_mT.shape[1])])
        first = max(0, mel_mT.shape[1] - self._dims.prompt_frames)
        return Voice(
            name=name,
            key=digest,
            semantic_FC=semantic_FC,
            codes_F=codes_F,
            style_E=self._style(wave16_S),
            mel_mT=mel_mT[:, first:],
            condition_Tc=condition_Tc.numpy()[first:],
            emotion=Emotion(digest, semantic_FC) if same else self.emotion(source, source_rate=source_rate),
        )

    def _load(self, source: Source, rate: int, source_rate: int | None) -> FloatArray:
        return load_reference(source, rate, self._dims.audio.reference_seconds, source_rate=source_rate)

    def _semantic(self, wave16_S: FloatArray) -> FloatArray:
        features_FX, mask_F = seamless_features(wave16_S, self._dims.semantic_encoder.stride)
        out = self._engines["semantic_encoder"].run(
            {"features": padded([features_FX], FEWEST_ROWS), "mask": padded([mask_F], FEWEST_ROWS)}
        )
        return out["semantic"][0, : len(features_FX)]

    def _codes(self, semantic_FC: FloatArray) -> NDArray[np.int64]:
        out = self._engines["semantic_codec"].run(_one("semantic", "lengths", semantic_FC, FEWEST_ROWS))
        return out["codes"][0, : len(semantic_FC)]

    def _style(self, wave16_S: FloatArray) -> FloatArray:
        fbank = style_features(wave16_S)
        out = self._engines["style_encoder"].run(_one("fbank", "lengths", fbank, FEWEST_FBANK))
        style_E: FloatArray = out["style"][0]
        return style_E

    def _conditioning(
        self, voice: Voice, emotion: Emotion, alpha: float, vector: tuple[float, ...]
    ) -> FloatArray:
        out = self._engines["conditioner"].run(
            {
                **_one("speaker", "speaker_lengths", voice.semantic_FC, FEWEST_ROWS),
                **_one("emotion", "emotion_lengths", emotion.semantic_FC, FEWEST_ROWS),
                "alpha": np.array([alpha], np.float32),
                "style": voice.style_E[None],
                "emotion_vector": np.array([vector], np.float32),
            }
        )
        conditioning_ND: FloatArray = out["conditioning"][0]
        return conditioning_ND


def _one(name: str, lengths: str, rows: FloatArray, least: int) -> dict[str, Array]:
    return {name: padded([rows], least), lengths: np.array([len(rows)], np.int64)}


def _digest(source: Source, source_rate: int | None) -> str:
    """SHA-256 of the recording. A path that cannot be read is its own: ``load_reference`` then says why."""
    digest = hashlib.sha256(str(source_rate).encode())
    if isinstance(source, np.ndarray):
        digest.update(f"{source.dtype}{source.shape}".encode() + source.tobytes())
    elif isinstance(source, bytes):
        digest.update(source)
    else:
        try:
            digest.update(Path(source).read_bytes())
        except (OSError, ValueError):
            return str(source)
    return digest.hexdigest()
