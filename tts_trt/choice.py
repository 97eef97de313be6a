"""Which bundle a policy speaks with, by the evidence of a report.

    offers = [offer(path) for path in folders]
    choice = pick_bundle(shipped(Live), report, offers)      # report: report.json as it was parsed, or None
    choice.offer.path, choice.why, choice.ruled_out

Evidence counts for the very bundle that was measured: a bundle built anew since has another manifest and none. Without
evidence the order of precisions in the policy decides, and ``why`` says so.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from tts_trt.artifacts import load_manifest
from tts_trt.errors import ConfigError, UsageError
from tts_trt.manifest import MANIFEST
from tts_trt.policy import Audiobook, Criterion, Dubbing, Live, Policy

COST = "cost"  # section of a report whose metrics say nothing about sound


@dataclass(frozen=True)
class Offer:
    """A bundle there is."""

    name: str
    path: Path
    precision: str
    executor: str
    model: str
    weights_sha256: str
    manifest_sha256: str


@dataclass(frozen=True)
class Choice:
    offer: Offer
    why: str
    ruled_out: Mapping[str, str] = field(default_factory=dict)  # bundle -> why not


def offer(path: Path) -> Offer:
    """BundleError for what is no bundle. Its files are not verified here."""
    manifest = load_manifest(path)
    return Offer(
        name=path.resolve().name,
        path=path,
        precision=manifest.precision,
        executor=manifest.executor.name,
        model=manifest.model.name,
        weights_sha256=manifest.model.weights_sha256,
        manifest_sha256=hashlib.sha256((path / MANIFEST).read_bytes()).hexdigest(),
    )


def pick_bundle(policy: Policy, report: Mapping[str, Any] | None, offers: Sequence[Offer]) -> Choice:
    """The bundle a policy speaks with; of an audiobook the one that narrates. UsageError where none will do, ConfigError
    for what is no report."""
    evidence = None if report is None else Evidence.of(report)
    if isinstance(policy, Dubbing):
        return most_precise(policy.precisions, offers)
    if isinstance(policy, Live):
        return soonest(policy, evidence, offers)
    return cheapest(policy, evidence, offers)


def most_precise(precisions: Sequence[str], offers: Sequence[Offer]) -> Choice:
    """The first precision of which there is a bundle, and the first bundle of it."""
    for precision in precisions:
        for one in offers:
            if one.precision == precision:
                return Choice(
                    one, f"{precision} is the first of {', '.join(precisions)} there is a bundle of"
                )
    raise UsageError(
        f"no bundle of {' or '.join(precisions)} among {_names(offers)}",
        hint=f"tts-trt build --precision {precisions[0]}",
    )


def soonest(policy: Live, evidence: Evidence | None, offers: Sequence[Offer]) -> Choice:
    """The least time to first audio of those that keep the criterion."""
    if evidence is None:
        return _unmeasured(policy.precisions, offers, "no report was given")
    keeps, ruled_out = _judged(policy.criterion, evidence, offers)
    timed = [(evidence.first_audio(one), one) for one in keeps]
    known = [(seconds, one) for seconds, one in timed if seconds is not None]
    if not known:
        reason = "the report times no bundle that keeps the criterion"
        return _unmeasured(policy.precisions, offers, reason, ruled_out)
    seconds, best = min(known, key=lambda pair: pair[0])
    others = ", ".join(f"{one.name} {1e3 * s:.0f} ms" for s, one in known if one is not best)
    why = f"soonest by the report: first audio after {1e3 * seconds:.0f} ms" + (
        f", against {others}" if others else ""
    )
    untimed = {one.name: "the report has no time for it" for s, one in timed if s is None}
    return Choice(best, why, ruled_out | untimed)


def cheapest(policy: Audiobook, evidence: Evidence | None, offers: Sequence[Offer]) -> Choice:
    """The first precision for narration whose bundle keeps the criterion; without a report, the first there is, since
    quality control looks at every segment anyway."""
    if evidence is None:
        return _unmeasured(policy.narration, offers, "no report was given")
    keeps, ruled_out = _judged(policy.criterion, evidence, offers)
    if not keeps:
        high = most_precise(policy.key, offers)
        return Choice(
            high.offer, "no bundle keeps the criterion in the report; that of key passages", ruled_out
        )
    found = most_precise(policy.narration, keeps)
    return Choice(found.offer, f"{found.why} that keeps the criterion in the report", ruled_out)


def _unmeasured(
    precisions: Sequence[str],
    offers: Sequence[Offer],
    reason: str,
    ruled_out: Mapping[str, str] | None = None,
) -> Choice:
    out = ruled_out or {}
    found = most_precise(precisions, [one for one in offers if one.name not in out] or offers)
    return Choice(found.offer, f"{reason}: {found.why}", out)


def _judged(
    criterion: Criterion, evidence: Evidence, offers: Sequence[Offer]
) -> tuple[list[Offer], dict[str, str]]:
    ruled_out = {one.name: reason for one in offers if (reason := evidence.against(one, criterion))}
    return [one for one in offers if one.name not in ruled_out], ruled_out


def _names(offers: Iterable[Offer]) -> str:
    return ", ".join(one.name for one in offers) or "none"


class _Bundle(BaseModel):
    name: str
    manifest_sha256: str
    again: bool


class _Row(BaseModel):
    metric: str
    verdict: str | None


class _Candidate(BaseModel):
    name: str
    again: bool
    verdicts: tuple[_Row, ...]


class _Metric(BaseModel):
    section: str


class _Speed(BaseModel):
    rtf: float
    first_audio: float


class _Cost(BaseModel):
    bundles: tuple[_Speed, ...]


class Evidence(BaseModel):
    """What of a report decides; the rest of it is left aside."""

    schema_version: int
    metrics: dict[str, _Metric]
    bundles: tuple[_Bundle, ...]
    candidates: tuple[_Candidate, ...]
    cost: _Cost | None

    @classmethod
    def of(cls, report: Mapping[str, Any]) -> Evidence:
        try:
            return cls.model_validate(report)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            raise ConfigError(
                f"this is no report: {'.'.join(map(str, first['loc']))}: {first['msg']}",
                hint="tts-trt report writes one",
            ) from error

    def against(self, one: Offer, criterion: Criterion) -> str | None:
        """Why a bundle is ruled out; None for one that keeps the criterion, as the baseline does."""
        entry = self._entry(one)
        if entry is None:
            return "the report is not about this bundle"
        row = next((c for c in self.candidates if c.name == entry.name and not c.again), None)
        if row is None:
            return None
        worse = [r.metric for r in row.verdicts if r.verdict == "worse" and self._of_sound(r.metric)]
        if never := [metric for metric in worse if metric in criterion.never_worse]:
            return f"judged worse in {', '.join(never)}"
        if len(worse) > criterion.most_worse:
            return f"judged worse in {len(worse)} measures, at most {criterion.most_worse} may be"
        return None

    def first_audio(self, one: Offer) -> float | None:
        """Seconds, where they were measured."""
        speed = self._speed(one)
        return speed.first_audio if speed else None

    def rtf(self, one: Offer) -> float | None:
        speed = self._speed(one)
        return speed.rtf if speed else None

    def _measured(self) -> list[_Bundle]:
        """Those with a cost of their own, in the order in which the cost lists them."""
        return [bundle for bundle in self.bundles if not bundle.again]

    def _entry(self, one: Offer) -> _Bundle | None:
        return next((b for b in self._measured() if b.manifest_sha256 == one.manifest_sha256), None)

    def _speed(self, one: Offer) -> _Speed | None:
        entry = self._entry(one)
        if self.cost is None or entry is None or len(self.cost.bundles) != len(self._measured()):
            return None
        return self.cost.bundles[self._measured().index(entry)]

    def _of_sound(self, metric: str) -> bool:
        return metric not in self.metrics or self.metrics[metric].section != COST
