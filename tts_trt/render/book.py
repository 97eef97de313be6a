"""A book as plain text or light Markdown: chapters, and passages that are to sound their best.

    # The ferry                 a chapter (# or ##; in plain text a line of its own such as "Chapter 4")
    ### At noon                 a title within one
    The **last** boat left.     the sentence is a key passage, and so is every one of
    > a quotation
    ---                         a change of scene

Key passages by rule (``KeyRules``): titles, sentences with quoted speech (double quotation marks), first and last of a chapter.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from tts_trt.errors import TextError
from tts_trt.frontend.text import sentences
from tts_trt.policy import KeyRules

Ending = Literal["sentence", "paragraph", "scene", "title", "chapter"]

_CHAPTER = re.compile(r"#{1,2}\s+(.+?)\s*#*\s*$")
_TITLE = re.compile(r"#{3,6}\s+(.+?)\s*#*\s*$")
_SCENE = re.compile(r"\s*([-*_])(?:\s*\1){2,}\s*$")
_QUOTE = re.compile(r"^\s*>\s?")
_BULLET = re.compile(r"^\s*[-*+]\s+")
_PLAIN_CHAPTER = re.compile(
    r"(?:chapter|part|book)\s+(?:[ivxlcdm]+|\d+|[a-z]+(?:-[a-z]+)?)(?:\s*[:.\-–—]\s*.{1,60})?\s*$|prologue\s*$|epilogue\s*$",
    re.IGNORECASE,
)
_IMAGE, _LINK = re.compile(r"!\[[^\]]*\]\([^)]*\)"), re.compile(r"\[([^\]]+)\]\([^)]*\)")
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_INITIAL = re.compile(r"(?<![A-Za-z])([A-HJ-Z])\.(?=\s+[A-Z])")  # whose full stop would end a sentence
_STRONG = "**"


@dataclass(frozen=True)
class Passage:
    """A sentence. ``key`` says why it is a key passage, and is empty in narration."""

    text: str
    key: str
    ending: Ending


@dataclass(frozen=True)
class Chapter:
    title: str
    passages: tuple[Passage, ...]


@dataclass(frozen=True)
class Book:
    chapters: tuple[Chapter, ...]


@dataclass(frozen=True)
class _Block:
    kind: Literal["chapter", "title", "paragraph", "quotation", "scene"]
    text: str


def parse_book(text: str, rules: KeyRules) -> Book:
    """Chapters in order; text before the first title is a chapter without one. TextError where nothing can be spoken."""
    titled: list[tuple[str, list[_Block]]] = [("", [])]
    for block in _blocks(_COMMENT.sub("", text)):
        if block.kind == "chapter":
            titled.append((block.text, []))
        titled[-1][1].append(block)
    chapters = [Chapter(title, _passages(blocks, rules)) for title, blocks in titled]
    spoken = tuple(chapter for chapter in chapters if chapter.passages)
    if not spoken:
        raise TextError("the book holds nothing that can be spoken", hint="give at least one sentence")
    return Book(spoken)


def _blocks(text: str) -> Iterator[_Block]:
    lines: list[str] = []
    quoted = False

    def flush() -> Iterator[_Block]:
        nonlocal lines
        if lines:
            joined, alone = " ".join(lines), len(lines) == 1
            if alone and not quoted and _PLAIN_CHAPTER.match(joined):
                yield _Block("chapter", joined)
            else:
                yield _Block("quotation" if quoted else "paragraph", joined)
        lines = []

    for line in text.split("\n"):
        stripped = line.strip()
        quote = bool(_QUOTE.match(line))
        starts = quote != quoted or bool(_BULLET.match(line))
        chapter, title = _CHAPTER.match(stripped), _TITLE.match(stripped)
        if not stripped or starts or chapter or title or _SCENE.match(line):
            yield from flush()
        quoted = quote
        if chapter:
            yield _Block("chapter", _plain(chapter[1]))
        elif title:
            yield _Block("title", _plain(title[1]))
        elif _SCENE.match(line):
            yield _Block("scene", "")
        elif words := _plain(_BULLET.sub("", _QUOTE.sub("", line))).strip():
            lines.append(words)
        else:
            yield from flush()  # an empty line of a quotation parts its paragraphs
    yield from flush()


def _plain(line: str) -> str:
    return _LINK.sub(r"\1", _IMAGE.sub("", line)).replace("`", "")


def _passages(blocks: list[_Block], rules: KeyRules) -> tuple[Passage, ...]:
    made: list[Passage] = []
    for block in blocks:
        if block.kind == "scene":
            if made and made[-1].ending == "paragraph":
                made[-1] = replace(made[-1], ending="scene")
            continue
        if block.kind in ("chapter", "title"):
            whole = [Passage(block.text.replace(_STRONG, ""), "title" if rules.titles else "", "title")]
        else:
            whole = [
                Passage(_INITIAL.sub(r"\1", sentence.replace(_STRONG, "")), key, "sentence")
                for sentence, key in _sentences(block, rules)
            ]
        spoken = [passage for passage in whole if any(c.isalnum() for c in passage.text)]
        if spoken and block.kind not in ("chapter", "title"):
            spoken[-1] = replace(spoken[-1], ending="paragraph")
        made += spoken
    return tuple(_edged(made, rules))


def _sentences(block: _Block, rules: KeyRules) -> Iterator[tuple[str, str]]:
    """Each with the reason why it is a key passage."""
    strong = quoted = False
    unclosed = block.text.count(_STRONG) % 2 == 1
    for sentence in sentences(block.text):
        stars, (marks, quoted_next) = sentence.count(_STRONG), _speech(sentence, quoted)
        if (stars or strong) and not unclosed:
            key = "marked"
        elif block.kind == "quotation":
            key = "quotation"
        elif rules.quoted_speech and marks:
            key = "quoted speech"
        else:
            key = ""
        yield sentence, key
        strong, quoted = strong ^ (stars % 2 == 1), quoted_next


def _speech(sentence: str, inside: bool) -> tuple[bool, bool]:
    """Whether a sentence has quoted speech in it, and whether that goes on in the next."""
    touched = inside
    for mark in re.findall('["“”«»„]', sentence):
        inside = not inside if mark == '"' else mark in "“«„"
        touched = True
    return touched, inside


def _edged(made: list[Passage], rules: KeyRules) -> list[Passage]:
    """The first and the last sentence of a chapter are key passages by rule; its last passage ends it."""
    told = [i for i, passage in enumerate(made) if passage.ending != "title"]
    for rule, place, why in (
        (rules.first_sentence, 0, "first sentence"),
        (rules.last_sentence, -1, "last sentence"),
    ):
        if rule and told and not made[told[place]].key:
            made[told[place]] = replace(made[told[place]], key=why)
    if made:
        made[-1] = replace(made[-1], ending="chapter")
    return made
