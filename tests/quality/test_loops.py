"""Repetition in code sequences, against sequences that repeat in known ways and against a slow search."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tts_trt.errors import UsageError
from tts_trt.quality.loops import Loop, longest_loop, longest_run, repeated_share


def test_the_longest_run_is_counted() -> None:
    assert longest_run([1, 2, 2, 3, 3, 3, 2, 2]) == 3
    assert longest_run([5, 5, 5, 5]) == 4 and longest_run([1, 2, 3]) == 1
    assert longest_run([7]) == 1 and longest_run([]) == 0


def test_what_was_said_before_is_repeated() -> None:
    assert repeated_share(range(100)) == 0
    assert repeated_share([*range(10), *range(10)]) == pytest.approx(7 / 17)  # 7 of 17 4-grams are old
    assert repeated_share([3] * 20) == pytest.approx(16 / 17)
    assert repeated_share([1, 2, 3]) == 0 and repeated_share([1, 1], gram=1) == 0.5
    with pytest.raises(UsageError, match="n-grams"):
        repeated_share([1, 2], gram=0)


def test_loops_are_found_with_their_period_and_place() -> None:
    assert longest_loop(range(50)) == Loop(0, 0, 0)
    assert longest_loop([9, 8, *[1, 2, 3] * 4, 7]) == Loop(3, 12, 2)
    assert longest_loop([1, 2, 2, 2, 2, 3]) == Loop(1, 4, 1)
    assert longest_loop([1, 2, 1]) == Loop(0, 0, 0) and longest_loop([1, 2, 1, 2]) == Loop(2, 4, 0)
    assert longest_loop([1, 2, 3, 1, 2, 3], longest_period=2) == Loop(0, 0, 0)
    assert longest_loop([]) == Loop(0, 0, 0)


def test_a_repeated_word_later_on_is_no_loop_but_is_repeated() -> None:
    codes = [*range(8), 90, 91, 92, *range(8)]
    assert longest_loop(codes).codes == 0 and repeated_share(codes) > 0.3


def slow_loop(codes: list[int]) -> Loop:
    best = Loop(0, 0, 0)
    for period in range(1, len(codes) // 2 + 1):
        for start in range(len(codes)):
            end = start + period
            while end < len(codes) and codes[end] == codes[end - period]:
                end += 1
            if end - start >= 2 * period and end - start > best.codes:
                best = Loop(period, end - start, start)
    return best


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 2), max_size=14))
def test_every_loop_is_found(codes: list[int]) -> None:
    assert longest_loop(codes) == slow_loop(codes)
    grams = [tuple(codes[i : i + 4]) for i in range(len(codes) - 3)]
    repeated = sum(gram in grams[:i] for i, gram in enumerate(grams))
    assert repeated_share(codes) == pytest.approx(repeated / len(grams) if grams else 0)


def test_codes_are_integers_in_a_row() -> None:
    for wrong in (np.ones((2, 3), int), np.array([0.5, 1.5])):
        for measure in (longest_run, repeated_share, longest_loop):
            with pytest.raises(UsageError, match="codes are"):
                measure(wrong)
    assert longest_run(np.array([4, 4], np.uint16)) == 2
