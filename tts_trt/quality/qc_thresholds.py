"""Where clean speech ends: limits of every check, derived from segments that are known to be good, kept as JSON.

An FP32 bundle speaks; of each measure the one per cent furthest out is left aside, and the limit is set beyond the rest
by a margin (``Check.margin``). What one bad segment says does not move a limit.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from tts_trt import __version__
from tts_trt.atomic import write_atomic
from tts_trt.errors import ConfigError, UsageError
from tts_trt.models import ASSETS, SHIPPED
from tts_trt.quality.qc_checks import CHECKS, NEIGHBOURS, Check, broken, measure
from tts_trt.quality.qc_signal import Signal, SpeechSegment

FILE = "qc.json"
COMMAND = "python -m scripts.qc_thresholds --bundle FP32_BUNDLE --out qc.json"
LEAST_SEGMENTS = 20
LEFT_ASIDE = 0.01  # and at least one
LEAST_PER_VOICE = 4
DIGITS = 5  # after the point
LARGEST_BYTES = 1_000_000

Name = Annotated[str, Field(min_length=1)]


class _Strict(BaseModel):
    model_config: ClassVar[ConfigDict] = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, str_max_length=1000
    )


class Limit(_Strict):
    """``limit`` holds for the value as it is. For a voice with a known middle, ``own`` holds for the distance from it."""

    limit: float
    own: float | None = None
    middles: dict[Name, float] = {}

    @model_validator(mode="after")
    def _own_has_middles(self) -> Self:
        if (self.own is None) != (not self.middles):
            raise ValueError("own and middles belong together")
        return self

    def of(self, voice: str) -> float:
        """The limit of the value itself, for a segment of this voice."""
        if self.own is not None and voice in self.middles:
            return self.middles[voice] + self.own
        return self.limit


class Source(_Strict):
    """Where limits come from."""

    model: Name
    bundle: Name
    weights_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    segments: int = Field(default=0, ge=0)
    date: datetime.date
    tts_trt: Name = __version__


class Thresholds(_Strict):
    schema_version: Literal[1] = 1
    source: Source
    limits: dict[str, Limit | None]  # None: not checked
    neighbours: dict[str, Limit | None]

    @model_validator(mode="after")
    def _complete(self) -> Self:
        for found, expected in ((self.limits, CHECKS), (self.neighbours, NEIGHBOURS)):
            if odd := sorted(found.keys() ^ expected.keys()):
                raise ValueError(f"missing or unknown checks: {', '.join(odd)}")
        return self

    def save(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, [self.model_dump_json(indent=1).encode() + b"\n"])


def load_thresholds(path: Path) -> Thresholds:
    """ConfigError for a file that is missing, too large, not JSON, of another schema, or lacks a check."""
    try:
        size = path.stat().st_size
        if size > LARGEST_BYTES:
            raise ConfigError(f"{path} has {size} bytes, expected at most {LARGEST_BYTES}", hint=COMMAND)
        return Thresholds.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}", hint=COMMAND) from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise ConfigError(f"{path}: {place}: {first['msg']}", hint=COMMAND) from error


def shipped_thresholds(model: str) -> Thresholds:
    """Those of a shipped voice. ConfigError for a model without."""
    if model not in SHIPPED:
        raise ConfigError(f"no thresholds ship for {model!r}, only for {', '.join(SHIPPED)}", hint=COMMAND)
    return load_thresholds(ASSETS / model / FILE)


@dataclass(frozen=True)
class _Row:
    voice: str
    values: Mapping[str, float]


def derive(performances: Sequence[Sequence[SpeechSegment]], source: Source) -> Thresholds:
    """Limits from clean segments; those of one performance follow each other in one voice.

    Segments without sound are left out. A check with nothing to measure (no codes, no expected length, no neighbours)
    gets no limit. UsageError for fewer than 20 segments.
    """
    sound = [[s for s in performance if not broken(s)] for performance in performances]
    rows = [[_row(segment) for segment in performance] for performance in sound]
    flat = [row for performance in rows for row in performance]
    if len(flat) < LEAST_SEGMENTS:
        raise UsageError(f"{len(flat)} clean segments, expected at least {LEAST_SEGMENTS}")
    pairs = [pair for performance in rows for pair in pairwise(performance)]
    return Thresholds(
        source=source.model_copy(update={"segments": len(flat)}),
        limits={name: _limit(name, check, flat) for name, check in CHECKS.items()},
        neighbours={
            name: _plain(check, [abs(b.values[name] - a.values[name]) for a, b in pairs])
            for name, check in NEIGHBOURS.items()
        },
    )


def _row(segment: SpeechSegment) -> _Row:
    signal = Signal(segment.wave_S, segment.sample_rate)
    found = {name: measured.value for name, measured in measure(signal, segment).items()}
    apart = {name: check.measure(signal, segment) for name, check in NEIGHBOURS.items()}
    return _Row(segment.voice, found | {name: m.value for name, m in apart.items() if m is not None})


def _limit(name: str, check: Check, rows: Sequence[_Row]) -> Limit | None:
    known = [row for row in rows if name in row.values]
    plain = _plain(check, [row.values[name] for row in known])
    if plain is None or not check.own:
        return plain
    by_voice: dict[str, list[float]] = {}
    for row in known:
        by_voice.setdefault(row.voice, []).append(row.values[name])
    middles = {
        voice: round(float(np.median(values)), DIGITS)
        for voice, values in sorted(by_voice.items())
        if voice and len(values) >= LEAST_PER_VOICE
    }
    apart = [row.values[name] - middles[row.voice] for row in known if row.voice in middles]
    own = _plain(check, apart)
    return Limit(limit=plain.limit, own=own.limit, middles=middles) if own else plain


def _plain(check: Check, values: Sequence[float]) -> Limit | None:
    """The edge of what is clean, and the margin beyond it."""
    if not values:
        return None
    worst_last = np.sort(check.sign * np.asarray(values, np.float64))
    aside = min(max(1, int(LEFT_ASIDE * len(values))), len(values) - 1)
    edge, middle = worst_last[-1 - aside], np.median(worst_last)
    beyond = max(check.margin * float(edge - middle), check.least)
    return Limit(limit=round(check.sign * (float(edge) + beyond), DIGITS))
