"""How fast an INT8 decode step is on this CPU: a random GPT of 12 layers x 768 through the runtime's own cache.

FP32, weights alone (W8) and activations too (W8A8), side by side in alternating order; the kernels that ONNX Runtime
really runs are listed beside the times. The last line on stdout is JSON.
    python -m scripts.int8_step --layers 12 --dim 768 --out benchmarks/int8-step.json
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np

from scripts.random_graphs import random_model, write_forms
from tts_trt.build.builder import build_plan
from tts_trt.dims import ModelDims
from tts_trt.export.record import file_bytes
from tts_trt.models import find_model
from tts_trt.quality.verify import INT8_KERNELS
from tts_trt.runtime.kv_cache import KvCache
from tts_trt.runtime.onnx_engine import OrtEngine
from tts_trt.spec import GraphSpec, Limits, graph_specs
from tts_trt.trt import load_backend

SCHEMES = ("fp32", "w8", "w8a8")
OBSERVED = {"B": 1, "S": 64}
AT = 200
"""Cache slot of the measured steps."""


def dims_of(layers: int, width: int) -> ModelDims:
    nano = find_model("nano").dims()
    return replace(nano, gpt=replace(nano.gpt, layers=layers, dim=width, heads=width // 64))


def step_ms(engine: OrtEngine, steps: int) -> float:
    cache = KvCache(engine, 1)
    row, one = np.zeros((1, 1, engine.spec.input("embeddings").shape[2]), np.float32), np.ones(1, np.int64)
    times = []
    for _ in range(steps):
        cache.pos_B = np.full(1, AT, np.int64)
        began = time.perf_counter()
        cache.append(row, one)
        times.append(1e3 * (time.perf_counter() - began))
    return statistics.median(times)


def make(folder: Path, layers: int, width: int) -> tuple[GraphSpec, dict[str, Path]]:
    dims = dims_of(layers, width)
    spec = graph_specs(dims, Limits(batch=1))["gpt"]
    return spec, write_forms(random_model(dims, "gpt"), spec, folder, SCHEMES, OBSERVED, cpu=True)


def measure(
    spec: GraphSpec, files: Mapping[str, Path], threads: int, rounds: int, steps: int
) -> dict[str, object]:
    engines = {name: OrtEngine(path, spec, threads=threads) for name, path in files.items()}
    times: dict[str, list[float]] = {name: [] for name in engines}
    for engine in engines.values():
        step_ms(engine, 3)  # warm-up
    for _ in range(rounds):
        for name, engine in engines.items():
            times[name].append(step_ms(engine, steps))
    medians = {name: statistics.median(found) for name, found in times.items()}
    return {
        "step_ms": medians,
        "speedup": {name: medians["fp32"] / ms for name, ms in medians.items()},
        "bytes": {name: file_bytes(path) for name, path in files.items()},
        "kernels": {
            name: {op: n for op, n in engine.kernels().items() if op in INT8_KERNELS | {"MatMul", "Gemm"}}
            for name, engine in engines.items()
        },
    }


def plan_bytes(spec: GraphSpec, files: Mapping[str, Path]) -> dict[str, int]:
    """Sizes of portable TensorRT-RTX plans of the same graphs, which need no GPU to be built."""
    backend = load_backend("tensorrt-rtx")
    return {
        name: build_plan(backend, path, spec, path.with_suffix(".plan")).bytes for name, path in files.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--dim", type=int, default=768)
    parser.add_argument("--threads", type=int, default=0, help="0: all cores")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=15)
    parser.add_argument(
        "--plans", action="store_true", help="build TensorRT-RTX plans too and tell their sizes"
    )
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        spec, files = make(Path(folder), args.layers, args.dim)
        found = measure(spec, files, args.threads, args.rounds, args.steps)
        if args.plans:
            found["plan_bytes"] = plan_bytes(spec, files)
    found |= {
        "command": " ".join(["python -m scripts.int8_step", *sys.argv[1:]]),
        "date": time.strftime("%Y-%m-%d"),
        "machine": {
            "platform": platform.platform(),
            "cores": os.cpu_count(),
            "threads": args.threads or os.cpu_count(),
        },
        "onnxruntime": version("onnxruntime"),
        "layers": args.layers,
        "dim": args.dim,
    }
    text = json.dumps(found)
    if args.out:
        args.out.write_text(json.dumps(found, indent=1) + "\n")
    print(text)


if __name__ == "__main__":
    main()
