"""Drawing the next code inside the graph.

B rows, V codes, K candidates kept. Order of operations as in the reference: repetition penalty, temperature, top-k,
top-p, draw. The draw is Gumbel-max over uniform noise given per code, so the same seed meets the same code in
every precision and only a near tie can flip.
"""

from __future__ import annotations

import torch
from torch import nn

from tts_trt.model.code_model import CodeModel
from tts_trt.spec import SAMPLER_TOP

NOISE_FLOOR = 1e-7
"""Noise is clamped to [floor, 1-floor]: both logarithms of the Gumbel transform stay finite."""


def penalised(logits_BV: torch.Tensor, seen_BV: torch.Tensor, penalty_B: torch.Tensor) -> torch.Tensor:
    """Divide positive and multiply negative scores of seen codes by the penalty."""
    penalty = penalty_B[:, None]
    lowered = torch.where(logits_BV < 0, logits_BV * penalty, logits_BV / penalty)
    return torch.where(seen_BV, lowered, logits_BV)


def candidates(
    scores_BV: torch.Tensor, temperature_B: torch.Tensor, top_k_B: torch.Tensor, top_p_B: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """-> scores (B,K) divided by the temperature, -inf where filtered, and codes (B,K), best first."""
    count = min(SAMPLER_TOP, scores_BV.shape[1])
    best, codes = torch.topk(scores_BV, count, dim=1)
    warm = torch.where(temperature_B > 0, temperature_B, torch.ones_like(temperature_B))
    best = best / warm[:, None]
    rank = torch.arange(count, device=best.device)
    floor = torch.full_like(best, -torch.inf)
    best = torch.where(rank < top_k_B[:, None], best, floor)
    probability = torch.softmax(best, dim=1)
    mass_before = torch.cumsum(probability, dim=1) - probability
    # rank 0 stays whatever top_p is
    keep = (mass_before < top_p_B[:, None]) | (rank == 0)
    return torch.where(keep, best, floor), codes


def draw(
    scores_BK: torch.Tensor, codes_BK: torch.Tensor, noise_BV: torch.Tensor, temperature_B: torch.Tensor
) -> torch.Tensor:
    """-> (B) codes: Gumbel-max, or the best where the temperature is 0."""
    uniform = noise_BV.gather(1, codes_BK).clamp(NOISE_FLOOR, 1 - NOISE_FLOOR)
    gumbel = -torch.log(-torch.log(uniform))
    noisy = scores_BK + torch.where(temperature_B > 0, 1.0, 0.0)[:, None] * gumbel
    pick = torch.argmax(noisy, dim=1, keepdim=True)
    return codes_BK.gather(1, pick)[:, 0]


class Sampler(nn.Module):
    """The ``sampler`` graph: one draw per row, its embedding, and the state for the next."""

    def __init__(self, model: CodeModel) -> None:
        super().__init__()
        self.model = model
        self.stop = model.dims.gpt.stop_code

    def forward(
        self,
        logits: torch.Tensor,
        seen: torch.Tensor,
        noise: torch.Tensor,
        temperature: torch.Tensor,
        top_k: torch.Tensor,
        top_p: torch.Tensor,
        penalty: torch.Tensor,
        min_codes: torch.Tensor,
        max_codes: torch.Tensor,
        prompt_lengths: torch.Tensor,
        step: torch.Tensor,
        done: torch.Tensor,
    ) -> tuple[torch.Tensor, ...]:
        """See ``spec.py``; -> code, next_embedding, next_pos, seen_out, step_out, done_out."""
        column = torch.arange(logits.shape[1], device=logits.device)
        is_stop = column == self.stop
        # the start code is never spoken: no training target holds it
        never = (column == self.model.dims.gpt.start_code) | (is_stop & (step < min_codes)[:, None])
        scores = penalised(logits, seen, penalty).masked_fill(never, -torch.inf)
        best, codes = candidates(scores, temperature, top_k, top_p)
        code = draw(best, codes, noise, temperature)
        code = torch.where(done | (step >= max_codes), self.stop, code)
        return (
            code,
            self.model.next_row(code, step),
            prompt_lengths + step,
            seen | (column == code[:, None]),
            step + 1,
            done | (code == self.stop),
        )
