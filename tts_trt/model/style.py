"""Style encoder: CAMPPlus, a densely connected time-delay network with context-aware masking.

State-dict keys are those of the published checkpoint. Batch norm must run in eval mode at inference.

Shapes: B batch, T 10 ms fbank frames, H half of that (20 ms), S segments of
100 half-rate frames, C channels, E embedding, 80 mel bins.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tts_trt.dims import StyleDims
from tts_trt.model.layers import lengths_to_mask

MEL_BINS = 80
HEAD_CHANNELS = 32
BLOCK_LAYERS = (12, 24, 16)
BLOCK_DILATIONS = (1, 2, 2)
SEGMENT = 100  # half-rate frames of one local context, 2 s


class ResidualBlock2d(nn.Module):
    """Two 3x3 convolutions over (mel, time); ``stride`` applies to the mel axis."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.conv1 = _conv2d(HEAD_CHANNELS, 3, stride)
        self.bn1 = nn.BatchNorm2d(HEAD_CHANNELS)
        self.conv2 = _conv2d(HEAD_CHANNELS, 3, 1)
        self.bn2 = nn.BatchNorm2d(HEAD_CHANNELS)
        self.shortcut = nn.Sequential()
        if stride > 1:
            self.shortcut = nn.Sequential(_conv2d(HEAD_CHANNELS, 1, stride), nn.BatchNorm2d(HEAD_CHANNELS))

    def forward(self, x: Tensor, mask_B11T: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x * mask_B11T)))
        y = self.bn2(self.conv2(y * mask_B11T))
        return F.relu(y + self.shortcut(x))


