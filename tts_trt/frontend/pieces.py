"""Text to ids by a sentencepiece model, and the official rules for cutting text into segments.

Segments are cut between pieces, not between words, so a segment is kept as its pieces: cutting the text and reading the parts
again could give others.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tts_trt.errors import BundleError, LibraryError, TextError
from tts_trt.frontend import bilingual
from tts_trt.frontend.bilingual import CJK, spaced

FILE = "bpe.model"
START_TEXT, STOP_TEXT = 0, 1
SPACE = "▁"  # how a piece says that a space comes before it

ENDS = frozenset({".", "!", "?", "▁.", "▁?", "▁..."})
COMMAS = frozenset({",", "▁,"})
HYPHENS = frozenset({"-"})
APOSTROPHES = frozenset({"'", "▁'"})

HAN_SECONDS, LETTER_SECONDS, MARK_SECONDS, LEAD_SECONDS = 0.21, 0.062, 0.22, 0.1
"""Rough lengths of a character, a letter, a pause and the silence around: read speech of about 285 characters or 160 words a
minute. There is no table of durations for this family; only set durations and splitting lean on it."""


class Pieces(str):
    """A segment: its text, and the pieces that it was cut into."""

    pieces: tuple[str, ...]

    def __new__(cls, pieces: Sequence[str]) -> Pieces:
        made = super().__new__(cls, "".join(pieces).replace(SPACE, " ").strip())
        made.pieces = tuple(pieces)
        return made


class PieceTokenizer:
    def __init__(self, model: bytes, source: str = FILE) -> None:
        """BundleError for bytes that are no sentencepiece model, LibraryError where the library is missing."""
        try:
            from sentencepiece import SentencePieceProcessor
        except ImportError as error:
            raise LibraryError(
                f"{source} is read with sentencepiece, which is not installed",
                hint="pip install 'tts-trt[indextts2]'",
            ) from error
        self._processor: Any = SentencePieceProcessor()
        try:
            sound = bool(model) and self._processor.LoadFromSerializedProto(model)
        except (RuntimeError, OSError, TypeError):
            sound = False
        if not sound or not self._processor.GetPieceSize():
            raise BundleError(f"{source} is not a sentencepiece model", hint="download the file again")

    @classmethod
    def from_file(cls, path: Path) -> PieceTokenizer:
        try:
            return cls(path.read_bytes(), str(path))
        except OSError as error:
            raise BundleError(f"{path} cannot be read: {error.strerror}") from error

    def __len__(self) -> int:
        return int(self._processor.GetPieceSize())

    def normalise(self, text: str) -> str:
        return bilingual.normalise(text)

    def pieces(self, text: str) -> list[str]:
        """Pieces of normalised text. TextError for letters that the vocabulary does not have."""
        found: list[str] = self._processor.EncodeAsPieces(spaced(text))
        unknown = [p for p in found if self._processor.IsUnknown(self._processor.PieceToId(p))]
        letters = {c for piece in unknown for c in piece if unicodedata.category(c)[0] in "LN"}
        if letters:
            shown = ", ".join(f"{c!r} (U+{ord(c):04X})" for c in sorted(letters)[:5])
            raise TextError(
                f"this model's vocabulary has no {shown}", hint="remove or spell out these characters"
            )
        kept: list[str] = []
        for piece in found:
            if piece not in unknown:
                kept.append(piece)
            elif kept and kept[-1] == SPACE:  # the space before a symbol that goes
                kept.pop()
        return kept

    def encode(self, text: str) -> NDArray[np.int64]:
        """Ids (L) of normalised text or of a segment. TextError when nothing in it can be spoken."""
        pieces = text.pieces if isinstance(text, Pieces) else self.pieces(text)
        ids = [self._processor.PieceToId(piece) for piece in pieces]
        kept = [i for i in ids if i not in (START_TEXT, STOP_TEXT)]
        if not kept:
            raise TextError(f"nothing can be spoken in {text[:40]!r}", hint="give at least one word")
        return np.array(kept, dtype=np.int64)

    def natural_seconds(self, text: str, rate: float = 1.0) -> float:
        """A rough length of normalised text at ``rate``."""
        characters = len(CJK.findall(text))
        rest = CJK.sub(" ", text)
        letters, marks = len(re.findall(r"\w", rest)), len(re.findall(r"[,.!?…]", rest))
        return (
            LEAD_SECONDS + characters * HAN_SECONDS + letters * LETTER_SECONDS + marks * MARK_SECONDS
        ) / rate

    def split(self, text: str, most: int, size: Callable[[str], int]) -> list[str]:
        """Segments of at most ``most`` pieces by the official rules; one whose ``size`` is larger still, because of what it would
        take to speak, is cut further by the same rules."""
        return [
            segment
            for part in split_pieces(self.pieces(text), most)
            for segment in _fitting(part, most, size)
        ]


def _fitting(pieces: Sequence[str], most: int, size: Callable[[str], int]) -> list[str]:
    whole = Pieces(pieces)
    taken = size(whole)
    if taken <= most or len(pieces) < 2:
        return [whole]
    fewer = max(1, min(len(pieces) - 1, len(pieces) * most // taken))
    return [segment for part in split_pieces(pieces, fewer) for segment in _fitting(part, most, size)]


def split_pieces(
    pieces: Sequence[str], most: int, quick: int = 0, ends: frozenset[str] = ENDS
) -> list[list[str]]:
    """Pieces in runs of at most ``most``, cut at ends of sentences; runs with a comma at commas, then at hyphens.

    Short neighbours are joined while they fit (from the ``quick``-th piece on, or within half of ``most``). An apostrophe after
    a cut belongs to both sides, as it does upstream.
    """
    runs: list[list[str]] = []
    current: list[str] = []
    for i, piece in enumerate(pieces):
        current.append(piece)
        if not ends & COMMAS and not COMMAS.isdisjoint(current):
            runs += split_pieces(current, most, quick, COMMAS)
        elif not ends & HYPHENS and not HYPHENS.isdisjoint(current):
            runs += split_pieces(current, most, quick, HYPHENS)
        elif len(current) <= most:
            if piece not in ends or len(current) <= 2:
                continue
            following = pieces[i + 1 : i + 2]
            runs.append([*current, *(p for p in following if p in APOSTROPHES)])
        else:
            runs += [current[j : j + most] for j in range(0, len(current), most)]
        current = []
    return _joined([*runs, *([current] if current else [])], most, quick)


def _joined(runs: Sequence[list[str]], most: int, quick: int) -> list[list[str]]:
    joined: list[list[str]] = []
    total = 0
    for run in runs:
        total += len(run)
        together = len(joined[-1]) + len(run) if joined else most + 1
        if (together <= most and total > quick) or together <= most / 2:
            joined[-1] = joined[-1] + run
        elif run:
            joined.append(list(run))
    return joined
