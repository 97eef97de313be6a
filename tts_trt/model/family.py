"""One model of the family: all modules under the names of the checkpoint files they come from."""

from __future__ import annotations

import torch
from torch import nn

from tts_trt.dims import ModelDims
from tts_trt.model.code_model import CodeModel
from tts_trt.model.codec import SemanticCodec
from tts_trt.model.dit import Estimator
from tts_trt.model.emotion import EmotionMatrix
from tts_trt.model.flow import GptLayer, LengthRegulator
from tts_trt.model.semantic import SemanticEncoder
from tts_trt.model.style import StyleEncoder
from tts_trt.model.vocoder import Vocoder


class Flow(nn.Module):
    """Holder of the estimator, so that its keys start with ``cfm.estimator`` as in the checkpoint."""

    def __init__(self, dims: ModelDims) -> None:
        super().__init__()
        self.estimator = Estimator(
            dims.flow, dims.audio.n_mels, dims.style.embedding, dims.regulator.channels
        )


class MelStage(nn.Module):
    """What ``s2mel.pth`` holds: codes and latents to mel."""

    def __init__(self, dims: ModelDims) -> None:
        super().__init__()
        semantic = dims.semantic_encoder.hidden
        self.length_regulator = LengthRegulator(semantic, dims.regulator)
        self.gpt_layer = GptLayer(dims.gpt.dim, semantic)
        self.cfm = Flow(dims)

    def condition(
        self,
        embeddings_BMC: torch.Tensor,
        latents_BMD: torch.Tensor,
        latent_scale_B: torch.Tensor,
        source_index_BT: torch.Tensor,
        target_lengths_B: torch.Tensor,
    ) -> torch.Tensor:
        """-> (B,T,channels). A reference's own codes have no latent: scale 0."""
        source = embeddings_BMC + latent_scale_B[:, None, None] * self.gpt_layer(latents_BMD)
        return self.length_regulator(source, source_index_BT, target_lengths_B)


class TtsModel(nn.Module):
    def __init__(self, dims: ModelDims) -> None:
        super().__init__()
        self.dims = dims
        self.semantic_encoder = SemanticEncoder(dims.semantic_encoder)
        self.semantic_codec = SemanticCodec(dims.semantic_encoder.hidden, dims.codec)
        self.style_encoder = StyleEncoder(dims.style)
        self.gpt = CodeModel(dims)
        self.emotion = EmotionMatrix(dims.emotion_rows, dims.style.embedding, dims.gpt.dim)
        self.s2mel = MelStage(dims)
        self.vocoder = Vocoder(dims.vocoder, dims.audio.n_mels)
