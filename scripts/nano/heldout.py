"""The held-out sentences: plain English over the vocabulary of the nano voice, which no training may see.

They stand one a line in ``heldout.txt``. Nobody chose them by how a voice speaks them or a recogniser hears them.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

FILE = Path(__file__).with_name("heldout.txt")


def words_of(text: str) -> str:
    """The words alone, in small letters: two texts with the same words sound the same."""
    return " ".join(re.findall(r"[a-z']+", text.lower()))


@cache
def sentences() -> tuple[str, ...]:
    return tuple(FILE.read_text(encoding="utf-8").splitlines())


@cache
def _keys() -> frozenset[str]:
    return frozenset(map(words_of, sentences()))


def is_listed(text: str) -> bool:
    """Is this one of the sentences, case and punctuation aside?"""
    return words_of(text) in _keys()


def shuffled(seed: int) -> Iterator[str]:
    """All sentences in a seeded order, then all of them in another one, without end."""
    generator = random.Random(seed)
    while True:
        yield from generator.sample(sentences(), len(sentences()))
