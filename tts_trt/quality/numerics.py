"""Teacher-forced comparison: two sets of engines fed the same prompt and the same codes.

M codes, V codes in the vocabulary, D model width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tts_trt.dims import ModelDims
from tts_trt.runtime.decode import Decoder, DecodeRow, prompt
from tts_trt.runtime.engine import Engines
from tts_trt.spec import Limits

FloatArray = NDArray[np.float32]
FORCE = 1e4  # logit of the code the sampler is made to draw


@dataclass(frozen=True)
class Forced:
    """Scores before each code and after the last, (M+1,V), and the states they come from, (M+1,D)."""

    logits: FloatArray
    hidden: FloatArray


@dataclass(frozen=True)
class Agreement:
    """Of one code sequence. ``top1``: share of steps with the same best code; ``kl``: mean KL divergence in nats;
    ``sqnr_db``: energy of the baseline's hidden states over that of the difference."""

    steps: int
    top1: float
    kl: float
    sqnr_db: float


def teacher_forced(
    engines: Engines, dims: ModelDims, limits: Limits, row: DecodeRow, codes: Sequence[int]
) -> Forced:
    """Run the code model over a given code sequence, step by step, as decoding does."""
    embeddings, lengths = prompt(engines["prompt"], [row])
    logits, hidden = [], []
    with Decoder(engines, dims, limits).slots(1) as slots:
        scores, states = slots.cache.append(embeddings, lengths)
        logits.append(scores[0].numpy())
        hidden.append(states[0, int(lengths[0]) - 1].numpy())
        for step, code in enumerate(codes):
            next_row = forced_embedding(engines, dims, int(code), step, lengths)
            scores, states = slots.cache.append(next_row, np.ones(1, np.int64))
            logits.append(scores[0].numpy())
            hidden.append(states[0, 0].numpy())
    return Forced(np.stack(logits), np.stack(hidden))


def forced_embedding(
    engines: Engines, dims: ModelDims, code: int, step: int, prompt_lengths: NDArray[np.int64]
) -> NDArray[np.generic]:
    """The row that decoding would feed after drawing ``code`` at ``step``: the sampler, left no choice."""
    v = dims.gpt.codes
    logits = np.zeros((1, v), np.float32)
    logits[0, code] = FORCE
    out = engines["sampler"].run(
        {
            "logits": logits,
            "seen": np.zeros((1, v), bool),
            "noise": np.full((1, v), 0.5, np.float32),
            "temperature": np.zeros(1, np.float32),
            "top_k": np.ones(1, np.int64),
            "top_p": np.ones(1, np.float32),
            "penalty": np.ones(1, np.float32),
            "min_codes": np.zeros(1, np.int64),
            "max_codes": np.full(1, step + 1, np.int64),
            "prompt_lengths": prompt_lengths,
            "step": np.full(1, step, np.int64),
            "done": np.zeros(1, bool),
        }
    )
    return out["next_embedding"].copy()


def agreement(baseline: Forced, candidate: Forced) -> Agreement:
    p, q = log_softmax(baseline.logits), log_softmax(candidate.logits)
    gap = candidate.hidden.astype(np.float64) - baseline.hidden
    noise = float(np.mean(gap**2))
    signal = float(np.mean(baseline.hidden.astype(np.float64) ** 2))
    return Agreement(
        steps=len(p),
        top1=float(np.mean(p.argmax(1) == q.argmax(1))),
        kl=float(np.mean(np.sum(np.exp(p) * (p - q), axis=1))),
        sqnr_db=float(10 * np.log10(signal / noise)) if noise > 0 else float("inf"),
    )


def log_softmax(logits_MV: FloatArray) -> NDArray[np.float64]:
    """Log probabilities in double precision."""
    shifted = logits_MV.astype(np.float64) - logits_MV.max(1, keepdims=True)
    normaliser: NDArray[np.float64] = np.log(np.exp(shifted).sum(1, keepdims=True))
    scores: NDArray[np.float64] = shifted - normaliser
    return scores
