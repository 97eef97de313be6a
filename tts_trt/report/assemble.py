"""From evidence to a report: verdicts, answers in a sentence, examples to listen to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from tts_trt import __version__
from tts_trt.report.evidence import Evidence
from tts_trt.report.figures import Samples, said, samples
from tts_trt.report.metrics import METRICS
from tts_trt.report.positions import parts, positions
from tts_trt.report.schema import (
    BundleEntry,
    CandidateReport,
    Example,
    LineEntry,
    MetricEntry,
    PartEntry,
    Report,
    Spoken,
    VerdictRow,
)
from tts_trt.report.subjects import Subject
from tts_trt.report.verdict import CRITERION, Sample, change, needed, tally, verdict

WORST, USUAL = 3, 2
"""Lines to listen to: those where a candidate lost most words, and some as they come."""


def assemble(
    evidence: Evidence, *, command: str, environment: dict[str, Any], settings: dict[str, Any]
) -> Report:
    found = {s.name: samples(evidence, s) for s in evidence.subjects[1:]}
    judged = max(sum(_judged(name, one) for name in METRICS) for one in found.values())
    lines = tuple(_line(evidence, n) for n in range(len(evidence.plan.lines)))
    return Report(
        created=datetime.now(UTC),
        tts_trt=__version__,
        command=command,
        environment=environment,
        settings=settings,
        criterion=CRITERION,
        judged=judged,
        metrics={
            name: MetricEntry(**{k: v for k, v in asdict(m).items() if k != "counts"})
            for name, m in METRICS.items()
        },
        bundles=tuple(_bundle(subject) for subject in evidence.subjects),
        candidates=tuple(_candidate(evidence, s, found[s.name], judged) for s in evidence.subjects[1:]),
        lines=lines,
        examples=examples(evidence, lines),
        cost=evidence.journal.get(evidence.cost_key()),
    )


def _judged(name: str, found: Samples) -> bool:
    return METRICS[name].margin is not None and len(found.found[name]) > 0


def _candidate(evidence: Evidence, subject: Subject, found: Samples, judged: int) -> CandidateReport:
    rows = tuple(
        row(name, found.found[name], found.missing[name], judged)
        for name in METRICS
        if len(found.found[name])
    )
    items = [
        item
        for line in evidence.plan.lines[: evidence.plan.forced]
        if "values" in (item := evidence.journal.get(evidence.forced_key(subject, line)) or {})
    ]
    both = [
        tuple(evidence.journal[evidence.said_key(one, line)] for one in (evidence.baseline, subject))
        for line in evidence.plan.lines
    ]
    spoken = [(a["codes"], b["codes"]) for a, b in both if "codes" in a and "codes" in b]
    alone = parts(items)
    counted = tally([r.verdict for r in rows])
    return CandidateReport(
        name=subject.name,
        again=subject.again,
        answer=answer(subject, rows, counted, alone),
        verdicts=rows,
        tally=counted,
        positions=positions(items),
        parts=alone,
        same_codes=sum(a == b for a, b in spoken),
        lines=len(spoken),
        absent={
            name: found.reasons.get(name, _why_absent(name, subject))
            for name in METRICS
            if not len(found.found[name])
        },
    )


def _why_absent(name: str, subject: Subject) -> str:
    if METRICS[name].section == "cost":
        return "the same bundle has the same cost" if subject.again else "not measured"
    return {
        "mos": "nobody was asked: speechmos is not installed, or opinions were not wanted",
        "qc": "no limits ship for this model",
    }.get(name, "could not be measured on any line")


def row(name: str, sample: Sample, missing: int, judged: int) -> VerdictRow:
    metric, count = METRICS[name], len(sample)
    found = change(sample, metric, judged)
    word = verdict(found, metric, count)
    bounds = {
        key: getattr(found, key) if count > 1 else None for key in ("low", "high", "wide_low", "wide_high")
    }
    return VerdictRow(
        metric=name,
        sentences=count,
        missing=missing,
        baseline=found.baseline,
        candidate=found.candidate,
        change=found.estimate,
        verdict=word,
        needed=needed(found, metric, count) if word == "undecidable" else None,
        **bounds,
    )


def answer(
    subject: Subject, rows: Sequence[VerdictRow], counted: dict[str, int], alone: Sequence[PartEntry]
) -> str:
    """The sentence a reader takes away."""
    named = {r.metric: r for r in rows}
    judged = sum(counted.values())
    worse = [METRICS[r.metric].title for r in rows if r.verdict == "worse"]
    if worse:
        head = f"worse in {len(worse)} of {judged} judged metrics ({', '.join(worse)})"
    elif counted["undecidable"]:
        head = f"worse in none of {judged} judged metrics"
    else:
        head = f"no audible or practical difference in any of {judged} judged metrics"
    said_of = [f"{subject.name}: {head}, equal in {counted['equal']}"]
    if counted["better"]:
        said_of.append(f"better in {counted['better']}")
    if counted["undecidable"]:
        said_of.append(f"undecided in {counted['undecidable']} at this number of sentences")
    if (mute := named["failed"]).candidate:
        count = round(mute.candidate * mute.sentences)
        said_of.append(f"no sound on {count} of {mute.sentences} lines")
    ranked = sorted((p for p in alone if p.share is not None), key=lambda p: p.lsd_db, reverse=True)
    if ranked and (ranked[0].share or 0) > 0:
        first = ranked[0]
        said_of.append(
            f"most of the spectral difference comes from the {first.part} ({first.share:.0%}, {first.lsd_db:.2f} dB alone)"
        )
    if "time" in named:
        said_of.append(
            f"{named['time'].change:.2f} times the time, {named['bytes'].change:.2f} times the bytes"
        )
    return "; ".join(said_of) + "."


def _bundle(subject: Subject) -> BundleEntry:
    manifest, path = subject.manifest, subject.path
    return BundleEntry(
        name=subject.name,
        path=str(path or ""),
        manifest_sha256=subject.identity,
        again=subject.again,
        precision=manifest.precision if manifest else "",
        executor=f"{manifest.executor.name} {manifest.executor.version}" if manifest else "",
        graph_bytes=sum(e.bytes for f, e in manifest.files.items() if f.startswith("graphs/"))
        if manifest
        else 0,
    )


def _line(evidence: Evidence, index: int) -> LineEntry:
    line = evidence.plan.lines[index]
    spoken = {}
    for subject in evidence.subjects:
        item = said(evidence, subject, line)
        failed = "failed" in item
        spoken[subject.name] = Spoken(
            heard=None if failed else item["text"],
            errors=0 if failed else item["errors"],
            words=0 if failed else item["words"],
            seconds=0.0 if failed else item["seconds"],
            finish="failed" if failed else item["finish"],
            findings=() if failed else tuple(one["words"] for one in item.get("findings", ())),
            wave=None if failed else evidence.journal.wave(item["key"]).name,
        )
    return LineEntry(**line.to_json(), spoken=spoken)


def examples(evidence: Evidence, lines: Sequence[LineEntry]) -> tuple[Example, ...]:
    """The lines on which a candidate lost most words against the baseline, some others as they come, and of the same codes the
    line with the largest mel distance and one as it comes."""
    base, others = evidence.baseline.name, evidence.subjects[1:]
    rest = [s.name for s in others if not s.again] or [s.name for s in others]

    def lost(n: int) -> int:
        spoken = lines[n].spoken
        return max(spoken[name].errors for name in rest) - spoken[base].errors

    ranked = sorted(range(len(lines)), key=lambda n: (-lost(n), n))
    chosen = [(n, f"words not heard: {lost(n)} more") for n in ranked[:WORST] if lost(n) > 0]
    taken = {n for n, _ in chosen}
    chosen += [(n, "as it comes") for n in range(len(lines)) if n not in taken][:USUAL]
    free = [
        Example(
            line=n,
            why=why,
            same_codes=False,
            waves={name: one.wave for name, one in lines[n].spoken.items() if one.wave},
            pictures={},
        )
        for n, why in chosen
    ]
    return tuple(forced_examples(evidence) + free)


def forced_examples(evidence: Evidence) -> list[Example]:
    distance: dict[int, float] = {}
    for n, line in enumerate(evidence.plan.lines[: evidence.plan.forced]):
        items = [evidence.journal.get(evidence.forced_key(s, line)) or {} for s in evidence.subjects[1:]]
        if all("values" in item for item in items):
            distance[n] = max(item["values"]["mel_l1_db"] or 0.0 for item in items)
    if not distance:
        return []
    worst = max(distance, key=lambda n: distance[n])
    made = []
    for n, why in dict(
        [(worst, "largest mel distance"), *[(n, "as it comes") for n in distance if n != worst][:1]]
    ).items():
        line = evidence.plan.lines[n]
        keys = {s.name: evidence.forced_key(s, line) for s in evidence.subjects[1:] if not s.again}
        waves = {evidence.baseline.name: evidence.base_wave_key(line), **keys}
        made.append(
            Example(
                line=n,
                why=why,
                same_codes=True,
                waves={name: evidence.journal.wave(key).name for name, key in waves.items()},
                pictures={name: evidence.journal.picture(key).name for name, key in keys.items()},
            )
        )
    return made
