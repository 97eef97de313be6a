"""What every trainer of the nano voice shares: seeding, checkpoints that resume, learning-rate schedule, curves."""

from __future__ import annotations

import argparse
import csv
import json
import math
import os
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from tts_trt.dims import ModelDims, from_dict

ASSETS = Path(__file__).resolve().parents[2] / "tts_trt" / "assets" / "nano"


@dataclass(frozen=True)
class Options:
    """One trainer's command line."""

    work: Path
    steps: int
    batch: int
    lr: float
    seed: int
    device: str
    threads: int
    smoke: bool
    phase: str
    compile: bool = False


def options(
    description: str,
    *,
    steps: int,
    batch: int,
    lr: float,
    phases: tuple[str, ...] = ("all",),
    compiles: bool = False,
) -> Options:
    """``compiles``: whether this trainer knows what to do with --compile."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        "--work", type=Path, default=Path("build/nano"), help="folder of the corpus and checkpoints"
    )
    parser.add_argument("--steps", type=int, default=steps)
    parser.add_argument("--batch", type=int, default=batch)
    parser.add_argument("--lr", type=float, default=lr)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=max(1, (os.cpu_count() or 1)))
    parser.add_argument("--smoke", action="store_true", help="a few tiny steps: does it run at all?")
    parser.add_argument("--phase", choices=phases, default=phases[0], help="part of this training to run")
    if compiles:
        parser.add_argument(
            "--compile", action="store_true", help="minutes to start, faster steps; needs g++"
        )
    args = parser.parse_args()
    if args.smoke:
        args.steps, args.batch = min(args.steps, 6), min(args.batch, 4)
    chosen = Options(**vars(args))
    torch.set_num_threads(chosen.threads)
    if chosen.device != "cpu":
        torch.set_default_device(
            chosen.device
        )  # what the losses make (masks, noise) is then where the model is
    seed_all(chosen.seed)
    return chosen


def seed_all(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def nano_dims() -> ModelDims:
    return from_dict(ModelDims, json.loads((ASSETS / "config.json").read_text()), "config.json")


def to_device(value: Any, device: str) -> Any:
    """Tensors inside a tuple, list, dict or dataclass, moved; everything else as it is."""
    if isinstance(value, torch.Tensor):
        return value.to(device)
    if isinstance(value, dict):
        return {key: to_device(item, device) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(to_device(item, device) for item in value)
    if is_dataclass(value) and not isinstance(value, type):
        changed = {f.name: to_device(getattr(value, f.name), device) for f in fields(value)}
        return replace(value, **changed)
    return value


def learning_rate(step: int, steps: int, peak: float, warmup: int = 200) -> float:
    """Linear warm-up, then cosine to 2 % of the peak."""
    if step < warmup:
        return peak * (step + 1) / warmup
    done = (step - warmup) / max(1, steps - warmup)
    return peak * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, done))))


def save_atomic(value: Any, path: Path) -> None:
    temporary = path.with_suffix(".part")
    torch.save(value, temporary)
    os.replace(temporary, path)


def train(
    name: str,
    model: nn.Module,
    batches: Iterator[Any],
    loss_of: Callable[[Any, int], dict[str, torch.Tensor]],
    chosen: Options,
    *,
    evaluate: Callable[[], dict[str, float]] | None = None,
    every: int = 250,
    weight_decay: float = 0.01,
    autocast: bool = False,
    scaffold: nn.Module | None = None,
) -> None:
    """Run to ``chosen.steps``, resuming from ``<work>/<name>.pt``; ``loss_of`` returns parts, "loss" is minimised.

    ``scaffold`` is trained along and kept in the checkpoint, apart from the model: heads that only the losses need. A checkpoint
    of weights alone, as ``unpack`` writes it, gets a fresh optimiser and a schedule of its own, warm-up included.
    A line per 50 steps goes to ``<work>/<name>.csv`` and to the terminal.
    """
    checkpoint, curve = chosen.work / f"{name}.pt", chosen.work / f"{name}.csv"
    trained = nn.ModuleList([model, *([scaffold] if scaffold else [])])
    optimiser = torch.optim.AdamW(
        trained.parameters(), lr=chosen.lr, betas=(0.9, 0.98), weight_decay=weight_decay
    )
    first = origin = 0
    if checkpoint.exists():
        state = torch.load(checkpoint, map_location=chosen.device, weights_only=True)
        model.load_state_dict(state["model"])
        first = state["step"]
        origin = state.get("origin", 0 if "optimiser" in state else first)
        if "optimiser" in state:
            optimiser.load_state_dict(state["optimiser"])
            if scaffold:
                scaffold.load_state_dict(state["scaffold"])
        # a resumed run must not repeat the first run's batches
        seed_all(chosen.seed + first)
    means: dict[str, float] = {}
    began = time.monotonic()
    for step in range(first, chosen.steps):
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(step - origin, chosen.steps - origin, chosen.lr)
        with torch.autocast(chosen.device.split(":")[0], dtype=torch.bfloat16, enabled=autocast):
            parts = loss_of(to_device(next(batches), chosen.device), step)
        optimiser.zero_grad(set_to_none=True)
        parts["loss"].backward()
        norm = nn.utils.clip_grad_norm_(trained.parameters(), 1.0)
        if torch.isfinite(norm):
            optimiser.step()
        for key, value in parts.items():
            now = value.detach().item()
            means[key] = 0.95 * means.get(key, now) + 0.05 * now
        last = step + 1 == chosen.steps
        if (step + 1) % 50 == 0 or last:
            figures = dict(means)
            if evaluate is not None and ((step + 1) % every == 0 or last):
                figures |= {f"val_{k}": v for k, v in evaluate().items()}
            log(curve, step + 1, (time.monotonic() - began) / (step + 1 - first), figures)
        if (step + 1) % every == 0 or last:
            state = {"model": model.state_dict(), "optimiser": optimiser.state_dict()}
            state |= {"step": step + 1, "origin": origin}
            save_atomic(state | ({"scaffold": scaffold.state_dict()} if scaffold else {}), checkpoint)


def log(curve: Path, step: int, seconds: float, figures: dict[str, float]) -> None:
    print(
        f"{step:6d} {seconds:6.3f} s/step  " + "  ".join(f"{k} {v:.4f}" for k, v in figures.items()),
        flush=True,
    )
    with curve.open("a", newline="") as file:
        csv.writer(file).writerow([step, f"{seconds:.3f}", *(f"{k}={v:.5f}" for k, v in figures.items())])
