"""Noticing that a row of codes has fallen into a loop."""

from __future__ import annotations

from tts_trt.dims import ModelDims

LOOP_SECONDS = 3.0  # longer than any pause within a sentence
LONGEST_PERIOD = 8  # codes


class RepetitionGuard:
    """Fires when the last ``limit`` codes repeat with a period of at most ``LONGEST_PERIOD`` codes.

    Period 1 is one code held, longer ones are cycles. Costs one comparison per period and code.
    """

    def __init__(self, limit: int) -> None:
        self.limit = max(limit, 2 * LONGEST_PERIOD)
        self._codes: list[int] = []
        self._matches = [0] * LONGEST_PERIOD  # codes in a row that equal the one a period before

    @classmethod
    def of(cls, dims: ModelDims) -> RepetitionGuard:
        return cls(round(LOOP_SECONDS * dims.codes_per_second))

    def add(self, code: int) -> bool:
        """True when the row loops, this code included."""
        self._codes.append(code)
        for i in range(LONGEST_PERIOD):
            period = i + 1
            same = len(self._codes) > period and self._codes[-1 - period] == code
            self._matches[i] = self._matches[i] + 1 if same else 0
        return any(matches and matches + i + 1 >= self.limit for i, matches in enumerate(self._matches))
