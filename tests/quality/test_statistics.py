"""The bootstrap equals its slow twin, covers the truth as often as it says, and gains by pairing."""

from __future__ import annotations

import numpy as np
import pytest

from tts_trt.errors import UsageError
from tts_trt.quality.statistics import BLOCK, Interval, paired_difference, pearson, ratio, resampled_sums


def sentences(rng: np.random.Generator, count: int, worse: float = 0.0) -> tuple[np.ndarray, ...]:
    """Errors of two systems and words: sentences differ in difficulty, alike for both."""
    words = rng.integers(2, 20, count)
    difficulty = rng.uniform(0.0, 0.3, count)
    baseline = rng.binomial(words, difficulty)
    return baseline, baseline + rng.binomial(words, worse), words


def test_it_equals_a_loop_over_resamples_and_sentences() -> None:
    baseline, candidate, words = sentences(np.random.default_rng(0), 17, 0.1)
    found = paired_difference(baseline, candidate, words, seed=5, resamples=BLOCK + 90)
    generator, differences = np.random.default_rng(5), []
    for size in (BLOCK, 90):
        for drawn in generator.integers(17, size=(size, 17)):
            errors_a = errors_b = all_words = 0
            for i in drawn:
                errors_a += baseline[i]
                errors_b += candidate[i]
                all_words += words[i]
            differences.append(errors_b / all_words - errors_a / all_words)
    low, high = np.percentile(differences, (2.5, 97.5))
    estimate = candidate.sum() / words.sum() - baseline.sum() / words.sum()
    assert found == Interval(*map(pytest.approx, (estimate, low, high)))


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    inside = []
    for seed in range(300):
        _, _, words = sentences(rng, 80)
        errors = rng.binomial(words, rng.uniform(0.0, 0.3, 80))  # 0.15 of the words on average
        found = ratio(errors, words, seed=seed, resamples=600)
        inside.append(found.low <= 0.15 <= found.high)
    assert 0.90 <= np.mean(inside) <= 0.985


def test_the_difference_covers_the_truth_too() -> None:
    rng = np.random.default_rng(2)
    inside = []
    for seed in range(300):
        found = paired_difference(*sentences(rng, 80, 0.05), seed=seed, resamples=600)
        inside.append(found.low <= 0.05 <= found.high)
    assert 0.90 <= np.mean(inside) <= 0.985


def test_words_weigh_not_sentences() -> None:
    found = ratio([1, 0], [1, 9], resamples=50)
    assert found.estimate == pytest.approx(0.1)  # a mean over sentences would say 0.5


def test_pairing_makes_the_interval_narrow() -> None:
    rng = np.random.default_rng(3)
    words = np.full(60, 10)
    baseline = rng.integers(0, 9, 60)
    found = paired_difference(baseline, baseline + 1, words)
    assert (found.low, found.estimate, found.high) == pytest.approx((0.1, 0.1, 0.1))
    alone = ratio(baseline, words)
    assert alone.high - alone.low > 0.05 and found.excludes_zero
    assert not paired_difference(baseline, baseline, words).excludes_zero
    assert paired_difference(baseline + 1, baseline, words).excludes_zero


def test_a_seed_repeats_and_another_differs() -> None:
    columns = sentences(np.random.default_rng(4), 30, 0.1)
    assert paired_difference(*columns, seed=1) == paired_difference(*columns, seed=1)
    assert paired_difference(*columns, seed=1) != paired_difference(*columns, seed=2)


def test_every_row_is_drawn_and_rows_stay_whole() -> None:
    values = np.array([[1.0, 10.0], [2.0, 20.0], [4.0, 40.0]])
    sums = resampled_sums(values, 0, 700)
    assert sums.shape == (700, 2) and np.allclose(sums[:, 1], 10 * sums[:, 0])
    assert set(sums[:, 0]) == {3, 4, 5, 6, 7, 8, 9, 10, 12}  # every multiset of three rows


def test_correlation() -> None:
    x = np.random.default_rng(5).standard_normal(50)
    assert pearson(x, 3 * x - 1) == pytest.approx(1.0) and pearson(x, -x) == pytest.approx(-1.0)
    y = x + np.random.default_rng(6).standard_normal(50)
    assert pearson(x, y) == pytest.approx(np.corrcoef(x, y)[0, 1])
    assert np.isnan(pearson(x, np.ones(50)))


@pytest.mark.parametrize(("columns"), [([1, 2], [1]), ([], []), ([1, 2], [3, 0])])
def test_unusable_columns_are_refused(columns: tuple[list[float], list[float]]) -> None:
    with pytest.raises(UsageError, match="expected"):
        ratio(*columns)
    with pytest.raises(UsageError, match="expected"):
        pearson([1.0], [1.0])
