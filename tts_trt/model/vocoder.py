"""BigVGAN v2: mel spectrogram to waveform.

Shapes: B batch, C channels, T frames or samples at the rate of the stage, S samples, K filter taps.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tts_trt.dims import VocoderDims
from tts_trt.errors import ConfigError
from tts_trt.model.layers import WeightNormConv1d, lengths_to_mask
from tts_trt.model.weight_norm import WeightNormConvTranspose1d, fold_weight_norm

TAPS = 12  # of the half-band filter around every activation
HALO = TAPS // 4  # samples of context that one phase of it needs on each side


class Edge(NamedTuple):
    """Where each row of a right-padded batch ends."""

    inside_B1T: Tensor  # bool
    last_B11: Tensor  # int64 index of the last sample

    @classmethod
    def of(cls, lengths_B: Tensor, size: int) -> Edge:
        inside_BT = lengths_to_mask(lengths_B, size)
        return cls(inside_BT[:, None, :], (lengths_B - 1).clamp(min=0).to(torch.int64)[:, None, None])

    def zero(self, x_BCT: Tensor) -> Tensor:
        """Zeros beyond the end, as a zero-padded convolution of the single row sees them."""
        return x_BCT.masked_fill(~self.inside_B1T, 0.0)

    def hold(self, x_BCT: Tensor) -> Tensor:
        """The last sample repeated beyond the end, as replicate padding of the single row makes it."""
        last_BC1 = x_BCT.gather(2, self.last_B11.expand(-1, x_BCT.shape[1], 1))
        return torch.where(self.inside_B1T, x_BCT, last_BC1)


def lowpass_filter() -> Tensor:
    """Kaiser-windowed sinc, cutoff 0.25 and half-width 0.3 of the sample rate, sum 1: (1, 1, 12) float32."""
    attenuation = 2.285 * (TAPS // 2 - 1) * np.pi * 4 * 0.3 + 7.95
    window = np.kaiser(TAPS, 0.1102 * (attenuation - 8.7))
    taps = window * np.sinc(0.5 * (np.arange(TAPS) - TAPS / 2 + 0.5))
    return torch.from_numpy((taps / taps.sum()).astype(np.float32)).view(1, 1, TAPS)


class SnakeBeta(nn.Module):
    """x + sin(x e^alpha)^2 / (e^beta + 1e-9), alpha and beta (C) per channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.zeros(channels))
        self.beta = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, phases, T) -> the same."""
        wave = torch.sin(x * self.alpha.exp()[:, None, None])
        return x + wave * wave * (1.0 / (self.beta.exp() + 1e-9))[:, None, None]


class _Filter(nn.Module):
    """Holder of the stored filter taps, so that keys match the checkpoint's."""

    filter: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("filter", lowpass_filter())


