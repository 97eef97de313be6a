"""Semantic encoder: the w2v-BERT 2.0 conformer up to the layer whose output is used.

State-dict keys are those of the published checkpoint; a 24-layer checkpoint fits once the layers above
``dims.layers`` are dropped. Two keys are added: ``stat_mean`` and ``stat_var`` of the statistics file.

Shapes: B batch, T 50 Hz frames, F stacked fbank features, C width, H heads, D head size.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tts_trt.dims import SemanticEncoderDims
from tts_trt.model.layers import lengths_to_mask

# exp(-30000) is exactly 0 in float32, and unlike the lowest float32 it survives a cast to float16.
MASKED_SCORE = -30000.0


class FeatureProjection(nn.Module):
    def __init__(self, dims: SemanticEncoderDims) -> None:
        super().__init__()
        self.layer_norm = nn.LayerNorm(dims.features)
        self.projection = nn.Linear(dims.features, dims.hidden)

    def forward(self, features_BTF: Tensor) -> Tensor:
        return self.projection(self.layer_norm(features_BTF))


class FeedForward(nn.Module):
    def __init__(self, dims: SemanticEncoderDims) -> None:
        super().__init__()
        self.intermediate_dense = nn.Linear(dims.hidden, dims.ffn)
        self.output_dense = nn.Linear(dims.ffn, dims.hidden)

    def forward(self, x_BTC: Tensor) -> Tensor:
        return self.output_dense(F.silu(self.intermediate_dense(x_BTC)))


class SelfAttention(nn.Module):
    """Attention with one embedding per clipped key distance, shared by the heads, added to the score."""

    def __init__(self, dims: SemanticEncoderDims) -> None:
        super().__init__()
        self.heads, self.head_dim = dims.heads, dims.hidden // dims.heads
        self.linear_q = nn.Linear(dims.hidden, dims.hidden)
        self.linear_k = nn.Linear(dims.hidden, dims.hidden)
        self.linear_v = nn.Linear(dims.hidden, dims.hidden)
        self.linear_out = nn.Linear(dims.hidden, dims.hidden)
        distances = dims.left_positions + 1 + dims.right_positions
        self.distance_embedding = nn.Embedding(distances, self.head_dim)

    def forward(self, x_BTC: Tensor, distance_TT: Tensor, keys_BT: Tensor | None) -> Tensor:
        """``distance_TT`` int64: row of the distance table for each (query, key)."""
        q, k, v = (self._split(linear(x_BTC)) for linear in (self.linear_q, self.linear_k, self.linear_v))
        # The scores of the few distinct distances, then a gather: T*73 products a head instead of T*T.
        table = q @ self.distance_embedding.weight.T * self.head_dim**-0.5
        size = (*q.shape[:2], *distance_TT.shape)
        bias_BHTT = table.gather(-1, distance_TT.expand(size))
        if keys_BT is not None:
            bias_BHTT = bias_BHTT.masked_fill(~keys_BT[:, None, None, :], MASKED_SCORE)
        y_BHTD = F.scaled_dot_product_attention(q, k, v, attn_mask=bias_BHTT)
        return self.linear_out(y_BHTD.transpose(1, 2).flatten(2))

    def _split(self, x_BTC: Tensor) -> Tensor:
        return x_BTC.unflatten(-1, (self.heads, self.head_dim)).transpose(1, 2)


class ConvolutionModule(nn.Module):
    """Gated causal depthwise convolution."""

    def __init__(self, dims: SemanticEncoderDims) -> None:
        super().__init__()
        width = dims.hidden
        self.left = dims.conv_kernel - 1
        self.layer_norm = nn.LayerNorm(width)
        self.pointwise_conv1 = nn.Conv1d(width, 2 * width, 1, bias=False)
        self.depthwise_conv = nn.Conv1d(width, width, dims.conv_kernel, groups=width, bias=False)
        self.depthwise_layer_norm = nn.LayerNorm(width)
        self.pointwise_conv2 = nn.Conv1d(width, width, 1, bias=False)

    def forward(self, x_BTC: Tensor, mask_BT: Tensor | None) -> Tensor:
        x = _zero_masked(self.layer_norm(x_BTC), mask_BT).transpose(1, 2)
        x = F.glu(self.pointwise_conv1(x), dim=1)
        x = self.depthwise_conv(F.pad(x, (self.left, 0)))
        x = F.silu(self.depthwise_layer_norm(x.transpose(1, 2))).transpose(1, 2)
        return self.pointwise_conv2(x).transpose(1, 2)


class EncoderLayer(nn.Module):
    """Conformer layer: half feed-forward, attention, convolution, half feed-forward, norm."""

    def __init__(self, dims: SemanticEncoderDims) -> None:
        super().__init__()
        self.ffn1_layer_norm = nn.LayerNorm(dims.hidden)
        self.ffn1 = FeedForward(dims)
        self.self_attn_layer_norm = nn.LayerNorm(dims.hidden)
        self.self_attn = SelfAttention(dims)
        self.conv_module = ConvolutionModule(dims)
        self.ffn2_layer_norm = nn.LayerNorm(dims.hidden)
        self.ffn2 = FeedForward(dims)
        self.final_layer_norm = nn.LayerNorm(dims.hidden)

    def forward(self, x_BTC: Tensor, distance_TT: Tensor, mask_BT: Tensor | None) -> Tensor:
        x = x_BTC + 0.5 * self.ffn1(self.ffn1_layer_norm(x_BTC))
        x = x + self.self_attn(self.self_attn_layer_norm(x), distance_TT, mask_BT)
        x = x + self.conv_module(x, mask_BT)
        x = x + 0.5 * self.ffn2(self.ffn2_layer_norm(x))
        return self.final_layer_norm(x)


class Encoder(nn.Module):
    def __init__(self, dims: SemanticEncoderDims) -> None:
        super().__init__()
        self.layers = nn.ModuleList(EncoderLayer(dims) for _ in range(dims.layers))


class SemanticEncoder(nn.Module):
    """Stacked fbank features to semantic features, 50 a second at stride 2.

    ``mask`` is bool (B,T), True where a frame is real, or int lengths (B); None means all are. Rows padded
    on the right give, in their real frames, what they give alone. Masked frames still get an output,
    because the reference model keeps the masked last frame of an odd fbank.
    """

    stat_mean: Tensor
    stat_var: Tensor

    def __init__(self, dims: SemanticEncoderDims) -> None:
        super().__init__()
        self.dims = dims
        self.feature_projection = FeatureProjection(dims)
        self.encoder = Encoder(dims)
        self.register_buffer("stat_mean", torch.zeros(dims.hidden))
        self.register_buffer("stat_var", torch.ones(dims.hidden))

    def forward(self, features_BTF: Tensor, mask: Tensor | None = None) -> Tensor:
        """Features (B,T,F) float -> last hidden state (B,T,C), not normalised."""
        return self.hidden_states(features_BTF, mask)[-1]

    def normalised(self, features_BTF: Tensor, mask: Tensor | None = None) -> Tensor:
        """As ``forward``, then normalised with the checkpoint's statistics: what every later stage reads."""
        return (self(features_BTF, mask) - self.stat_mean) / self.stat_var.sqrt()

    def hidden_states(self, features_BTF: Tensor, mask: Tensor | None = None) -> list[Tensor]:
        """The projected input and the output of each layer, ``layers + 1`` tensors (B,T,C)."""
        frames = features_BTF.shape[1]
        mask_BT = mask if mask is None or mask.ndim == 2 else lengths_to_mask(mask, frames)
        x_BTC = _zero_masked(self.feature_projection(features_BTF), mask_BT)
        position = torch.arange(frames, device=x_BTC.device)
        distance_TT = position[None, :] - position[:, None]
        left, right = self.dims.left_positions, self.dims.right_positions
        distance_TT = distance_TT.clamp(-left, right) + left
        states = [x_BTC]
        for layer in self.encoder.layers:
            states.append(layer(states[-1], distance_TT, mask_BT))
        return states


def _zero_masked(x_BTC: Tensor, mask_BT: Tensor | None) -> Tensor:
    return x_BTC if mask_BT is None else x_BTC.masked_fill(~mask_BT[..., None], 0.0)
