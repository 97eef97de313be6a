"""Codes to wave in chunks, while the codes are still being drawn.

    frames   0 ........ fixed ........ end        one chunk: generate [fixed, end)
             [ context ][ overlap, new ]          flow prompt: reference mel, then the context's own mel
    next     ........... fixed' = end - overlap   the overlap is generated again, now with what follows it,
                                                  and cross-faded over the old take

The flow and the vocoder look ahead, so a chunk's last frames lack what comes after them: they are held back as the
overlap. Noise belongs to the frame, not to the chunk. A streamed wave is therefore the same performance as the whole one
(same codes, same noise) with other rounding of the acoustic detail: the first chunk's left part sees at least the
overlap of what follows instead of all of it, and later chunks see ``CONTEXT_SECONDS`` of what was said. It has exactly as many
samples. It is not scaled to a peak, since the future is unknown: the vocoder keeps it within [-1, 1].
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tts_trt.runtime.acoustic import Acoustic, ConditionJob, FlowJob, Rows
from tts_trt.runtime.device import Tensor
from tts_trt.runtime.finish import cross_fade
from tts_trt.runtime.sampling import mel_noise
from tts_trt.runtime.voice import Voice

FloatArray = NDArray[np.float32]

CONTEXT_SECONDS = 1.0  # of what was said; 2 s are no nearer to the whole, and dearer
OVERLAP_SECONDS = 0.12
VOCODER_SECONDS = 0.4  # of mel before a chunk: beyond the vocoder's reach to the left


class ChunkedWave:
    """One segment. ``push`` takes all codes so far and returns the samples that are final, none twice; who runs the flow and
    the vocoder of many at once goes through its parts: ``job``, ``mel``, ``samples``. One chunk that is the last is the
    whole."""

    def __init__(
        self, acoustic: Acoustic, voice: Voice, seed: int, segment: int, steps: int, guidance: float
    ) -> None:
        audio = acoustic.dims.audio
        per_second = audio.sample_rate / audio.hop
        self._context, self._overlap, self._before = (
            max(1, round(s * per_second)) for s in (CONTEXT_SECONDS, OVERLAP_SECONDS, VOCODER_SECONDS)
        )
        self._acoustic, self._voice, self._hop, self._mels = acoustic, voice, audio.hop, audio.n_mels
        self._noise_key, self._steps, self._guidance = (seed, segment), steps, guidance
        self._mel_mT = acoustic.device.empty((audio.n_mels, 0), np.float32)
        self._fixed = 0
        self._tail_S = np.zeros(0, np.float32)

    def push(self, codes_M: NDArray[np.int64], latents_MD: Rows, frames: int, *, last: bool) -> FloatArray:
        """The next chunk from its codes to its samples. ``frames``: mel frames of all codes so far; not fewer than
        before."""
        (mel_mT,) = self._acoustic.flow([self.job(codes_M, latents_MD, frames)])
        (wave_S,) = self._acoustic.waves([self.mel(mel_mT)])
        return self.samples(wave_S, last=last)

    def job(
        self, codes_M: NDArray[np.int64], latents_MD: Rows, frames: int, steps: int | None = None
    ) -> FlowJob:
        """What the flow does for the next chunk, in ``steps`` of its own if need be."""
        (condition_Tc,) = self._acoustic.conditions([ConditionJob(codes_M, latents_MD, frames)])
        left = max(0, self._fixed - self._context)
        return FlowJob(
            condition_Tc=[self._voice.condition_Tc, condition_Tc[left:]],
            prompt_mP=[self._voice.mel_mT, self._mel_mT[:, left : self._fixed]],
            noise_mT=mel_noise(*self._noise_key, frames, self._mels)[:, self._fixed :],
            style_E=self._voice.style_E,
            steps=steps or self._steps,
            guidance=self._guidance,
        )

    def mel(self, new_mT: Tensor) -> Rows:
        """The job's mel -> what the vocoder is given: some of what was there before, and the new."""
        if not self._fixed:
            self._mel_mT = new_mT
            return new_mT
        device, fixed = new_mT.device, self._fixed
        whole_mT = device.empty((self._mels, fixed + new_mT.shape[1]), np.float32)
        device.copy(whole_mT[:, :fixed], self._mel_mT[:, :fixed])
        device.copy(whole_mT[:, fixed:], new_mT)
        self._mel_mT = whole_mT
        return whole_mT[:, max(0, fixed - self._before) :]

    def samples(self, wave_S: FloatArray, *, last: bool) -> FloatArray:
        """The vocoder's wave -> the samples that are final."""
        frames = self._mel_mT.shape[1]
        left = max(0, self._fixed - self._before)
        wave_S = cross_fade(self._tail_S, wave_S[(self._fixed - left) * self._hop :])
        held = 0 if last else min(self._overlap, frames - self._fixed)
        cut = len(wave_S) - held * self._hop
        self._tail_S, self._fixed = wave_S[cut:], frames - held
        return wave_S[:cut]
