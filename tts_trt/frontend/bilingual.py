"""English and Chinese text as people write it to what the official tokenizer was trained on.

    protect -> written numbers, dates, units as words (WeText grammars) -> restore -> punctuation

What the grammars would damage is swapped for marks that they pass through: hyphenated terms, foreign names in Chinese, pinyin
with a tone, and ``<word|reading>``, of which the reading is spoken as it stands.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from functools import lru_cache

from tts_trt.errors import LibraryError, TextError
from tts_trt.frontend.text import MAX_CHARACTERS

_HAN = re.compile(r"[\u4e00-\u9fff]")
_LATIN = re.compile(r"[a-zA-Z]")
_EMAIL = re.compile(r"[a-zA-Z0-9]+@[a-zA-Z0-9]+\.[a-zA-Z]+")

_INITIALS = "zh|ch|sh|[bpmfdtnlgkhjqxzcsryw]"
_FINALS = (
    "iang|iong|uang|ueng|[uüv]an|iao|ian|ing|uai|uan|ang|eng|ong|ai|ei|ao|ou|an|en|er|ia|ie|iu|in|ua|uo|ui|un|[uüv]e|[uüv]n|"
    "[aeiouüv]"
)
PINYIN = re.compile(rf"(?<![a-z])((?:{_INITIALS})?(?:{_FINALS})|ng)([1-5])", re.IGNORECASE)
"""A syllable and its tone, not within a word."""

_TERM = re.compile(r"\b[A-Za-z][A-Za-z0-9]*(?:-[A-Za-z0-9]+)+\b")
_HYPHEN = "<H>"
_NAME = re.compile(r"[\u4e00-\u9fff]+(?:[-·—][\u4e00-\u9fff]+){1,2}")
_READING = re.compile(r"<([^<>|]+)\|([^<>|]+)>")
_CONTRACTION = re.compile(r"\b(what|where|who|which|how|there|here|it|she|he|that|this)'s\b", re.IGNORECASE)

_SENTENCE = re.compile(r".*?(?:[.!?]\s|[。！？]|$)", re.DOTALL)
STRETCH = 400

_MARKS = {
    **dict.fromkeys("：；;，、:", ","), "。": ".", "！": "!", "？": "?", "\n": " ",
    **dict.fromkeys("·—～~", "-"), **dict.fromkeys("“”\"‘’（）()《》【】[]「」", "'"),
    **dict.fromkeys(("...", ",,,", "，，，", "……"), "…"),
}  # fmt: skip
_CHINESE_MARKS = {**_MARKS, "$": "."}

CJK = re.compile(
    r"([\u1100-\u11ff\u2e80-\ua4cf\ua840-\ud7af\uf900-\ufaff\ufe30-\ufe4f\uff65-\uffdc\U00020000-\U0002ffff])"
)
"""Characters that are a piece each."""


def is_chinese(text: str) -> bool:
    """Which grammar reads it: Chinese where there is a Han character, pinyin, a plain e-mail address, or no Latin letter."""
    return bool(
        _HAN.search(text) or not _LATIN.search(text) or _EMAIL.fullmatch(text.strip()) or PINYIN.search(text)
    )


def normalise(text: str, max_characters: int = MAX_CHARACTERS) -> str:
    """Words and the marks ``, . ! ? - ' …``. TextError for empty, over-long or unreadable text, LibraryError without WeText."""
    if len(text) > max_characters:
        raise TextError(
            f"the text has {len(text)} characters, expected at most {max_characters}",
            hint="split the text and synthesise the parts one after another",
        )
    text = _visible(text)
    if not text:
        raise TextError("the text is empty", hint="give at least one word")
    if len(text) == 1:
        return text
    chinese = is_chinese(text)
    text, readings = _hide(text, _READING, "r", lambda match: match.group(2))
    text = protect_terms(_CONTRACTION.sub(r"\1 is", text))
    syllables: list[str] = []
    names: list[str] = []
    if chinese:
        text, syllables = _hide(text, PINYIN, "p", lambda match: correct_pinyin(match.group(0)))
        text, names = _hide(text, _NAME, "n", lambda match: match.group(0))
    text = _grammar("zh" if chinese else "en", text).replace(_HYPHEN, "-")
    for kind, hidden in (("n", names), ("p", syllables), ("r", readings)):
        for number, original in enumerate(hidden):
            text = text.replace(_hidden(kind, number), original)
    spoken = _replace_marks(text, _CHINESE_MARKS if chinese else _MARKS).strip()
    if not any(unicodedata.category(c)[0] in "LN" for c in spoken):
        raise TextError(f"nothing can be spoken in {text[:40]!r}", hint="give at least one word")
    return spoken


