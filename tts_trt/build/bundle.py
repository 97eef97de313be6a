"""Exported graphs to a sealed bundle: ONNX files for ONNX Runtime, plans for the TensorRT family.

BUNDLE/manifest.json
BUNDLE/graphs/<graph>.onnx (+ .data)   or   <graph>.plan
BUNDLE/assets/config.json, text tables, voices/<name>.wav
"""

from __future__ import annotations

import dataclasses
import json
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tts_trt import __version__
from tts_trt.artifacts import BundleWriter, fingerprint, load_manifest, sha256_file
from tts_trt.atomic import write_atomic
from tts_trt.build.builder import BuildConfig, build_plan
from tts_trt.build.profiles import resolve_profiles
from tts_trt.errors import BuildError, BundleError
from tts_trt.manifest import Assets, ExecutorRef, GraphEntry, Host, Manifest, ModelRef, RecipeRef
from tts_trt.models import DIMS, ModelFolder
from tts_trt.spec import GraphSpec, Limits
from tts_trt.trt import load_backend

EXECUTORS = {"onnxruntime": "onnxruntime", "tensorrt-rtx": "tensorrt-rtx", "tensorrt": "tensorrt"}
"""Executor -> distribution whose version decides whether a bundle still fits."""

QUANTISED = ("int8", "fp8")
"""What the names of quantised precisions in a census begin with."""

Progress = Callable[[str, int, int], None]
Verify = Callable[[Path], dict[str, Any]]


@dataclass(frozen=True)
class GraphSource:
    """One exported graph: contract, ONNX file, compute nodes by precision."""

    spec: GraphSpec
    onnx: Path
    census: Mapping[str, int]

    @property
    def data(self) -> Path:
        """Its weights; absent for graphs without any."""
        return self.onnx.with_name(self.onnx.name + ".data")


@dataclass(frozen=True)
class BundlePlan:
    """What to build, and for which executor."""

    model: ModelFolder
    precision: str
    executor: str
    latents: str
    float_type: str
    limits: Limits
    graphs: Mapping[str, GraphSource]
    plans: Path  # folder that keeps compiled plans from build to build
    config: BuildConfig = field(default_factory=BuildConfig)
    recipe: RecipeRef | None = None  # None: a plain precision
    corpus_sha256: str | None = None
    calibration_sha256: str | None = None

    @property
    def name(self) -> str:
        return f"{self.model.name}-{self.precision}-{self.executor}"


def plan_fingerprint(plan: BundlePlan) -> str:
    return fingerprint(
        {
            "graphs": {name: graph.onnx for name, graph in plan.graphs.items()},
            "weights": {name: graph.data for name, graph in plan.graphs.items() if graph.data.exists()},
            "assets": plan.model.assets(),
            "limits": dataclasses.asdict(plan.limits),
            "recipe": plan.recipe.model_dump() if plan.recipe else plan.precision,
            "calibration": [plan.corpus_sha256, plan.calibration_sha256],
            "executor": [plan.executor, executor_version(plan.executor)],
            "version": __version__,
        }
    )


def executor_version(executor: str) -> str:
    return load_backend(executor).version if executor.startswith("tensorrt") else version(EXECUTORS[executor])


def existing_bundle(target: Path, wanted: str) -> Manifest | None:
    """The manifest of an intact-looking bundle made from the same inputs, or None."""
    try:
        manifest = load_manifest(target)
    except BundleError:
        return None
    sizes = all(
        (target / f).is_file() and (target / f).stat().st_size == e.bytes for f, e in manifest.files.items()
    )
    return manifest if sizes and manifest.verification.get("fingerprint") == wanted else None


def build_bundle(
    plan: BundlePlan, target: Path, *, verify: Verify | None = None, progress: Progress | None = None
) -> Manifest:
    """Build into ``target`` atomically. ``verify`` sees the unsealed folder: what it returns enters the manifest, what
    it raises leaves nothing behind. BuildError or BundleError otherwise."""
    if plan.executor not in EXECUTORS:
        raise BuildError(
            f"no executor {plan.executor!r}; there are {', '.join(EXECUTORS)}", hint="--executor auto"
        )
    wanted = plan_fingerprint(plan)
    if current := existing_bundle(target, wanted):
        return current
    target.parent.mkdir(parents=True, exist_ok=True)
    with BundleWriter(target) as writer:
        for name, content in plan.model.assets().items():
            writer.add(f"assets/{name}", content)
        entries = []
        for i, (name, graph) in enumerate(plan.graphs.items()):
            if progress:
                progress(name, i, len(plan.graphs))
            entries.append(_add_graph(writer, plan, graph, progress))
        stamp = {"fingerprint": wanted}
        manifest = writer.seal(**_fields(plan, entries, stamp))
        if verify is None:
            return manifest
        # sealed twice: what verifies is a whole bundle, and what it finds belongs in the manifest
        figures = verify(writer.folder)
        return writer.seal(**_fields(plan, entries, stamp | figures))


