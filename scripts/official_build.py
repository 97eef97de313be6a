"""Every graph at official size through export, numerics and TensorRT-RTX, on a machine without a GPU: time, memory, sizes.

    python -m scripts.official_build --model DIR --work DIR --out benchmarks/...json [--graphs gpt,vocoder]

Each step of a graph runs in a process of its own, so that its peak memory is its own:
    export      FP32 and FP16 ONNX, both against torch on ONNX Runtime
    int8        Q/DQ by the recipe that ships, scales from one random batch; its FP32-scale twin against torch
    plan-fp16, plan-int8    a portable TensorRT-RTX plan
A step that is done is kept, so a stopped run goes on. Activation scales of random input are good enough to weigh and to
time a plan, not to listen to it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from tts_trt.atomic import write_atomic
from tts_trt.export.record import file_bytes
from tts_trt.models import find_model
from tts_trt.spec import GraphSpec, Limits, graph_specs

STEPS = ("export", "int8", "plan-fp16", "plan-int8")
RECIPE = "int8"
OBSERVED = {"B": 1, "L": 12, "S": 24, "M": 24, "F": 48, "E": 40, "K": 160, "T": 64}
"""Axes of the random batch that activation scales come from."""
GIB = 1 << 30


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--graphs", default="")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--memory", type=float, default=8.0, help="GiB to wait for before a step starts")
    parser.add_argument(
        "--report", action="store_true", help="write what is done so far to --out, run nothing"
    )
    parser.add_argument("--only", nargs=2, metavar=("STEP", "GRAPH"), help="one step, in this process")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    if args.only:
        run_step(*args.only, args)
        return
    specs = graph_specs(find_model(args.model).dims(), Limits())
    if args.report:
        write_report(args, list(specs))
        return
    names = [name for name in args.graphs.split(",") if name] or list(specs)
    for name in names:
        for step in STEPS:
            supervise(step, name, args)
            write_report(args, list(specs))


def supervise(step: str, graph: str, args: argparse.Namespace) -> None:
    """Run one step in a process, unless it is done or what it stands on failed."""
    if _record(args.work, step, graph).get("done"):
        return
    before = {"int8": "export", "plan-fp16": "export", "plan-int8": "int8"}.get(step)
    if before and not _record(args.work, before, graph).get("done"):
        return
    waited = _wait_for(args.memory)
    print(f"{step} {graph} (waited {waited:.0f} s)", flush=True)
    command = [sys.executable, "-m", "scripts.official_build", "--model", args.model, "--work", str(args.work),
               "--threads", str(args.threads), "--only", step, graph]  # fmt: skip
    began = time.monotonic()
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    errors = process.communicate()[1]
    if process.returncode:
        tail = errors.strip().splitlines()[-8:]
        _write(args.work, step, graph, {"done": False, "exit": process.returncode, "stderr": tail})
        print(f"  failed with {process.returncode}: {tail[-1:] or ''}", flush=True)
        return
    record = _record(args.work, step, graph) | {"wall_seconds": round(time.monotonic() - began, 1)}
    _write(args.work, step, graph, record)
    print(f"  {record['wall_seconds']} s, peak {record['peak_rss'] / GIB:.2f} GiB", flush=True)


def run_step(step: str, graph: str, args: argparse.Namespace) -> None:
    import torch

    os.nice(5)
    torch.set_num_threads(args.threads)
    folder = find_model(args.model)
    spec = graph_specs(folder.dims(), Limits())[graph]
    began = time.monotonic()
    if step == "export":
        found = _export(folder, spec, args.work)
    elif step == "int8":
        found = _int8(folder, spec, args.work)
    else:
        found = _plan(spec, args.work, step.removeprefix("plan-"))
    used = resource.getrusage(resource.RUSAGE_SELF)
    found |= {
        "done": True,
        "seconds": round(time.monotonic() - began, 1),
        "cpu_seconds": round(used.ru_utime + used.ru_stime, 1),  # on a busy machine the better measure
        "peak_rss": used.ru_maxrss * 1024,
    }
    _write(args.work, step, graph, found)


def _export(folder: Any, spec: GraphSpec, work: Path) -> dict[str, Any]:
    from tts_trt.export.model import Modules, export_one

    records = export_one(Modules(folder).of(spec.name), spec, work, ("fp32", "fp16"))
    return {
        "bytes": {r.precision: r.bytes for r in records},
        "relative_error": {r.precision: r.error for r in records},
        "census": {r.precision: r.census for r in records},
    }


def _int8(folder: Any, spec: GraphSpec, work: Path) -> dict[str, Any]:
    import onnx

    from scripts.random_graphs import activation_limits, choice
    from tts_trt.export.model import Modules
    from tts_trt.export.parity import compare_graph
    from tts_trt.export.passes import census, save
    from tts_trt.quant.apply import quantised
    from tts_trt.quant.layers import find_layers
    from tts_trt.quant.recipe import load_recipe

    plain, recipe = work / "fp32" / f"{spec.name}.onnx", load_recipe(RECIPE)
    layers = find_layers(onnx.load(str(plain), load_external_data=False))
    schemes = {}
    for layer in layers:
        rule = next((r for r in reversed(recipe.rules) if r.matches(spec.name, layer.name)), None)
        if rule and rule.scheme != "float":
            schemes[layer.name] = rule.scheme
    if not schemes:
        return {"layers": 0, "bytes": 0}
    model = Modules(folder).of(spec.name)
    limits = activation_limits(model, spec, [x for x in layers if x.name in schemes], OBSERVED)
    choices = {name: choice(scheme, limits[name]) for name, scheme in schemes.items()}
    found: dict[str, Any] = {"layers": len(choices)}
    for kind, base, cpu in (("twin", "fp32", True), ("int8", "fp16", False)):
        graph = onnx.load(str(work / base / f"{spec.name}.onnx"))
        quantised(graph, choices, cpu=cpu)
        path = work / kind / f"{spec.name}.onnx"
        path.parent.mkdir(exist_ok=True)
        save(graph, path)
        del graph
        if cpu:
            parities = compare_graph(model, spec, path, "fp32")
            found["relative_error"] = {"int8": max(p.error for p in parities)}
            for part in (path, path.with_name(path.name + ".data")):
                part.unlink(missing_ok=True)
        else:
            found |= {"bytes": file_bytes(path), "census": census(path)}
    return found


def _plan(spec: GraphSpec, work: Path, precision: str) -> dict[str, Any]:
    from tts_trt.build.builder import build_plan
    from tts_trt.trt import load_backend

    source = work / precision / f"{spec.name}.onnx"
    if not source.is_file():
        return {"bytes": 0, "note": "no layer of this graph is quantised: its FP16 plan serves"}
    backend = load_backend("tensorrt-rtx")
    (work / "plans").mkdir(exist_ok=True)
    info = build_plan(backend, source, spec, work / "plans" / f"{spec.name}-{precision}.plan")
    return {
        "bytes": info.bytes,
        "build_seconds": round(info.seconds, 1),
        "precisions": info.precisions,
        "warnings": info.warnings,
        "tensorrt_rtx": backend.version,
    }


def write_report(args: argparse.Namespace, graphs: Sequence[str]) -> None:
    if args.out is None:
        return
    steps = {name: {step: _record(args.work, step, name) for step in STEPS} for name in graphs}
    done = [r for found in steps.values() for r in found.values() if r.get("done")]
    peak = max((r["peak_rss"] for r in done), default=0)
    report = {
        "command": f"python -m scripts.official_build --model DIR --work DIR --out benchmarks/{args.out.name}",
        "date": date.today().isoformat(),
        "machine": {
            "platform": platform.platform(),
            "cores": os.cpu_count(),
            "memory_bytes": psutil.virtual_memory().total,
            "threads": args.threads,
        },
        "versions": {n: version(n) for n in ("torch", "onnx", "onnxruntime", "tensorrt-rtx")},
        "weights": "random, python -m scripts.random_checkpoint --size official",
        "graphs": steps,
        "steps_done": len(done),
        "steps": len(graphs) * len(STEPS),
        "peak_rss": peak,
        "peak_rss_gib": round(peak / GIB, 2),
    }
    write_atomic(args.out, [json.dumps(report, indent=1).encode(), b"\n"])


def _wait_for(gibibytes: float) -> float:
    """Until this much memory is free; other work on the machine may hold it for a while."""
    began = time.monotonic()
    while psutil.virtual_memory().available < gibibytes * GIB and time.monotonic() - began < 1800:
        time.sleep(5)
    return time.monotonic() - began


def _record(work: Path, step: str, graph: str) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads((work / f"{graph}.{step}.json").read_bytes())
        return found
    except (OSError, ValueError):
        return {}


def _write(work: Path, step: str, graph: str, record: dict[str, Any]) -> None:
    write_atomic(work / f"{graph}.{step}.json", [json.dumps(record, indent=1).encode()])


if __name__ == "__main__":
    main()
