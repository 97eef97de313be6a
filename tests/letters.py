"""The plainest tokenizer: a text's letters are its ids."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from tts_trt.frontend.text import normalise, split_segments


class Letters:
    def normalise(self, text: str) -> str:
        return normalise(text)

    def encode(self, text: str) -> NDArray[np.int64]:
        return np.array([2 + ord(c) % 10 for c in text], np.int64)

    def natural_seconds(self, text: str, rate: float = 1.0) -> float:
        return 0.05 * len(text) / rate

    def split(self, text: str, most: int, size: Callable[[str], int]) -> list[str]:
        return split_segments(text, most, size)

    def __len__(self) -> int:
        return 12
