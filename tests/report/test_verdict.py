"""An interval against a margin, and how often chance gets a verdict."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tts_trt.errors import UsageError
from tts_trt.report.metrics import METRICS, Metric, known
from tts_trt.report.verdict import (
    FEWEST,
    Change,
    Sample,
    change,
    needed,
    student_quantile,
    tally,
    verdict,
    worsening,
)

HIGHER = Metric("error", "", "free", "higher", 1.0, "")
LOWER = Metric("likeness", "", "free", "lower", 1.0, "")
EITHER = Metric("length", "", "free", "either", 0.1, "", ratio=True)


def between(low: float, high: float, wide_low: float | None = None, wide_high: float | None = None) -> Change:
    wide = (low if wide_low is None else wide_low, high if wide_high is None else wide_high)
    return Change(0.0, 0.0, (low + high) / 2, low, high, *wide)


@pytest.mark.parametrize(
    ("metric", "low", "high", "word"),
    [
        (HIGHER, -1.0, 1.0, "equal"),
        (HIGHER, -1.1, 0.5, "undecidable"),
        (HIGHER, 0.5, 1.5, "undecidable"),
        (HIGHER, 1.1, 3.0, "worse"),
        (HIGHER, -3.0, -1.1, "better"),
        (LOWER, 1.1, 3.0, "better"),
        (LOWER, -3.0, -1.1, "worse"),
        (EITHER, 0.91, 1.09, "equal"),
        (EITHER, 1.2, 1.3, "worse"),
        (EITHER, 0.6, 0.8, "worse"),
        (EITHER, 0.85, 1.0, "undecidable"),
    ],
)
def test_verdicts(metric: Metric, low: float, high: float, word: str) -> None:
    assert verdict(between(low, high), metric, 50) == word
    assert verdict(between(low, high), metric, FEWEST - 1) == "undecidable"


def test_worse_needs_the_wider_interval_and_equal_the_narrower() -> None:
    assert verdict(between(1.1, 2.0, 0.9, 2.2), HIGHER, 50) == "undecidable"
    assert verdict(between(-0.9, 0.9, -1.5, 1.5), HIGHER, 50) == "equal"
    assert verdict(between(0.0, 9.0), Metric("", "", "free", "higher", None, ""), 50) is None


@given(
    st.floats(-5, 5),
    st.floats(0, 5),
    st.floats(0, 3),
    st.floats(0.01, 3),
    st.sampled_from(["higher", "lower", "either"]),
)
def test_a_verdict_says_what_it_claims(
    low: float, width: float, wider: float, margin: float, worse: str
) -> None:
    metric = Metric("", "", "free", worse, margin, "")  # type: ignore[arg-type]
    found = between(low, low + width, low - wider, low + width + wider)
    word = verdict(found, metric, 50)
    inside = -margin <= found.low and found.high <= margin
    beyond = found.wide_low > margin or found.wide_high < -margin
    assert (word == "equal") == inside
    assert (word in ("worse", "better")) == beyond
    if word == "worse":
        assert worsening(found.estimate, metric) > margin
    if word == "better":
        assert worse != "either" and worsening(found.estimate, metric) < -margin
    mirrored = between(-low - width, -low, -low - width - wider, -low + wider)
    opposite = {"worse": "better", "better": "worse"}
    if worse != "either":
        assert verdict(mirrored, metric, 50) == opposite.get(str(word), word)


@settings(max_examples=25, deadline=None)
@given(st.integers(5, 40), st.integers(0, 10_000))
def test_intervals_hold_the_estimate_and_the_wide_one_the_narrow_one(count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    sample = Sample()
    for n in range(count):
        sample.add(str(n), rng.normal(), rng.normal())
    found = change(sample, HIGHER, judged=30, resamples=500)
    assert found.wide_low <= found.low <= found.estimate <= found.high <= found.wide_high
    assert found.estimate == pytest.approx(found.candidate - found.baseline)


def test_seeds_of_one_sentence_are_one_observation() -> None:
    rng = np.random.default_rng(0)
    once, often = Sample(), Sample()
    for n in range(20):
        by = float(rng.normal())
        once.add(str(n), 0.0, by)
        for _ in range(5):
            often.add(str(n), 0.0, by)
    assert len(often) == 20
    a, b = change(once, HIGHER), change(often, HIGHER)
    assert (a.low, a.high) == pytest.approx((b.low, b.high))


def test_no_event_in_few_lines_is_no_certainty() -> None:
    counted = Metric("failed", "", "free", "higher", 0.02, "", counts=True)
    for lines, word in ((20, "undecidable"), (200, "equal")):
        sample = Sample()
        for n in range(lines):
            sample.add(str(n), 0.0, 0.0)
        assert verdict(change(sample, counted), counted, lines) == word


def test_few_sentences_get_wider_intervals() -> None:
    rng = np.random.default_rng(1)
    missed = 0
    for trial in range(400):
        sample = Sample()
        for n in range(6):
            sample.add(str(n), 0.0, float(rng.normal()))
        found = change(sample, HIGHER, seed=trial, resamples=500)
        missed += not found.low <= 0 <= found.high
    assert missed <= 32, (
        "95 % intervals of 6 values miss the truth about once in twenty, plain percentiles once in nine"
    )


def test_bundles_that_do_not_differ_are_not_called_worse() -> None:
    """A/A: two readings of one bundle, 40 metrics, each as noisy as a third, once, or twice its margin lets it be."""
    rng, words = np.random.default_rng(2), []
    for _ in range(4):
        for noise in np.tile([1.0, 3.0, 6.0, 12.0], 10):
            sample = Sample()
            for n in range(100):
                sample.add(str(n), float(rng.normal(0, noise)), float(rng.normal(0, noise)))
            words.append(verdict(change(sample, HIGHER, judged=40, resamples=1000), HIGHER, 100))
    found = tally(words)
    assert found["worse"] + found["better"] == 0
    calm = words[::4]
    assert calm.count("equal") >= 0.95 * len(calm), "where the noise is below the margin, equality is shown"


def test_a_real_difference_is_found() -> None:
    rng, sample = np.random.default_rng(3), Sample()
    for n in range(100):
        base = float(rng.normal(0, 5))
        sample.add(str(n), base, base + 2 + float(rng.normal()))
    assert verdict(change(sample, HIGHER, judged=40), HIGHER, 100) == "worse"


def test_sentences_needed_to_show_equality() -> None:
    assert needed(between(-2.0, 2.0), HIGHER, 25) == 100, "twice too wide: four times as many"
    assert needed(between(-2.0, 2.0), HIGHER, FEWEST - 1) is None


def test_ratios_are_of_sums() -> None:
    sample = Sample()
    for n in range(6):
        sample.add(str(n), 1.0 + n, 2.0 + 2 * n)
    found = change(sample, EITHER)
    assert found.estimate == found.low == found.high == 2.0
    sample.add("silent", 0.0, 1.0)
    with pytest.raises(UsageError, match="no ratio"):
        change(sample, EITHER)
    with pytest.raises(UsageError, match="no line was measured"):
        change(Sample(), HIGHER)


@pytest.mark.parametrize(("freedom", "expected"), [(1, -12.706), (4, -2.776), (9, -2.262), (99, -1.984)])
def test_student_quantiles(freedom: int, expected: float) -> None:
    assert student_quantile(0.025, freedom) == pytest.approx(expected, rel=1e-3)


def test_every_judged_metric_says_why() -> None:
    for name, metric in METRICS.items():
        assert metric.reason and metric.title, name
        assert metric.margin is None or metric.margin > 0, name
    assert len({(m.title, m.section) for m in METRICS.values()}) == len(METRICS)
    with pytest.raises(UsageError, match="no metric 'wre'") as error:
        known("wre")
    assert "wer" in str(error.value.hint)
