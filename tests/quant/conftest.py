"""The random TINY model as a folder, and its FP32 graphs with layers named by module."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from tests.model.tiny import TINY
from tests.runtime.conftest import LEXICON, SYMBOLS
from tests.runtime.tiny_graphs import tiny_graphs
from tts_trt.dims import to_dict
from tts_trt.export.passes import name_by_module, save, strip
from tts_trt.frontend.audio import write_wav
from tts_trt.models import ModelFolder
from tts_trt.quant.corpus import Utterance
from tts_trt.spec import graph_specs

TEXTS = ("Cat.", "See me, no cat.", "No bad cat to see?")


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> ModelFolder:
    folder = tmp_path_factory.mktemp("tiny")
    tables = {
        "config.json": to_dict(TINY),
        "tokenizer.json": {s: i for i, s in enumerate(SYMBOLS)},
        "lexicon.json": LEXICON,
        "durations.json": {"lead": 0.05} | dict.fromkeys(SYMBOLS, 0.08),
    }
    for name, table in tables.items():
        (folder / name).write_text(json.dumps(table))
    (folder / "weights.safetensors").write_bytes(b"of the tiny graphs")
    (folder / "voices").mkdir()
    time = np.arange(24000) / 16000
    for i, voice in enumerate(("anna", "ben")):
        buzz = sum(np.sin(2 * np.pi * (110 + 60 * i) * k * time) / k for k in range(1, 10))
        wave = (0.2 * buzz * (0.6 + 0.4 * np.sin(8 * time))).astype(np.float32)
        write_wav(folder / "voices" / f"{voice}.wav", wave, TINY.audio.sample_rate)
    return ModelFolder(folder)


@pytest.fixture(scope="session")
def fp32_graphs(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    torch.set_num_threads(1)
    source, folder = tiny_graphs(), tmp_path_factory.mktemp("fp32")
    made = {}
    for name in graph_specs(TINY):
        model = onnx.load(str(source / f"{name}.onnx"))
        name_by_module(model)
        strip(model)
        made[name] = folder / f"{name}.onnx"
        save(model, made[name])
    return made


@pytest.fixture(scope="session")
def utterances(tiny_folder: ModelFolder) -> list[Utterance]:
    voices = list(tiny_folder.voices.items())
    return [
        Utterance(text, voices[i % 2][0], "calm", 0.8, 1.0, "normal", "statement", i, voices[i % 2][1])
        for i, text in enumerate(TEXTS)
    ]