def _add_graph(
    writer: BundleWriter, plan: BundlePlan, graph: GraphSource, progress: Progress | None
) -> GraphEntry:
    spec, census = graph.spec, dict(graph.census)
    if plan.executor == "onnxruntime":
        file = f"graphs/{spec.name}.onnx"
        writer.add(file, graph.onnx)
        if graph.data.exists():
            writer.add(f"{file}.data", graph.data)
    else:
        file = f"graphs/{spec.name}.plan"
        compiled = _cached_plan(plan, graph, progress)
        writer.add(file, compiled)
        census = _parsed_census(compiled, graph)
    profiles = () if plan.executor == "onnxruntime" else tuple(_profiles(spec))
    return GraphEntry(
        name=spec.name,
        file=file,
        onnx_sha256=sha256_file(graph.onnx),
        dtypes=census,
        profiles=profiles,
    )


def _cached_plan(plan: BundlePlan, graph: GraphSource, progress: Progress | None) -> Path:
    """The plan of one graph, compiled unless one made from the same inputs is there: a build that was killed, or in which
    one graph changed, compiles only what is missing."""
    parts = {"onnx": graph.onnx} | ({"data": graph.data} if graph.data.exists() else {})
    key = fingerprint(
        {
            **parts,
            "profiles": _profiles(graph.spec),
            "executor": [plan.executor, executor_version(plan.executor)],
            "workspace": plan.config.workspace_bytes,
            "level": plan.config.optimization_level,
            "targets": list(plan.config.compute_capabilities or ()),
        }
    )
    path = plan.plans / f"{graph.spec.name}-{key[:16]}.plan"
    if path.is_file() and _beside(path).is_file():
        return path
    plan.plans.mkdir(parents=True, exist_ok=True)

    def report(phase: str, done: int, total: int) -> bool:
        if progress:
            progress(f"{graph.spec.name}: {phase}", done, total)
        return True

    info = build_plan(load_backend(plan.executor), graph.onnx, graph.spec, path, plan.config, report)
    write_atomic(_beside(path), [json.dumps(info.precisions).encode()])
    return path


def _beside(plan: Path) -> Path:
    return plan.with_suffix(".precisions.json")


def _parsed_census(plan: Path, graph: GraphSource) -> dict[str, int]:
    """Compute layers by precision in the network as the library parsed it. BuildError when it holds fewer quantised ones
    than the graph asks for."""
    parsed: dict[str, int] = json.loads(_beside(plan).read_bytes())
    for precision, wanted in graph.census.items():
        if precision.startswith(QUANTISED) and parsed.get(precision, 0) < wanted:
            raise BuildError(
                f"graph {graph.spec.name}: {wanted} layers are to compute in {precision}, the parsed network has "
                f"{parsed.get(precision, 0)}"
            )
    return parsed


def _profiles(spec: GraphSpec) -> list[dict[str, Any]]:
    return [{t: (r.min, r.opt, r.max) for t, r in profile.items()} for profile in resolve_profiles(spec)]


def _fields(plan: BundlePlan, entries: list[GraphEntry], figures: dict[str, Any]) -> dict[str, Any]:
    model = plan.model
    return {
        "tts_trt": __version__,
        "model": ModelRef(
            name=model.name,
            weights_sha256=model.weights_sha256,
            config_sha256=model.config_sha256,
        ),
        "precision": plan.precision,
        "recipe": plan.recipe or RecipeRef(name=plan.precision),
        "corpus_sha256": plan.corpus_sha256,
        "calibration_sha256": plan.calibration_sha256,
        "executor": ExecutorRef(name=plan.executor, version=executor_version(plan.executor)),
        "host": Host(
            gpu=None,
            sm=None,
            driver=None,
            platform=platform.platform(),
            cpu=platform.processor() or platform.machine(),
        ),
        "latents": plan.latents,
        "float_type": plan.float_type,
        "limits": dataclasses.asdict(plan.limits),
        "graphs": tuple(entries),
        "verification": figures,
        "assets": Assets(
            dims=f"assets/{DIMS}",
            tokenizer=f"assets/{next(iter(model.text_tables))}",
            voices={name: f"assets/voices/{name}.wav" for name in model.voices},
        ),
    }
