"""Frozen dimensions of one model of the family, and its special token ids.

A checkpoint carries these as ``config.json``. Every default is the official IndexTTS-2 v2.0 value, so
``ModelDims()`` is the official model and a smaller voice states only what differs.
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from dataclasses import dataclass, field
from typing import Any, TypeVar

from tts_trt.errors import ConfigError

EMOTIONS = ("happy", "angry", "sad", "afraid", "disgusted", "melancholic", "surprised", "calm")
"""Order of the eight entries of an emotion vector."""


@dataclass(frozen=True)
class AudioDims:
    """Mel front end of the acoustic model."""

    sample_rate: int = 22050
    n_fft: int = 1024
    hop: int = 256  # samples per mel frame
    n_mels: int = 80
    reference_seconds: float = 15.0  # only this much of a reference recording is ever used
    mel_shift: float = 0.0  # a model's mel is (log-mel - shift) / scale; officially plain log-mel
    mel_scale: float = 1.0

    def frames(self, seconds: float) -> int:
        """Mel frames of so much sound, the last one begun."""
        return math.ceil(seconds * self.sample_rate / self.hop)


@dataclass(frozen=True)
class SemanticEncoderDims:
    """w2v-BERT 2.0 up to the layer whose output is used."""

    stride: int = 2  # 10 ms fbank frames stacked into one feature row: 2 -> 50 Hz
    hidden: int = 1024
    layers: int = 17
    heads: int = 16
    ffn: int = 4096
    conv_kernel: int = 31
    left_positions: int = 64
    right_positions: int = 8

    @property
    def features(self) -> int:
        return 80 * self.stride


@dataclass(frozen=True)
class CodecDims:
    """Semantic codec (RepCodec with one factorised vector quantiser)."""

    codebook_size: int = 8192
    codebook_dim: int = 8
    vocos_dim: int = 384
    vocos_ffn: int = 2048
    vocos_layers: int = 12


@dataclass(frozen=True)
class StyleDims:
    """CAMPPlus speaker-style encoder over an 80-bin Kaldi fbank."""

    embedding: int = 192
    growth: int = 32
    bottleneck: int = 4
    init_channels: int = 128


@dataclass(frozen=True)
class ConformerDims:
    """Conformer + perceiver that turns semantic features into latents."""

    width: int = 512
    ffn: int = 2048
    heads: int = 8
    blocks: int = 6
    perceiver_mult: int = 2
    conv_kernel: int = 15


@dataclass(frozen=True)
class GptDims:
    """Autoregressive code model."""

    dim: int = 1280
    layers: int = 24
    heads: int = 20
    text_tokens: int = 12000  # the embedding table has one row more
    max_text: int = 600
    codes: int = 8194  # start and stop included
    max_codes: int = 1815
    start_code: int = 8192
    stop_code: int = 8193
    start_text: int = 0
    stop_text: int = 1
    latents: int = 32
    speaker: ConformerDims = field(default_factory=ConformerDims)
    emotion: ConformerDims = field(
        default_factory=lambda: ConformerDims(width=512, ffn=1024, heads=4, blocks=4)
    )

    @property
    def head_dim(self) -> int:
        return self.dim // self.heads

    @property
    def text_positions(self) -> int:
        return self.max_text + 2

    @property
    def code_positions(self) -> int:
        return self.max_codes + 3

    @property
    def max_prompt(self) -> int:
        """Longest prompt: latents, two speed rows, start/stop text, text, start code."""
        return self.latents + 2 + self.max_text + 2 + 1


@dataclass(frozen=True)
class RegulatorDims:
    channels: int = 512
    codebook_size: int = 2048  # of the unused discrete embedding table


@dataclass(frozen=True)
class FlowDims:
    """DiT estimator with a WaveNet head."""

    dim: int = 512
    heads: int = 8
    depth: int = 13
    wavenet_dim: int = 512
    wavenet_layers: int = 8
    wavenet_kernel: int = 5
    steps: int = 25
    guidance: float = 0.7
    prompt_seconds: float = 15.0  # the most of a reference's end that comes before the speech, as in training
    codebook_size: int = 1024  # of the unused discrete embedding table

    @property
    def ffn(self) -> int:
        """2/3 of 4*dim, rounded up to a multiple of 256."""
        inner = int(2 * (4 * self.dim) / 3)
        return inner + (-inner) % 256


@dataclass(frozen=True)
class VocoderDims:
    """BigVGAN v2."""

    upsample_rates: tuple[int, ...] = (4, 4, 2, 2, 2, 2)
    upsample_kernels: tuple[int, ...] = (8, 8, 4, 4, 4, 4)
    initial_channels: int = 1536
    resblock_kernels: tuple[int, ...] = (3, 7, 11)
    resblock_dilations: tuple[tuple[int, ...], ...] = ((1, 3, 5), (1, 3, 5), (1, 3, 5))

    @property
    def hop(self) -> int:
        hop = 1
        for rate in self.upsample_rates:
            hop *= rate
        return hop


@dataclass(frozen=True)
class ModelDims:
    """One whole model. ``latents`` names where the mel stage takes its latent per code from."""

    name: str = "indextts2"
    latents: str = "exact"  # exact: second GPT pass | one-pass: decode-time states, contiguous positions
    frames_per_code: float = 1.72  # mel frames per code at rate 1
    acted: tuple[str, ...] = EMOTIONS  # emotions the voice can act; the others fall to a neighbour of these
    emotion_rows: tuple[int, ...] = (3, 17, 2, 8, 4, 5, 10, 24)  # rows of the emotion matrices per emotion
    repetition_penalty: float = 10.0
    top_k: int = 30
    top_p: float = 0.8
    temperature: float = 0.8
    audio: AudioDims = field(default_factory=AudioDims)
    semantic_encoder: SemanticEncoderDims = field(default_factory=SemanticEncoderDims)
    codec: CodecDims = field(default_factory=CodecDims)
    style: StyleDims = field(default_factory=StyleDims)
    gpt: GptDims = field(default_factory=GptDims)
    regulator: RegulatorDims = field(default_factory=RegulatorDims)
    flow: FlowDims = field(default_factory=FlowDims)
    vocoder: VocoderDims = field(default_factory=VocoderDims)

    def __post_init__(self) -> None:
        if self.latents not in ("exact", "one-pass"):
            raise ConfigError(f"latents is {self.latents!r}, expected 'exact' or 'one-pass'")
        if self.vocoder.hop != self.audio.hop:
            raise ConfigError(
                f"the vocoder makes {self.vocoder.hop} samples a frame but audio.hop is {self.audio.hop}"
            )
        if self.flow.prompt_seconds <= 0:
            raise ConfigError(f"flow.prompt_seconds is {self.flow.prompt_seconds}, expected more than 0")
        if unknown := [name for name in self.acted if name not in EMOTIONS]:
            raise ConfigError(f"acted names {', '.join(unknown)}; emotions are {', '.join(EMOTIONS)}")
        if len(self.emotion_rows) != len(EMOTIONS):
            raise ConfigError(f"emotion_rows has {len(self.emotion_rows)} entries, expected {len(EMOTIONS)}")

    @property
    def prompt_frames(self) -> int:
        """Mel frames of a reference that the flow has before the speech, at most."""
        return self.audio.frames(min(self.flow.prompt_seconds, self.audio.reference_seconds))

    @property
    def codes_per_second(self) -> float:
        return self.audio.sample_rate / self.audio.hop / self.frames_per_code


T = TypeVar("T")


def from_dict(cls: type[T], values: dict[str, Any], where: str = "config") -> T:
    """Build frozen dataclass ``cls`` from plain values; an unknown key or a wrong type is a ConfigError."""
    hints = typing.get_type_hints(cls)
    unknown = sorted(set(values) - set(hints))
    if unknown:
        raise ConfigError(f"{where}: unknown key {', '.join(unknown)}; known: {', '.join(hints)}")
    made = {key: _convert(hints[key], value, f"{where}.{key}") for key, value in values.items()}
    return cls(**made)


def _convert(hint: Any, value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(hint):
        if not isinstance(value, dict):
            raise ConfigError(f"{where}: expected a table, found {value!r}")
        return from_dict(hint, value, where)  # type: ignore[arg-type]
    origin = typing.get_origin(hint)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise ConfigError(f"{where}: expected a list, found {value!r}")
        inner = typing.get_args(hint)[0]
        return tuple(_convert(inner, item, f"{where}[{i}]") for i, item in enumerate(value))
    if origin in (types.UnionType, typing.Union):
        inner_hints = [a for a in typing.get_args(hint) if a is not type(None)]
        return None if value is None else _convert(inner_hints[0], value, where)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        raise ConfigError(f"{where}: expected {hint.__name__}, found {value!r}")
    return value


def to_dict(dims: Any) -> dict[str, Any]:
    """Plain JSON-ready values of a dims dataclass."""
    return dataclasses.asdict(dims)
