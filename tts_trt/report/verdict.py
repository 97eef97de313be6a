"""Equal, better, worse or undecidable: an interval against a margin.

Rows are sentences; the seeds of one sentence are added up first, since they are no independent evidence. N sentences, R
resamples.

Two intervals are taken of every change. The 95 % one decides on "equal": all of it must lie within the margin (two one-sided
tests; Schuirmann 1987). A bundle passes as equal only with every metric, which needs no correction for their number
(Berger 1982). "Worse" and "better" are claims any single metric could make by chance, so they are decided by the wider
interval at level 1 - 0.05 / K for K judged metrics (Bonferroni), all of it beyond the margin: bundles that do not differ get
one such verdict in all in at most one report of twenty, and far fewer, because chance must cross the margin as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tts_trt.errors import UsageError
from tts_trt.quality.statistics import LEVEL, RESAMPLES, resampled_sums
from tts_trt.report.metrics import Metric

Floats = NDArray[np.float64]
Word = Literal["equal", "better", "worse", "undecidable"]
FEWEST = 5
"""Sentences below which nothing is decided: resampling so few says little about the next one."""

CRITERION = (
    f"equal: the {LEVEL:.0%} interval of the change lies within the margin. worse, better: the interval at level "
    "1 - 0.05/K for K judged metrics lies beyond it. undecidable: neither, at this number of sentences; "
    f"always below {FEWEST}. Intervals resample whole sentences, paired."
)


@dataclass
class Sample:
    """Paired sums, one entry a line: of the baseline, of the candidate, and what divides both (words, or 1)."""

    texts: list[str] = field(default_factory=list)
    baseline: list[float] = field(default_factory=list)
    candidate: list[float] = field(default_factory=list)
    whole: list[float] = field(default_factory=list)

    def add(self, text: str, baseline: float, candidate: float, whole: float = 1.0) -> None:
        self.texts.append(text)
        self.baseline.append(float(baseline))
        self.candidate.append(float(candidate))
        self.whole.append(float(whole))

    def __len__(self) -> int:
        return len(set(self.texts))

    def by_text(self) -> Floats:
        """(N,3)."""
        sums: dict[str, Floats] = {}
        for text, *row in zip(self.texts, self.baseline, self.candidate, self.whole, strict=True):
            sums[text] = sums.get(text, np.zeros(3)) + np.array(row)
        return np.stack(list(sums.values()))


@dataclass(frozen=True)
class Change:
    """Of the candidate from the baseline; ``wide`` is the interval that "worse" and "better" are decided by."""

    baseline: float
    candidate: float
    estimate: float
    low: float
    high: float
    wide_low: float
    wide_high: float


def change(
    sample: Sample, metric: Metric, judged: int = 1, *, seed: int = 0, resamples: int = RESAMPLES
) -> Change:
    """Candidate minus baseline, both over the whole; of a ratio metric candidate over baseline. UsageError for an empty
    sample or a ratio to nothing."""
    if not len(sample):
        raise UsageError("no line was measured, expected at least one")
    values_N3 = sample.by_text()
    if metric.ratio and (values_N3[:, 0] <= 0).any():
        raise UsageError("a baseline of 0 has no ratio, expected lengths or times above 0")
    whole_3 = values_N3.sum(0)
    drawn = values_N3
    if (
        metric.counts
    ):  # else no event in few lines would pass for certainty (Agresti and Min 2005 add half a pair each)
        step, mean = np.sqrt(0.5), values_N3[:, 2].mean()
        drawn = np.concatenate([values_N3, [[step, 0, mean], [0, step, mean]]])
    sums_R3 = resampled_sums(drawn, seed, resamples)
    found_R = _of(sums_R3, metric)
    low, high = _percentiles(found_R, LEVEL, len(values_N3))
    wide_low, wide_high = _percentiles(found_R, 1 - (1 - LEVEL) / max(judged, 1), len(values_N3))
    estimate = float(_of(whole_3[None], metric)[0])
    return Change(
        baseline=float(whole_3[0] / whole_3[2]),
        candidate=float(whole_3[1] / whole_3[2]),
        estimate=estimate,
        low=min(low, estimate),
        high=max(high, estimate),
        wide_low=min(wide_low, estimate),
        wide_high=max(wide_high, estimate),
    )


def verdict(found: Change, metric: Metric, sentences: int) -> Word | None:
    """None for a metric without a margin."""
    if metric.margin is None:
        return None
    if sentences < FEWEST:
        return "undecidable"
    nothing = 1.0 if metric.ratio else 0.0
    bounds = (found.low, found.high, found.wide_low, found.wide_high)
    low, high, wide_low, wide_high = (x - nothing for x in bounds)
    if metric.worse == "lower":
        low, high, wide_low, wide_high = -high, -low, -wide_high, -wide_low
    margin = metric.margin
    if -margin <= low and high <= margin:
        return "equal"
    if wide_low > margin:
        return "worse"
    if wide_high < -margin:
        return "worse" if metric.worse == "either" else "better"
    return "undecidable"


def needed(found: Change, metric: Metric, sentences: int) -> int | None:
    """Sentences with which the interval would fit into the margin if nothing differed: its width falls with the root of
    their number. None for a metric without a margin, or too few sentences to tell its width."""
    if metric.margin is None or sentences < FEWEST:
        return None
    return int(np.ceil(sentences * ((found.high - found.low) / 2 / metric.margin) ** 2))


def worsening(estimate: float, metric: Metric) -> float:
    """How far a change goes in the direction that is worse; negative where it is better."""
    apart = estimate - (1.0 if metric.ratio else 0.0)
    return {"higher": apart, "lower": -apart, "either": abs(apart)}[metric.worse]


def _of(sums_R3: Floats, metric: Metric) -> Floats:
    if metric.ratio:
        return np.asarray(sums_R3[:, 1] / sums_R3[:, 0])
    return np.asarray((sums_R3[:, 1] - sums_R3[:, 0]) / sums_R3[:, 2])


def _percentiles(found_R: Floats, level: float, count: int) -> tuple[float, float]:
    """Percentiles widened for few rows, whose resamples spread less than the truth by sqrt((n-1)/n) and follow a normal
    law in place of Student's (the expanded percentile interval; Hesterberg 2015)."""
    if count < 2:  # one sentence has no spread, and no verdict
        return float(found_R.min()), float(found_R.max())
    tail = (1 - level) / 2
    expanded = NormalDist().cdf(np.sqrt(count / (count - 1)) * student_quantile(tail, count - 1))
    low, high = np.quantile(found_R, (expanded, 1 - expanded))
    return float(low), float(high)


def student_quantile(probability: float, freedom: int) -> float:
    """Of Student's t, by integrating its density over the angle: t = sqrt(v) tan(a), density ~ cos(a)^(v-1)."""
    angle = np.linspace(-np.pi / 2, np.pi / 2, 20_001)
    density = np.cos(angle).clip(0) ** (freedom - 1)
    below = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2)])
    return float(np.sqrt(freedom) * np.tan(np.interp(probability, below / below[-1], angle)))


def tally(words: Sequence[Word | None]) -> dict[str, int]:
    """How often each verdict came."""
    return {word: words.count(word) for word in ("equal", "better", "worse", "undecidable")}
