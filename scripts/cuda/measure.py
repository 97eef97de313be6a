"""Times and memory on a device: CUDA events on its stream where there is one, the clock on a host."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import psutil
import torch

from tts_trt.runtime.device import Device


class Meter:
    """``stream``: the number of a CUDA stream, or None for a host."""

    def __init__(self, stream: int | None) -> None:
        self._stream = None if stream is None else torch.cuda.ExternalStream(stream)

    @classmethod
    def of(cls, device: Device) -> Meter:
        return cls(None if device.host else device.stream_handle)  # type: ignore[attr-defined]

    def ms(self, work: Callable[[], object], repeats: int, times: int = 1) -> dict[str, Any]:
        """Milliseconds of one ``work``: each repeat is ``times`` in a row, of which the mean counts."""
        found = [one / times for one in self._spans(work, repeats, times)]
        return {
            "median": statistics.median(found),
            "least": min(found),
            "most": max(found),
            "repeats": repeats,
        }

    def _spans(self, work: Callable[[], object], repeats: int, times: int) -> list[float]:
        if self._stream is None:
            return [1e3 * _seconds(work, times) for _ in range(repeats)]
        marks = [[torch.cuda.Event(enable_timing=True) for _ in range(2)] for _ in range(repeats)]
        for began, ended in marks:
            began.record(self._stream)
            for _ in range(times):
                work()
            ended.record(self._stream)
        self._stream.synchronize()
        return [began.elapsed_time(ended) for began, ended in marks]


def _seconds(work: Callable[[], object], times: int) -> float:
    began = time.perf_counter()
    for _ in range(times):
        work()
    return time.perf_counter() - began


def device_bytes() -> int:
    """Memory in use on the whole GPU; 0 without one."""
    if not torch.cuda.is_available():
        return 0
    free, total = torch.cuda.mem_get_info()
    return total - free


def resident_bytes() -> int:
    return int(psutil.Process().memory_info().rss)
