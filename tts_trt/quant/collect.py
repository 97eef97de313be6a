"""What every quantisable layer sees when the real pipeline speaks the calibration corpus.

Each FP32 graph is opened with the inputs of its layers as extra outputs, and the synthesizer speaks the corpus with these
engines: prefill and free-running decode steps at every position, flow steps at every time, the vocoder on generated
mel. Utterances are spoken one at a time, so no row is padded for a neighbour's sake.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import onnx

from tts_trt.errors import QuantError
from tts_trt.frontend.opening import open_tokenizer
from tts_trt.models import ModelFolder
from tts_trt.quant.corpus import Utterance
from tts_trt.quant.layers import Layer, layers_of
from tts_trt.quant.observe import Observer, TensorStats
from tts_trt.runtime.bundle import OpenBundle
from tts_trt.runtime.device import Array
from tts_trt.runtime.engine import Arrays, Engine, Engines
from tts_trt.runtime.onnx_engine import OrtEngine
from tts_trt.runtime.synthesizer import Synthesizer
from tts_trt.runtime.tap import TappedEngine
from tts_trt.spec import GraphSpec, Limits, TensorSpec, graph_specs

Progress = Callable[[str, int, int], None]

KEPT_BATCHES = 64
"""Runs of one graph whose inputs are kept for TensorRT's own calibrator."""


@dataclass
class Collected:
    """Per graph: statistics per activation tensor, layers, and some of the inputs the graph was run with."""

    stats: dict[str, dict[str, TensorStats]]
    layers: dict[str, list[Layer]]
    batches: dict[str, list[dict[str, Array]]] = field(default_factory=dict)
    seconds: float = 0.0  # of speech


def collect(
    folder: ModelFolder,
    graphs: Mapping[str, Path],
    utterances: Sequence[Utterance],
    *,
    limits: Limits | None = None,
    threads: int = 0,
    progress: Progress | None = None,
) -> Collected:
    """Speak all utterances through the FP32 ``graphs`` (name -> ONNX file). QuantError when a layer saw nothing."""
    limits = limits or Limits()
    layers = layers_of(graphs)
    with (
        tempfile.TemporaryDirectory(prefix="tts-trt-") as scratch,
        watched(folder, graphs, layers, limits, Path(scratch), threads) as (bundle, watch),
    ):
        synthesizer = Synthesizer(bundle)
        seconds = 0.0
        for i, utterance in enumerate(utterances):
            if progress:
                progress(f"{utterance.voice} {utterance.emotion}", i, len(utterances))
            seconds += synthesizer.synthesize(utterance.request(bundle.dims)).seconds
    stats = {name: seen for name in graphs if (seen := watch.observers[name].stats())}
    for name, found in layers.items():
        if unseen := [layer.name for layer in found if layer.activation not in stats.get(name, {})]:
            raise QuantError(f"graph {name}: the corpus never reaches {', '.join(unseen[:3])}")
    return Collected(stats, layers, watch.batches, seconds)


@dataclass
class Watch:
    observers: dict[str, Observer] = field(default_factory=dict)
    batches: dict[str, list[dict[str, Array]]] = field(default_factory=dict)
    _runs: dict[str, int] = field(default_factory=dict)

    def keep(self, graph: str, inputs: Arrays) -> None:
        """Every k-th run's inputs, k doubling as the list fills: spread over the whole corpus, bounded in number."""
        kept, run = self.batches.setdefault(graph, []), self._runs.get(graph, 0)
        self._runs[graph] = run + 1
        stride = 1
        while run // stride >= KEPT_BATCHES:
            stride *= 2
        if run % stride:
            return
        if stride > 1 and run == KEPT_BATCHES * stride // 2:
            del kept[1::2]
        kept.append({name: array.copy() for name, array in inputs.items()})


@contextmanager
def watched(
    folder: ModelFolder,
    graphs: Mapping[str, Path],
    layers: Mapping[str, Sequence[Layer]],
    limits: Limits,
    scratch: Path,
    threads: int,
) -> Iterator[tuple[OpenBundle, Watch]]:
    """A bundle whose engines tell the watch what their layers see."""
    dims, watch = folder.dims(), Watch()
    opened: dict[str, Engine] = {}
    for name, spec in graph_specs(dims, limits).items():
        observer = watch.observers[name] = Observer()
        axes = {layer.activation: layer.channel_axis for layer in layers[name]}
        path, shown = instrumented(graphs[name], spec, sorted(axes), scratch)
        inner = OrtEngine(path, shown, threads=threads)
        opened[name] = _Watching(inner, spec, observer, axes, watch)
    tokenizer = open_tokenizer(folder.tokenizer)
    with Engines(opened) as engines:
        yield OpenBundle(engines, dims, tokenizer, folder.voices, limits), watch


def instrumented(
    source: Path, spec: GraphSpec, tensors: Sequence[str], scratch: Path
) -> tuple[Path, GraphSpec]:
    """A copy of the graph with ``tensors`` as further outputs, and its contract."""
    model = onnx.load(str(source), load_external_data=False)
    inferred = onnx.shape_inference.infer_shapes(model).graph
    known = {v.name: v for v in (*inferred.value_info, *inferred.input, *inferred.output)}
    extra, own = [], {t.name for t in (*spec.inputs, *spec.outputs)}
    for name in tensors:
        if name in own:
            continue
        rank = len(known[name].type.tensor_type.shape.dim)
        extra.append(TensorSpec(name, "float32", tuple(f"{name}.{i}" for i in range(rank)), "observed"))
        model.graph.output.append(onnx.helper.make_empty_tensor_value_info(name))
        model.graph.output[-1].CopyFrom(known[name])
    path = scratch / source.name
    data = source.with_name(source.name + ".data")
    if data.exists():
        # a copy: onnx refuses to load weights that have a second hard link, and links that lead elsewhere
        shutil.copyfile(data, path.with_name(data.name))
    onnx.save(model, str(path))
    return path, replace(spec, outputs=(*spec.outputs, *extra))


class _Watching(TappedEngine):
    """Shows the contract's tensors and observes the others."""

    def __init__(
        self, inner: Engine, spec: GraphSpec, observer: Observer, axes: Mapping[str, int], watch: Watch
    ) -> None:
        super().__init__(inner, seen=self._observe)
        self.spec = spec
        self._observer, self._axes, self._watch = observer, axes, watch

    def _observe(self, inputs: Arrays, outputs: dict[str, Array]) -> None:
        self._watch.keep(self.spec.name, inputs)
        for tensor, axis in self._axes.items():
            self._observer.add(tensor, outputs[tensor] if tensor in outputs else inputs[tensor], axis)

    def close(self) -> None:
        self.inner.close()
