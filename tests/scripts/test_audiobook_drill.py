"""The drill's own parts: a share that is exact, damage that comes once, and a count of what was refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from scripts.audiobook_drill import Damaging, book_of, faults_of, lines_of, words
from scripts.qc_damage import FAULTS
from tests.render.reader import Reader, inspector, speaker
from tts_trt.journal import Journal
from tts_trt.policy import Audiobook, shipped
from tts_trt.render.audiobook import Cast, Segment, Studio
from tts_trt.render.book import parse_book
from tts_trt.runtime.request import Request
from tts_trt.runtime.sampling import SamplingParams

pytest.importorskip("pyloudnorm")

TEXTS = [f"The {animal} is {colour}." for animal in ("cat", "dog", "cow", "hen") for colour in
         ("red", "blue", "green", "grey", "white")]  # fmt: skip
ASKED = Request("", "anna", sampling=SamplingParams())


def test_a_book_has_chapters_and_some_marked_sentences() -> None:
    text, sentences = book_of(TEXTS, 20, seed=0)
    passages = [p for c in parse_book(text, shipped(Audiobook).key_rules).chapters for p in c.passages]
    assert {words(s) for s in sentences} <= {words(p.text) for p in passages}
    assert sum(p.key == "marked" for p in passages) == 2


def test_the_share_is_exact_and_seeded() -> None:
    sentences = [f"sentence {chr(97 + n // 26)}{chr(97 + n % 26)}" for n in range(200)]
    faults = faults_of(sentences, seed=0)
    assert len(faults) == 10 and len(set(faults.values())) == 10
    assert faults == faults_of(sentences, seed=0) != faults_of(sentences, seed=1)


@pytest.mark.parametrize("fault", ["hole", "cut_end", "silence", "not_a_number", "click"])
def test_the_first_take_is_damaged_and_the_studio_replaces_it(tmp_path: Path, fault: str) -> None:
    damaging = Damaging(Reader(), {words("So it is."): fault}, set())
    low, high = replace(speaker(Reader()), speaks=damaging), speaker(Reader(), "fp32")
    cast = Cast(low, high, narration_takes=2, key_takes=2, seed=0)
    limits = inspector()
    with Journal(tmp_path, "drill") as journal:
        made = Studio(journal, cast, ASKED, limits, {}).render(
            [Segment(0, "So it is.", "", 0.2), Segment(0, "So it was.", "", 0.2)], lambda *at: None
        )
        assert lines_of(tmp_path / "journal.jsonl") == 2
    first, second = made
    assert [take.passed for take in first.takes] == [False, True] and not first.flagged
    assert len(second.takes) == 1


def test_every_fault_can_be_made_of_a_result() -> None:
    for fault in FAULTS:
        damaging = Damaging(Reader(), {words("So it is."): fault}, set())
        spoilt, whole = (damaging.synthesize(replace(ASKED, text="So it is.")) for _ in range(2))
        assert spoilt.segments[0].seconds == pytest.approx(spoilt.seconds)
        assert not np.array_equal(spoilt.wave, whole.wave, equal_nan=True)
