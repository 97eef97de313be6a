"""Each graph of ``spec.py`` as a module whose inputs and outputs are exactly the contract's tensors, in its order."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from tts_trt.model.cfm import euler_step, velocity_with_guidance
from tts_trt.model.family import TtsModel
from tts_trt.model.sampling import Sampler
from tts_trt.spec import GraphSpec


class SemanticEncoderGraph(nn.Module):
    def __init__(self, model: TtsModel) -> None:
        super().__init__()
        self.encoder = model.semantic_encoder

    def forward(self, features: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return self.encoder.normalised(features, mask)


class SemanticCodecGraph(nn.Module):
    def __init__(self, model: TtsModel) -> None:
        super().__init__()
        self.codec = model.semantic_codec

    def forward(self, semantic: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.codec.quantize(semantic, lengths)


class ConditionerGraph(nn.Module):
    def __init__(self, model: TtsModel) -> None:
        super().__init__()
        self.gpt, self.matrix = model.gpt, model.emotion

    def forward(
        self,
        speaker: torch.Tensor,
        speaker_lengths: torch.Tensor,
        emotion: torch.Tensor,
        emotion_lengths: torch.Tensor,
        alpha: torch.Tensor,
        style: torch.Tensor,
        emotion_vector: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        merged = self.gpt.merged_emotion(speaker, speaker_lengths, emotion, emotion_lengths, alpha)
        row = self.matrix(merged, style, emotion_vector)
        return self.gpt.latents(speaker, speaker_lengths) + row[:, None], row


class PromptGraph(nn.Module):
    def __init__(self, model: TtsModel) -> None:
        super().__init__()
        self.gpt = model.gpt

    def forward(
        self, conditioning: torch.Tensor, text: torch.Tensor, text_lengths: torch.Tensor, rate: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        return self.gpt.prompt(conditioning, text, text_lengths, rate)


class GptGraph(nn.Module):
    def __init__(self, model: TtsModel) -> None:
        super().__init__()
        self.gpt = model.gpt

    def forward(
        self,
        embeddings: torch.Tensor,
        lengths: torch.Tensor,
        pos: torch.Tensor,
        start: torch.Tensor,
        caches: Sequence[torch.Tensor],
    ) -> tuple[torch.Tensor, ...]:
        logits, hidden, out = self.gpt.step(embeddings, lengths, pos, start, caches)
        return logits, hidden, *out


class CodeEmbeddingGraph(nn.Module):
    def __init__(self, model: TtsModel) -> None:
        super().__init__()
        self.gpt = model.gpt

    def forward(self, codes: torch.Tensor) -> torch.Tensor:
        return self.gpt.code_rows(codes)


class MelConditionGraph(nn.Module):
    def __init__(self, model: TtsModel) -> None:
        super().__init__()
        self.codec, self.stage = model.semantic_codec, model.s2mel

    def forward(
        self,
        codes: torch.Tensor,
        latents: torch.Tensor,
        latent_scale: torch.Tensor,
        source_index: torch.Tensor,
        target_lengths: torch.Tensor,
    ) -> torch.Tensor:
        return self.stage.condition(
            self.codec.embed(codes), latents, latent_scale, source_index, target_lengths
        )


class FlowStepGraph(nn.Module):
    def __init__(self, model: TtsModel) -> None:
        super().__init__()
        self.estimator = model.s2mel.cfm.estimator

    def forward(
        self,
        x: torch.Tensor,
        t: torch.Tensor,
        dt: torch.Tensor,
        condition: torch.Tensor,
        prompt: torch.Tensor,
        style: torch.Tensor,
        lengths: torch.Tensor,
        prompt_lengths: torch.Tensor,
        guidance: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        velocity = velocity_with_guidance(self.estimator, x, prompt, lengths, t, style, condition, guidance)
        return velocity, euler_step(x, velocity, dt, prompt_lengths)


class VocoderGraph(nn.Module):
    def __init__(self, model: TtsModel) -> None:
        super().__init__()
        self.vocoder = model.vocoder

    def forward(self, mel: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        return self.vocoder(mel, lengths)


def graph_module(name: str, model: TtsModel) -> nn.Module:
    """The module that exports as graph ``name``."""
    if name == "style_encoder":
        return model.style_encoder
    if name == "sampler":
        return Sampler(model.gpt)
    return {
        "semantic_encoder": SemanticEncoderGraph,
        "semantic_codec": SemanticCodecGraph,
        "conditioner": ConditionerGraph,
        "prompt": PromptGraph,
        "gpt": GptGraph,
        "code_embedding": CodeEmbeddingGraph,
        "mel_condition": MelConditionGraph,
        "flow_step": FlowStepGraph,
        "vocoder": VocoderGraph,
    }[name](model)


def example_inputs(spec: GraphSpec, sizes: dict[str, int], seed: int = 0) -> dict[str, np.ndarray]:
    """Valid random inputs at the given axis sizes: every length within its axis, ids within their tables, rows ragged.

    Lengths differ between rows (the first row is full), so padding is exercised wherever there is a batch.
    """
    rng = np.random.default_rng(seed)
    made: dict[str, np.ndarray] = {}
    for tensor in spec.inputs:
        shape = tuple(sizes[a] if isinstance(a, str) else a for a in tensor.shape)
        made[tensor.name] = _example(spec, tensor.name, tensor.resolved("float32"), shape, sizes, rng)
    if spec.name == "conditioner":
        made["emotion_vector"] *= 0.5 / made["emotion_vector"].sum(1, keepdims=True)
    if spec.name == "flow_step":
        made["prompt_lengths"] = np.minimum(made["prompt_lengths"] // 3, made["lengths"] - 1)
    return made


LENGTH_AXIS = {
    "speaker_lengths": "F",
    "emotion_lengths": "E",
    "text_lengths": "L",
    "target_lengths": "T",
    "prompt_lengths": "T",
}


def _example(
    spec: GraphSpec,
    name: str,
    dtype: str,
    shape: tuple[int, ...],
    sizes: dict[str, int],
    rng: np.random.Generator,
) -> np.ndarray:
    if name in LENGTH_AXIS or name == "lengths":
        own = {a for tensor in spec.inputs for a in tensor.shape}
        axis = LENGTH_AXIS.get(name) or next(a for a in ("S", "F", "K", "T") if a in own)
        most = sizes.get(axis, 24)
        lengths = rng.integers(max(1, most // 2), most + 1, shape)
        lengths[0] = most
        lengths[1:2] = max(1, most // 2)  # ragged, whatever was drawn
        return lengths.astype(np.int64)
    if name == "mask":
        rows = rng.integers(shape[1] // 2, shape[1] + 1, (shape[0], 1))
        return np.arange(shape[1]) < rows
    if dtype == "bool":
        return rng.random(shape) < 0.2
    if dtype == "int64":
        high = {"text": 10, "codes": 10, "source_index": sizes.get("M", 2), "top_k": 20, "max_codes": 40}
        low = {"text": 2, "top_k": 1, "max_codes": 20}
        return rng.integers(low.get(name, 0), high.get(name, 6), shape)
    if name in ("t", "alpha", "noise", "top_p", "emotion_vector", "guidance", "dt"):
        return rng.uniform(0.05, 0.95, shape).astype(np.float32)
    if name in ("rate", "penalty", "temperature"):
        return rng.uniform(0.7, 1.4, shape).astype(np.float32)
    if name == "latent_scale":
        return (np.arange(shape[0]) % 2 == 0).astype(np.float32)
    return rng.standard_normal(shape).astype(np.float32)
