"""The random TINY model and its exported graphs, exported once and kept until the model or the exporter changes."""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from pathlib import Path

import torch

from tests.model.tiny import TINY, randomise
from tts_trt.dims import ModelDims
from tts_trt.export.to_onnx import export_graph
from tts_trt.model.family import TtsModel
from tts_trt.spec import graph_specs

ROOT = Path(__file__).parents[2]
EXACT = replace(TINY, latents="exact")
SHARED_STAGES = ("semantic_encoder", "semantic_codec", "style_encoder", "conditioner", "prompt", "gpt",
                 "mel_condition", "flow_step", "vocoder")  # fmt: skip
"""Graphs that are the same file in one-pass and exact models."""

AS_INITIALISED = ("semantic_encoder", "semantic_codec", "vocoder")
"""Modules that saturate with larger random weights."""


def tiny_model(dims: ModelDims) -> TtsModel:
    """Random, but alive: codes depend on text and history, the mel on its condition, the wave on the mel."""
    torch.manual_seed(1)
    model = TtsModel(dims).eval()
    initial = {name: module.state_dict() for name, module in model.named_children() if name in AS_INITIALISED}
    initial = {name: {key: value.clone() for key, value in state.items()} for name, state in initial.items()}
    randomise(model, seed=1, scale=0.9)
    for name, state in initial.items():
        model.get_submodule(name).load_state_dict(state)
    randomise(model.style_encoder, seed=1, scale=0.1)  # overflows with more
    with torch.no_grad():
        for parameter in model.vocoder.parameters():
            if parameter.dim() > 1:
                parameter.mul_(1.1)
        model.gpt.mel_head.bias[dims.gpt.stop_code] -= 2.0  # rows of a dozen codes
    return model


def tiny_graphs() -> Path:
    """A folder with every graph of TINY, and in ``exact/`` the two that differ in an exact model."""
    folder = ROOT / ".cache" / "tiny-graphs" / _sources_hash()
    for dims, names, target in (
        (TINY, (*SHARED_STAGES, "sampler"), folder),
        (EXACT, ("sampler", "code_embedding"), folder / "exact"),
    ):
        missing = [name for name in names if not (target / f"{name}.onnx").exists()]
        if not missing:
            continue
        target.mkdir(parents=True, exist_ok=True)
        model, specs = tiny_model(dims), graph_specs(dims)
        for name in missing:
            work = target / f"{name}.{os.getpid()}"
            work.mkdir()
            made = export_graph(model, specs[name], work / f"{name}.onnx")
            for part in sorted(made.parent.iterdir(), reverse=True):  # the data first, then the graph
                os.replace(part, target / part.name)
            made.parent.rmdir()
    return folder


def _sources_hash() -> str:
    digest = hashlib.sha256(repr(TINY).encode())
    package = ROOT / "tts_trt"
    models = [p for p in sorted((package / "model").glob("*.py")) if p.stem not in ("weights", "reference")]
    exporter = [package / "export" / name for name in ("graphs.py", "to_onnx.py")]
    for path in [*models, *exporter, package / "spec.py", Path(__file__)]:
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
