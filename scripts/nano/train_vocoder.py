"""Train the nano vocoder: mel -> wave, multi-resolution STFT and mel losses on random crops.

python -m scripts.nano.train_vocoder --work build/nano [--smoke]
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from scripts.nano.data import Utterance, load_corpus
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
    def __init__(self, model: nn.Module, dims: AudioDims, device: str) -> None:
        self.model, self.device = model, device
        self.windows = {n: torch.hann_window(n, device=device) for n, _ in RESOLUTIONS}
        self.filters = (
            torch.from_numpy(slaney_filters(dims.sample_rate, 1024, dims.n_mels)).float().to(device)
        )

    def __call__(self, batch: tuple[torch.Tensor, torch.Tensor], step: int) -> dict[str, torch.Tensor]:
        mel, target = (x.to(self.device) for x in batch)
        wave = self.model(mel)
        spectral = wave.new_zeros(())
        mel_gap = wave.new_zeros(())
        for size, hop in RESOLUTIONS:
            made, real = (self._magnitude(x, size, hop) for x in (wave, target))
            spectral = (
                spectral
                + F.l1_loss(made.log(), real.log())
                + (made - real).norm() / real.norm().clamp(min=1e-3)
            )
            if size == 1024:
                mel_gap = F.l1_loss(*((self.filters @ x).clamp(min=1e-5).log() for x in (made, real)))
        spectral = spectral / len(RESOLUTIONS)
        return {"loss": spectral + 2.0 * mel_gap, "spectral": spectral, "mel": mel_gap}

    def _magnitude(self, wave: torch.Tensor, size: int, hop: int) -> torch.Tensor:
        spectrum = torch.stft(wave, size, hop, window=self.windows[size], return_complex=True)
        return (spectrum.real.square() + spectrum.imag.square() + 1e-8).sqrt()


def main() -> None:
    chosen = options(__doc__, steps=6000, batch=8, lr=1e-3)
    dims = nano_dims()
    utterances = load_corpus(chosen.work / "corpus", 60 if chosen.smoke else None)
    model = Vocoder(dims.vocoder, dims.audio.n_mels).to(chosen.device)
    batches = crops(utterances, dims.audio, chosen.batch, chosen.seed)
    train("vocoder", model, batches, Losses(model, dims.audio, chosen.device), chosen, weight_decay=0.0)


if __name__ == "__main__":
    main()
