"""Directories in the official layout: small ones with random weights, and ones that hold the parity fixtures' weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from scripts.random_checkpoint import TINY, write_checkpoint
from tests.model.tiny import fixture_dims
from tests.parity import Fixture, load
from tts_trt.dims import (
    AudioDims,
    CodecDims,
    FlowDims,
    ModelDims,
    RegulatorDims,
    SemanticEncoderDims,
    StyleDims,
    VocoderDims,
)

Tensors = dict[str, torch.Tensor]
CAMPPLUS = StyleDims(embedding=24, growth=6, bottleneck=2, init_channels=24)


LEVEL = 0.2
"""Of the fixture's wave: random mels are louder than its own, and clipped audio is no result."""


def under(prefix: str, tensors: Tensors) -> Tensors:
    return {f"{prefix}.{key}": value for key, value in tensors.items()}


def unfolded(tensors: Tensors) -> Tensors:
    """Plain weights as the weight norm that a checkpoint stores: gain and direction."""
    found: Tensors = {}
    for key, value in tensors.items():
        if key.endswith(".weight") and value.dim() == 3:
            name = key.removesuffix(".weight")
            found[f"{name}.weight_v"] = value
            found[f"{name}.weight_g"] = value.flatten(1).norm(dim=1)[:, None, None]
        else:
            found[key] = value
    return found


def bigvgan_dims(fixture: Fixture) -> VocoderDims:
    config = fixture.config["bigvgan"]
    return VocoderDims(
        upsample_rates=tuple(config["upsample_rates"]),
        upsample_kernels=tuple(config["upsample_kernel_sizes"]),
        initial_channels=config["upsample_initial_channel"],
        resblock_kernels=tuple(config["resblock_kernel_sizes"]),
        resblock_dilations=tuple(map(tuple, config["resblock_dilation_sizes"])),
    )


def chain_dims(*, vocoder: bool = True) -> ModelDims:
    """Code model, style encoder and (unless it is to be small) vocoder of the fixtures, the rest small, all fitting together."""
    gpt = fixture_dims(load("gpt_prefill_decode").config)
    return replace(
        TINY,
        gpt=gpt.gpt,
        semantic_encoder=replace(TINY.semantic_encoder, hidden=gpt.semantic_encoder.hidden),
        codec=replace(TINY.codec, codebook_size=gpt.gpt.start_code),
        style=CAMPPLUS,
        vocoder=bigvgan_dims(load("bigvgan")) if vocoder else TINY.vocoder,
        flow=replace(TINY.flow, steps=25),
    )


def write_chain(folder: Path, *, vocoder: bool = True) -> ModelDims:
    dims = chain_dims(vocoder=vocoder)
    given = {"gpt": load("gpt_prefill_decode").weights, "style_encoder": load("campplus").weights}
    if vocoder:
        given["vocoder"] = unfolded(load("bigvgan").weights)
        given["vocoder"]["conv_post.weight_g"] *= LEVEL
    write_checkpoint(folder, dims, given=given)
    return dims


def write_conditioning(folder: Path) -> ModelDims:
    fixture = load("gpt_conditioning")
    base = fixture_dims(fixture.config)
    dims = replace(
        TINY,
        gpt=base.gpt,
        semantic_encoder=replace(TINY.semantic_encoder, hidden=base.semantic_encoder.hidden),
        codec=CodecDims(128, 8, 24, 56, 3),
    )
    given = {"gpt": fixture.weights, "semantic_codec": load("semantic_codec").weights}
    write_checkpoint(folder, dims, given=given)
    return dims


def write_encoder(folder: Path) -> ModelDims:
    """Semantic encoder, length regulator and emotion matrices. The fixture's encoder has a layer above the one in use."""
    encoder, matrix = load("w2v_bert"), load("emotion_matrix")
    dims = replace(
        TINY,
        emotion_rows=tuple(matrix.config["emo_num"]),
        semantic_encoder=SemanticEncoderDims(hidden=48, layers=3, heads=4, ffn=96),
        style=replace(TINY.style, embedding=24),
        gpt=replace(TINY.gpt, dim=48, heads=2),
        regulator=RegulatorDims(channels=32, codebook_size=16),
    )
    statistics = {name: encoder.inputs[name] for name in ("stat_mean", "stat_var")}
    given = {
        "semantic_encoder": encoder.weights | statistics,
        "s2mel": under("length_regulator", load("length_regulator").weights),
        "emotion": {
            "speaker_matrix": matrix.inputs["spk_matrix"],
            "emotion_matrix": matrix.inputs["emo_matrix"],
        },
    }
    write_checkpoint(folder, dims, given=given)
    return dims


def write_flow(folder: Path) -> ModelDims:
    fixture = load("cfm_inference")
    config = fixture.config["s2mel"]
    dims = replace(
        TINY,
        audio=AudioDims(n_mels=config["DiT"]["in_channels"]),
        style=replace(TINY.style, embedding=config["style_encoder"]["dim"]),
        regulator=RegulatorDims(channels=config["DiT"]["content_dim"], codebook_size=4),
        flow=FlowDims(
            dim=config["DiT"]["hidden_dim"],
            heads=config["DiT"]["num_heads"],
            depth=config["DiT"]["depth"],
            wavenet_dim=config["wavenet"]["hidden_dim"],
            wavenet_layers=config["wavenet"]["num_layers"],
            wavenet_kernel=config["wavenet"]["kernel_size"],
            codebook_size=config["DiT"]["content_codebook_size"],
        ),
    )
    write_checkpoint(folder, dims, given={"s2mel": under("cfm", fixture.weights)})
    return dims
