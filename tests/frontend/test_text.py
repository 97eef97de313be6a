"""Normalisation and splitting: what people type becomes what a voice can say, or a TextError."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tts_trt.errors import TextError
from tts_trt.frontend.text import normalise, split_segments

PLAIN = re.compile(r"[A-Za-z' ,.?!]+")
typed = st.text(alphabet=st.sampled_from("aAbistvmrcgeoun 0123459.,?!'-–—:;/$£%()&#@\"’…\n"), max_size=60)


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ("It’s “fine” — really?!", "It's fine, really?"),
        ("Wait… what", "Wait. what"),
        ("  two\n\tlines\u00a0here ", "two lines here"),
        ("ﬁne ﬂour", "fine flour"),
        ("Café naïve Łódź straße", "Cafe naive Lodz strasse"),
        ("zero\u200bwidth so\u00adft", "zerowidth soft"),
        ("a well-known rock 'n' roll dogs' song", "a well known rock n roll dogs song"),
        ("one (two) three; four", "one, two, three, four"),
        ("Dr. Smith and Mrs. Jones, St. Peter", "Doctor Smith and Missus Jones, Saint Peter"),
        (
            "fruit, e.g. apples, etc. and i.e. food",
            "fruit, for example, apples, et cetera, and that is, food",
        ),
        ("at 10:30 a.m. now", "at ten thirty a m now"),
        ("at 9:05 or 7:00", "at nine oh five or seven o'clock"),
    ],
)
def test_writing(text: str, spoken: str) -> None:
    assert normalise(text) == spoken


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ("0", "zero"),
        ("21 cats", "twenty one cats"),
        ("1,234,567", "one million two hundred and thirty four thousand five hundred and sixty seven"),
        ("12345678901", "one two three four five six seven eight nine zero one"),
        ("007", "zero zero seven"),
        ("3.14", "three point one four"),
        ("-5 degrees", "minus five degrees"),
        ("the 1st, 22nd and 13th", "the first, twenty second and thirteenth"),
        ("in 1999 and 2010.", "in nineteen ninety nine and twenty ten."),
        ("pages 3-5", "pages three to five"),
        ("$1.01 and £20", "one dollar and one cent and twenty pounds"),
        ("£0.50, $5 million", "fifty pence, five million dollars"),
        ("100%", "one hundred percent"),
        ("x2", "x two"),
        ("9" * 400, "nine " * 399 + "nine"),
        ("9" * 400 + "th", "nine " * 399 + "nine"),
    ],
)
def test_numbers(text: str, spoken: str) -> None:
    assert normalise(text) == spoken


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", "empty"),
        (" \n\t ", "empty"),
        ("...?!", "nothing can be spoken"),
        ("—", "nothing can be spoken"),
        ("\u200b", "nothing can be spoken"),
        ("bell \x07", "U+0007"),
        ("null\x00", "U+0000"),
        ("half \ud83d", "U+D83D"),
        ("hello мир", "U+043C, CYRILLIC SMALL LETTER EM"),
        ("你好 hello", "U+4F60"),
        ("٣ cats", "ARABIC-INDIC DIGIT THREE"),
        ("fun 😀", "GRINNING FACE"),
        ("\ue000", "U+E000"),
        ("a" * 20_001, "20001 characters"),
    ],
)
def test_refusals_name_what_was_found(text: str, found: str) -> None:
    with pytest.raises(TextError) as refusal:
        normalise(text)
    assert found in str(refusal.value)
    assert refusal.value.hint


@settings(deadline=None)
@given(st.one_of(st.text(max_size=80), typed))
def test_anything_is_plain_text_or_a_text_error(text: str) -> None:
    try:
        spoken = normalise(text)
    except TextError:
        return
    assert PLAIN.fullmatch(spoken)
    assert spoken == spoken.strip()
    assert "  " not in spoken and not re.search(r"[,.?!]{2}| [,.?!]", spoken)


@settings(deadline=None)
@given(typed)
@example("mr.")
@example("mr ,. Smith")
@example("e.g. U.S. etc.")
@example("St. A. B. c")
def test_normalising_twice_changes_nothing(text: str) -> None:
    try:
        once = normalise(text)
    except TextError:
        return
    assert normalise(once, max_characters=len(once)) == once


def test_split_keeps_sentences_apart() -> None:
    assert split_segments("One two. Three? Four!", 100) == ["One two.", "Three?", "Four!"]


def test_split_prefers_commas_then_words() -> None:
    text = "One two three, four five six, seven eight."
    assert split_segments(text, 30) == ["One two three, four five six,", "seven eight."]
    assert split_segments("one two three four", 9) == ["one two", "three", "four"]


def test_split_counts_in_the_units_it_is_given() -> None:
    assert split_segments("a b c d", 2, count=lambda part: len(part.split())) == ["a b", "c d"]


def test_split_never_cuts_a_word() -> None:
    with pytest.raises(TextError, match="'extraordinary'"):
        split_segments("an extraordinary day", 10)


@settings(deadline=None)
@given(
    st.lists(st.sampled_from(["a", "cat", "sat,", "down.", "why?", "no!"]), min_size=1, max_size=40),
    st.integers(5, 30),
)
def test_split_loses_nothing(words: list[str], limit: int) -> None:
    text = " ".join(words)
    segments = split_segments(text, limit)
    assert " ".join(segments) == text
    assert all(0 < len(segment) <= limit for segment in segments)
