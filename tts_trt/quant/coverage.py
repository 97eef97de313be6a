"""How evenly a calibration corpus covers its axes, one by one and in pairs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, product
from typing import Any

from tts_trt.quant.corpus import Utterance
from tts_trt.quant.corpus_config import AXES


@dataclass(frozen=True)
class Meeting:
    """Two levels of two axes, and how often they come together."""

    axes: tuple[str, str]
    levels: tuple[str, str]
    utterances: int
    expected: float  # were the axes dealt independently

    @property
    def density(self) -> float:
        return self.utterances / self.expected

    def __str__(self) -> str:
        together = " with ".join(
            f"{axis} {level}" for axis, level in zip(self.axes, self.levels, strict=True)
        )
        return f"{together}: {self.utterances}, expected {self.expected:.2f}"


@dataclass(frozen=True)
class Coverage:
    axes: dict[str, dict[str, int]]  # axis -> level -> utterances
    pairs: tuple[Meeting, ...]  # of all levels of all pairs of axes, those that never meet included

    @property
    def sparsest(self) -> Meeting | None:
        """None where there is nothing to pair: an empty corpus."""
        return min(self.pairs, key=lambda meeting: meeting.density, default=None)

    @property
    def densest(self) -> Meeting | None:
        return max(self.pairs, key=lambda meeting: meeting.density, default=None)

    def to_json(self) -> dict[str, Any]:
        pairs: dict[str, dict[str, int]] = {}
        for meeting in self.pairs:
            pairs.setdefault(" x ".join(meeting.axes), {})[" x ".join(meeting.levels)] = meeting.utterances
        return {
            "axes": self.axes,
            "pairs": pairs,
            "sparsest": str(self.sparsest),
            "densest": str(self.densest),
        }


def coverage(utterances: Sequence[Utterance]) -> Coverage:
    """Counts per level and per pair of levels that come up at all."""
    rows = [utterance.levels for utterance in utterances]
    axes = {axis: dict(sorted(Counter(row[axis] for row in rows).items())) for axis in AXES}
    pairs = []
    for one, two in combinations(AXES, 2):
        met = Counter((row[one], row[two]) for row in rows)
        for levels in product(axes[one], axes[two]):
            expected = axes[one][levels[0]] * axes[two][levels[1]] / len(rows)
            pairs.append(Meeting((one, two), levels, met[levels], expected))
    return Coverage(axes, tuple(pairs))
