"""`tts-trt render --policy audiobook`: a book to one file with its chapters, and the ledger of how it was spoken."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from tts_trt import __version__
from tts_trt.artifacts import sha256_file
from tts_trt.atomic import write_atomic
from tts_trt.choice import Evidence, Offer, cheapest, most_precise
from tts_trt.commands.render import Asked, Progress, Speak, Stage, set_stage
from tts_trt.errors import TtsTrtError
from tts_trt.journal import Journal
from tts_trt.policy import Audiobook, to_json
from tts_trt.quality.levels import loudness_lufs
from tts_trt.render.audiobook import Cast, Studio, plan_segments
from tts_trt.render.book import parse_book
from tts_trt.render.layout import Placed, jumps, length, marks, place
from tts_trt.render.ledger import ChapterEntry, FileEntry, Ledger, cost, counts, entry, role
from tts_trt.render.script import read_script
from tts_trt.render.sound import Mark, write_sound
from tts_trt.render.speakers import Speaker, Speaks, opened
from tts_trt.render.timeline import blocks
from tts_trt.runtime.plan import Planner

LEAST_TAKES = 3
"""Takes of the high precision that tell what it costs."""


def run(
    asked: Asked,
    policy: Audiobook,
    evidence: Evidence | None,
    offers: Sequence[Offer],
    progress: Progress,
    speak: Speak,
) -> dict[str, Any]:
    loudness_lufs(np.zeros(16_000, np.float32), 16_000)  # its package is missing now rather than in an hour
    book = parse_book(read_script(asked.script), policy.key_rules)
    script = FileEntry(name=asked.script.name, sha256=sha256_file(asked.script))
    high, narration = most_precise(policy.key, offers), cheapest(policy, evidence, offers)
    with (
        Journal(work_folder(asked), "render") as journal,
        opened([high.offer, narration.offer], threads=asked.threads, device=asked.device) as voices,
    ):
        anchor = voices[high.offer.manifest_sha256]
        stage = set_stage(asked, policy, anchor, high)
        key, narrator = (
            Speaker(one.offer, speak(one.offer, voices[one.offer.manifest_sha256]))
            for one in (high, narration)
        )
        planner = Planner(anchor.bundle.tokenizer, anchor.dims, anchor.limits)
        segments = plan_segments(book, planner, policy.pauses)
        cast = Cast.of(policy, narrator, key, asked.seed)
        studio = Studio(journal, cast, stage.request, stage.inspector, stage.depends)
        rendered = studio.render(segments, progress)
        rate = anchor.dims.audio.sample_rate
        placed = place(segments, rendered, policy.loudness, rate)
        rtf = _high_rtf(placed, high.offer, evidence, key.speaks, stage)
    total, chapters = length(placed, rate), marks(book, placed)
    progress("writing", 0, 1)
    digest = write_sound(
        asked.out, lambda: blocks([one.part for one in placed], total), total, rate, chapters
    )
    found = jumps(placed, rate, stage.inspector.limits)
    entries = tuple(entry(one, rate, found.get(i, ())) for i, one in enumerate(placed))
    ledger = Ledger(
        created=datetime.now(UTC),
        tts_trt=__version__,
        script=script,
        out=FileEntry(name=asked.out.name, sha256=digest),
        seconds=total / rate,
        samples=total,
        sample_rate=rate,
        voice=stage.voice.name or str(asked.voice),
        voice_sha256=stage.voice.key,
        emotion=stage.depends["emotion"] or stage.depends["emotion_audio"],
        seed=asked.seed,
        policy=to_json(policy),
        anchor=high.offer.name,
        roles={"key": role(high), "narration": role(narration)},
        limits=_limits(stage),
        warnings=tuple(stage.warnings),
        chapters=_chapters(placed, chapters, total, rate),
        segments=entries,
        counts=counts(entries),
        cost=cost(entries, high.offer.name, *rtf),
    )
    beside = {"chapters": _marks_json(ledger), "ledger": ledger.to_bytes()}
    for name, content in beside.items():
        _write(asked.out.with_suffix(f".{name}.json"), content)
    return _told(asked, ledger)


def work_folder(asked: Asked) -> Path:
    return asked.work or asked.out.with_name(asked.out.name + ".work")


def _high_rtf(
    placed: Sequence[Placed], high: Offer, evidence: Evidence | None, speaks: Speaks, stage: Stage
) -> tuple[float, str]:
    """Work per second of sound of the bundle of key passages, and where that is known from."""
    takes = [t for one in placed for t in one.rendered.takes if t.bundle == high.name and t.seconds]
    if len(takes) >= LEAST_TAKES:
        return sum(t.took for t in takes) / sum(t.seconds for t in takes), "measured on its own takes"
    known = evidence.rtf(high) if evidence else None
    if known is not None:
        return known, "the report"
    longest = max(placed, key=lambda one: one.rendered.samples)
    result = speaks.synthesize(replace(stage.request, text=longest.segment.text))
    return sum(result.timings.values()) / result.seconds, "measured on one passage"


def _limits(stage: Stage) -> str:
    limits = stage.inspector.limits
    if limits is None:
        return "none"
    source = limits.source
    return f"{source.segments} segments of {source.bundle}, {source.date}"


def _chapters(
    placed: Sequence[Placed], found: Sequence[Mark], total: int, rate: int
) -> tuple[ChapterEntry, ...]:
    ends = [mark.sample for mark in found[1:]] + [total]
    return tuple(
        ChapterEntry(
            title=mark.title,
            start=mark.sample / rate,
            seconds=(end - mark.sample) / rate,
            segments=sum(mark.sample <= one.start < end for one in placed),
        )
        for mark, end in zip(found, ends, strict=True)
    )


def _marks_json(ledger: Ledger) -> bytes:
    rows = [{"title": c.title, "start": c.start, "end": c.start + c.seconds} for c in ledger.chapters]
    return json.dumps({"file": ledger.out.name, "chapters": rows}, indent=1).encode() + b"\n"


def _write(path: Path, content: bytes) -> None:
    try:
        write_atomic(path, [content])
    except OSError as error:
        raise TtsTrtError(f"cannot write {path}: {error.strerror}", hint="free some space") from error


def _told(asked: Asked, ledger: Ledger) -> dict[str, Any]:
    notes = [f"{name} by {one.bundle}: {one.why}" for name, one in ledger.roles.items()]
    notes += [f"not {b}: {why}" for b, why in ledger.roles["narration"].ruled_out.items()]
    spent = ledger.cost
    notes.append(
        f"{ledger.counts['segments']} segments, {ledger.counts['another seed']} needed another seed, "
        f"{ledger.counts['higher precision']} the higher precision, {ledger.counts['flagged']} are flagged"
    )
    notes.append(
        f"{spent.spent_seconds:.1f} s of work, {abs(spent.saved):.0%} {'less' if spent.saved >= 0 else 'more'} than "
        f"the {spent.all_high_seconds:.1f} s of speaking everything once with {spent.all_high_bundle}"
    )
    return {
        "out": str(asked.out),
        "policy": "audiobook",
        "seconds": ledger.seconds,
        "samples": ledger.samples,
        "sample_rate": ledger.sample_rate,
        "sha256": ledger.out.sha256,
        "chapters": len(ledger.chapters),
        "counts": ledger.counts,
        "cost": ledger.cost.model_dump(mode="json"),
        "ledger": str(asked.out.with_suffix(".ledger.json")),
        "work": str(work_folder(asked)),
        "notes": notes,
        "warnings": list(ledger.warnings)
        + [f"flagged: {one.text!r}: {one.why}" for one in ledger.segments if one.flagged],
    }
