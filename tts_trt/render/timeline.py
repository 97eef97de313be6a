"""Parts at their samples, as one long wave in blocks: hours of sound without hours of memory.

S samples, mono float32.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
BLOCK = 2**16


@dataclass(frozen=True)
class Part:
    start: int  # sample
    samples: int
    load: Callable[[], FloatArray]

    @property
    def end(self) -> int:
        return self.start + self.samples


def blocks(parts: Sequence[Part], total: int) -> Iterator[FloatArray]:
    """The whole, silent where no part is and a sum where several are. A part is loaded when its first block is made and let go
    after its last."""
    waiting = sorted(parts, key=lambda part: part.start)
    playing: list[tuple[Part, FloatArray]] = []
    for first in range(0, total, BLOCK):
        last = min(first + BLOCK, total)
        while waiting and waiting[0].start < last:
            part = waiting.pop(0)
            playing.append((part, part.load()))
        block_S = np.zeros(last - first, np.float32)
        for part, wave_S in playing:
            a, b = max(part.start, first), min(part.end, last)
            block_S[a - first : b - first] += wave_S[a - part.start : b - part.start]
        playing = [(part, wave_S) for part, wave_S in playing if part.end > last]
        yield block_S
