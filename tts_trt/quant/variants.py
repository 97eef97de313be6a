"""Candidate graphs for a trial, made from FP32 graphs that are read once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import onnx

from tts_trt.export.passes import save
from tts_trt.quant.apply import choose, quantised
from tts_trt.quant.layers import Layer, find_layers
from tts_trt.quant.observe import Statistics
from tts_trt.quant.recipe import LayerScheme

Schemes = Mapping[str, Mapping[str, LayerScheme]]
"""Graph -> layer -> scheme; what is not named stays float."""


class Variants:
    """``graphs``: name -> FP32 ONNX file. Files made here lie in ``scratch`` until the next of the same graph."""

    def __init__(self, graphs: Mapping[str, Path], stats: Statistics, scratch: Path) -> None:
        self._models = {name: onnx.load(str(path)) for name, path in graphs.items()}
        self._stats, self._scratch = stats, scratch
        self.layers: dict[str, list[Layer]] = {n: find_layers(m) for n, m in self._models.items()}

    def make(self, schemes: Schemes) -> dict[str, Path]:
        """The CPU twins of the graphs that ``schemes`` changes; what stays float is kept in FP32, so that the damage
        is that of the quantised layers alone."""
        return {graph: self._one(graph, chosen) for graph, chosen in schemes.items() if chosen}

    def uniform(self, graph: str, scheme: LayerScheme, layers: Iterable[str] | None = None) -> Schemes:
        """One scheme for all layers of a graph, or for those named."""
        names: Sequence[str] = (
            [layer.name for layer in self.layers[graph]] if layers is None else list(layers)
        )
        return {graph: dict.fromkeys(names, scheme)}

    def bytes_of(self, graph: str, layers: Iterable[str]) -> int:
        """Of their FP32 weights."""
        wanted, size = set(layers), 0
        for layer in self.layers[graph]:
            if layer.name in wanted:
                count = 4
                for extent in layer.shape:
                    count *= extent
                size += count
        return size

    def _one(self, graph: str, chosen: Mapping[str, LayerScheme]) -> Path:
        plain = self._models[graph]
        model = onnx.ModelProto()
        model.CopyFrom(plain)
        choices = choose(plain, self.layers[graph], chosen, self._stats.get(graph, {}), graph)
        quantised(model, choices)
        path = self._scratch / f"{graph}.onnx"
        save(model, path)
        return path
