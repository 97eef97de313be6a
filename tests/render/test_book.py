"""Books to chapters and passages: what is marked, what rules find, and what is left out."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tts_trt.errors import TextError
from tts_trt.policy import KeyRules
from tts_trt.render.book import Book, parse_book

NONE = KeyRules(titles=False, quoted_speech=False, first_sentence=False, last_sentence=False)
ALL = KeyRules(titles=True, quoted_speech=True, first_sentence=True, last_sentence=True)

BOOK = """\
Before all chapters.

# The *ferry* #

It left at nine. Mr. Smith said, "We are late. Run!" and ran.
The **old man** stood there.
J. R. Brown came at 3.30 p.m. on a
Monday. See [the map](http://x.org/a_b) and `this`.

> All good things come.
> To those who wait.

---

- Bread.
* Milk.

### At noon

**The sun. It was** high. Nobody <!-- not
this --> spoke.

Chapter 12: The return

They came.
"""


def lines(book: Book) -> list[tuple[str, str, str]]:
    return [(p.text, p.key, p.ending) for chapter in book.chapters for p in chapter.passages]


def test_chapters_in_markdown_and_in_plain_text() -> None:
    assert [c.title for c in parse_book(BOOK, ALL).chapters] == ["", "The *ferry*", "Chapter 12: The return"]
    plain = parse_book("PROLOGUE\n\nOne.\n\nChapter IV\n\nTwo. Chapter 5\n\nPart of it was true.", NONE)
    assert [c.title for c in plain.chapters] == ["PROLOGUE", "Chapter IV"]
    assert [p.text for p in plain.chapters[1].passages] == [
        "Chapter IV",
        "Two.",
        "Chapter 5",
        "Part of it was true.",
    ]


def test_only_what_is_marked_is_a_key_passage_without_rules() -> None:
    keys = {text: key for text, key, _ in lines(parse_book(BOOK, NONE)) if key}
    assert keys == {
        "The old man stood there.": "marked",
        "All good things come.": "quotation",
        "To those who wait.": "quotation",
        "The sun.": "marked",
        "It was high.": "marked",
    }


def test_rules_find_titles_speech_and_edges() -> None:
    found = {text: key for text, key, _ in lines(parse_book(BOOK, ALL))}
    assert found["At noon"] == found["The *ferry*"] == "title"
    assert found["It left at nine."] == found["Before all chapters."] == "first sentence"
    assert found['Mr. Smith said, "We are late.'] == found['Run!" and ran.'] == "quoted speech"
    assert found["Nobody  spoke."] == "last sentence"
    assert found["Bread."] == ""


def test_pauses_follow_the_structure() -> None:
    endings = {text: ending for text, _, ending in lines(parse_book(BOOK, NONE))}
    assert endings["It left at nine."] == "sentence"
    assert endings["See the map and this."] == "paragraph"
    assert endings["To those who wait."] == "scene"
    assert endings["Bread."] == endings["Milk."] == "paragraph"
    assert endings["At noon"] == endings["The *ferry*"] == "title"
    assert endings["Nobody  spoke."] == endings["They came."] == "chapter"


def test_abbreviations_and_initials_end_no_sentence() -> None:
    texts = [text for text, _, _ in lines(parse_book(BOOK, NONE))]
    assert "J R Brown came at 3.30 p.m. on a Monday." in texts
    assert not any(text.endswith("Mr.") for text in texts)


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ('He said "one. Two. three" and left. Four.', ["quoted speech", "quoted speech", ""]),
        ("“One. Two.” Three.", ["quoted speech", "quoted speech", ""]),
        ("A **b. C** d. E.", ["marked", "marked", ""]),
        ("A **bee. Cat. Dog** ran. Fox.", ["marked", "marked", "marked", ""]),
        ("A **b. C.", ["", ""]),  # never closed
        ("It's the dogs' day. Don't.", ["", ""]),
    ],
)
def test_spans_reach_over_sentences(text: str, keys: list[str]) -> None:
    rules = KeyRules(titles=False, quoted_speech=True, first_sentence=False, last_sentence=False)
    assert [key for _, key, _ in lines(parse_book(text, rules))] == keys


@pytest.mark.parametrize(
    "text", ["", "\n\n", "---\n***", "# \n> ", "...\n\n** **", "![](x.png)", "<!-- a -->"]
)
def test_a_book_without_words_is_an_error(text: str) -> None:
    with pytest.raises(TextError, match="nothing that can be spoken"):
        parse_book(text, ALL)


PIECES = st.sampled_from(
    [
        "# ",
        "## x",
        "> ",
        "- ",
        "---",
        "**",
        '"',
        "“",
        "”",
        "\n",
        "\n\n",
        " ",
        "word",
        "Mr. ",
        "A. ",
        "It is. ",
        "!",
        "[",
    ]
)


@given(st.lists(PIECES, max_size=30).map("".join) | st.text(max_size=80))
def test_any_text_is_a_book_or_an_error_and_no_word_is_lost(text: str) -> None:
    try:
        book = parse_book(text, ALL)
    except TextError:
        assert not re.search("word|It is", text) or "<!--" in text
        return
    joined = " ".join(p for p, _, _ in lines(book))
    assert joined.count("word") == text.count("word") and joined.count("It is") == text.count("It is")
    assert all(chapter.passages and chapter.passages[-1].ending == "chapter" for chapter in book.chapters)
