"""Graphs of a model with random weights, in every precision: for questions of speed and memory, which values do not decide.

    tts = random_model(dims, "gpt")
    write_forms(tts, spec, folder, ("fp16", "w8a8"), sizes)     folder/fp16.onnx, folder/w8a8.onnx (+ .data)

Activation scales are those of one random batch in torch: no quantised value is always zero or always saturated.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import nn

from tts_trt.dims import ModelDims
from tts_trt.export.graphs import example_inputs, graph_module
from tts_trt.export.passes import name_by_module, save, strip, to_half
from tts_trt.export.to_onnx import export_graph
from tts_trt.model.code_model import CodeModel
from tts_trt.model.family import Flow, TtsModel
from tts_trt.model.vocoder import Vocoder
from tts_trt.model.weight_norm import fold_weight_norm
from tts_trt.quant.apply import quantised
from tts_trt.quant.formats import SCHEMES
from tts_trt.quant.layers import Layer, find_layers
from tts_trt.quant.rewrite import Choice
from tts_trt.quant.scales import SMALLEST_SCALE
from tts_trt.spec import GraphSpec, Limits, graph_specs

PLAIN = ("fp32", "fp16")


def random_model(dims: ModelDims, graph: str, seed: int = 0) -> TtsModel:
    """As initialised for training. Only what ``graph`` (gpt, sampler, flow_step or vocoder) needs takes memory."""
    with torch.device("meta"):
        tts = TtsModel(dims)
    torch.manual_seed(seed)
    if graph in ("gpt", "sampler"):
        tts.gpt = CodeModel(dims)
    elif graph == "flow_step":
        tts.s2mel.cfm = Flow(dims)
    elif graph == "vocoder":
        tts.vocoder = Vocoder(dims.vocoder, dims.audio.n_mels)
    else:
        raise KeyError(graph)
    fold_weight_norm(tts)
    return tts.eval()


def write_forms(
    tts: TtsModel,
    spec: GraphSpec,
    folder: Path,
    schemes: Sequence[str],
    sizes: Mapping[str, int],
    *,
    cpu: bool = False,
    skip: Iterable[str] = (),
) -> dict[str, Path]:
    """Scheme (fp32, fp16, or one of quant.formats.SCHEMES) -> ONNX file. Quantised layers stand in a half graph, or, for a
    ``cpu``, in a single one; those named in ``skip`` stay as they are. ``sizes`` of the axes of the observed batch."""
    files: dict[str, Path] = {}
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        plain = _plain(tts, spec, Path(scratch))
        base = plain
        if not cpu:
            to_half(plain, spec, base := Path(scratch) / "half.onnx")
        layers = [
            x for x in find_layers(onnx.load(str(plain), load_external_data=False)) if x.name not in skip
        ]
        wanted = [scheme for scheme in schemes if scheme not in PLAIN]
        limits = activation_limits(tts, spec, layers, sizes) if wanted else {}
        for scheme in schemes:
            files[scheme] = folder / f"{scheme}.onnx"
            model = onnx.load(str({"fp32": plain, "fp16": base}.get(scheme, base)))
            if scheme in wanted:
                quantised(model, {x.name: choice(scheme, limits[x.name]) for x in layers}, cpu=cpu)
            save(model, files[scheme])
    return files


def activation_limits(
    tts: TtsModel, spec: GraphSpec, layers: Sequence[Layer], sizes: Mapping[str, int]
) -> dict[str, float]:
    """Layer -> largest magnitude that its module reads in one random batch."""
    module, seen = graph_module(spec.name, tts), {layer.name: 0.0 for layer in layers}

    def watch(name: str) -> Any:
        def hook(_: nn.Module, args: tuple[torch.Tensor, ...]) -> None:
            seen[name] = max(seen[name], float(args[0].abs().max()))

        return module.get_submodule(name.partition("#")[0]).register_forward_pre_hook(hook)

    hooks = [watch(name) for name in seen]
    # the model's, with a cache no longer than it takes
    spec = graph_specs(tts.dims, Limits(batch=1, text=1, codes=sizes.get("S", 1)))[spec.name]
    inputs = {k: torch.from_numpy(v) for k, v in example_inputs(spec, dict(sizes)).items()}
    caches = [inputs.pop(name).zero_() for name in spec.aliases.values()]
    if caches:
        inputs |= {"pos": torch.zeros_like(inputs["pos"]), "start": torch.zeros_like(inputs["start"])}
    try:
        with torch.inference_mode():
            module(*inputs.values(), *([caches] if caches else []))
    finally:
        for hook in hooks:
            hook.remove()
    return seen


def choice(scheme: str, limit: float) -> Choice:
    if not SCHEMES[scheme].activations:
        return Choice(scheme)
    return Choice(scheme, np.maximum(np.float32(SCHEMES[scheme].format.scale_of(limit)), SMALLEST_SCALE))


def _plain(tts: TtsModel, spec: GraphSpec, scratch: Path) -> Path:
    raw = export_graph(tts, spec, scratch / "raw.onnx")
    model = onnx.load(str(raw))
    name_by_module(model)
    strip(model)
    save(model, scratch / "plain.onnx")
    return scratch / "plain.onnx"