def protect_terms(text: str) -> str:
    """``GPT-5-nano`` with its hyphens out of the grammars' reach."""
    return _TERM.sub(lambda match: match.group(0).replace("-", _HYPHEN), text)


def correct_pinyin(syllable: str) -> str:
    """After j, q and x the vocabulary writes the rounded vowel as V: ``ju4`` is JV4. Others stay as they are."""
    if syllable[0] not in "jqxJQX":
        return syllable
    return re.sub("[uü]", "v", syllable, flags=re.IGNORECASE).upper()


def spaced(text: str) -> str:
    """Every CJK character on its own, the rest in capitals."""
    return " ".join(part.strip() for part in CJK.split(text) if part.strip()).upper()


def _visible(text: str) -> str:
    for character in text:
        if unicodedata.category(character) == "Cs":
            raise TextError(
                f"the text holds the lone surrogate U+{ord(character):04X}, which is not a character",
                hint="read the file with its right encoding, usually UTF-8",
            )
    shown = "".join(" " if unicodedata.category(c) in ("Cc", "Zl", "Zp") else c for c in text)
    shown = "".join(c for c in shown if unicodedata.category(c) not in ("Cf", "Co", "Cn"))
    return re.sub(r"\s+", " ", shown).strip()


def _hide(
    text: str, pattern: re.Pattern[str], kind: str, kept: Callable[[re.Match[str]], str]
) -> tuple[str, list[str]]:
    """Matches become marks such as ``<p_a>``; what they stand for is returned in order."""
    hidden: list[str] = []

    def swap(match: re.Match[str]) -> str:
        hidden.append(kept(match))
        return _hidden(kind, len(hidden) - 1)

    return pattern.sub(swap, text), hidden


def _hidden(kind: str, number: int) -> str:
    """Of letters: the grammars read digits."""
    letters = ""
    while True:
        letters = chr(ord("a") + number % 26) + letters
        number = number // 26 - 1
        if number < 0:
            return f"<{kind}_{letters}>"


def _replace_marks(text: str, marks: dict[str, str]) -> str:
    pattern = "|".join(re.escape(mark) for mark in sorted(marks, key=len, reverse=True))
    return re.sub(pattern, lambda match: marks[match.group(0)], text)


def _grammar(language: str, text: str) -> str:
    grammar = _wetext(language)
    spoken = []
    for part in _stretches(text):
        try:
            spoken.append(grammar.normalize(part))
        except (AssertionError, RuntimeError, ValueError) as error:
            raise TextError(f"the text cannot be read as {language}: {part[:60]!r}") from error
    return " ".join(spoken)


def _stretches(text: str) -> list[str]:
    """Whole sentences of about ``STRETCH`` characters: the grammars' time grows faster than the text."""
    parts = [""]
    for sentence in _SENTENCE.findall(text):
        if parts[-1] and len(parts[-1]) + len(sentence) > STRETCH:
            parts.append("")
        parts[-1] += sentence
    return [part.strip() for part in parts if part.strip()]


@lru_cache(maxsize=2)
def _wetext(language: str):  # type: ignore[no-untyped-def]  # WeText is published without types
    try:
        from wetext import Normalizer
    except ImportError as error:
        raise LibraryError(
            "reading numbers, dates and units in English and Chinese needs WeText",
            hint="pip install 'tts-trt[indextts2]'",
        ) from error
    return Normalizer(lang=language, operator="tn", remove_erhua=False, remove_interjections=False)
