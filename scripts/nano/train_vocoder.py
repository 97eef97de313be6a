"""Train the nano vocoder: mel -> wave, multi-resolution STFT and mel losses on random crops.

python -m scripts.nano.train_vocoder --work build/nano [--smoke]
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch.nn import functional as F

from scripts.nano.data import Utterance, shards_of, utterances_of
from scripts.nano.loop import nano_dims, options, train
from tts_trt.dims import AudioDims
from tts_trt.frontend.features import log_mel, slaney_filters
from tts_trt.model.vocoder import Vocoder

CROP = 32  # mel frames
RESOLUTIONS = (
    (64, 16),
    (256, 64),
    (512, 128),
    (1024, 256),
    (2048, 512),
)  # FFT size, hop: the longest tells harmonics apart
MEL_BANDS = {
    256: 20,
    512: 40,
    1024: 80,
    2048: 200,
}  # by FFT size; 200 tell the harmonics of a low voice apart
MEL_WEIGHT = 8.0
"""Bins of noise cannot be foretold, bands can be, and a listener hears bands."""
PERIODS_WINDOW, PERIODS_S, PERIODS_WEIGHT = 1024, 0.016, 4.0
"""Harmonics in the wrong place lose as much a little as far off it, and say nothing about where to go. How alike a frame and its shifted self
are does: its pitch, down to 62 Hz. The mel of a low voice hardly has it, its bands are half as wide as such a pitch."""
AUDIBLE = 1e-5  # mean square of a frame, windowed, below which its periods count for little


def crops(
    utterances: list[Utterance], dims: AudioDims, batch: int, seed: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Endless (mel (B,n_mels,CROP), wave (B,CROP*hop)); the mel is cut from the whole utterance's, edges included."""
    rng = np.random.default_rng(seed)
    margin = dims.n_fft  # samples around a crop, so that its mel is the utterance's own
    samples = CROP * dims.hop
    while True:
        mels, waves = [], []
        for i in rng.integers(len(utterances), size=batch):
            wave = utterances[i].float_wave()
            if len(wave) < samples:
                wave = np.pad(wave, (0, samples - len(wave)))
            first = int(rng.integers(0, (len(wave) - samples) // dims.hop + 1)) * dims.hop
            left = min(first, -(-margin // dims.hop) * dims.hop)
            around = wave[first - left : first + samples + margin]
            frame = left // dims.hop
            gain = rng.uniform(0.5, 1.2)
            mels.append(log_mel(around * gain, dims)[:, frame : frame + CROP])
            waves.append(wave[first : first + samples] * gain)
        yield torch.from_numpy(np.stack(mels)), torch.from_numpy(np.stack(waves).astype(np.float32))


class Losses:
    def __init__(self, model: Callable[[torch.Tensor], torch.Tensor], dims: AudioDims, device: str) -> None:
        self.model, self.device = model, device
        self.windows = {n: torch.hann_window(n, device=device) for n, _ in RESOLUTIONS}
        self.longest = round(PERIODS_S * dims.sample_rate)
        self.filters = {
            size: torch.from_numpy(slaney_filters(dims.sample_rate, size, bands)).float().to(device)
            for size, bands in MEL_BANDS.items()
        }

    def __call__(self, batch: tuple[torch.Tensor, torch.Tensor], step: int) -> dict[str, torch.Tensor]:
        given, target = (x.to(self.device) for x in batch)
        wave = self.model(given)
        spectral = wave.new_zeros(())
        mel, periods = wave.new_zeros(()), wave.new_zeros(())
        for size, hop in RESOLUTIONS:
            made, real = (self._magnitude(x, size, hop) for x in (wave, target))
            spectral = (
                spectral
                + F.l1_loss(made.log(), real.log())
                + (made - real).norm() / real.norm().clamp(min=1e-3)
            )
            if size in self.filters:
                mel = mel + F.l1_loss(*(self._bands(x, size).log() for x in (made, real)))
            if size == PERIODS_WINDOW:
                periods = self._periods(made, real)
        spectral, mel = spectral / len(RESOLUTIONS), mel / len(self.filters)
        loss = spectral + MEL_WEIGHT * mel + PERIODS_WEIGHT * periods
        return {"loss": loss, "spectral": spectral, "mel": mel, "periods": periods}

    def _periods(self, made: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
        """Mean gap of the normalised autocorrelations, over lags and the frames that have a sound."""
        both = [torch.fft.irfft(x.square(), dim=1)[:, : self.longest] for x in (made, real)]
        power = both[1][:, :1]
        audible = power / (power + AUDIBLE * PERIODS_WINDOW)
        gap = (both[0] / (both[0][:, :1] + 1e-6) - both[1] / (power + 1e-6)).abs()
        return (gap * audible).mean() / audible.mean().clamp(min=1e-3)

    def _bands(self, magnitude: torch.Tensor, size: int) -> torch.Tensor:
        return (self.filters[size] @ magnitude).clamp(min=1e-5)

    def _magnitude(self, wave: torch.Tensor, size: int, hop: int) -> torch.Tensor:
        spectrum = torch.stft(wave, size, hop, window=self.windows[size], return_complex=True)
        return (spectrum.real.square() + spectrum.imag.square() + 1e-8).sqrt()


def main() -> None:
    chosen = options(__doc__, steps=17_000, batch=8, lr=1e-3, compiles=True)
    dims = nano_dims()
    utterances = utterances_of(shards_of(chosen.work, chosen.smoke))
    model = Vocoder(dims.vocoder, dims.audio.n_mels).to(chosen.device)
    batches = crops(utterances, dims.audio, chosen.batch, chosen.seed)
    losses = Losses(torch.compile(model) if chosen.compile else model, dims.audio, chosen.device)
    train("vocoder", model, batches, losses, chosen, weight_decay=0.0)


if __name__ == "__main__":
    main()
