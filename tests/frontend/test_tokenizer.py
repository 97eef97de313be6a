"""The phone tokenizer: known words as phones, inflected ones by rule, the rest as letters."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tts_trt
from tts_trt.errors import BundleError, TextError
from tts_trt.frontend.text import normalise
from tts_trt.frontend.tokenizer import BOUNDARY, LEAD, MARKS, MAX_SYMBOLS, STOP_TEXT, PhoneTokenizer

ASSETS = Path(tts_trt.__file__).parent / "assets" / "nano"
TOKENIZER = PhoneTokenizer.from_dir(ASSETS)
VOCABULARY = (ASSETS / "vocabulary.txt").read_text(encoding="utf-8").split()


def spoken(text: str) -> str:
    return " ".join(TOKENIZER.decode(TOKENIZER.encode(text)))


def test_the_shipped_tables_belong_together() -> None:
    assert len(VOCABULARY) >= 850
    assert VOCABULARY == sorted(set(VOCABULARY)) == sorted(TOKENIZER.lexicon)
    assert len(TOKENIZER) <= MAX_SYMBOLS
    assert TOKENIZER.symbols[:2] == ("<start_text>", "<stop_text>")
    assert set(TOKENIZER.durations) == {*TOKENIZER.symbols[2:], LEAD}
    vowels = [seconds for phone, seconds in TOKENIZER.durations.items() if phone in ("aa", "iy", "ow", "uw")]
    assert all(0.05 < seconds < 0.25 for seconds in vowels)


@pytest.mark.parametrize(
    ("text", "symbols"),
    [
        ("the cat, now", "dh ax _ k ae t , n aw ."),
        ("The apple", "dh iy _ ae p ax l ."),
        ("the, apple", "dh ax , ae p ax l ."),
        ("Go!", "g ow !"),
        ("Is it?", "ih z _ ih t ?"),
        ("no,. yes", "n ow , y eh s ."),
        ("can't", "k ae n t ."),
    ],
)
def test_words_boundaries_and_marks(text: str, symbols: str) -> None:
    assert spoken(text) == symbols


@pytest.mark.parametrize(
    ("word", "symbols"),
    [
        ("cat's", "k ae t s ."),
        ("bob's", "b aa b z ."),
        ("queen's", "k w iy n z ."),
        ("church's", "ch er ch ax z ."),
        ("lamped", "l ae m p t ."),
        ("handed", "hh ae n d ax d ."),
        ("carding", "k aa r d ih ng ."),
        ("mapping", "m ae p ih ng ."),
    ],
)
def test_inflections_of_known_words(word: str, symbols: str) -> None:
    assert spoken(word) == symbols


def test_unknown_words_are_spelt() -> None:
    assert spoken("quark y'all") == "@q @u @a @r @k _ @y @a @l @l ."


def test_letters_can_be_forced() -> None:
    ids = TOKENIZER.encode("the cat sat", letters=lambda word: word == "cat")
    assert " ".join(TOKENIZER.decode(ids)) == "dh ax _ @c @a @t _ s ae t ."
    assert [word.spelt for word in TOKENIZER.words("the cat sat", lambda word: word == "cat")] == [
        False,
        True,
        False,
    ]


@pytest.mark.parametrize("text", ["", "?!", "'"])
def test_no_words_is_an_error(text: str) -> None:
    with pytest.raises(TextError, match="no words"):
        TOKENIZER.encode(text)


@settings(deadline=None)
@given(st.text(alphabet=st.sampled_from("abcdeghilmnorstuyz'   ,.?!029"), min_size=1, max_size=60))
def test_ids_are_in_range_and_shaped(text: str) -> None:
    try:
        ids = TOKENIZER.encode(normalise(text))
    except TextError:
        return
    assert ids.dtype == np.int64 and ids.ndim == 1
    assert ids.min() > STOP_TEXT and ids.max() < len(TOKENIZER)
    symbols = TOKENIZER.decode(ids)
    assert symbols[-1] in MARKS and symbols[0] not in MARKS + BOUNDARY
    separators = [symbol in MARKS + BOUNDARY for symbol in symbols]
    assert not any(a and b for a, b in itertools.pairwise(separators))


def test_natural_seconds_follows_text_and_rate() -> None:
    short, long = (
        TOKENIZER.natural_seconds(text) for text in ("we go", "we go home, and we sleep in the old house")
    )
    assert 0.3 < short < 0.9 and 2.0 < long < 4.0
    assert TOKENIZER.natural_seconds("we go home", rate=2.0) == pytest.approx(
        TOKENIZER.natural_seconds("we go home") / 2
    )
    assert TOKENIZER.natural_seconds("yes, we go") > TOKENIZER.natural_seconds("yes we go") + 0.05


def test_broken_tables_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="tokenizer.json is missing"):
        PhoneTokenizer.from_dir(tmp_path)
    for name in ("tokenizer.json", "lexicon.json", "durations.json"):
        (tmp_path / name).write_text(json.dumps({"a": 0, "b": 2} if name == "tokenizer.json" else {}))
    with pytest.raises(BundleError, match="symbol ids"):
        PhoneTokenizer.from_dir(tmp_path)
    (tmp_path / "tokenizer.json").write_text("[1]")
    with pytest.raises(BundleError, match="expected an object"):
        PhoneTokenizer.from_dir(tmp_path)
    with pytest.raises(BundleError, match="qq"):
        PhoneTokenizer({"a": 0, "b": 1}, {"word": ["qq"]}, {})
