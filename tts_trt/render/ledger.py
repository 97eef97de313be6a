"""``ledger.json`` of an audiobook: what was spoken by whom, why, and what that saved. Every number is finite."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Final, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, FiniteFloat, JsonValue

from tts_trt.choice import Choice
from tts_trt.render.layout import Placed

SCHEMA_VERSION: Final = 1

Number = FiniteFloat
Count = Annotated[int, Field(ge=0)]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FileEntry(_Record):
    name: str
    sha256: str


class RoleEntry(_Record):
    """Who has a role, and why."""

    bundle: str
    precision: str
    manifest_sha256: str
    why: str
    ruled_out: dict[str, str]


class TakeEntry(_Record):
    bundle: str
    precision: str
    seed: int
    took: Number  # seconds of work
    seconds: Number  # of sound
    faults: tuple[str, ...]
    error: str | None


class SegmentEntry(_Record):
    chapter: Count
    text: str
    key: str  # why it is a key passage; empty in narration
    start: Number
    seconds: Number
    precision: str
    seed: int
    why: str
    flagged: bool
    gain_db: Number
    jumps: tuple[str, ...]
    takes: tuple[TakeEntry, ...]


class ChapterEntry(_Record):
    title: str
    start: Number
    seconds: Number
    segments: Count


class WorkEntry(_Record):
    """Of one bundle, failed takes included."""

    takes: Count
    work_seconds: Number
    sound_seconds: Number


class CostEntry(_Record):
    """``saved``: share of the work that speaking everything once with the bundle of key passages would have taken."""

    spent: dict[str, WorkEntry]
    spent_seconds: Number
    all_high_bundle: str
    all_high_rtf: Number  # its work per second of sound
    all_high_rtf_from: str
    all_high_seconds: Number
    saved: Number


class Ledger(_Record):
    schema_version: Literal[1] = 1
    created: AwareDatetime
    tts_trt: str
    script: FileEntry
    out: FileEntry
    seconds: Number
    samples: Count
    sample_rate: Count
    voice: str
    voice_sha256: str
    emotion: JsonValue
    seed: int
    policy: JsonValue
    anchor: str  # bundle that encoded voice and emotion for all
    roles: dict[str, RoleEntry]
    limits: str  # where those of quality control come from
    warnings: tuple[str, ...]
    chapters: tuple[ChapterEntry, ...]
    segments: tuple[SegmentEntry, ...]
    counts: dict[str, Count]
    cost: CostEntry

    def to_bytes(self) -> bytes:
        return self.model_dump_json(indent=1).encode() + b"\n"


def role(choice: Choice) -> RoleEntry:
    one = choice.offer
    return RoleEntry(
        bundle=one.name,
        precision=one.precision,
        manifest_sha256=one.manifest_sha256,
        why=choice.why,
        ruled_out=dict(choice.ruled_out),
    )


def entry(one: Placed, rate: int, jumps: Sequence[str]) -> SegmentEntry:
    takes = one.rendered.takes
    return SegmentEntry(
        chapter=one.segment.chapter,
        text=one.segment.text,
        key=one.segment.key,
        start=one.start / rate,
        seconds=one.rendered.samples / rate,
        precision=one.rendered.take.precision,
        seed=one.rendered.take.seed,
        why=why(one),
        flagged=one.rendered.flagged,
        gain_db=one.gain_db,
        jumps=tuple(jumps),
        takes=tuple(TakeEntry(**vars(take)) for take in takes),
    )


def why(one: Placed) -> str:
    """In words, why this take of this precision is in the book."""
    made = one.rendered
    role = f"key passage ({one.segment.key})" if one.segment.key else "narration"
    if made.flagged:
        return f"{role}: none of {len(made.takes)} takes was good, the best is kept: {made.take.faults[0]}"
    if made.chosen == 0:
        return f"{role}: good at once"
    failed = made.takes[: made.chosen]
    first = failed[0].error or failed[0].faults[0]
    raised = made.take.bundle != failed[0].bundle
    return f"{role}: {len(failed)} failed ({first}), then good" + (
        f" in {made.take.precision}" if raised else " with another seed"
    )


def counts(entries: Sequence[SegmentEntry]) -> dict[str, int]:
    return {
        "segments": len(entries),
        "key": sum(bool(one.key) for one in entries),
        "good at once": sum(len(one.takes) == 1 and not one.flagged for one in entries),
        "another seed": sum(
            len(one.takes) > 1 and not one.flagged and one.precision == one.takes[0].precision
            for one in entries
        ),
        "higher precision": sum(
            not one.flagged and one.precision != one.takes[0].precision for one in entries
        ),
        "flagged": sum(one.flagged for one in entries),
        "jumps": sum(bool(one.jumps) for one in entries),
        **{f"in {name}": n for name, n in sorted(Counter(one.precision for one in entries).items())},
    }


def cost(entries: Sequence[SegmentEntry], high: str, rtf: float, rtf_from: str) -> CostEntry:
    """``rtf`` of the bundle ``high``, which could have spoken everything."""
    by: dict[str, list[TakeEntry]] = {}
    # a sentence that comes again is spoken once
    spoken = {(one.text, bool(one.key)): one for one in entries}.values()
    for take in (take for one in spoken for take in one.takes):
        by.setdefault(take.bundle, []).append(take)
    spent = {
        name: WorkEntry(
            takes=len(takes),
            work_seconds=sum(t.took for t in takes),
            sound_seconds=sum(t.seconds for t in takes),
        )
        for name, takes in sorted(by.items())
    }
    total = sum(one.work_seconds for one in spent.values())
    everything = rtf * sum(one.seconds for one in spoken)
    return CostEntry(
        spent=spent,
        spent_seconds=total,
        all_high_bundle=high,
        all_high_rtf=rtf,
        all_high_rtf_from=rtf_from,
        all_high_seconds=everything,
        saved=1 - total / everything if everything > 0 else 0.0,
    )
