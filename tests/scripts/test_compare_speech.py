"""Bundles speak the same lines in turn, and what is reported is what was heard."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scripts.compare_speech import Heard, Line, compare, figures, lines_of, read_texts, span, table, turns
from tests.model.tiny import TINY
from tts_trt.dims import EMOTIONS, ModelDims
from tts_trt.errors import SynthesisError, UsageError
from tts_trt.quality.speech import Recogniser, WordErrors
from tts_trt.runtime.request import Request, Result, SegmentInfo

TEXTS = [f"word {n}" for n in range(40)]
VOICES, ACTED = ["anna", "bob"], ["happy", "calm"]


@dataclass
class Speaker:
    """Says a wave as long as its text; refuses what it must not say."""

    stretch: int = 1
    refused: str = ""
    log: list[Request] = field(default_factory=list)
    dims: ModelDims = TINY

    def synthesize(self, request: Request) -> Result:
        self.log.append(request)
        if request.text == self.refused:
            raise SynthesisError("silent")
        wave = np.full(self.stretch * 1000 * len(request.text), 0.1, np.float32)
        codes = np.array([len(request.text) % 7, self.stretch], np.int64)
        segment = SegmentInfo(request.text, 0.0, 1.0, 2, "length" if self.stretch == 3 else "stop", 1.0)
        return Result(wave, 16_000, (codes,), (segment,))


def hears(texts: dict[int, str]) -> Recogniser:
    return Recogniser("by length", lambda wave, rate: texts[len(wave)])


def test_lines_are_seeded_and_pairs_of_voice_and_emotion_come_up_alike() -> None:
    made = lines_of(TEXTS, VOICES, ACTED, 40, seed=3)
    assert sorted(line.text for line in made) == sorted(TEXTS)
    assert set(Counter((line.voice, line.emotion) for line in made).values()) == {10}
    assert all(0.75 <= line.rate <= 1.35 for line in made) and len({line.rate for line in made}) > 30
    assert len({line.seed for line in made}) == 40
    assert made == lines_of(TEXTS, VOICES, ACTED, 40, seed=3) != lines_of(TEXTS, VOICES, ACTED, 40, seed=4)
    with pytest.raises(UsageError, match="expected 1 to 40"):
        lines_of(TEXTS, VOICES, ACTED, 41, seed=0)


def test_calm_is_the_voice_as_it_is_and_the_others_are_asked_for_in_full() -> None:
    happy, calm = (Line("a", "anna", e, 1.1, 5).request(TINY) for e in ("happy", "calm"))
    assert happy.emotion == tuple(float(name == "happy") for name in EMOTIONS)
    assert calm.emotion is not None and not any(calm.emotion)
    assert (happy.rate, happy.sampling and happy.sampling.seed) == (1.1, 5)


def test_the_bundles_take_turns_and_none_is_always_first() -> None:
    order = list(turns(["a", "b", "c"], 4))
    assert order[:6] == [(0, "a"), (0, "b"), (0, "c"), (1, "b"), (1, "c"), (1, "a")]
    assert Counter(name for _, name in order) == {"a": 4, "b": 4, "c": 4}


def test_the_same_requests_reach_every_bundle_and_errors_are_paired() -> None:
    pytest.importorskip("jiwer")
    lines = [Line("one two three", "anna", "calm", 1.0, 0), Line("four", "bob", "happy", 1.0, 1)]
    a, b, c = Speaker(), Speaker(2), Speaker(3, refused="four")
    texts = {13_000: "one two three", 26_000: "one two", 39_000: "one", 4_000: "four", 8_000: "for"}
    bundles: Any = {"a": a, "b": b, "c": c}
    found = compare(bundles, lines, hears(texts))
    assert {r.text: r for r in a.log} == {r.text: r for r in b.log} == {r.text: r for r in c.log}
    one, two, three = (found["bundles"][name] for name in "abc")
    assert one["wer"]["estimate"] == 0 and "wer_difference" not in one
    assert two["wer"]["estimate"] == two["wer_difference"]["estimate"] == pytest.approx(2 / 4)
    assert two["length_ratio"]["estimate"] == 2 and two["same_codes"] == 0 and one["failed"] == 0
    assert three["wer"]["estimate"] == pytest.approx(3 / 4)  # the refused one counts as not heard
    assert (three["failed"], three["cut"], one["cut"]) == (1, 1, 0)
    assert three["length_ratio"]["estimate"] == 3  # of what was made
    assert two["wer_by_voice"] == {"anna": pytest.approx(1 / 3), "bob": 1.0}
    assert found["lines"][1]["heard"]["b"]["text"] == "for"
    rows = table({**found, "recogniser": "r"})
    assert [column.header for column in rows.columns] == ["", "a", "b", "c"]


def test_equal_codes_are_counted() -> None:
    heard = [Heard(WordErrors(0, 0, 0, 1), "", 1.0, 0.5, codes, "stop") for codes in ((1, 2), (3,))]
    other = [Heard(WordErrors(0, 0, 0, 1), "", 1.0, 0.5, codes, "stop") for codes in ((1, 2), (4,))]
    lines = [Line("a", "anna", "calm", 1.0, n) for n in (0, 1)]
    found = figures(lines, other, heard)
    assert found["same_codes"] == 1 and found["rtf"] == 0.5
    assert not found["wer_difference"]["estimate"]


def test_intervals_read_as_such() -> None:
    one = {"estimate": 0.125, "low": 0.1, "high": 0.15, "level": 0.95}
    assert span(one, "{:+.1%}") == "+12.5% (+10.0% to +15.0%)"
    assert span(None, "{}") == ""


def test_texts_are_lines(tmp_path: Path) -> None:
    (tmp_path / "texts").write_text("One.\n\n  Two. \n")
    assert read_texts(tmp_path / "texts") == ["One.", "Two."]
    with pytest.raises(UsageError, match="cannot be read"):
        read_texts(tmp_path / "none")
