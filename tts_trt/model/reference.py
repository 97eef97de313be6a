"""The slow, obvious pipeline that every fast path is compared with: one utterance, no cache, no batch, no graph.

L text ids, M codes, T mel frames, S samples, D model width, C semantic width, V codes in the vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from tts_trt.frontend.features import (
    FBANK_RATE,
    hann_sinc_resample,
    log_mel,
    seamless_features,
    style_features,
)
from tts_trt.frontend.timing import nearest_index
from tts_trt.model.cfm import solve
from tts_trt.model.family import TtsModel
from tts_trt.model.sampling import candidates, draw, penalised

INITIAL_SEEN = (1,)
"""Codes that upstream's token history holds before the first step, besides the start code."""


@dataclass(frozen=True)
class ReferenceVoice:
    semantic_1TC: torch.Tensor
    codes_1T: torch.Tensor
    style_1E: torch.Tensor
    mel_1MT: torch.Tensor


@dataclass(frozen=True)
class Draws:
    """How codes are drawn; ``noise_MV`` uniform in (0,1), unused at temperature 0."""

    noise_MV: torch.Tensor
    temperature: float
    top_k: int
    top_p: float
    penalty: float
    min_codes: int
    max_codes: int


class Reference:
    def __init__(self, model: TtsModel) -> None:
        self.model = model.eval()
        self.dims = model.dims

    @torch.inference_mode()
    def voice(self, wave_S: np.ndarray) -> ReferenceVoice:
        """``wave`` at the model's sample rate."""
        audio = self.dims.audio
        wave16 = wave_S
        if audio.sample_rate != FBANK_RATE:
            wave16 = hann_sinc_resample(wave_S, audio.sample_rate, FBANK_RATE)
        features, mask = seamless_features(wave16, self.dims.semantic_encoder.stride)
        semantic = self.model.semantic_encoder.normalised(
            torch.from_numpy(features)[None], torch.from_numpy(mask)[None]
        )
        codes, _ = self.model.semantic_codec.quantize(semantic)
        style = self.model.style_encoder(torch.from_numpy(style_features(wave16))[None])
        return ReferenceVoice(semantic, codes, style, torch.from_numpy(log_mel(wave_S, audio))[None])

    @torch.inference_mode()
    def conditioning(
        self, voice: ReferenceVoice, emotion_1TC: torch.Tensor | None, alpha: float, vector: list[float]
    ) -> torch.Tensor:
        """-> (1,N,D); without an emotion reference the speaker's own features serve."""
        gpt = self.model.gpt
        other = voice.semantic_1TC if emotion_1TC is None else emotion_1TC
        own_length, other_length = (torch.tensor([x.shape[1]]) for x in (voice.semantic_1TC, other))
        row = gpt.merged_emotion(voice.semantic_1TC, own_length, other, other_length, torch.tensor([alpha]))
        row = self.model.emotion(row, voice.style_1E, torch.tensor([vector]))
        return gpt.latents(voice.semantic_1TC, own_length) + row[:, None]

    @torch.inference_mode()
    def codes(
        self, conditioning: torch.Tensor, text: list[int], rate: float, draws: Draws
    ) -> tuple[list[int], torch.Tensor]:
        """-> codes without the stop code, and their latents (1,M,D). Every step runs the whole sequence again."""
        gpt, g = self.model.gpt, self.dims.gpt
        prompt, _ = gpt.prompt(
            conditioning, torch.tensor([text]), torch.tensor([len(text)]), torch.tensor([rate])
        )
        exact = self.dims.latents == "exact"
        seen = torch.zeros(1, g.codes, dtype=torch.bool)
        if exact:
            seen[0, [*INITIAL_SEEN, g.start_code]] = True
        rows, states = [prompt], []
        codes: list[int] = []
        while True:
            hidden = gpt.final_norm(gpt.gpt(torch.cat(rows, dim=1)))[:, -1]
            states.append(hidden)
            code = self._draw(gpt.mel_head(hidden), seen, len(codes), draws)
            if code == g.stop_code:
                break
            seen[0, code] = True
            rows.append(gpt.next_row(torch.tensor([code]), torch.tensor([len(codes)])))
            codes.append(code)
        if not codes:
            return [], prompt.new_zeros(1, 0, g.dim)
        if exact:
            chunk = gpt.code_rows(torch.tensor([codes[:-1]], dtype=torch.int64))
            full = gpt.final_norm(gpt.gpt(torch.cat([prompt, chunk], dim=1)))
            return codes, full[:, prompt.shape[1] - 1 :]
        return codes, torch.stack(states[: len(codes)], dim=1)

    def _draw(self, logits_1V: torch.Tensor, seen: torch.Tensor, step: int, draws: Draws) -> int:
        g = self.dims.gpt
        if step >= draws.max_codes:
            return g.stop_code
        scores = penalised(logits_1V, seen, torch.tensor([draws.penalty]))
        scores[0, g.start_code] = -torch.inf
        if step < draws.min_codes:
            scores[0, g.stop_code] = -torch.inf
        warm = torch.tensor([draws.temperature])
        best, order = candidates(scores, warm, torch.tensor([draws.top_k]), torch.tensor([draws.top_p]))
        return int(draw(best, order, draws.noise_MV[step : step + 1], warm))

    @torch.inference_mode()
    def mel(
        self,
        voice: ReferenceVoice,
        codes: list[int],
        latents_1MD: torch.Tensor,
        frames: int,
        noise_1MT: torch.Tensor,
        steps: int | None = None,
    ) -> torch.Tensor:
        """-> (1,n_mels,frames); ``noise`` covers reference and target frames."""
        prompt_frames = voice.mel_1MT.shape[2]
        before = self._condition(
            voice.codes_1T,
            latents_1MD.new_zeros(1, voice.codes_1T.shape[1], latents_1MD.shape[2]),
            0.0,
            prompt_frames,
        )
        spoken = self._condition(torch.tensor([codes]), latents_1MD, 1.0, frames)
        flow = self.dims.flow
        mel = solve(
            self.model.s2mel.cfm.estimator,
            torch.cat([before, spoken], dim=1),
            F.pad(voice.mel_1MT, (0, frames)),
            torch.tensor([prompt_frames]),
            torch.tensor([prompt_frames + frames]),
            voice.style_1E,
            noise_1MT,
            steps or flow.steps,
            torch.tensor([flow.guidance]),
        )
        return mel[:, :, prompt_frames:]

    def _condition(
        self, codes: torch.Tensor, latents: torch.Tensor, scale: float, frames: int
    ) -> torch.Tensor:
        source = torch.from_numpy(nearest_index(codes.shape[1], frames))[None]
        return self.model.s2mel.condition(
            self.model.semantic_codec.embed(codes),
            latents,
            torch.tensor([scale]),
            source,
            torch.tensor([frames]),
        )

    @torch.inference_mode()
    def wave(self, mel_1MT: torch.Tensor) -> torch.Tensor:
        """-> (S) samples."""
        return self.model.vocoder(mel_1MT)[0]
