"""``report.json``: its shape, checked in both directions. Every number is finite; what could not be measured is null."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, FiniteFloat, JsonValue, ValidationError

from tts_trt.errors import ConfigError

SCHEMA_VERSION: Final = 1

Number = FiniteFloat
Count = Annotated[int, Field(ge=0)]
Word = Literal["equal", "better", "worse", "undecidable"]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class MetricEntry(_Record):
    title: str
    unit: str
    section: str
    worse: str
    margin: Number | None
    reason: str
    ideal: Number | None
    ratio: bool


class BundleEntry(_Record):
    name: str
    path: str
    manifest_sha256: str
    again: bool  # the baseline with other seeds
    precision: str
    executor: str
    graph_bytes: Count


class VerdictRow(_Record):
    """One metric of one candidate. ``verdict`` null: stated, not judged. Bounds are null where there is one reading."""

    metric: str
    sentences: Count
    missing: Count  # lines where it could not be measured
    baseline: Number
    candidate: Number
    change: Number
    low: Number | None
    high: Number | None
    wide_low: Number | None
    wide_high: Number | None
    verdict: Word | None
    needed: Count | None = None  # undecidable: sentences that would show equality where nothing differs


class Point(_Record):
    """Mean over sentences of a value in one part of the utterance, with its 95 % interval."""

    mean: Number
    low: Number
    high: Number


class Positions(_Record):
    """By position in the utterance, first part to last."""

    fifths: tuple[Point, ...]
    curve: tuple[Number, ...]
    growth: Point | None  # last fifth over first; null where the first is 0


class PartEntry(_Record):
    """Distances from the baseline with this part of the candidate alone in it; of ``whole`` everything."""

    part: str
    mel_l1_db: Number
    lsd_db: Number
    grain_flatness: Number | None
    share: Number | None  # of the parts' squared log-spectral distances


class CandidateReport(_Record):
    name: str
    again: bool
    answer: str
    verdicts: tuple[VerdictRow, ...]
    tally: dict[str, Count]
    positions: dict[str, Positions]
    parts: tuple[PartEntry, ...]
    same_codes: Count  # lines said with the baseline's very codes
    lines: Count  # said by both
    absent: dict[str, str]  # metric -> why it has no row


class Spoken(_Record):
    heard: str | None
    errors: Count
    words: Count
    seconds: Number
    finish: str  # stop, length, repetition, or failed
    findings: tuple[str, ...] = ()
    wave: str | None  # name of its file below work/waves


class LineEntry(_Record):
    text: str
    voice: str
    emotion: str
    rate: Number
    seed: Count
    spoken: dict[str, Spoken]  # by bundle


class Example(_Record):
    """Something to listen to."""

    line: Count
    why: str
    same_codes: bool
    waves: dict[str, str]  # bundle -> file below work/waves
    pictures: dict[str, str]  # bundle -> file below work/mels


class GateRow(_Record):
    candidate: str
    rule: str
    found: str
    passed: bool


class Report(_Record):
    schema_version: Literal[1] = 1
    created: AwareDatetime
    tts_trt: str
    command: str
    environment: dict[str, JsonValue]
    settings: dict[str, JsonValue]
    criterion: str
    judged: Count
    metrics: dict[str, MetricEntry]
    bundles: tuple[BundleEntry, ...]
    candidates: tuple[CandidateReport, ...]
    lines: tuple[LineEntry, ...]
    examples: tuple[Example, ...]
    cost: JsonValue  # as ``tts-trt bench`` gives it; null where it was not measured
    gate: tuple[GateRow, ...] = ()

    def to_bytes(self) -> bytes:
        return json.dumps(self.model_dump(mode="json"), indent=1, allow_nan=False).encode() + b"\n"


def read_report(path: Path) -> Report:
    """ConfigError for what is no report of this version."""
    try:
        return Report.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigError(
            f"{path} is not a report of version {SCHEMA_VERSION}: "
            f"{'.'.join(map(str, first['loc']))}: {first['msg']}",
            hint="tts-trt report writes it anew",
        ) from error
