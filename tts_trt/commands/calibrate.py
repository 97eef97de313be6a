"""What `tts-trt calibrate` does: let the corpus be spoken, and on request find the recipe that a budget allows."""

from __future__ import annotations

import json
import platform
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Group as Lines
from rich.console import RenderableType
from rich.table import Table

from tts_trt import pipeline
from tts_trt.atomic import write_atomic
from tts_trt.build.batches import calibration_shape
from tts_trt.build.calibrator import CacheStore, create_calibrator, require_calibrators
from tts_trt.build.implicit import calibrate_to_cache
from tts_trt.errors import UsageError
from tts_trt.export.record import ExportRecord
from tts_trt.models import ModelFolder
from tts_trt.quant.calibration import BATCHES, Calibration, read_batches
from tts_trt.quant.corpus import Utterance, read_corpus
from tts_trt.quant.corpus_config import default_corpus
from tts_trt.quant.plot import bars
from tts_trt.quant.recipe import recipe_text, write_recipe
from tts_trt.quant.search import Found, recipe_of, search
from tts_trt.quant.sensitivity import (
    Budget,
    GroupResult,
    MethodResult,
    best_methods,
    compare_methods,
    describe,
    measure_groups,
)
from tts_trt.quant.trial import Damage, Trial
from tts_trt.quant.trt_cache import save_cache, stored_cache
from tts_trt.quant.variants import Variants
from tts_trt.spec import FLOAT_TYPES, Limits, graph_specs
from tts_trt.trt import load_backend

TENSORRT_CACHES = "tensorrt10"
EVIDENCE, PLOT = "int8.json", "int8.svg"
TRIAL_SEED = 1_000_003
"""Added to the corpus seed: recipes are judged on other utterances than scales are taken from."""

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Asked:
    corpus: Path | None
    out: Path
    exports: Path
    threads: int
    search: Path | None  # recipe file to write
    budget: Budget
    utterances: int  # of the search
    tensorrt: tuple[str, ...]  # graphs that TensorRT 10's own calibrator is to calibrate


def run(model: ModelFolder, asked: Asked, progress: Progress) -> dict[str, Any]:
    if asked.tensorrt:
        require_calibrators(load_backend("tensorrt"))  # before the corpus is spoken
    found = pipeline.calibrate(
        model, asked.out, corpus=asked.corpus, exports=asked.exports, threads=asked.threads, progress=progress
    )
    figures: dict[str, Any] = {
        "out": str(asked.out),
        "fresh": found.fresh,
        "corpus_sha256": found.binding.corpus,
        "tensors": {graph: len(tensors) for graph, tensors in found.stats.items()},
    }
    if asked.tensorrt:
        figures["tensorrt"] = [str(path) for path in with_tensorrt(model, asked, found, progress)]
    if asked.search is not None:
        figures["search"] = find_recipe(model, asked, found, progress)
    return figures


def with_tensorrt(
    model: ModelFolder, asked: Asked, calibration: Calibration, progress: Progress
) -> list[Path]:
    """TensorRT 10's own entropy calibrator over the recorded inputs of these graphs, to caches of their own. BuildError
    where the library, or a GPU for it, is missing."""
    backend, made = load_backend("tensorrt"), []
    record = pipeline.export(model, asked.exports, Limits(), progress)
    specs = graph_specs(model.dims(), Limits())
    for graph in asked.tensorrt:
        if graph not in specs:
            raise UsageError(f"no graph {graph!r}; there are {', '.join(specs)}")
        path = asked.out / TENSORRT_CACHES / f"{graph}.cache"
        path.parent.mkdir(parents=True, exist_ok=True)
        store = CacheStore(
            partial(stored_cache, path, graph, calibration.binding),
            partial(save_cache, path, graph=graph, binding=calibration.binding),
        )
        batches = read_batches(asked.out / BATCHES / f"{graph}.npz")
        with create_calibrator(backend, batches, calibration_shape(specs[graph]), store) as calibrator:
            calibrate_to_cache(
                backend, asked.exports / record.of("fp32")[graph].file, specs[graph], calibrator
            )
        made.append(path)
    return made


def find_recipe(
    model: ModelFolder, asked: Asked, calibration: Calibration, progress: Progress
) -> dict[str, Any]:
    """Measures methods and groups, searches, and writes the recipe with its evidence and plot beside it."""
    assert asked.search is not None
    record = pipeline.export(model, asked.exports, Limits(), progress)
    graphs = {name: asked.exports / graph.file for name, graph in record.of("fp32").items()}
    dims, spoken = model.dims(), trial_utterances(model, asked)
    with (
        tempfile.TemporaryDirectory(prefix="tts-trt-") as scratch,
        Trial(
            model, graphs, [u.request(dims) for u in spoken], threads=asked.threads, progress=progress
        ) as trial,
    ):
        variants = Variants(graphs, calibration.stats, Path(scratch))
        half = trial.damage(_half(record, asked.exports), FLOAT_TYPES["fp16"])
        methods = compare_methods(trial, variants, progress=progress)
        best = best_methods(methods, asked.budget)
        groups = measure_groups(trial, variants, best, best["gpt"], progress)
        found = search(trial, variants, groups, asked.budget, progress)
        recipe = recipe_of("int8", found.assignment, variants)
    evidence = _evidence(model, asked, spoken, half, methods, groups, found) | {
        "calibration": calibration.binding.corpus,
        "recipe": recipe_text(recipe),
    }
    write_recipe(recipe, asked.search, _comment(model, found, asked.budget))
    write_atomic(asked.search.with_name(EVIDENCE), [json.dumps(evidence, indent=1).encode() + b"\n"])
    write_atomic(asked.search.with_name(PLOT), [bars(_bars(groups, asked.budget)).encode()])
    return evidence


