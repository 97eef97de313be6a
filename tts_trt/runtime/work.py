"""The engines' work in pieces that a worker takes one at a time.

    prefill -> decode (one batch) -> open a chunk -> flow (batches by length) -> vocoder (batches by length)

A stage ``offer``s its most urgent pieces; who takes one calls ``claim``, then ``run`` without the lock, then ``settle``. Offers, claims
and settlements happen under the scheduler's lock, so that a piece is taken once; ``run`` touches nothing but what was claimed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from tts_trt.runtime.speaking import Run


@dataclass
class Counts:
    """Since the start."""

    prefills: int = 0
    steps: int = 0
    step_rows: int = 0
    flow_calls: int = 0
    flow_rows: int = 0
    vocoder_calls: int = 0
    vocoder_rows: int = 0


class Work(Protocol):
    due: float
    runs: Sequence[Run]
    """Those that fail with it."""

    def claim(self) -> None: ...

    def run(self) -> dict[Run, Exception]:
        """-> the runs that cannot go on."""

    def settle(self, *, failed: bool) -> None: ...