class _Downsample(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lowpass = _Filter()


class Activation(nn.Module):
    """SnakeBeta at twice the sample rate between two low-pass filters; the length is kept.

    There are two equal forms, because no one form is fast on both sides of a CPU. Training without lengths
    takes the textbook one: transposed, then strided depthwise convolution. Everything else, exported graphs
    above all, keeps the doubled signal split into its even and odd phase, (B, C, 2, T), and filters with one
    grouped convolution over the phases. One thread, phases against textbook: ONNX Runtime 0.60 (C=128,
    T=1280) and 0.55 (C=32, T=8192) of the time, but a training step of a whole small vocoder takes 1.6 times
    as long. In ONNX Runtime sums of shifted slices and banded matrix products are slower than the phases,
    and moving the channels into the batch is as fast.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.act = SnakeBeta(channels)
        self.upsample = _Filter()
        self.downsample = _Downsample()

    def _up_weight(self) -> Tensor:
        """Taps that make the even and the odd phase from 7 input samples: (2C, 1, 7)."""
        taps = 2.0 * self.upsample.filter.view(TAPS).flip(0)
        phases = torch.stack([F.pad(taps[0::2], (0, 1)), F.pad(taps[1::2], (1, 0))])
        return phases[:, None, :].repeat(self.channels, 1, 1)

    def _down_weight(self) -> Tensor:
        """Taps that make one output from 7 samples of each phase: (C, 2, 7)."""
        taps = self.downsample.lowpass.filter.view(TAPS)
        phases = torch.stack([F.pad(taps[1::2], (1, 0)), F.pad(taps[0::2], (0, 1))])
        return phases.expand(self.channels, 2, -1)

    def forward(self, x_BCT: Tensor, edge: Edge | None = None) -> Tensor:
        """(B, C, T) -> (B, C, T); beyond the end of a row the output is undefined."""
        if self.training and edge is None:
            return self._textbook(x_BCT)
        C, T = self.channels, x_BCT.shape[2]
        if edge is not None:
            x_BCT = edge.hold(x_BCT)
        padded = F.pad(x_BCT, (HALO, HALO), mode="replicate")
        phases = F.conv1d(padded, self._up_weight(), groups=C)
        y = self.act(phases.view(-1, C, 2, T))
        # replicate padding at the double rate: both phases continue the very first (even), last (odd) sample
        if edge is not None:
            odd_BCT = y[:, :, 1]
            last_BC11 = odd_BCT.gather(2, edge.last_B11.expand(-1, C, 1))[..., None]
            y = torch.where(edge.inside_B1T[:, :, None], y, last_BC11)
        left = y[:, :, :1, :1].expand(-1, -1, 2, HALO)
        right = y[:, :, 1:, -1:].expand(-1, -1, 2, HALO)
        y = torch.cat([left, y, right], -1).view(-1, 2 * C, T + 2 * HALO)
        return F.conv1d(y, self._down_weight(), groups=C)

    def _textbook(self, x_BCT: Tensor) -> Tensor:
        """The same as ``forward``, 1.6 times faster with its backward pass and slower in ONNX Runtime."""
        C = self.channels
        up = 2.0 * self.upsample.filter.expand(C, 1, -1)
        y = F.conv_transpose1d(F.pad(x_BCT, (5, 5), mode="replicate"), up, stride=2, groups=C)[..., 15:-15]
        y = self.act(y[:, :, None])[:, :, 0]
        down = self.downsample.lowpass.filter.expand(C, 1, -1)
        return F.conv1d(F.pad(y, (5, 6), mode="replicate"), down, stride=2, groups=C)


class ResidualBlock(nn.Module):
    """Pairs of dilated and plain convolutions, each after its own activation, added to the input."""

    def __init__(self, channels: int, kernel: int, dilations: tuple[int, ...]) -> None:
        super().__init__()
        self.convs1 = nn.ModuleList(
            WeightNormConv1d(channels, channels, kernel, dilation=d, padding=(kernel - 1) * d // 2)
            for d in dilations
        )
        self.convs2 = nn.ModuleList(
            WeightNormConv1d(channels, channels, kernel, padding=(kernel - 1) // 2) for _ in dilations
        )
        self.activations = nn.ModuleList(Activation(channels) for _ in range(2 * len(dilations)))

    def forward(self, x_BCT: Tensor, edge: Edge | None) -> Tensor:
        for i, (dilated, plain) in enumerate(zip(self.convs1, self.convs2, strict=True)):
            y = _zero(self.activations[2 * i](x_BCT, edge), edge)
            y = _zero(self.activations[2 * i + 1](dilated(y), edge), edge)
            x_BCT = x_BCT + plain(y)
        return x_BCT


class Vocoder(nn.Module):
    """Mel (B, n_mels, T) to wave (B, T * hop) in [-1, 1].

    Raises ConfigError for dimensions that would not keep the length at T * hop.
    """

    def __init__(self, dims: VocoderDims, n_mels: int) -> None:
        super().__init__()
        _check(dims)
        self.dims = dims
        channels = dims.initial_channels
        self.conv_pre = WeightNormConv1d(n_mels, channels, 7, padding=3)
        self.ups = nn.ModuleList()
        self.resblocks = nn.ModuleList()
        for rate, kernel in zip(dims.upsample_rates, dims.upsample_kernels, strict=True):
            up = WeightNormConvTranspose1d(
                channels, channels // 2, kernel, stride=rate, padding=(kernel - rate) // 2
            )
            self.ups.append(nn.Sequential(up))
            channels //= 2
            self.resblocks.extend(
                ResidualBlock(channels, k, d)
                for k, d in zip(dims.resblock_kernels, dims.resblock_dilations, strict=True)
            )
        self.activation_post = Activation(channels)
        self.conv_post = WeightNormConv1d(channels, 1, 7, padding=3, bias=False)

    def fold(self) -> None:
        """Replace the weight-norm pairs by plain weights in place; a folded checkpoint loads after this."""
        fold_weight_norm(self)

    def forward(self, mel_BMT: Tensor, lengths_B: Tensor | None = None) -> Tensor:
        """mel float, lengths (B) int in frames -> wave (B, T * hop).

        With ``lengths`` every row equals its own unpadded run and is zero beyond its end; without, all
        rows are T frames long.
        """
        edge = None if lengths_B is None else Edge.of(lengths_B, mel_BMT.shape[2])
        x = self.conv_pre(_zero(mel_BMT, edge))
        blocks = len(self.dims.resblock_kernels)
        rate = 1
        for stage, up in enumerate(self.ups):
            x = up(_zero(x, edge))
            rate *= self.dims.upsample_rates[stage]
            edge = None if lengths_B is None else Edge.of(lengths_B * rate, x.shape[2])
            first, *others = self.resblocks[stage * blocks : (stage + 1) * blocks]
            total = first(x, edge)
            for block in others:
                total = total + block(x, edge)
            x = total / blocks
        x = self.conv_post(_zero(self.activation_post(x, edge), edge))
        return _zero(x, edge).clamp(-1.0, 1.0)[:, 0]


def _zero(x_BCT: Tensor, edge: Edge | None) -> Tensor:
    return x_BCT if edge is None else edge.zero(x_BCT)


def _check(dims: VocoderDims) -> None:
    if len(dims.upsample_rates) != len(dims.upsample_kernels):
        raise ConfigError(
            f"vocoder has {len(dims.upsample_rates)} upsample_rates and {len(dims.upsample_kernels)} "
            "upsample_kernels, expected as many of each"
        )
    if len(dims.resblock_kernels) != len(dims.resblock_dilations):
        raise ConfigError(
            f"vocoder has {len(dims.resblock_kernels)} resblock_kernels and {len(dims.resblock_dilations)} "
            "resblock_dilations, expected as many of each"
        )
    for rate, kernel in zip(dims.upsample_rates, dims.upsample_kernels, strict=True):
        if kernel < rate or (kernel - rate) % 2:
            raise ConfigError(
                f"vocoder upsample kernel {kernel} with rate {rate} does not give rate * T samples",
                hint=f"choose a kernel of {rate}, {rate + 2}, {rate + 4}, ...; 2 * rate is usual",
            )
    if dims.initial_channels % 2 ** len(dims.upsample_rates):
        raise ConfigError(
            f"vocoder initial_channels {dims.initial_channels} cannot be halved "
            f"{len(dims.upsample_rates)} times, once per upsample rate"
        )
    if any(kernel % 2 == 0 for kernel in dims.resblock_kernels):
        raise ConfigError(f"vocoder resblock_kernels {dims.resblock_kernels} must be odd")
