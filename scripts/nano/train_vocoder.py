"""Train the nano vocoder: mel -> wave, multi-resolution STFT and mel losses on random crops.

First on the mels of recordings; once code model and flow are trained, on (phase "made") with half of the crops from mels that
the flow made of the recordings' codes, since that is what it hears when the voice speaks.
    python -m scripts.nano.train_vocoder --work build/nano [--phase made] [--smoke]
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from scripts.nano.data import Utterance, load_corpus
from scripts.nano.loop import Options, nano_dims, options, train
from scripts.nano.made_mels import cached_made_mels
from scripts.nano.pitch import cached_pitch
from scripts.nano.train_gpt import setup
from tts_trt.dims import AudioDims, ModelDims
from tts_trt.frontend.features import log_mel, slaney_filters
from tts_trt.model.vocoder import Vocoder

CROP = 32  # mel frames
MADE = 2000  # utterances whose mels the flow makes for the second phase
RESOLUTIONS = (
    (64, 16),
    (256, 64),
    (512, 128),
    (1024, 256),
    (2048, 512),
)  # FFT size, hop: the longest tells harmonics apart


Pair = tuple[np.ndarray, np.ndarray]
"""Mel (n_mels,CROP) and wave (CROP*hop)."""


class Crops:
    """Random crops of recordings, with the mel of each or with the one that the flow made."""

    def __init__(self, utterances: list[Utterance], dims: AudioDims, made: Mapping[int, np.ndarray]) -> None:
        """``made``: index of an utterance -> mel (n_mels,T), from the recording's first sample on."""
        self.utterances, self.dims = utterances, dims
        self.made = {i: mel for i, mel in made.items() if mel.shape[1] >= CROP}
        self._with_mels = sorted(self.made)

    def endless(self, batch: int, seed: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """mel (B,n_mels,CROP) and wave (B,CROP*hop); every second pair with a mel that was made, if there are any."""
        rng = np.random.default_rng(seed)
        while True:
            pairs = [
                self.of_made(rng) if self.made and row % 2 else self.of_recorded(rng) for row in range(batch)
            ]
            mels, waves = (np.stack(parts).astype(np.float32) for parts in zip(*pairs, strict=True))
            yield torch.from_numpy(mels), torch.from_numpy(waves)

    def of_recorded(self, rng: np.random.Generator) -> Pair:
        """The mel is cut from the whole utterance's, edges included."""
        dims, samples = self.dims, CROP * self.dims.hop
        margin = dims.n_fft  # samples around a crop, so that its mel is the utterance's own
        wave = self._wave(int(rng.integers(len(self.utterances))), CROP)
        first = int(rng.integers(0, (len(wave) - samples) // dims.hop + 1)) * dims.hop
        left = min(first, -(-margin // dims.hop) * dims.hop)
        around = wave[first - left : first + samples + margin]
        frame = left // dims.hop
        gain = rng.uniform(0.5, 1.2)
        return log_mel(around * gain, dims)[:, frame : frame + CROP], wave[first : first + samples] * gain

    def of_made(self, rng: np.random.Generator) -> Pair:
        i = int(rng.choice(self._with_mels))
        mel, hop = self.made[i], self.dims.hop
        first = int(rng.integers(0, mel.shape[1] - CROP + 1))
        wave = self._wave(i, mel.shape[1])
        return mel[:, first : first + CROP], wave[first * hop : (first + CROP) * hop]

    def _wave(self, index: int, frames: int) -> np.ndarray:
        """The recording, silent beyond its end, of at least that many frames."""
        wave = self.utterances[index].float_wave()
        return np.pad(wave, (0, max(0, frames * self.dims.hop - len(wave))))


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


def made_mels(chosen: Options, dims: ModelDims, limit: int | None) -> Mapping[int, np.ndarray]:
    utterances, features, encoded = setup(chosen.work, dims, limit)
    pitch = cached_pitch(chosen.work, utterances, features)
    return cached_made_mels(
        chosen.work, utterances, features, encoded, pitch, limit or MADE, dims, chosen.device
    )


def main() -> None:
    chosen = options(__doc__, steps=6000, batch=8, lr=1e-3, phases=("recorded", "made"))
    dims, limit = nano_dims(), 60 if chosen.smoke else None
    made: Mapping[int, np.ndarray] = {}
    if chosen.phase == "made":
        made = made_mels(chosen, dims, limit)
        chosen = replace(chosen, steps=chosen.steps * 3 // 2)
    crops = Crops(load_corpus(chosen.work / "corpus", limit), dims.audio, made)
    model = Vocoder(dims.vocoder, dims.audio.n_mels).to(chosen.device)
    losses = Losses(model, dims.audio, chosen.device)
    train("vocoder", model, crops.endless(chosen.batch, chosen.seed), losses, chosen, weight_decay=0.0)


if __name__ == "__main__":
    main()
