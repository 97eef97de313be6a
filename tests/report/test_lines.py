"""A plan is seeded, balanced, and the beginning of every longer one."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.model.tiny import TINY
from tts_trt.errors import UsageError
from tts_trt.report.lines import chosen_voices, default_texts, lines_of, read_texts

TEXTS = [f"word {n}" for n in range(40)]


def test_seeds_repeat_the_sentence_and_nothing_else() -> None:
    made = lines_of(TEXTS, ["anna", "bob"], ["happy", "calm"], 8, seed=3, seeds=3)
    once = lines_of(TEXTS, ["anna", "bob"], ["happy", "calm"], 8, seed=3)
    assert len(made) == 24 and len({line.seed for line in made}) == 24
    assert made[::3] == once
    assert all(
        len({(m.text, m.voice, m.emotion, m.rate) for m in made[k : k + 3]}) == 1 for k in range(0, 24, 3)
    )


def test_a_longer_plan_begins_with_the_shorter() -> None:
    short, long = (lines_of(TEXTS, ["anna"], ["calm"], n, seed=0) for n in (5, 30))
    assert long[:5] == short
    assert set(Counter(line.text for line in long).values()) == {1}


@pytest.mark.parametrize(("count", "seeds"), [(0, 1), (41, 1), (3, 0), (3, 101)])
def test_impossible_plans_are_refused(count: int, seeds: int) -> None:
    with pytest.raises(UsageError, match="expected 1 to"):
        lines_of(TEXTS, ["anna"], ["calm"], count, 0, seeds)


def test_another_reading_has_other_seeds() -> None:
    (line,) = lines_of(TEXTS, ["anna"], ["calm"], 1, seed=7)
    seeds = [line.request(TINY, offset).sampling for offset in (0, 5)]
    assert [s.seed for s in seeds if s] == [7, 12]


def test_voices_must_be_shared() -> None:
    assert chosen_voices([], ["a", "b"]) == ["a", "b"]
    assert chosen_voices(["b", "b"], ["a", "b"]) == ["b"]
    with pytest.raises(UsageError, match="no voice c"):
        chosen_voices(["c"], ["a", "b"])
    with pytest.raises(UsageError, match="no voice in common"):
        chosen_voices([], [])


def test_texts_come_once(tmp_path: Path) -> None:
    path = tmp_path / "texts.txt"
    path.write_text("One.\nTwo.\n\nOne.\n")
    assert read_texts(path) == ["One.", "Two."]
    path.write_text("\n")
    with pytest.raises(UsageError, match="holds no text"):
        read_texts(path)
    assert len(read_texts(default_texts())) >= 200