def trial_utterances(model: ModelFolder, asked: Asked) -> list[Utterance]:
    """Of one segment each, dealt with another seed than the corpus."""
    corpus = read_corpus(asked.corpus or default_corpus(), model, model.dims())
    config = corpus.config.model_copy(update={"seed": corpus.config.seed + TRIAL_SEED})
    drawn = replace(corpus, config=config).draw()
    return [u for u in drawn if u.sentence_type != "long"][: asked.utterances]


def _half(record: ExportRecord, exports: Path) -> dict[str, Path]:
    return {name: exports / graph.file for name, graph in record.of("fp16").items()}


def _evidence(
    model: ModelFolder,
    asked: Asked,
    spoken: Sequence[Utterance],
    half: Damage,
    methods: Sequence[MethodResult],
    groups: Sequence[GroupResult],
    found: Found,
) -> dict[str, Any]:
    return {
        "model": model.name,
        "date": time.strftime("%Y-%m-%d"),
        "machine": {"platform": platform.platform(), "threads": asked.threads},
        "utterances": len(spoken),
        "budget": asdict(asked.budget),
        "fp16": _figures(half),
        "methods": [{"graph": m.graph, "scheme": describe(m.scheme), **_figures(m.damage)} for m in methods],
        "groups": [
            {
                "group": g.group.title,
                "scheme": describe(g.scheme),
                "layers": len(g.group.layers),
                "fp32_bytes": g.bytes,
                "strain": asked.budget.strain(g.damage),
                "chosen": describe(found.assignment[g.group]) if g.group in found.assignment else "float",
                **_figures(g.damage),
            }
            for g in groups
        ],
        "steps": [
            {"weights_only": s.weights_only, "float": s.floating, **_figures(s.damage)} for s in found.steps
        ],
        "int8": _figures(found.damage),
    }


def _figures(damage: Damage) -> dict[str, Any]:
    return asdict(damage) | {"growth": damage.growth}


def _comment(model: ModelFolder, found: Found, budget: Budget) -> str:
    d = found.damage
    return (
        f"Found for {model.name} by: tts-trt calibrate --search; the measurements are in {EVIDENCE}.\n"
        f"Against FP32 over the same codes, {d.steps} steps: {d.top1:.1%} of best codes equal ("
        f"{budget.top1:.1%} asked, which so many tell to {budget.chance(d.steps):.1%}),\nmel {d.mel_db:.2f} dB apart ({budget.mel_db} dB), spectrum of the wave "
        f"{d.lsd_db:.2f} dB ({budget.lsd_db} dB)."
    )


def _bars(groups: Sequence[GroupResult], budget: Budget) -> list[tuple[str, float]]:
    ranked = sorted(groups, key=lambda g: budget.strain(g.damage), reverse=True)
    return [(g.group.title, budget.strain(g.damage)) for g in ranked]


def render(figures: Mapping[str, Any]) -> RenderableType:
    """Tables of a search: methods, the most strained groups, and the outcome beside FP16."""
    found = figures["search"]
    outcome = _table("", ("steps", "equal best codes", "KL", "latents", "mel", "wave", "growth of KL"))
    for name in ("fp16", "int8"):
        outcome.add_row(name, *_cells(found[name]), f"{found[name]['growth']:.2f}")
    methods = _table("every layer of one graph quantised, by method", _COLUMNS)
    for row in found["methods"]:
        methods.add_row(f"{row['graph']} {row['scheme']}", *_cells(row))
    groups = _table("groups of layers alone, the most strained first", (*_COLUMNS, "strain", "chosen"))
    for row in sorted(found["groups"], key=lambda r: -r["strain"])[:24]:
        groups.add_row(row["group"], *_cells(row), f"{row['strain']:.2f}", row["chosen"])
    return Lines(methods, groups, outcome)


_COLUMNS = ("steps", "equal best codes", "KL", "latents", "mel", "wave")


def _table(title: str, columns: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("", min_width=36)
    for column in columns:
        table.add_column(column, justify="right")
    return table


def _cells(row: Mapping[str, Any]) -> list[str]:
    return [
        str(row["steps"]),
        f"{row['top1']:.2%}",
        f"{row['kl']:.1e}",
        f"{row['sqnr_db']:.1f} dB",
        f"{row['mel_db']:.2f} dB",
        f"{row['lsd_db']:.2f} dB",
    ]
