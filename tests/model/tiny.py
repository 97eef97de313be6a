"""Small dimensions and models for tests, and the fixtures' configurations as dims."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from tts_trt.dims import (
    AudioDims,
    CodecDims,
    ConformerDims,
    FlowDims,
    GptDims,
    ModelDims,
    RegulatorDims,
    SemanticEncoderDims,
    StyleDims,
    VocoderDims,
)

TINY = ModelDims(
    name="tiny",
    latents="one-pass",
    frames_per_code=2.0,
    emotion_rows=(1, 2, 1, 1, 1, 1, 1, 2),
    audio=AudioDims(sample_rate=16000, n_fft=1024, hop=320, n_mels=80, reference_seconds=4.0),
    semantic_encoder=SemanticEncoderDims(
        stride=4, hidden=16, layers=2, heads=2, ffn=24, conv_kernel=5, left_positions=8, right_positions=4
    ),
    codec=CodecDims(codebook_size=30, codebook_dim=4, vocos_dim=12, vocos_ffn=20, vocos_layers=2),
    style=StyleDims(embedding=12, growth=4, bottleneck=2, init_channels=16),
    gpt=GptDims(
        dim=32,
        layers=2,
        heads=2,
        text_tokens=20,
        max_text=24,
        codes=32,
        max_codes=40,
        start_code=30,
        stop_code=31,
        latents=4,
        speaker=ConformerDims(width=16, ffn=24, heads=2, blocks=1, conv_kernel=5),
        emotion=ConformerDims(width=12, ffn=20, heads=2, blocks=1, conv_kernel=5),
    ),
    regulator=RegulatorDims(channels=24, codebook_size=4),
    flow=FlowDims(dim=32, heads=2, depth=3, wavenet_dim=32, wavenet_layers=2, steps=4, codebook_size=4),
    vocoder=VocoderDims(
        upsample_rates=(5, 4, 4, 4),
        upsample_kernels=(15, 8, 8, 8),
        initial_channels=32,
        resblock_kernels=(3,),
        resblock_dilations=((1, 3),),
    ),
)


def fixture_dims(config: dict[str, Any]) -> ModelDims:
    """ModelDims of a gpt_* parity fixture."""
    g = config["gpt"]

    def conformer(c: dict[str, Any]) -> ConformerDims:
        return ConformerDims(
            width=c["output_size"],
            ffn=c["linear_units"],
            heads=c["attention_heads"],
            blocks=c["num_blocks"],
            perceiver_mult=c["perceiver_mult"],
        )

    gpt = GptDims(
        dim=g["model_dim"],
        layers=g["layers"],
        heads=g["heads"],
        text_tokens=g["number_text_tokens"],
        max_text=g["max_text_tokens"],
        codes=g["number_mel_codes"],
        max_codes=g["max_mel_tokens"],
        start_code=g["start_mel_token"],
        stop_code=g["stop_mel_token"],
        latents=g["condition_num_latent"],
        speaker=conformer(g["condition_module"]),
        emotion=conformer(g["emo_condition_module"]),
    )
    return replace(ModelDims(), gpt=gpt, semantic_encoder=SemanticEncoderDims(hidden=config["semantic_dim"]))


def randomise(module: torch.nn.Module, seed: int = 0, scale: float = 0.3) -> None:
    """Random values for every parameter and running statistic, so that nothing is zero or one by accident."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            fan = parameter.shape[-1] if parameter.dim() > 1 else 1.0
            parameter.copy_(
                torch.randn(parameter.shape, generator=generator) * scale / fan**0.5 + (parameter.dim() == 1)
            )
        for name, buffer in module.named_buffers():
            if name.endswith(("running_mean", "stat_mean")):
                buffer.copy_(torch.randn(buffer.shape, generator=generator) * 0.1)
            elif name.endswith(("running_var", "stat_var")):
                buffer.copy_(torch.rand(buffer.shape, generator=generator) + 0.5)
