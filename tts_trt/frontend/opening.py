"""The tokenizer of a folder: phones where it has their tables, sentencepiece where it has a model of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tts_trt.frontend.pieces import FILE, PieceTokenizer
from tts_trt.frontend.tokenizer import PhoneTokenizer


class Tokenizer(Protocol):
    """Text as written to what a code model reads."""

    def normalise(self, text: str) -> str:
        """TextError for text that cannot be spoken."""

    def encode(self, text: str) -> NDArray[np.int64]:
        """Ids (L) of normalised text. TextError when nothing in it can be spoken."""

    def natural_seconds(self, text: str, rate: float = 1.0) -> float:
        """Expected length of normalised text at ``rate``."""

    def split(self, text: str, most: int, size: Callable[[str], int]) -> list[str]:
        """Normalised text in segments of at most ``most`` by ``size``, each for ``encode``."""

    def __len__(self) -> int:
        """Ids there are."""


def open_tokenizer(file: Path) -> Tokenizer:
    """``file``: tokenizer.json, with the other tables beside it, or a sentencepiece model. BundleError for a damaged one."""
    if file.name == FILE or file.suffix == ".model":
        return PieceTokenizer.from_file(file)
    return PhoneTokenizer.from_dir(file.parent)
