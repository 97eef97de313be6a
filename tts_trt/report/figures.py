"""From what was measured to one sample per metric: pairs of baseline and candidate on the same lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tts_trt.quality.speech import words_of
from tts_trt.quality.speed import STEPS_AT
from tts_trt.report.distances import COMPARED
from tts_trt.report.evidence import Evidence
from tts_trt.report.lines import Line
from tts_trt.report.metrics import METRICS
from tts_trt.report.subjects import Subject
from tts_trt.report.verdict import Sample

OF_WAVE = ("silence", "longest_pause", "last_voice_db", "cut_db", "tail", "loudness_lufs", "clipped", "mos")
OF_CODES = ("longest_run", "longest_loop", "repeated_share")
RENAMED = {"loudness_lufs": "level_lu"}
"""Over the same codes; the name alone is that of the free comparison."""


@dataclass
class Samples:
    """By metric. ``missing``: lines where one of both has no value; ``reasons``: one of the reasons given."""

    found: dict[str, Sample] = field(default_factory=lambda: {name: Sample() for name in METRICS})
    missing: dict[str, int] = field(default_factory=lambda: dict.fromkeys(METRICS, 0))
    reasons: dict[str, str] = field(default_factory=dict)

    def add(
        self, name: str, line: Line, baseline: float | None, candidate: float | None, whole: float = 1.0
    ) -> None:
        if baseline is None or candidate is None:
            self.missing[name] += 1
        else:
            self.found[name].add(line.text, baseline, candidate, whole)


def samples(evidence: Evidence, subject: Subject) -> Samples:
    """Of one candidate, all sections."""
    found = Samples()
    for line in evidence.plan.lines[: evidence.plan.forced]:
        _forced(found, line, evidence.journal.get(evidence.forced_key(subject, line)))
    for line in evidence.plan.lines:
        _free(found, line, *(said(evidence, one, line) for one in (evidence.baseline, subject)))
    if not subject.again and (cost := evidence.journal.get(evidence.cost_key())):
        names = [one.name for one in evidence.measured()]
        _cost(found, cost["bundles"][0], cost["bundles"][names.index(subject.name)])
    return found


def said(evidence: Evidence, subject: Subject, line: Line) -> dict[str, Any]:
    """Everything known of one line: as said, its likeness, and as heard; of one that failed the reason alone."""
    journal, key = evidence.journal, evidence.said_key(subject, line)
    item = dict(journal[key])
    if "failed" in item:
        return item
    heard = journal[evidence.heard_key(key)]
    known = {**item, **heard, "key": key, "likeness": journal[evidence.likeness_key(key)]}
    checked = journal.get(evidence.checked_key(key))
    return known if checked is None else {**known, "findings": checked}


def _forced(found: Samples, line: Line, item: Mapping[str, Any] | None) -> None:
    if item is None or "skipped" in item:  # the baseline has nothing to compare with
        return
    found.add("forced_failed", line, 0.0, float("failed" in item))
    if "failed" in item:
        return
    for name, value in item["values"].items():
        if name not in METRICS:
            continue
        ideal = METRICS[name].ideal
        found.add(name, line, 0.0 if ideal is None else ideal, value)
    for name in COMPARED:
        found.add(RENAMED.get(name, name), line, item["baseline"][name], item["candidate"][name])
    found.reasons |= {RENAMED.get(name, name): reason for name, reason in item["reasons"].items()}


def _free(found: Samples, line: Line, a: Mapping[str, Any], b: Mapping[str, Any]) -> None:
    """``a`` the baseline's, ``b`` the candidate's."""
    found.add("failed", line, float("failed" in a), float("failed" in b))
    words = len(words_of(line.text).split())  # of a line without sound none is heard
    found.add("wer", line, a.get("errors", words), b.get("errors", words), words)
    found.add("last_word", line, a.get("last_word", True), b.get("last_word", True))
    if "failed" in a or "failed" in b:
        return
    found.add("cut", line, a["finish"] != "stop", b["finish"] != "stop")
    found.add("length", line, a["seconds"], b["seconds"])
    found.add("similarity", line, a["likeness"], b["likeness"])
    for name in (*OF_CODES, *OF_WAVE):
        if name in a["measures"] and name in b["measures"]:
            found.add(name, line, a["measures"][name], b["measures"][name])
    if "findings" in a and "findings" in b:
        found.add("qc", line, _fails(a["findings"]), _fails(b["findings"]))
    found.reasons |= a["reasons"] | b["reasons"]


def _fails(findings: Sequence[Mapping[str, Any]]) -> float:
    """1 unless everything found merely deserves a look."""
    return float(any(one["severity"] == "fail" for one in findings))


def _cost(found: Samples, baseline: Mapping[str, Any], candidate: Mapping[str, Any]) -> None:
    for n, (one, other) in enumerate(zip(baseline["runs"], candidate["runs"], strict=True)):
        found.found["time"].add(f"run {n}", one, other)
    step = str(STEPS_AT[0])
    single = {"first_audio": "first_audio", "bytes": "graph_mib", "memory": "resident_mib"}
    for name, key in single.items():
        if baseline[key] > 0:
            found.found[name].add("once", baseline[key], candidate[key])
    found.found["step"].add("once", baseline["step_ms"][step], candidate["step_ms"][step])
