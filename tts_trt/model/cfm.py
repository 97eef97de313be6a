"""Conditional flow matching: noise to mel by Euler steps with classifier-free guidance.

Shapes: B batch, M mel bins, T mel frames (prompt and target), P prompt frames, E style, C content width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tts_trt.frontend.timing import time_grid
from tts_trt.model.layers import lengths_to_mask


def velocity_with_guidance(
    estimator: nn.Module,
    x_BMT: Tensor,
    prompt_BMT: Tensor,
    lengths_B: Tensor,
    t_B: Tensor,
    style_BE: Tensor,
    condition_BTC: Tensor,
    guidance_B: Tensor,
) -> Tensor:
    """(1 + g) v(conditional) - g v(null), both branches in one batch of 2B -> (B, M, T).

    The null branch sees zeros for prompt, style and condition. Guidance 0 gives the conditional velocity.
    """
    v_2B = estimator(
        torch.cat([x_BMT, x_BMT]),
        torch.cat([prompt_BMT, torch.zeros_like(prompt_BMT)]),
        torch.cat([lengths_B, lengths_B]),
        torch.cat([t_B, t_B]),
        torch.cat([style_BE, torch.zeros_like(style_BE)]),
        torch.cat([condition_BTC, torch.zeros_like(condition_BTC)]),
    )
    conditional, null = v_2B[: x_BMT.shape[0]], v_2B[x_BMT.shape[0] :]
    g = guidance_B[:, None, None]
    return (1.0 + g) * conditional - g * null


def euler_step(x_BMT: Tensor, velocity_BMT: Tensor, dt_B: Tensor, prompt_lengths_B: Tensor) -> Tensor:
    """x + dt v with the prompt's frames reset to zero -> (B, M, T)."""
    x_BMT = x_BMT + dt_B[:, None, None] * velocity_BMT
    return x_BMT.masked_fill(lengths_to_mask(prompt_lengths_B, x_BMT.shape[2])[:, None, :], 0.0)


def solve(
    estimator: nn.Module,
    condition_BTC: Tensor,
    prompt_BMP: Tensor,
    prompt_lengths_B: Tensor,
    lengths_B: Tensor,
    style_BE: Tensor,
    noise_BMT: Tensor,
    steps: int,
    guidance_B: Tensor,
) -> Tensor:
    """Mel (B, M, T) of prompt and target; zero in the prompt and beyond each row's end.

    ``prompt`` is the reference mel (B, M, P), P at most T; ``lengths`` count prompt and target frames.
    """
    size = noise_BMT.shape[2]
    in_prompt = lengths_to_mask(prompt_lengths_B, size)[:, None, :]
    plane = F.pad(prompt_BMP, (0, size - prompt_BMP.shape[2])).masked_fill(~in_prompt, 0.0)
    x = noise_BMT.masked_fill(in_prompt, 0.0)
    for t, dt in zip(*time_grid(steps), strict=True):
        t_B, dt_B = (torch.full_like(guidance_B, float(value)) for value in (t, dt))
        v = velocity_with_guidance(estimator, x, plane, lengths_B, t_B, style_BE, condition_BTC, guidance_B)
        x = euler_step(x, v, dt_B, prompt_lengths_B)
    return x.masked_fill(~lengths_to_mask(lengths_B, size)[:, None, :], 0.0)
