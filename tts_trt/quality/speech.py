"""What a recogniser makes of speech: words heard against words meant.

S samples. A word error rate belongs to the recogniser as much as to the voice: compare it only with one of the same
sentences through the same recogniser, such as that of real speech.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import soxr
from numpy.typing import NDArray

from tts_trt.errors import TextError, UsageError
from tts_trt.frontend.audio import to_pcm16
from tts_trt.frontend.text import normalise

FloatArray = NDArray[np.float32]
Hear = Callable[[FloatArray, int], str]
"""Samples (S) float32 in [-1, 1] and their rate in Hz -> the words heard, in any spelling."""

POCKETSPHINX = "pocketsphinx"
POCKETSPHINX_RATE = 16_000  # Hz, of its own English model
INSTALL = "pip install 'tts-trt[quality]'"
_SPELLINGS = {"ok": "okay", "grey": "gray", "travelled": "traveled", "travelling": "traveling"}


@dataclass(frozen=True)
class Recogniser:
    """A local recogniser by name; what it hears does not depend on what it heard before."""

    name: str
    hear: Hear

    @classmethod
    def named(cls, name: str = POCKETSPHINX) -> Recogniser:
        """``pocketsphinx``, or ``module:function`` for a function of one's own that is a ``Hear``.

        UsageError for a name of neither form, a module that cannot be imported, or what is not callable.
        """
        return cls(name, _pocketsphinx() if name == POCKETSPHINX else _function(name))


@dataclass(frozen=True)
class WordErrors:
    """Of one sentence, or summed over many."""

    substitutions: int
    deletions: int
    insertions: int
    words: int  # of the reference

    @property
    def errors(self) -> int:
        return self.substitutions + self.deletions + self.insertions

    @property
    def rate(self) -> float:
        """Word error rate; above 1 where more was heard than said."""
        return self.errors / self.words if self.words else float("nan")

    def __add__(self, other: WordErrors) -> WordErrors:
        return WordErrors(
            self.substitutions + other.substitutions,
            self.deletions + other.deletions,
            self.insertions + other.insertions,
            self.words + other.words,
        )


def total(counts: Iterable[WordErrors]) -> WordErrors:
    """The whole corpus as one: its ``rate`` is the corpus WER, in which every word counts the same."""
    return sum(counts, WordErrors(0, 0, 0, 0))


def words_of(text: str) -> str:
    """Text as it is compared: numbers and symbols in words, small letters, no punctuation, one spelling of a word."""
    try:
        spoken = normalise(text).lower()
    except TextError:  # nothing in it can be spoken
        return ""
    words = re.findall(r"[a-z]+(?:'[a-z]+)*", spoken)
    return " ".join(_SPELLINGS.get(word, word) for word in words)


def word_errors(reference: str, heard: str) -> WordErrors:
    """The fewest word edits from what was meant to what was heard. UsageError for a reference without words."""
    meant, found = words_of(reference), words_of(heard)
    if not meant:
        raise UsageError(f"the reference {reference[:40]!r} has no words, expected at least one")
    aligned = _jiwer().process_words(meant, found)
    return WordErrors(aligned.substitutions, aligned.deletions, aligned.insertions, len(meant.split()))


def resampled(wave_S: FloatArray, rate: int, wanted: int) -> FloatArray:
    """(S) float32 at another rate in Hz."""
    if rate == wanted:
        return wave_S
    made: FloatArray = soxr.resample(wave_S, rate, wanted, quality="HQ").astype(np.float32)
    return made


def _pocketsphinx() -> Hear:
    try:
        import pocketsphinx
    except ImportError as error:
        raise UsageError("this recogniser needs pocketsphinx", hint=INSTALL) from error
    decoder = pocketsphinx.Decoder(samprate=POCKETSPHINX_RATE, loglevel="FATAL")

    def hear(wave_S: FloatArray, rate: int) -> str:
        pcm = to_pcm16(resampled(wave_S, rate, POCKETSPHINX_RATE))
        if not len(pcm):
            return ""
        decoder.reinit_feat()  # else the means of earlier utterances shift those of this one
        decoder.start_utt()
        decoder.process_raw(pcm.tobytes(), full_utt=True)
        decoder.end_utt()
        found = decoder.hyp()
        return found.hypstr if found else ""

    return hear


def _function(name: str) -> Hear:
    module, _, attribute = name.partition(":")
    hint = f"name {POCKETSPHINX}, or module:function with a module that Python finds"
    if not module or not attribute:
        raise UsageError(f"no recogniser {name!r}", hint=hint)
    try:
        found: Any = getattr(importlib.import_module(module), attribute, None)
    except ImportError as error:
        raise UsageError(f"the recogniser {name!r} cannot be imported: {error}", hint=hint) from error
    if not callable(found):
        raise UsageError(f"{module} has no function {attribute!r} to recognise speech with", hint=hint)
    hear: Hear = found
    return hear


def _jiwer() -> Any:
    try:
        import jiwer
    except ImportError as error:
        raise UsageError("word errors need jiwer", hint=INSTALL) from error
    return jiwer
