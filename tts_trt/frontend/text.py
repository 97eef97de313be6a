"""English text as people write it to what a voice speaks: letters, apostrophes, spaces, ``,.?!``."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

from num2words import num2words

from tts_trt.errors import TextError

MAX_CHARACTERS = 20_000
MAX_NUMBER = 999_999_999  # larger ones are read digit by digit

_QUOTES = dict.fromkeys("’‘‛ʼʹ′`´", "'")
_DASHES = dict.fromkeys("‐‑‒–—―−", "-")
_SPELT_LETTERS = {
    "ß": "ss",
    "æ": "ae",
    "Æ": "Ae",
    "œ": "oe",
    "Œ": "Oe",
    "ø": "o",
    "Ø": "O",
    "ł": "l",
    "Ł": "L",
    "đ": "d",
    "Đ": "D",
    "ð": "th",
    "Ð": "Th",
    "þ": "th",
    "Þ": "Th",
    "ı": "i",
}
_SYMBOLS = {
    "&": " and ",
    "%": " percent ",
    "+": " plus ",
    "=": " equals ",
    "@": " at ",
    "#": " number ",
    "$": " dollars ",
    "£": " pounds ",
    "€": " euros ",
    "°": " degrees ",
    "×": " times ",
    "÷": " over ",
    ";": ",",
    ":": ",",
    "(": ",",
    ")": ",",
    "[": ",",
    "]": ",",
    "{": ",",
    "}": ",",
    "⁄": "/",
    "…": ".",
}
_SILENT = frozenset('"“”„‟«»‹›*_~^|\\<>•·¡¿')
_AFTER_NUMBERS = frozenset("&%+=@#$£€°×÷;:()[]{}")
_BEFORE_NFKC = str.maketrans({"´": "'", "‘": "'", "№": " number ", "℃": "° Celsius", "℉": "° Fahrenheit"})
_CURRENCY = {"$": ("dollar", "cent"), "£": ("pound", "penny"), "€": ("euro", "cent")}
_ABBREVIATIONS = {
    "mr": "Mister",
    "mrs": "Missus",
    "ms": "Miss",
    "dr": "Doctor",
    "prof": "Professor",
    "jr": "Junior",
    "sr": "Senior",
    "vs": "versus",
    "approx": "approximately",
    "dept": "department",
    "gen": "General",
    "capt": "Captain",
    "lt": "Lieutenant",
    "sgt": "Sergeant",
    "rev": "Reverend",
    "ave": "Avenue",
    "blvd": "Boulevard",
    "inc": "incorporated",
    "ltd": "limited",
}

_NUMBER = r"\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?"
_MONEY = re.compile(rf"([$£€])\s?({_NUMBER})(?:\s(hundred|thousand|million|billion)\b)?")
_CLOCK = re.compile(r"\b([01]?\d|2[0-3]):([0-5]\d)(?!\d|:\d)")
_ORDINAL = re.compile(r"\b(\d{1,3}(?:,\d{3})+|\d+)(st|nd|rd|th)\b", re.IGNORECASE)
_YEAR = re.compile(r"(?<![\d.,/-])(1[1-9]\d\d|20\d\d)(?![\d/]|[.,]\d)")
_ANY_NUMBER = re.compile(rf"(?:(?<![\w)])-(?=\d))?(?:{_NUMBER})")
_PUNCTUATION = re.compile(r"[\s,.?!]*[,.?!][\s,.?!]*")
_STRAY_APOSTROPHE = re.compile(r"(?<![A-Za-z])'+|'+(?![A-Za-z])|(?<=')'+")
_SENTENCE_END = re.compile(r"(?<=[.?!])\s+")
_WRITTEN_END = re.compile(r"""([^\s.?!…]*)([.?!…]+)["'”’»)\]*_]*\s+(?=["'“‘«(\[*_]*([^\s"'“‘«(\[*_]))""")


def normalise(text: str, max_characters: int = MAX_CHARACTERS) -> str:
    """Text ready for the tokenizer.

    Raises TextError for empty, only-punctuation or over-long text and for characters no English voice speaks.
    """
    if len(text) > max_characters:
        raise TextError(
            f"the text has {len(text)} characters, expected at most {max_characters}",
            hint="split the text and synthesise the parts one after another",
        )
    if not text.strip():
        raise TextError("the text is empty", hint="give at least one word")
    plain = "".join(_plain(character) for character in _compose(text))
    spoken = _expand_symbols(_expand_numbers(plain))
    result = _tidy(_expand_abbreviations(_tidy(spoken)))
    if not re.search("[A-Za-z]", result):
        raise TextError(
            f"nothing can be spoken in {text[:40]!r}", hint="give at least one word of letters or digits"
        )
    return result


def sentences(text: str) -> list[str]:
    """Sentences of a paragraph as it is written, quotation marks and stars of emphasis included. Neither an abbreviation
    nor an initial ends one, nor what goes on in lower case."""
    made, first = [], 0
    for match in _WRITTEN_END.finditer(text):
        word, mark, following = match.groups()
        word = word.lstrip("\"'“‘«([*_")
        shortened = mark == "." and (
            word.lower() in _ABBREVIATIONS or (len(word) == 1 and word.isupper() and word != "I")
        )
        if not (shortened or following.islower()):
            made.append(text[first : match.end()].strip())
            first = match.end()
    return [*made, text[first:].strip()] if text[first:].strip() else made


def split_segments(text: str, max_units: int, count: Callable[[str], int] = len) -> list[str]:
    """Normalised text as sentences of at most ``max_units``, measured by ``count`` (characters by default).

    A longer sentence is cut after a comma, else between words, never inside one. Joining the segments with
    spaces gives the text again. Raises TextError for a single word that is too long.
    """
    segments: list[str] = []
    for sentence in _SENTENCE_END.split(text.strip()):
        if count(sentence) <= max_units:
            segments.append(sentence)
            continue
        for clause in _pack(re.split(r"(?<=,)\s+", sentence), max_units, count):
            segments += [clause] if count(clause) <= max_units else _pack(clause.split(), max_units, count)
    for segment in segments:
        if count(segment) > max_units:
            raise TextError(
                f"the word {segment[:40]!r} alone takes {count(segment)} units, expected at most {max_units}",
                hint="break the word up, or raise the limit",
            )
    return segments


def _pack(parts: list[str], max_units: int, count: Callable[[str], int]) -> list[str]:
    """Join neighbours while they fit."""
    packed = [parts[0]]
    for part in parts[1:]:
        joined = f"{packed[-1]} {part}"
        if count(joined) <= max_units:
            packed[-1] = joined
        else:
            packed.append(part)
    return packed


def _compose(text: str) -> str:
    for character in text:
        if unicodedata.category(character) == "Cs":
            raise TextError(
                f"the text holds the lone surrogate U+{ord(character):04X}, which is not a character",
                hint="read the file with its right encoding, usually UTF-8",
            )
    # NFKC would take these apart into a space and an accent, or into plain letters.
    return unicodedata.normalize("NFKC", text.translate(_BEFORE_NFKC))


def _plain(character: str) -> str:
    """One composed character as ASCII; symbols that numbers depend on are kept for later."""
    if character.isascii() and (
        character.isalnum() or character in " ,.?!'-/" or character in _AFTER_NUMBERS
    ):
        return character
    if character.isspace():
        return " "
    if character in _SILENT:
        return " "
    if character in _AFTER_NUMBERS:
        return character
    if character in _DASHES:
        return " - " if character in "–—―" else "-"
    for table in (_QUOTES, _SPELT_LETTERS, _SYMBOLS):
        if character in table:
            return table[character]
    category = unicodedata.category(character)
    if category in ("Cf", "Mn"):
        return ""
    stripped = "".join(c for c in unicodedata.normalize("NFKD", character) if unicodedata.category(c) != "Mn")
    if stripped.isascii() and stripped.isalpha():
        return stripped
    raise _unspeakable(character, category)


def _unspeakable(character: str, category: str) -> TextError:
    name = unicodedata.name(character, "control character" if category == "Cc" else "unnamed")
    shown = "" if category == "Cc" else f"{character!r} "
    return TextError(
        f"this voice cannot speak {shown}(U+{ord(character):04X}, {name}); expected English text",
        hint="remove the character, or use a model trained on that language",
    )


def _expand_numbers(text: str) -> str:
    text = re.sub(r"\b[Nn]o\.\s?(?=\d)", "number ", text)
    text = _MONEY.sub(_money, text)
    text = _CLOCK.sub(_clock, text)
    text = _ORDINAL.sub(lambda match: f" {_ordinal(match.group(1))} ", text)
    text = re.sub(r"(?<=\d)\s?-\s?(?=\d)", " to ", text)
    text = _YEAR.sub(lambda match: f" {_words(num2words(int(match.group(1)), to='year'))} ", text)
    text = re.sub(r"(?<=\d)/(?=\d)", " over ", text)
    return _ANY_NUMBER.sub(lambda match: f" {_number(match.group(0))} ", text)


def _number(digits: str) -> str:
    sign = "minus " if digits.startswith("-") else ""
    whole, _, fraction = digits.lstrip("-").replace(",", "").partition(".")
    if int(whole) > MAX_NUMBER or (len(whole) > 1 and whole.startswith("0")):
        spoken = _digits(whole)
    else:
        spoken = _words(num2words(int(whole)))
    return f"{sign}{spoken}" + (f" point {_digits(fraction)}" if fraction else "")


def _digits(digits: str) -> str:
    return " ".join(num2words(int(digit)) for digit in digits)


def _words(spoken: str) -> str:
    return spoken.replace(",", "").replace("-", " ")


def _ordinal(digits: str) -> str:
    value = int(digits.replace(",", "")) if len(digits) <= len("999,999,999") else MAX_NUMBER + 1
    return _words(num2words(value, to="ordinal")) if value <= MAX_NUMBER else _digits(digits.replace(",", ""))


def _money(match: re.Match[str]) -> str:
    unit, part = _CURRENCY[match.group(1)]
    amount, scale = match.group(2), match.group(3)
    whole, _, fraction = amount.partition(".")
    if scale or len(fraction) not in (0, 2):
        return f" {_number(amount)} {scale or ''} {unit}s "
    pieces = (
        [f"{_number(whole)} {unit if whole == '1' else unit + 's'}"] if int(whole.replace(",", "")) else []
    )
    if int(fraction or 0):
        pieces.append(f"{_number(str(int(fraction)))} {_plural(part, int(fraction))}")
    return f" {' and '.join(pieces) or f'zero {unit}s'} "


def _plural(part: str, amount: int) -> str:
    if amount == 1:
        return part
    return "pence" if part == "penny" else part + "s"


def _clock(match: re.Match[str]) -> str:
    hour, minute = int(match.group(1)), int(match.group(2))
    if minute == 0:
        return f" {num2words(hour)} o'clock "
    oh = "oh " if minute < 10 else ""
    return f" {num2words(hour)} {oh}{_words(num2words(minute))} "


def _expand_symbols(text: str) -> str:
    text = "".join(_SYMBOLS.get(character, character) for character in text)
    text = re.sub(r"\s-+\s|-{2,}", ", ", text)  # a dash is a pause, a hyphen is not
    return text.replace("-", " ").replace("/", " ")


def _expand_abbreviations(text: str) -> str:
    """On tidied text, where a full stop is followed by a space or the end."""
    text = re.sub(r"\be\. ?g\.,?(?: |$)", "for example, ", text, flags=re.IGNORECASE)
    text = re.sub(r"\bi\. ?e\.,?(?: |$)", "that is, ", text, flags=re.IGNORECASE)
    text = re.sub(r"\b([ap])\. ?m\.(?= [a-z])", r"\1 m", text, flags=re.IGNORECASE)
    text = re.sub(r"\betc\.(?= [a-z])", "et cetera,", text)
    text = re.sub(r"\betc\b", "et cetera", text)
    text = re.sub(r"\b(?:[A-Z]\. ){2,}(?=[a-z])", lambda match: match.group(0).replace(".", ""), text)
    names = "|".join(_ABBREVIATIONS)
    text = re.sub(
        rf"\b({names})\.(?= )",
        lambda match: _ABBREVIATIONS[match.group(1).lower()],
        text,
        flags=re.IGNORECASE,
    )
    return re.sub(r"\bSt\. (?=[A-Z])", "Saint ", text)  # last: a title may follow


def _tidy(text: str) -> str:
    """Single spaces, one mark at a time (the strongest of a run) then a space, apostrophes inside words."""
    text = _STRAY_APOSTROPHE.sub(" ", text)
    text = _PUNCTUATION.sub(_strongest, text)
    return re.sub(r"\s+", " ", text).strip(" ,.?!") + _closing(text)


def _strongest(match: re.Match[str]) -> str:
    run = match.group(0)
    return next(mark for mark in "?!.," if mark in run) + " "


def _closing(text: str) -> str:
    last = text.rstrip()[-1:]
    return last if last in tuple(".?!") else ""
