"""English and Chinese text: which grammar reads it, what it makes of numbers, what it must leave alone."""

from __future__ import annotations

import json
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.parity import FOLDER
from tts_trt.errors import LibraryError, TextError
from tts_trt.frontend import bilingual
from tts_trt.frontend.bilingual import (
    PINYIN,
    STRETCH,
    correct_pinyin,
    is_chinese,
    normalise,
    protect_terms,
    spaced,
)

pytest.importorskip("wetext")

RULES = json.loads((FOLDER / "text_and_emotion_rules.json").read_text())["text_rules"]


@pytest.mark.parametrize("rule", RULES, ids=[rule["text"] for rule in RULES])
def test_the_rules_are_the_references(rule: dict) -> None:
    text = rule["text"]
    assert is_chinese(text) == rule["use_chinese"]
    assert spaced(text) == rule["cjk_spaced"]
    found = sorted({match.group(0) for match in PINYIN.finditer(text)})
    assert found == rule["pinyin_found"]
    assert sorted(correct_pinyin(syllable) for syllable in found) == rule["pinyin_corrected"]
    assert protect_terms(text) == rule["tech_terms_protected"]


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ("He's 42.", "He is forty two."),
        ("I paid $3.50 at 9:30", "I paid three point five dollars at nine thirty"),
        ("今天是2024年5月1日，气温25℃。", "今天是二零二四年五月一日,气温二十五摄氏度."),
        ("受不liao3你了，ju4子", "受不liao3你了,JV4子"),
        ("克里斯托弗·诺兰来了！", "克里斯托弗-诺兰来了!"),
        ("<Lead|LED> is heavy; (really)...", "LED is heavy, 'really'…"),
        ("儿子在这儿呢，嗯", "儿子在这儿呢,嗯"),  # neither erhua nor interjections are dropped
        ("  two \n\n lines\there ", "two lines here"),
        ("A", "A"),
    ],
)
def test_what_is_written_is_what_is_spoken(text: str, spoken: str) -> None:
    assert normalise(text) == spoken


@pytest.mark.parametrize(
    ("text", "words"),
    [("", "empty"), ("\u200b \n", "empty"), ("?!...", "nothing can be spoken"), ("x" * 20_001, "20001"),
     ("a\ud800", "surrogate")],
)  # fmt: skip
def test_what_cannot_be_spoken_is_refused(text: str, words: str) -> None:
    with pytest.raises(TextError, match=words):
        normalise(text)


def test_a_long_text_is_read_in_stretches_and_loses_nothing() -> None:
    sentence = "We counted 12 boats on the river. "
    text = sentence * 40
    assert len(text) > 3 * STRETCH
    assert normalise(text) == ("We counted twelve boats on the river. " * 40).strip()


def test_without_the_library_its_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wetext", None)
    bilingual._wetext.cache_clear()
    with pytest.raises(LibraryError, match="indextts2"):
        normalise("two words")
    bilingual._wetext.cache_clear()


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=40))
def test_any_text_gives_words_or_a_text_error(text: str) -> None:
    try:
        spoken = normalise(text)
    except TextError:
        return
    assert spoken and "\n" not in spoken
