"""How far two passes over the same codes lie apart.

M codes, V codes in the vocabulary, D model width.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tts_trt.quality.forced import Pass

FloatArray = NDArray[np.float32]


TIE = 0.02
"""Nats by which the best code must lead the second for another best code to mean anything: less is decided by rounding."""


@dataclass(frozen=True)
class Agreement:
    """Of one code sequence. ``top1``: share of steps with the same best code, ``ties``: the number of other steps where the
    baseline's best led by less than ``TIE``; ``kl``: mean KL divergence in nats; ``sqnr_db``: energy of the baseline's hidden
    states over that of the difference."""

    steps: int
    top1: float
    ties: int
    kl: float
    sqnr_db: float


def agreement(baseline: Pass, candidate: Pass) -> Agreement:
    p, q = log_softmax(baseline.logits_MV), log_softmax(candidate.logits_MV)
    gap = candidate.latents_MD.astype(np.float64) - baseline.latents_MD
    noise = float(np.mean(gap**2))
    signal = float(np.mean(baseline.latents_MD.astype(np.float64) ** 2))
    second, best = best_two(p).T
    same = p.argmax(1) == q.argmax(1)
    return Agreement(
        steps=len(p),
        top1=float(np.mean(same)),
        ties=int(np.sum(~same & (best - second < TIE))),
        kl=float(np.mean(np.sum(np.exp(p) * (p - q), axis=1))),
        sqnr_db=float(10 * np.log10(signal / noise)) if noise > 0 else float("inf"),
    )


def best_two(scores_MV: NDArray[np.float64]) -> NDArray[np.float64]:
    """(M,2): the second highest and the highest of each row."""
    highest: NDArray[np.float64] = np.partition(scores_MV, -2, axis=1)[:, -2:]
    return highest


def log_softmax(logits_MV: FloatArray) -> NDArray[np.float64]:
    """Log probabilities in double precision."""
    shifted = logits_MV.astype(np.float64) - logits_MV.max(1, keepdims=True)
    normaliser: NDArray[np.float64] = np.log(np.exp(shifted).sum(1, keepdims=True))
    scores: NDArray[np.float64] = shifted - normaliser
    return scores
