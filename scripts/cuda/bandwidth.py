"""Bytes a second that one copy on the device moves, reads and writes counted; and what reading alone reaches."""

from __future__ import annotations

from typing import Any

import torch

from scripts.cuda.measure import Meter
from scripts.cuda.settings import Report, Settings

REPEATS = 12


def run(part: str, settings: Settings, report: Report) -> dict[str, Any]:
    size = settings.sizes.copy_bytes
    source = torch.ones(size // 4, device="cuda")
    target = torch.empty_like(source)
    meter = Meter(torch.cuda.current_stream().cuda_stream)
    target.copy_(source)
    copy = meter.ms(lambda: target.copy_(source), REPEATS)
    torch.sum(source)
    read = meter.ms(lambda: torch.sum(source), REPEATS)
    return {
        "bytes": size,
        "copy_ms": copy,
        "copy_bytes_a_second": 2e3 * size / copy["least"],
        "read_ms": read,
        "read_bytes_a_second": 1e3 * size / read["least"],
    }
