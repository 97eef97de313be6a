"""Strict loading: one error lists every key that does not fit; derived and unused tensors may be absent."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tests.model.tiny import TINY
from tts_trt.dims import to_dict
from tts_trt.errors import UsageError, WeightsError
from tts_trt.model.family import TtsModel
from tts_trt.model.keys import DERIVED, UNUSED
from tts_trt.model.weights import load_model, load_strictly
from tts_trt.models import ModelFolder, find_model


@pytest.fixture(scope="module")
def model() -> TtsModel:
    torch.manual_seed(0)
    return TtsModel(TINY)


@pytest.fixture
def folder(model: TtsModel, tmp_path: Path) -> ModelFolder:
    kept = {
        k: v.contiguous()
        for k, v in model.state_dict().items()
        if not k.endswith(DERIVED) and not k.startswith(UNUSED)
    }
    save_file(kept, tmp_path / "weights.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(to_dict(TINY)))
    return ModelFolder(tmp_path)


def test_a_folder_without_derived_and_unused_tensors_loads(folder: ModelFolder, model: TtsModel) -> None:
    loaded = load_model(folder)
    assert not loaded.training
    for name, value in loaded.state_dict().items():
        if not name.startswith(UNUSED):
            assert torch.equal(value, model.state_dict()[name]), name


def test_one_error_lists_missing_unexpected_and_misshaped(model: TtsModel) -> None:
    tensors = dict(model.state_dict())
    tensors.pop("gpt.mel_head.bias")
    tensors["gpt.extra"] = torch.zeros(1)
    tensors["gpt.final_norm.weight"] = torch.zeros(7)
    with pytest.raises(WeightsError) as caught:
        load_strictly(TtsModel(TINY), tensors, "file")
    message = str(caught.value)
    assert "1 missing: gpt.mel_head.bias" in message
    assert "1 unexpected: gpt.extra" in message
    assert "1 mis-shaped: gpt.final_norm.weight (7,), expected (32,)" in message


def test_a_truncated_file_is_named(folder: ModelFolder) -> None:
    raw = folder.weights.read_bytes()
    folder.weights.write_bytes(raw[: len(raw) // 2])
    with pytest.raises(WeightsError, match=r"weights\.safetensors cannot be read"):
        load_model(folder)


def test_folders_are_found_or_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no model 'nobody'"):
        find_model("nobody")
    with pytest.raises(UsageError, match=r"lacks config\.json, weights\.safetensors"):
        find_model(str(tmp_path))
