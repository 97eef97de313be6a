"""config.yaml and the two config.json of an official directory for given dimensions: what ``official/config.py`` reads back."""

from __future__ import annotations

import dataclasses
from typing import Any

from tts_trt.dims import ConformerDims, ModelDims


def to_yaml(dims: ModelDims) -> dict[str, Any]:
    """Of config.yaml. The section campplus is ours: upstream has these numbers in its code."""
    g, audio, flow = dims.gpt, dims.audio, dims.flow

    def conformer(c: ConformerDims) -> dict[str, Any]:
        return {
            "output_size": c.width, "linear_units": c.ffn, "attention_heads": c.heads, "num_blocks": c.blocks,
            "input_layer": "conv2d2", "perceiver_mult": c.perceiver_mult,
        }  # fmt: skip

    return {
        "dataset": {"bpe_model": "bpe.model"},
        "gpt": {
            "model_dim": g.dim, "max_mel_tokens": g.max_codes, "max_text_tokens": g.max_text, "heads": g.heads,
            "use_mel_codes_as_input": True, "layers": g.layers, "number_text_tokens": g.text_tokens,
            "number_mel_codes": g.codes, "start_mel_token": g.start_code, "stop_mel_token": g.stop_code,
            "start_text_token": g.start_text, "stop_text_token": g.stop_text, "train_solo_embeddings": False,
            "condition_type": "conformer_perceiver", "condition_num_latent": g.latents,
            "condition_module": conformer(g.speaker), "emo_condition_module": conformer(g.emotion),
        },
        "semantic_codec": {
            "codebook_size": dims.codec.codebook_size, "hidden_size": dims.semantic_encoder.hidden,
            "codebook_dim": dims.codec.codebook_dim, "vocos_dim": dims.codec.vocos_dim,
            "vocos_intermediate_dim": dims.codec.vocos_ffn, "vocos_num_layers": dims.codec.vocos_layers,
        },
        "campplus": {
            "growth_rate": dims.style.growth, "bn_size": dims.style.bottleneck,
            "init_channels": dims.style.init_channels,
        },
        "s2mel": {
            "preprocess_params": {
                "sr": audio.sample_rate,
                "spect_params": {
                    "n_fft": audio.n_fft, "win_length": audio.n_fft, "hop_length": audio.hop,
                    "n_mels": audio.n_mels, "fmin": 0, "fmax": "None",
                },
            },
            "dit_type": "DiT",
            "style_encoder": {"dim": dims.style.embedding},
            "length_regulator": {
                "channels": dims.regulator.channels, "is_discrete": False,
                "in_channels": dims.semantic_encoder.hidden,
                "content_codebook_size": dims.regulator.codebook_size, "sampling_ratios": [1, 1, 1, 1],
                "vector_quantize": False, "n_codebooks": 1, "f0_condition": False,
            },
            "DiT": {
                "hidden_dim": flow.dim, "num_heads": flow.heads, "depth": flow.depth, "in_channels": audio.n_mels,
                "style_condition": True, "final_layer_type": "wavenet", "content_dim": dims.regulator.channels,
                "content_codebook_size": flow.codebook_size, "is_causal": False, "long_skip_connection": True,
                "uvit_skip_connection": True, "time_as_token": False, "style_as_token": False,
            },
            "wavenet": {
                "hidden_dim": flow.wavenet_dim, "num_layers": flow.wavenet_layers,
                "kernel_size": flow.wavenet_kernel, "dilation_rate": 1, "style_condition": True,
            },
        },
        "gpt_checkpoint": "gpt.pth", "s2mel_checkpoint": "s2mel.pth", "w2v_stat": "wav2vec2bert_stats.pt",
        "spk_matrix": "feat1.pt", "emo_matrix": "feat2.pt", "emo_num": list(dims.emotion_rows),
        "qwen_emo_path": "qwen0.6bemo4-merge/",
        "vocoder": {"type": "bigvgan", "name": "nvidia/bigvgan_v2_22khz_80band_256x"},
        "version": 2.0,
    }  # fmt: skip


def encoder_config(dims: ModelDims, layers: int) -> dict[str, Any]:
    """config.json of the semantic encoder, with as many layers as there are weights."""
    s = dims.semantic_encoder
    return {
        "hidden_size": s.hidden, "num_hidden_layers": layers, "num_attention_heads": s.heads,
        "intermediate_size": s.ffn, "feature_projection_input_dim": s.features,
        "position_embeddings_type": "relative_key", "left_max_position_embeddings": s.left_positions,
        "right_max_position_embeddings": s.right_positions, "conv_depthwise_kernel_size": s.conv_kernel,
        "hidden_act": "swish",
    }  # fmt: skip


def vocoder_config(dims: ModelDims) -> dict[str, Any]:
    v = dataclasses.asdict(dims.vocoder)
    return {
        "resblock": "1", "upsample_rates": v["upsample_rates"], "upsample_kernel_sizes": v["upsample_kernels"],
        "upsample_initial_channel": v["initial_channels"], "resblock_kernel_sizes": v["resblock_kernels"],
        "resblock_dilation_sizes": v["resblock_dilations"], "use_tanh_at_final": False,
        "use_bias_at_final": False, "activation": "snakebeta", "snake_logscale": True,
        "num_mels": dims.audio.n_mels, "sampling_rate": dims.audio.sample_rate, "hop_size": dims.audio.hop,
    }  # fmt: skip
