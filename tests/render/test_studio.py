"""Segments are spoken once, whatever ends the work, and again only where something they depend on has changed."""

from __future__ import annotations

import os
import resource
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.model.tiny import TINY
from tests.render.reader import Reader, hole, inspector, speaker
from tests.runtime.conftest import LEXICON, SYMBOLS
from tts_trt.errors import SynthesisError, TextError, TtsTrtError
from tts_trt.frontend.tokenizer import PhoneTokenizer
from tts_trt.journal import Journal
from tts_trt.policy import Audiobook, shipped
from tts_trt.render.audiobook import Cast, Segment, Studio, plan_segments
from tts_trt.render.book import parse_book
from tts_trt.runtime.plan import Planner
from tts_trt.runtime.request import Request
from tts_trt.runtime.sampling import SamplingParams
from tts_trt.spec import Limits

pytest.importorskip("pyloudnorm")

ASKED = Request("", "anna", sampling=SamplingParams())
SEGMENTS = [
    Segment(0, f"so it is {word}", "marked" if word == "two" else "", 0.2) for word in ("one", "two", "three")
]


def studio(journal: Journal, low: Reader, high: Reader, **depends: Any) -> Studio:
    cast = Cast(speaker(low), speaker(high, "fp32"), narration_takes=2, key_takes=2, seed=7)
    return Studio(journal, cast, ASKED, inspector(), depends)


def silent(phase: str, done: int, total: int) -> None: ...


def test_narration_and_key_passages_have_their_speakers(tmp_path: Path) -> None:
    low, high = Reader(), Reader()
    with Journal(tmp_path, "render") as journal:
        made = studio(journal, low, high).render(SEGMENTS, silent)
    assert [one.take.precision for one in made] == ["int8", "fp32", "int8"]
    assert [r.text for r in low.asked] == ["so it is one", "so it is three"]
    assert all(len(one.load()) == one.samples and one.heard.lufs for one in made)


def test_damage_is_caught_and_spoken_again(tmp_path: Path) -> None:
    low, high = Reader({0: hole, 1: hole}), Reader()
    with Journal(tmp_path, "render") as journal:
        first, *_ = studio(journal, low, high).render(SEGMENTS[:1], silent)
    assert [(t.precision, t.passed) for t in first.takes] == [
        ("int8", False),
        ("int8", False),
        ("fp32", True),
    ]
    assert not first.flagged and len({t.seed for t in first.takes}) == 3


def test_what_is_finished_is_found(tmp_path: Path) -> None:
    with Journal(tmp_path, "render") as journal:
        made = studio(journal, Reader(), Reader()).render(SEGMENTS, silent)
    seen: list[str] = []
    low, high = Reader(), Reader()
    with Journal(tmp_path, "render") as journal:
        again = studio(journal, low, high).render(SEGMENTS, lambda phase, done, total: seen.append(phase))
    assert not low.asked and not high.asked and seen == ["found"] * 3 + ["spoken"]
    assert [(a.takes, a.heard, a.wave.read_bytes()) for a in again] == [
        (m.takes, m.heard, m.wave.read_bytes()) for m in made
    ]


def test_an_error_in_the_middle_keeps_what_was_finished(tmp_path: Path) -> None:
    low = Reader({1: None, 2: None})
    with Journal(tmp_path, "render") as journal, pytest.raises(SynthesisError, match="in 4 takes"):
        studio(journal, low, Reader({1: None, 2: None})).render(SEGMENTS, silent)
    low, high = Reader(), Reader()
    with Journal(tmp_path, "render") as journal:
        studio(journal, low, high).render(SEGMENTS, silent)
    assert [r.text for r in low.asked] == ["so it is three"] and not high.asked


