"""A recipe and the statistics of a corpus become quantised graphs: for a CPU and for TensorRT, from one set of scales.

CPU twin        FP32 graph, FP32 scales (ONNX Runtime fuses no others), what stays float stored as half
TensorRT form   FP16 graph, FP16 scales, FP32 islands as they are
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import onnx

from tts_trt.artifacts import fingerprint, sha256_file
from tts_trt.atomic import write_atomic
from tts_trt.errors import QuantError
from tts_trt.export.passes import census, save
from tts_trt.export.record import RECORD, ExportRecord, GraphRecord, file_bytes, is_current, read_record
from tts_trt.quant.formats import SCHEMES
from tts_trt.quant.layers import Constants, Layer, layers_of
from tts_trt.quant.observe import Statistics, TensorStats
from tts_trt.quant.recipe import LayerScheme, Recipe, recipe_sha256, resolve
from tts_trt.quant.rewrite import Choice, quantise, store_half
from tts_trt.quant.scales import SMALLEST_SCALE
from tts_trt.quant.smooth import Smoothing, search_alpha, smooth_with
from tts_trt.quant.thresholds import threshold

Scales = Mapping[str, Mapping[str, np.float32]]
"""Graph -> tensor -> scale."""

SOURCES = sorted(Path(__file__).parent.glob("*.py"))


def quantise_graphs(
    recipe: Recipe,
    exported: Mapping[str, Mapping[str, GraphRecord]],
    folder: Path,
    stats: Statistics,
    out: Path,
    *,
    cpu: bool,
    scales: Scales | None = None,
) -> ExportRecord:
    """All graphs of a model by a recipe, to ``out``; what is up to date is left alone.

    ``exported``: "fp32" and "fp16" -> graph -> record, of files below ``folder``. ``scales`` stand in for those of the
    statistics, where a layer is not smoothed. QuantError where a graph's layers were never observed; ConfigError for a
    recipe that fits no layer.
    """
    base, scales = "fp32" if cpu else recipe.base, scales or {}
    wanted = _fingerprint(recipe, exported[base], stats, scales, cpu)
    record = read_record(out)
    if record is not None and is_current(record, wanted, out):
        return record
    layers = layers_of({name: folder / graph.file for name, graph in exported["fp32"].items()})
    schemes = resolve(recipe, layers)
    made = []
    (out / recipe.name).mkdir(parents=True, exist_ok=True)
    for name in exported["fp32"]:
        plain = onnx.load(str(folder / exported["fp32"][name].file))
        choices = choose(plain, layers[name], schemes[name], stats.get(name, {}), name, scales.get(name))
        model = plain if base == "fp32" else onnx.load(str(folder / exported[base][name].file))
        path = out / recipe.name / f"{name}.onnx"
        quantised(model, choices, cpu=cpu, half=cpu and recipe.base == "fp16")
        save(model, path)
        made.append(
            GraphRecord(
                name,
                recipe.name,
                f"{recipe.name}/{path.name}",
                sha256_file(path),
                file_bytes(path),
                0.0,
                census(path),
            )
        )
    final = ExportRecord(wanted, tuple(made), complete=True)
    write_atomic(out / RECORD, [json.dumps(asdict(final), indent=1).encode()])
    return final


def quantised(
    model: onnx.ModelProto, choices: Mapping[str, Choice], *, cpu: bool = True, half: bool = False
) -> None:
    """In place. ``cpu``: each layer reads a quantised activation of its own, as ONNX Runtime fuses no other; ``half``:
    what stays float is stored as half."""
    if choices:
        quantise(model, choices, shared=not cpu)
    if half:
        store_half(model)


def choose(
    model: onnx.ModelProto,
    layers: Sequence[Layer],
    schemes: Mapping[str, LayerScheme],
    stats: Mapping[str, TensorStats],
    graph: str = "",
    scales: Mapping[str, np.float32] | None = None,
) -> dict[str, Choice]:
    """Scales and smoothing factors of the layers that ``schemes`` names. ``model`` is the FP32 graph with its weights;
    ``scales`` (tensor -> scale) go before those of the statistics."""
    scales = scales or {}
    constants = Constants(model.graph)
    weights = {node.name: node.input[1] for node in model.graph.node if node.name in schemes}
    chosen: dict[str, Choice] = {}
    for tensor, group in _by_activation(layers, schemes).items():
        found = stats.get(tensor)
        if found is None and any(SCHEMES[schemes[layer.name].scheme].activations for layer in group):
            raise QuantError(
                f"graph {graph}: tensor {tensor} of layer {group[0].name} was not observed",
                hint="tts-trt calibrate",
            )
        for layer in group:
            scheme = schemes[layer.name]
            if not SCHEMES[scheme.scheme].activations or found is None:
                chosen[layer.name] = Choice(scheme.scheme)
            elif scheme.smooth is None and tensor in scales:
                chosen[layer.name] = Choice(scheme.scheme, scales[tensor])
            elif scheme.smooth is None:
                limit = threshold(found.histogram, scheme.method or "max", scheme.percentile or 100.0)
                scale = np.maximum(SCHEMES[scheme.scheme].format.scale_of(limit), SMALLEST_SCALE)
                chosen[layer.name] = Choice(scheme.scheme, scale)
            else:
                alike = [other for other in group if schemes[other.name] == scheme]
                values = [_value(constants, weights[other.name]) for other in alike]
                smoothing = _smooth(alike, values, scheme, found)
                chosen[layer.name] = Choice(scheme.scheme, smoothing.activation_scale, smoothing.factors)
    return chosen


def _by_activation(layers: Sequence[Layer], schemes: Mapping[str, LayerScheme]) -> dict[str, list[Layer]]:
    groups: dict[str, list[Layer]] = {}
    for layer in layers:
        if layer.name in schemes:
            groups.setdefault(layer.activation, []).append(layer)
    return groups


def _value(constants: Constants, name: str) -> np.ndarray:
    constant = constants.trace(name)
    assert constant is not None
    return constant.values()


def _smooth(
    layers: Sequence[Layer], weights: Sequence[np.ndarray], scheme: LayerScheme, stats: TensorStats
) -> Smoothing:
    """Layers that read one activation share its factors: their weights count as one, side by side."""
    if stats.rows is None or stats.channel_max is None:
        raise QuantError(f"layer {layers[0].name}: no channels were observed, smoothing needs them")
    sides = [
        w if layer.weight_axis == 1 else np.moveaxis(w, 0, 1)
        for layer, w in zip(layers, weights, strict=True)
    ]
    weight = np.concatenate([side.reshape(side.shape[0], -1) for side in sides], axis=1)
    method, percentile = scheme.method or "max", scheme.percentile or 100.0
    rows, most = stats.rows, stats.channel_max
    if scheme.smooth == "search":
        return search_alpha(weight, 1, rows, most, method=method, percentile=percentile, scheme=scheme.scheme)
    alpha = float(scheme.smooth or 0.0)
    return smooth_with(
        weight, 1, rows, most, alpha, method=method, percentile=percentile, scheme=scheme.scheme
    )


def _fingerprint(
    recipe: Recipe, graphs: Mapping[str, GraphRecord], stats: Statistics, scales: Scales, cpu: bool
) -> str:
    observed = {
        graph: {
            name: [t.histogram.exponent, t.histogram.maximum, t.histogram.total]
            for name, t in tensors.items()
        }
        for graph, tensors in stats.items()
    }
    return fingerprint(
        {
            "recipe": recipe_sha256(recipe),
            "graphs": {name: graph.sha256 for name, graph in graphs.items()},
            "stats": observed,
            "scales": {graph: {t: float(v) for t, v in found.items()} for graph, found in scales.items()},
            "cpu": cpu,
            "sources": {path.name: sha256_file(path) for path in SOURCES},
        }
    )
