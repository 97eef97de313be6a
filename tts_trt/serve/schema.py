"""Bodies of requests and answers: OpenAI's names, and ours under the one field ``tts_trt``."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from tts_trt.dims import EMOTIONS
from tts_trt.frontend.emotion_text import tempered, words_vector
from tts_trt.runtime.request import EMOTION_LIMIT, LONGEST_SECONDS, RATES
from tts_trt.serve.settings import PolicyName

Name = Annotated[str, Field(min_length=1, max_length=128)]
Weight = Annotated[float, Field(ge=0, le=EMOTION_LIMIT, allow_inf_nan=False)]
FEELING_CHARACTERS = 1000
_EMOTION_SOURCES = ("emotion", "emotion_audio", "emotion_text")
Emotion = Literal["happy", "angry", "sad", "afraid", "disgusted", "melancholic", "surprised", "calm"]


class _Body(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class VoiceRef(_Body):
    id: Name


class Extension(_Body):
    """What OpenAI's API has no word for."""

    emotion: (
        dict[Emotion, Weight]
        | Annotated[list[Weight], Field(min_length=len(EMOTIONS), max_length=len(EMOTIONS))]
        | None
    ) = Field(
        None,
        description=f"weights by name, or eight in the order {', '.join(EMOTIONS)}; together at most 1.2",
    )
    emotion_audio: Name | None = Field(
        default=None, description="id of a voice whose recording the emotion is taken from"
    )
    emotion_text: Annotated[str, Field(max_length=FEELING_CHARACTERS)] | None = Field(
        default=None,
        description="words about the feeling, from which a list of words reads the emotion; empty: the input itself",
    )
    emotion_alpha: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = Field(
        default=1.0, description="strength of the emotion given"
    )
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    duration: Annotated[float, Field(ge=0.05, le=LONGEST_SECONDS, allow_inf_nan=False)] | None = Field(
        default=None, description="seconds, met to the sample; not together with speed"
    )
    precision: Name | None = Field(default=None, description="fp32, fp16, int8: which bundle of the model")
    policy: PolicyName | None = None
    steps: Annotated[int, Field(ge=1, le=200)] | None = Field(
        default=None, description="of the flow; default: the model's"
    )

    @field_validator("emotion", mode="before")
    @classmethod
    def _names(cls, value: Any) -> Any:
        if isinstance(value, dict) and (unknown := [name for name in value if name not in EMOTIONS]):
            raise ValueError(f"there is no emotion {unknown[0]!r}; there are {', '.join(EMOTIONS)}")
        return value

    @model_validator(mode="after")
    def _one_emotion(self) -> Extension:
        given = [name for name in _EMOTION_SOURCES if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"{given[0]} and {given[1]} exclude each other")
        return self

    def vector(self, text: str) -> tuple[float, ...] | None:
        """Of an input ``text``; None where no weights are given, nor words to read them from."""
        if self.emotion_text is not None:
            return tempered(words_vector(self.emotion_text.strip() or text))
        if isinstance(self.emotion, dict):
            named = {str(name): weight for name, weight in self.emotion.items()}
            return tuple(named.get(name, 0.0) for name in EMOTIONS)
        return None if self.emotion is None else tuple(self.emotion)


class SpeechBody(_Body):
    model: Name
    input: Annotated[str, Field(min_length=1)] = Field(description="what to say")
    voice: Name | VoiceRef = Field(description="name of a voice, or id of an uploaded one")
    response_format: Literal["wav", "pcm", "flac", "mp3", "opus", "aac"] = "mp3"
    speed: Annotated[float, Field(ge=RATES[0], le=RATES[1], allow_inf_nan=False)] = 1.0
    stream_format: Literal["audio", "sse"] | None = Field(
        default=None,
        description="audio: bytes as they are made; sse: events; default: the whole file at once",
    )
    instructions: Literal[""] | None = Field(
        default=None, description="not supported; see tts_trt.emotion_text"
    )
    tts_trt: Extension = Field(default_factory=lambda: Extension.model_validate({}))

    @model_validator(mode="after")
    def _one_length(self) -> SpeechBody:
        if self.tts_trt.duration is not None and not math.isclose(self.speed, 1.0):
            raise ValueError("speed and tts_trt.duration exclude each other")
        return self

    @property
    def voice_id(self) -> str:
        return self.voice.id if isinstance(self.voice, VoiceRef) else self.voice


class ModelInfo(BaseModel):
    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "tts-trt"
    model: str = Field(description="its model's name, which is an id too: of the first bundle of that model")
    precision: str
    executor: str
    sample_rate: int
    voices: list[str]


class ModelList(BaseModel):
    object: Literal["list"] = "list"
    data: list[ModelInfo]


class VoiceInfo(BaseModel):
    id: str
    object: Literal["audio.voice"] = "audio.voice"
    name: str
    type: Literal["builtin", "audio_sample"]
    created_at: int
    seconds: float | None = Field(default=None, description="of an uploaded recording")


class VoiceList(BaseModel):
    object: Literal["list"] = "list"
    data: list[VoiceInfo]
    has_more: Literal[False] = False


class VoiceDeleted(BaseModel):
    id: str
    object: Literal["audio.voice.deleted"] = "audio.voice.deleted"
    deleted: Literal[True] = True


class Health(BaseModel):
    status: Literal["ok"] = "ok"
