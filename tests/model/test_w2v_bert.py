"""A semantic encoder written by transformers through our loader: its own config.json, its own keys, its own numbers."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from scripts.random_checkpoint import TINY, write_checkpoint
from tests.parity import assert_close
from tts_trt.dims import SemanticEncoderDims
from tts_trt.frontend.features import seamless_features
from tts_trt.model.weights import load_model
from tts_trt.models import find_model
from tts_trt.official.layout import BY_NAME

transformers = pytest.importorskip("transformers")

LAYERS = 18  # one above the layer in use
SIZES = SemanticEncoderDims(hidden=16, layers=17, heads=2, ffn=24)


def test_hidden_state_17_is_that_of_transformers(tmp_path: Path) -> None:
    config = transformers.Wav2Vec2BertConfig(
        hidden_size=SIZES.hidden, num_hidden_layers=LAYERS, num_attention_heads=SIZES.heads,
        intermediate_size=SIZES.ffn, layerdrop=0.0, apply_spec_augment=False,
    )  # fmt: skip
    torch.manual_seed(0)
    theirs = transformers.Wav2Vec2BertModel(config).eval()
    theirs.save_pretrained(tmp_path / "hf")
    folder = tmp_path / "model"
    write_checkpoint(folder, replace(TINY, semantic_encoder=SIZES))
    for name in ("w2v", "w2v_config"):
        path = folder / BY_NAME[name].path
        shutil.copyfile(tmp_path / "hf" / path.name, path)
    found = find_model(str(folder))
    assert found.dims().semantic_encoder == SIZES
    ours = load_model(found, "semantic_encoder").semantic_encoder

    wave = 0.1 * np.random.default_rng(0).standard_normal(16_000 + 160)
    features, mask = seamless_features(wave)
    inputs, kept = torch.from_numpy(features)[None], torch.from_numpy(mask)[None]
    with torch.inference_mode():
        wanted = theirs(inputs, attention_mask=kept.long(), output_hidden_states=True).hidden_states[17]
        assert_close(ours(inputs, kept), wanted, 1e-4)


def test_features_are_those_of_transformers() -> None:
    extract = transformers.SeamlessM4TFeatureExtractor()
    for samples in (16_000, 16_000 + 160, 9_123):
        wave = (0.1 * np.random.default_rng(samples).standard_normal(samples)).astype(np.float32)
        theirs = extract(wave, sampling_rate=16_000, return_tensors="np")
        features, mask = seamless_features(wave)
        real = theirs["attention_mask"][0].astype(bool)
        assert np.array_equal(mask, real)
        assert np.abs(features[real] - theirs["input_features"][0][real]).max() < 2e-3
