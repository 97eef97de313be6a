"""Runs the builder's code path against the real binding classes of one TensorRT library, and prints JSON.

    python -m tests.build.binding_probe tensorrt|tensorrt-rtx GRAPH.onnx SPEC.pickle OUT.plan

Classes, enums, ILogger and IProgressMonitor are the library's. Objects that only a working library can hand
out are stand-ins that have just the attributes of their binding class, refuse to set what it cannot set, and
hold calls against the signatures in its docstrings.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import json
import pickle
import re
import sys
from pathlib import Path
from typing import Any

import tts_trt.build
from tts_trt.build.builder import BuildConfig, build_plan
from tts_trt.trt import Backend, load_backend
from tts_trt.errors import BuildError

used: set[str] = set()


class StandIn:
    """An instance of binding class ``cls`` whose attributes read as given, or as what was set, or as None."""

    def __init__(self, cls: type, **values: Any) -> None:
        object.__setattr__(self, "_cls", cls)
        object.__setattr__(self, "_values", values)

    def __getattr__(self, name: str) -> Any:
        cls = self._cls
        static = inspect.getattr_static(cls, name, None)
        if static is None:
            raise AttributeError(f"{cls.__name__} has no attribute {name}")
        used.add(f"{cls.__name__}.{name}")
        value = self._values.get(name)
        if isinstance(static, property):
            return value
        return Call(getattr(cls, name), value)

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "__class__":
            object.__setattr__(self, "_cls", value)
            return
        static = inspect.getattr_static(self._cls, name, None)
        if not isinstance(static, property) or static.fset is None:
            raise AttributeError(f"{self._cls.__name__}.{name} cannot be set")
        used.add(f"{self._cls.__name__}.{name}=")
        self._values[name] = value


class Call:
    """A method that answers ``answer`` (called with the arguments if it can be) after a look at its
    signature."""

    def __init__(self, method: Any, answer: Any) -> None:
        self.signatures = [
            line for line in (method.__doc__ or "").splitlines() if "(self:" in line and "->" in line
        ]
        self.answer = answer

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not any(accepts(signature, len(args), set(kwargs)) for signature in self.signatures):
            raise TypeError(f"{len(args)} arguments and {sorted(kwargs)} do not fit {self.signatures}")
        return self.answer(*args, **kwargs) if callable(self.answer) else self.answer


def accepts(signature: str, positional: int, keywords: set[str]) -> bool:
    inside = signature[signature.index("(") + 1 : signature.rindex(") ->")]
    parameters, depth = [""], 0
    for character in inside:
        depth += (character in "[(<") - (character in "])>")
        if character == "," and depth == 0:
            parameters.append("")
        else:
            parameters[-1] += character
    names = [p.split(":")[0].strip() for p in parameters][1:]
    required = {name for name, p in zip(names, parameters[1:], strict=True) if "=" not in p}
    given = set(names[:positional]) | keywords
    return positional <= len(names) and required <= given <= set(names)


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
        "used": sorted(used),
        "missing": missing_names(backend.trt),
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
