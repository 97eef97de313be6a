"""Calibration of one model as files: statistics of its activations, thresholds by every method, TensorRT caches.

OUT/stats.npz               what every layer saw; all else follows from it
OUT/scales.json             thresholds by every method
OUT/trt/<graph>.cache       TensorRT's text format, with a sidecar that binds it to model, graph and corpus
OUT/batches/<graph>.npz     inputs of some runs, for TensorRT's own calibrator
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tts_trt.atomic import write_atomic
from tts_trt.errors import ConfigError, QuantError
from tts_trt.models import ModelFolder
from tts_trt.quant.apply import Scales
from tts_trt.quant.binding import CALIBRATE, Binding
from tts_trt.quant.collect import Collected, collect
from tts_trt.quant.corpus import Corpus
from tts_trt.quant.observe import Statistics, load_stats, save_stats
from tts_trt.quant.scales import ScaleTable
from tts_trt.quant.trt_cache import (
    cache_from_table,
    load_cache,
    read_cache,
    save_cache,
    scales_from_cache,
    write_cache,
)
from tts_trt.spec import Limits

STATS, SCALES, CACHES, BATCHES = "stats.npz", "scales.json", "trt", "batches"
CACHE_METHOD = "mse"
"""Of the scales in TensorRT caches: their implicit INT8 knows one scale per tensor and no smoothing."""

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Calibration:
    folder: Path
    stats: Statistics
    binding: Binding
    fresh: bool  # collected now, not found up to date


def calibrate(
    model: ModelFolder,
    graphs: Mapping[str, Path],
    corpus: Corpus,
    out: Path,
    *,
    limits: Limits | None = None,
    threads: int = 0,
    progress: Progress | None = None,
) -> Calibration:
    """Speak the corpus and write the folder; statistics of the same model, graphs and corpus are taken as they are."""
    binding = Binding.of(model.weights_sha256, graphs, corpus.sha256())
    if (found := _current(out / STATS, binding)) is not None:
        return Calibration(out, found, binding, fresh=False)
    utterances = corpus.draw()
    collected = collect(model, graphs, utterances, limits=limits, threads=threads, progress=progress)
    write(collected, binding, out)
    return Calibration(out, collected.stats, binding, fresh=True)


def write(collected: Collected, binding: Binding, out: Path) -> None:
    """The statistics come last: a folder that has them is whole."""
    for folder in (out / CACHES, out / BATCHES):
        folder.mkdir(parents=True, exist_ok=True)
    table = ScaleTable.of(collected.stats, binding)
    table.save(out / SCALES)
    for graph, tensors in collected.stats.items():
        if tensors:
            cache = cache_from_table(table, graph, dict.fromkeys(tensors, CACHE_METHOD))
            save_cache(out / CACHES / f"{graph}.cache", write_cache(cache), graph, binding)
    for graph, batches in collected.batches.items():
        buffer = io.BytesIO()
        arrays: dict[str, Any] = {
            f"{i}.{name}": array for i, batch in enumerate(batches) for name, array in batch.items()
        }
        np.savez(buffer, **arrays)
        write_atomic(out / BATCHES / f"{graph}.npz", [buffer.getbuffer()])
    save_stats(out / STATS, collected.stats, binding)


def read_batches(path: Path) -> Iterator[dict[str, NDArray[np.generic]]]:
    """Inputs of one graph, run by run. ConfigError for a file that cannot be read."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            runs: dict[int, dict[str, NDArray[np.generic]]] = {}
            for key in arrays.files:
                number, _, name = key.partition(".")
                runs.setdefault(int(number), {})[name] = arrays[key]
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read: {error}", hint=CALIBRATE) from error
    for number in sorted(runs):
        yield runs[number]


def imported_scales(caches: Mapping[str, Path], binding: Binding) -> Scales:
    """Scales out of TensorRT caches (graph -> file). QuantError for a cache of another model, graph or corpus."""
    return {
        graph: scales_from_cache(read_cache(load_cache(path, graph, binding)))
        for graph, path in caches.items()
    }


def _current(path: Path, binding: Binding) -> Statistics | None:
    """Statistics with this very binding; None for any others, damaged ones included."""
    if not path.is_file():
        return None
    try:
        stats, made_with = load_stats(path)
        made_with.check(binding, str(path))
    except (ConfigError, QuantError):
        return None
    return stats
