"""How much one caller may ask: a bucket of requests that fills with time, and a number of them at once."""

from __future__ import annotations

import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tts_trt.serve.errors import ApiError
from tts_trt.serve.settings import Limits

CALLERS = 10_000
"""Buckets that are kept; the one that was idle longest is full again anyway."""


@dataclass
class _Bucket:
    tokens: float
    seen: float


class Rates:
    """Of every caller, and of all together. For one event loop."""

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits, self._clock = limits, clock
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()
        self._running: Counter[str] = Counter()
        self._all = 0

    @contextmanager
    def place(self, caller: str, *, work: bool) -> Iterator[None]:
        """While a request runs. ``work`` counts against the rate; looking does not. ApiError 429 or 503."""
        if self._all >= self._limits.connections:
            raise ApiError(
                503, f"{self._all} requests are in work, which is the limit", code="overloaded", retry_after=1
            )
        if self._running[caller] >= self._limits.concurrent:
            raise ApiError(
                429,
                f"{self._running[caller]} of your requests are in work, which is the limit",
                code="too_many_at_once",
                retry_after=1,
            )
        if work:
            self._take(caller)
        self._running[caller] += 1
        self._all += 1
        try:
            yield
        finally:
            self._all -= 1
            self._running[caller] -= 1
            if not self._running[caller]:
                del self._running[caller]

    def _take(self, caller: str) -> None:
        now, most = self._clock(), self._limits.requests_per_minute
        bucket = self._buckets.pop(caller, None) or _Bucket(most, now)
        bucket.tokens = min(most, bucket.tokens + (now - bucket.seen) * most / 60)
        bucket.seen = now
        self._buckets[caller] = bucket
        while len(self._buckets) > CALLERS:
            self._buckets.popitem(last=False)
        if bucket.tokens < 1:
            raise ApiError(
                429,
                f"more than {most} requests a minute",
                code="rate_limit_exceeded",
                retry_after=(1 - bucket.tokens) * 60 / most,
            )
        bucket.tokens -= 1
