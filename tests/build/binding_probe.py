"""Runs the builder's code path against the real binding classes of one TensorRT library, and prints JSON.

    python -m tests.build.binding_probe tensorrt|tensorrt-rtx GRAPH.onnx SPEC.pickle OUT.plan

The stand-ins for what only a working library can hand out are those of tests/bindings.py.
"""

from __future__ import annotations

import ast
import dataclasses
import json
import pickle
import re
import sys
from pathlib import Path
from typing import Any

import tts_trt.build
from tests.bindings import StandIn, used
from tts_trt.build.builder import BuildConfig, build_plan
from tts_trt.errors import BuildError
from tts_trt.trt import Backend, load_backend


class Library:
    """The library's module with the two constructors that need a working library replaced."""

    def __init__(self, trt: Any, plan: bytes) -> None:
        self._trt = trt
        self._plan = plan
        self.options = StandIn(
            trt.IBuilderConfig,
            add_optimization_profile=lambda profile: 0,
            create_timing_cache=lambda stored: StandIn(trt.ITimingCache),
            set_timing_cache=lambda cache, ignore_mismatch: True,
            get_timing_cache=StandIn(trt.ITimingCache, serialize=b"timings"),
            set_compute_capability=lambda capability, index: capability.name.startswith("SM"),
        )

    def __getattr__(self, name: str) -> Any:
        return getattr(self._trt, name)

    def Builder(self, logger: Any) -> StandIn:
        assert isinstance(logger, self._trt.ILogger)
        strong = 1 << int(self._trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
        return StandIn(
            self._trt.Builder,
            create_network=lambda flags: kv_network(self._trt) if flags == strong else None,
            create_builder_config=lambda: self.options,
            create_optimization_profile=lambda: StandIn(self._trt.IOptimizationProfile),
            build_serialized_network=self._build,
        )

    def OnnxParser(self, network: Any, logger: Any) -> StandIn:
        return StandIn(self._trt.OnnxParser, parse_from_file=lambda model: Path(model).exists())

    def _build(self, network: StandIn, options: StandIn) -> bytes:
        monitor = options.progress_monitor
        assert isinstance(monitor, self._trt.IProgressMonitor)
        monitor.phase_start("Building", None, 1)
        assert monitor.step_complete("Building", 0)
        monitor.phase_finish("Building")
        return self._plan


def kv_network(trt: Any) -> StandIn:
    """What the parser makes of the key-value attention graph in tests/build/graphs.py."""

    def tensor(name: str, dtype: str, *shape: int, role: str = "") -> StandIn:
        kind = getattr(trt.DataType, dtype)
        roles = {
            "is_network_input": role == "in",
            "is_network_output": role == "out",
            "is_shape_tensor": False,
        }
        return StandIn(trt.ITensor, name=name, dtype=kind, shape=shape, **roles)

    def layer(name: str, kind: str, reads: list[StandIn], writes: list[StandIn], **values: Any) -> StandIn:
        return StandIn(
            trt.ILayer,
            name=name,
            type=getattr(trt.LayerType, kind),
            num_inputs=len(reads),
            num_outputs=len(writes),
            get_input=lambda i: reads[i],
            get_output=lambda i: writes[i],
            **values,
        )

    rows = {n: tensor(n, "HALF", -1, 2, -1, 32, role="in") for n in ("q", "k_new", "v_new")}
    caches = {n: tensor(n, "HALF", -1, 2, 16, 32, role="in") for n in ("k", "v")}
    results = {n: tensor(f"{n}_out", "HALF", -1, 2, 16, 32, role="out") for n in ("k", "v")}
    pos, mask = tensor("pos", "INT64", -1, role="in"), tensor("mask", "BOOL", -1, 1, -1, 16, role="in")
    inner, y = tensor("inner", "HALF"), tensor("y", "HALF", -1, 2, -1, 32, role="out")
    attention = StandIn(trt.IAttention, mask=mask)
    operands = [rows["q"], results["k"], results["v"], mask]
    layers = [
        layer(n, "KV_CACHE_UPDATE", [caches[n], rows[f"{n}_new"], pos], [results[n]]) for n in ("k", "v")
    ]
    layers.append(layer("attend", "ATTENTION_INPUT", operands, [inner], attention=attention))
    layers.append(layer("attended", "ATTENTION_OUTPUT", [inner], [y]))
    inputs, outputs = [*rows.values(), pos, *caches.values(), mask], [y, *results.values()]
    return StandIn(
        trt.INetworkDefinition,
        num_layers=len(layers),
        get_layer=lambda i: layers[i],
        num_inputs=len(inputs),
        get_input=lambda i: inputs[i],
        num_outputs=len(outputs),
        get_output=lambda i: outputs[i],
    )


def names_in_sources() -> set[str]:
    """Every dotted name below a variable or attribute called ``trt`` in the builder's sources."""
    found = set()
    for path in Path(tts_trt.build.__path__[0]).glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute):
                match = re.fullmatch(r"(?:\w+\.)?trt\.([\w.]+)", ast.unparse(node))
                found |= {match[1]} if match else set()
    return found


def missing_names(trt: Any) -> list[str]:
    missing = []
    for name in names_in_sources():
        value = trt
        for part in name.split("."):
            value = getattr(value, part, None)
        if value is None:
            missing.append(name)
    return sorted(missing)


def start_failure(backend: Backend) -> str:
    try:
        backend.create_builder()
    except BuildError as error:
        return str(error)
    return ""


def main() -> None:
    name, onnx_path, spec_path, out_path = sys.argv[1:]
    backend = load_backend(name)
    library = Library(backend.trt, plan=b"plan of " + backend.version.encode())
    events: list[Any] = []
    config = BuildConfig(
        workspace_bytes=1 << 30,
        optimization_level=5,
        timing_cache=Path(out_path).with_suffix(".timing"),
        compute_capabilities=backend.targets[-1:] or None,
        verbose=True,
    )
    info = build_plan(
        dataclasses.replace(backend, trt=library),
        Path(onnx_path),
        pickle.loads(Path(spec_path).read_bytes()),
        Path(out_path),
        config,
        lambda *event: events.append(event),
    )
    report = {
        "version": backend.version,
        "targets": backend.targets,
        "start_failure": start_failure(backend),
        "layers": info.layers,
        "precisions": info.precisions,
        "warnings": info.warnings,
        "events": events,
        "verbosity": library.options.profiling_verbosity.name,
        "used": sorted(set(used)),
        "missing": missing_names(backend.trt),
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
