"""In-place cache update as an operator that runs eagerly and exports as ONNX TensorScatter."""

from __future__ import annotations

import torch


@torch.library.custom_op("tts_trt::kv_scatter", mutates_args=())
def kv_scatter(cache: torch.Tensor, update: torch.Tensor, pos: torch.Tensor) -> torch.Tensor:
    """cache (B,H,C,W) with update (B,H,S,W) written at slots pos[b] .. pos[b]+S-1.

    The eager form returns a copy; TensorRT and ONNX Runtime write in place when both sides share memory.
    """
    out = cache.clone()
    for row in range(cache.shape[0]):
        first = int(pos[row])
        out[row, :, first : first + update.shape[2]] = update[row]
    return out


@kv_scatter.register_fake
def _(cache: torch.Tensor, update: torch.Tensor, pos: torch.Tensor) -> torch.Tensor:
    return torch.empty_like(cache)
