"""Where in an utterance a difference arises, and in which part of the pipeline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tts_trt.quality.statistics import LEVEL, resampled_sums
from tts_trt.report.distances import FIFTHS
from tts_trt.report.schema import PartEntry, Point, Positions
from tts_trt.report.swap import PARTS

Floats = NDArray[np.float64]
Items = Sequence[Mapping[str, Any]]
TITLES = {
    "kl": "KL divergence of scores, nats/step",
    "flips": "best code differs, share",
    "noise": "error of states over their power",
    "mel": "mel L1, dB",
}
RESAMPLES = 2_000
RATIOS = {"noise": "signal"}
"""Shown relative to another quantity in the same place."""


def positions(items: Items) -> dict[str, Positions]:
    """By quantity, over the utterances long enough for fifths; nothing where there are none."""
    made = {}
    for name in TITLES:
        fifths_N5, points_NP = (_table(items, name, key) for key in ("fifths", "points"))
        if not len(fifths_N5):
            continue
        sums_R5 = resampled_sums(fifths_N5, 0, RESAMPLES) / len(fifths_N5)
        first, last = sums_R5[:, 0], sums_R5[:, -1]
        mean_5 = fifths_N5.mean(0)
        made[name] = Positions(
            fifths=tuple(_point(mean_5[k], sums_R5[:, k]) for k in range(FIFTHS)),
            curve=tuple(float(x) for x in points_NP.mean(0)) if len(points_NP) else (),
            growth=_point(mean_5[-1] / mean_5[0], last / first) if (first > 0).all() else None,
        )
    return made


def _table(items: Items, name: str, key: str) -> Floats:
    """(N,parts)"""
    rows = []
    for item in items:
        values = item[key][name]
        below = item[key][RATIOS[name]] if name in RATIOS else None
        if values is not None and (below is None or min(below) > 0):
            rows.append(np.array(values) / (1.0 if below is None else np.array(below)))
    return np.array(rows, np.float64)


def _point(mean: float, resampled_R: Floats) -> Point:
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(resampled_R, (tail, 1 - tail))
    return Point(mean=float(mean), low=float(low), high=float(high))


def parts(items: Items) -> tuple[PartEntry, ...]:
    """Means over utterances of the whole and of each part alone. Shares are of the parts' squared log-spectral distances,
    which add up where their errors are independent."""
    found = []
    for name in ("whole", *PARTS):
        rows = [item["parts"][name] for item in items if name in item["parts"]]
        if rows:
            rough = [row["grain_flatness"] for row in rows if row["grain_flatness"] is not None]
            found.append(
                PartEntry(
                    part=name,
                    mel_l1_db=_mean([row["mel_l1_db"] for row in rows]),
                    lsd_db=_mean([row["lsd_db"] for row in rows]),
                    grain_flatness=_mean(rough) if rough else None,
                    share=None,
                )
            )
    total = sum(entry.lsd_db**2 for entry in found if entry.part != "whole")
    if total <= 0:
        return tuple(found)
    return tuple(
        entry if entry.part == "whole" else entry.model_copy(update={"share": entry.lsd_db**2 / total})
        for entry in found
    )


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))