@pytest.mark.parametrize("damage", ["edit", "remove"])
def test_a_sound_that_is_not_as_it_was_written_is_spoken_again(tmp_path: Path, damage: str) -> None:
    with Journal(tmp_path, "render") as journal:
        made = studio(journal, Reader(), Reader()).render(SEGMENTS, silent)
    whole = made[2].wave.read_bytes()
    if damage == "edit":
        made[2].wave.write_bytes(whole[:-9] + b"something")
    else:
        made[2].wave.unlink()
    low = Reader()
    with Journal(tmp_path, "render") as journal:
        studio(journal, low, Reader()).render(SEGMENTS, silent)
    assert [r.text for r in low.asked] == ["so it is three"]
    assert made[2].wave.read_bytes() == whole


def test_only_what_changed_is_spoken_again(tmp_path: Path) -> None:
    with Journal(tmp_path, "render") as journal:
        studio(journal, Reader(), Reader(), voice="anna").render(SEGMENTS, silent)
    edited = [replace(SEGMENTS[0], text="so it was one"), *SEGMENTS[1:]]
    low, high = Reader(), Reader()
    with Journal(tmp_path, "render") as journal:
        studio(journal, low, high, voice="anna").render(edited, silent)
        assert [r.text for r in low.asked] == ["so it was one"] and not high.asked
        studio(journal, low, high, voice="paul").render(edited, silent)
        assert len(low.asked) == 3 and len(high.asked) == 1


def test_a_full_disk_keeps_what_was_finished(tmp_path: Path) -> None:
    with Journal(tmp_path, "render") as journal:
        made = studio(journal, Reader(), Reader()).render(SEGMENTS[:1], silent)
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
        try:
            with Journal(tmp_path, "render") as journal:
                studio(journal, Reader(), Reader()).render(SEGMENTS, silent)
        except TtsTrtError as error:
            os._exit(0 if "what is finished is kept" in str(error) else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert [path.name for path in (tmp_path / "waves").iterdir()] == [made[0].wave.name]
    low = Reader()
    with Journal(tmp_path, "render") as journal:
        studio(journal, low, Reader()).render(SEGMENTS, silent)
    assert [r.text for r in low.asked] == ["so it is three"]


def planned(text: str) -> list[Segment]:
    durations = {"lead": 0.05} | dict.fromkeys(SYMBOLS, 0.08)
    tokenizer = PhoneTokenizer({s: i for i, s in enumerate(SYMBOLS)}, LEXICON, durations)
    policy = shipped(Audiobook)
    return plan_segments(
        parse_book(text, policy.key_rules), Planner(tokenizer, TINY, Limits()), policy.pauses
    )


def test_passages_become_segments_with_pauses() -> None:
    pauses = shipped(Audiobook).pauses
    made = planned(
        "# See\n\nNo cat. See me, no bad cat, see me to no cat, no cat to see, bad cat to see me no.\n\nNo."
    )
    assert [s.text for s in made[:2]] == ["See", "No cat."]
    assert [s.pause for s in made[:2]] == [pauses.title, pauses.sentence]
    long = made[2:-1]
    assert len(long) > 1, "a sentence longer than the model holds is spoken in parts"
    assert [s.pause for s in long] == [pauses.clause] * (len(long) - 1) + [pauses.paragraph]
    assert (made[-1].text, made[-1].pause, made[-1].key) == ("No.", pauses.chapter, "last sentence")


def test_what_cannot_be_spoken_is_named_with_its_chapter() -> None:
    with pytest.raises(TextError, match="See me: 'No Москва cat.': this voice cannot speak 'М'"):
        planned("# See me\n\nNo Москва cat.")


def test_waves_are_kept_in_24_bits(tmp_path: Path) -> None:
    reader = Reader()
    with Journal(tmp_path, "render") as journal:
        (made,) = studio(journal, reader, Reader()).render(SEGMENTS[:1], silent)
    spoken = Reader().synthesize(replace(ASKED, sampling=reader.asked[0].sampling)).wave
    np.testing.assert_allclose(made.load(), spoken, atol=2**-22)