class Head(nn.Module):
    """Convolutions over the fbank as an image, (B,80,T) -> (B,320,T)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = _conv2d(1, 3, 1)
        self.bn1 = nn.BatchNorm2d(HEAD_CHANNELS)
        self.layer1 = nn.ModuleList([ResidualBlock2d(2), ResidualBlock2d(1)])
        self.layer2 = nn.ModuleList([ResidualBlock2d(2), ResidualBlock2d(1)])
        self.conv2 = _conv2d(HEAD_CHANNELS, 3, 2)
        self.bn2 = nn.BatchNorm2d(HEAD_CHANNELS)

    def forward(self, fbank_B8T: Tensor, mask_BT: Tensor) -> Tensor:
        mask_B11T = mask_BT[:, None, None, :]
        x = F.relu(self.bn1(self.conv1(fbank_B8T[:, None] * mask_B11T)))
        for block in (*self.layer1, *self.layer2):
            x = block(x, mask_B11T)
        return F.relu(self.bn2(self.conv2(x * mask_B11T))).flatten(1, 2)


class NormRelu(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.batchnorm = nn.BatchNorm1d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.batchnorm(x))


class HalfRate(nn.Module):
    """First time-delay layer, (B,320,T) -> (B,C,ceil(T/2))."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.linear = nn.Conv1d(in_channels, out_channels, 5, stride=2, padding=2, bias=False)
        self.nonlinear = NormRelu(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.nonlinear(self.linear(x))


class Segments:
    """The 2 s segments of a batch, shared by every layer of the network.

    ``average_BHS`` turns frames into, per segment, the mean over the recording plus the mean over the
    segment, both over real frames only; ``index_H`` is the segment of each frame.
    """

    def __init__(self, lengths_B: Tensor, like_BCH: Tensor) -> None:
        frames, device, dtype = like_BCH.shape[-1], like_BCH.device, like_BCH.dtype
        mask_BH = lengths_to_mask(lengths_B, frames).to(dtype)
        self.mask_B1H = mask_BH[:, None]
        self.index_H = torch.arange(frames, device=device) // SEGMENT
        # One spare, empty segment: an axis that may be 1 long would tie a traced graph to one length.
        start_S = torch.arange(0, frames + SEGMENT, SEGMENT, device=device)
        member_HS = (self.index_H[:, None] == start_S // SEGMENT).to(dtype)
        count_BS = (mask_BH @ member_HS).clamp(min=1.0)  # a segment may hold padding alone, or nothing
        weight_BHS = member_HS / count_BS[:, None] + 1.0 / lengths_B[:, None, None].to(dtype)
        self.average_BHS = mask_BH[:, :, None] * weight_BHS


class ContextMask(nn.Module):
    """A dilated convolution gated by the mean of its input over the recording and over its 2 s segment."""

    def __init__(self, in_channels: int, out_channels: int, dilation: int) -> None:
        super().__init__()
        self.linear_local = nn.Conv1d(
            in_channels, out_channels, 3, padding=dilation, dilation=dilation, bias=False
        )
        self.linear1 = nn.Conv1d(in_channels, in_channels // 2, 1)
        self.linear2 = nn.Conv1d(in_channels // 2, out_channels, 1)

    def forward(self, x_BCH: Tensor, segments: Segments) -> Tensor:
        # The gate is the same in all frames of a segment, so it is computed once per segment.
        context_BCS = x_BCH @ segments.average_BHS
        gate_BCS = torch.sigmoid(self.linear2(F.relu(self.linear1(context_BCS))))
        return self.linear_local(x_BCH * segments.mask_B1H) * gate_BCS.index_select(2, segments.index_H)


class DenseLayer(nn.Module):
    """One layer of a dense block; its output is appended to its input."""

    def __init__(self, in_channels: int, dims: StyleDims, dilation: int) -> None:
        super().__init__()
        width = dims.bottleneck * dims.growth
        self.nonlinear1 = NormRelu(in_channels)
        self.linear1 = nn.Conv1d(in_channels, width, 1, bias=False)
        self.nonlinear2 = NormRelu(width)
        self.cam_layer = ContextMask(width, dims.growth, dilation)

    def forward(self, x_BCH: Tensor, segments: Segments) -> Tensor:
        y = self.nonlinear2(self.linear1(self.nonlinear1(x_BCH)))
        return torch.cat([x_BCH, self.cam_layer(y, segments)], 1)


class Transit(nn.Module):
    """Halves the channels between dense blocks."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.nonlinear = NormRelu(channels)
        self.linear = nn.Conv1d(channels, channels // 2, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.nonlinear(x))


class Embedding(nn.Module):
    """Pooled statistics to the embedding, (B,2C) -> (B,E)."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.linear = nn.Conv1d(in_channels, out_channels, 1, bias=False)
        self.nonlinear = nn.ModuleDict({"batchnorm": nn.BatchNorm1d(out_channels, affine=False)})

    def forward(self, x: Tensor) -> Tensor:
        return self.nonlinear["batchnorm"](self.linear(x[..., None])[..., 0])


class TimeDelayNetwork(nn.Module):
    """Half-rate layer, three dense blocks, statistics pooling and projection, (B,320,T) -> (B,E)."""

    def __init__(self, dims: StyleDims) -> None:
        super().__init__()
        channels = dims.init_channels
        self.tdnn = HalfRate(HEAD_CHANNELS * MEL_BINS // 8, channels)
        self.stages = len(BLOCK_LAYERS)
        for stage, (layers, dilation) in enumerate(zip(BLOCK_LAYERS, BLOCK_DILATIONS, strict=True), 1):
            widths = [channels + i * dims.growth for i in range(layers + 1)]
            block = {f"tdnnd{i}": DenseLayer(w, dims, dilation) for i, w in enumerate(widths[:-1], 1)}
            self.add_module(f"block{stage}", nn.ModuleDict(block))
            self.add_module(f"transit{stage}", Transit(widths[-1]))
            channels = widths[-1] // 2
        self.out_nonlinear = NormRelu(channels)
        self.dense = Embedding(2 * channels, dims.embedding)

    def forward(self, x_BCT: Tensor, mask_BT: Tensor, lengths_B: Tensor) -> Tensor:
        x_BCH = self.tdnn(x_BCT * mask_BT[:, None])
        segments = Segments((lengths_B + 1) // 2, x_BCH)
        for stage in range(1, self.stages + 1):
            for layer in self.get_submodule(f"block{stage}").values():  # type: ignore[operator]
                x_BCH = layer(x_BCH, segments)
            x_BCH = self.get_submodule(f"transit{stage}")(x_BCH)
        return self.dense(_pooled_statistics(self.out_nonlinear(x_BCH), segments.mask_B1H))


class StyleEncoder(nn.Module):
    """Mean-subtracted Kaldi fbank of a recording to its style embedding."""

    def __init__(self, dims: StyleDims) -> None:
        super().__init__()
        self.head = Head()
        self.xvector = TimeDelayNetwork(dims)

    def forward(self, fbank_BT8: Tensor, lengths: Tensor | None = None) -> Tensor:
        """fbank (B,T,80) float, lengths (B) int frames (None: all T) -> style (B,E)."""
        batch, frames, _ = fbank_BT8.shape
        if lengths is None:
            lengths = torch.full((batch,), frames, device=fbank_BT8.device)
        mask_BT = lengths_to_mask(lengths, frames).to(fbank_BT8.dtype)
        return self.xvector(self.head(fbank_BT8.transpose(1, 2), mask_BT), mask_BT, lengths)


def _conv2d(in_channels: int, kernel: int, stride: int) -> nn.Conv2d:
    return nn.Conv2d(in_channels, HEAD_CHANNELS, kernel, (stride, 1), kernel // 2, bias=False)


def _pooled_statistics(x_BCH: Tensor, mask_B1H: Tensor) -> Tensor:
    """Mean and unbiased standard deviation over the real frames, (B,2C)."""
    count = mask_B1H.sum(-1)
    mean = (x_BCH * mask_B1H).sum(-1) / count
    squares = ((x_BCH - mean[..., None]) * mask_B1H).square().sum(-1)
    # The floor changes no value that matters; it keeps the gradient of a dead channel finite.
    deviation = (squares / (count - 1).clamp(min=1.0)).clamp(min=1e-12).sqrt()
    return torch.cat([mean, deviation], -1)
