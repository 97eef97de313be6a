"""Text to symbol ids for phone-driven voices: phones, word boundaries, pauses, letters for unknown words.

A sentence is ``word (boundary word)*``: between two words stands either ``_`` or the punctuation mark written
there, and the last symbol is always one of ``. ? ! ,``. ``the cat, now`` gives ``dh ax _ k ae t , n aw .``
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tts_trt.errors import BundleError, TextError
from tts_trt.frontend.text import normalise, split_segments

START_TEXT, STOP_TEXT = 0, 1
BOUNDARY = "_"
MARKS = ",.?!"
LETTER = "@"
LEAD = "lead"  # key of durations.json: the silence before the first phone
MAX_SYMBOLS = 100

_TOKEN = re.compile(r"[a-z](?:[a-z']*[a-z])?|[,.?!]")
_VOWELS = frozenset("aa ae ah ao aw ax ay eh er ey ih iy ow oy uh uw".split())
_SIBILANTS = frozenset("s z sh zh ch jh".split())
_VOICELESS = frozenset("p t k f th s sh ch".split())


@dataclass(frozen=True)
class Word:
    """One word of a sentence: its symbols and the mark after it (``_`` or punctuation)."""

    text: str
    symbols: tuple[str, ...]
    spelt: bool
    mark: str


class PhoneTokenizer:
    """Ids from ``tokenizer.json``, pronunciations from ``lexicon.json``, seconds from ``durations.json``."""

    def __init__(
        self,
        symbols: Mapping[str, int],
        lexicon: Mapping[str, Sequence[str]],
        durations: Mapping[str, float],
    ) -> None:
        """Raise BundleError when ids are not start, stop, 2, 3, ... or the lexicon uses an unknown phone."""
        if sorted(symbols.values()) != list(range(len(symbols))) or len(symbols) > MAX_SYMBOLS:
            raise BundleError(
                f"symbol ids must be 0..n-1 with n <= {MAX_SYMBOLS}, found {len(symbols)} symbols"
            )
        unknown = {phone for phones in lexicon.values() for phone in phones} - set(symbols)
        if unknown:
            raise BundleError(f"the lexicon uses phones without an id: {', '.join(sorted(unknown))}")
        self.ids = dict(symbols)
        self.symbols = tuple(sorted(symbols, key=symbols.__getitem__))
        self.lexicon = {word: tuple(phones) for word, phones in lexicon.items()}
        self.durations = dict(durations)

    @classmethod
    def from_dir(cls, path: Path | str) -> PhoneTokenizer:
        """Read the three JSON files of a voice; raise BundleError when one is missing or not JSON."""
        tables = [
            _read_table(Path(path) / name) for name in ("tokenizer.json", "lexicon.json", "durations.json")
        ]
        return cls(tables[0], tables[1], tables[2])

    def __len__(self) -> int:
        return len(self.symbols)

    def normalise(self, text: str) -> str:
        """English text as people write it to what ``encode`` reads. TextError as ``text.normalise``."""
        return normalise(text)

    def split(self, text: str, most: int, size: Callable[[str], int]) -> list[str]:
        """Sentences of normalised text, each of at most ``most`` by ``size``."""
        return split_segments(text, most, size)

    def encode(self, text: str, letters: Callable[[str], bool] | None = None) -> np.ndarray:
        """Ids (T,) int64 of normalised text; words for which ``letters`` is true are spelt even when known.

        Raises TextError when nothing speakable is in the text.
        """
        return self.ids_of(self.words(text, letters))

    def ids_of(self, words: Sequence[Word]) -> np.ndarray:
        """Ids (T,) int64 of words and their marks."""
        return np.array(
            [self.ids[symbol] for word in words for symbol in (*word.symbols, word.mark)], dtype=np.int64
        )

    def decode(self, ids: Sequence[int] | np.ndarray) -> list[str]:
        """Symbols of ids (T,)."""
        return [self.symbols[int(i)] for i in ids]

    def natural_seconds(self, text: str, rate: float = 1.0) -> float:
        """Length in seconds of normalised text at ``rate`` (1.25 is a quarter faster): a sum of means."""
        symbols = self.decode(self.encode(text))
        return (self.durations[LEAD] + sum(self.durations[symbol] for symbol in symbols)) / rate

    def words(self, text: str, letters: Callable[[str], bool] | None = None) -> list[Word]:
        """The words of normalised text in order; the last one carries the closing mark."""
        pairs = list(_words_and_marks(text.lower()))
        if not pairs:
            raise TextError(f"no words in {text[:40]!r}", hint="give at least one word of letters")
        words = []
        for index, (word, mark) in enumerate(pairs):
            following = pairs[index + 1][0] if index + 1 < len(pairs) and mark == BOUNDARY else None
            phones = None if letters is not None and letters(word) else self.pronounce(word)
            if word == "the" and phones is not None and following is not None:
                phones = ("dh", "iy") if self._starts_with_vowel(following) else phones
            symbols = phones or tuple(LETTER + letter for letter in word if letter != "'")
            words.append(Word(word, symbols, phones is None, mark))
        return words

    def pronounce(self, word: str) -> tuple[str, ...] | None:
        """Phones of a lower-case word from the lexicon or a known stem with 's, s, ed, ing; else None."""
        if word in self.lexicon:
            return self.lexicon[word]
        for ending, stems in _stems(word):
            stem = next((self.lexicon[stem] for stem in stems if stem in self.lexicon), None)
            if stem:
                return stem + _ending(ending, stem[-1])
        return None

    def _starts_with_vowel(self, word: str) -> bool:
        phones = self.pronounce(word)
        return phones[0] in _VOWELS if phones else word[0] in "aeiou"


def _read_table(path: Path) -> dict[str, Any]:
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise BundleError(
            f"{path.name} is missing in {path.parent}", hint="export the voice again"
        ) from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise BundleError(f"{path} is not JSON: {error}", hint="export the voice again") from error
    if not isinstance(table, dict):
        raise BundleError(f"{path} holds a {type(table).__name__}, expected an object")
    return table


def _words_and_marks(text: str) -> Iterator[tuple[str, str]]:
    """Pairs of a word and the strongest thing after it: the first punctuation mark, else the boundary."""
    word, mark = None, BOUNDARY
    for token in _TOKEN.findall(text):
        if token in MARKS:
            mark = token if mark == BOUNDARY else mark
            continue
        if word is not None:
            yield word, mark
        word, mark = token, BOUNDARY
    if word is not None:
        yield word, "." if mark == BOUNDARY else mark


def _stems(word: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Endings of a word, each with the spellings its stem could take: ``stopped`` ed: stopp, stoppe, stop."""
    for suffix, ending in (("'s", "s"), ("s'", "s"), ("es", "s"), ("s", "s"), ("ed", "ed"), ("ing", "ing")):
        stem = word.removesuffix(suffix)
        if stem == word or len(stem) < 2:
            continue
        spellings = [stem, stem + "e"] if suffix in ("ed", "ing") else [stem]
        if suffix in ("ed", "es") and stem.endswith("i"):
            spellings.append(stem[:-1] + "y")
        if stem[-1] == stem[-2] and suffix in ("ed", "ing"):
            spellings.append(stem[:-1])
        yield ending, tuple(spellings)


def _ending(ending: str, last: str) -> tuple[str, ...]:
    if ending == "ing":
        return ("ih", "ng")
    if ending == "ed":
        return ("ax", "d") if last in ("t", "d") else ("t",) if last in _VOICELESS else ("d",)
    return ("ax", "z") if last in _SIBILANTS else ("s",) if last in _VOICELESS else ("z",)
