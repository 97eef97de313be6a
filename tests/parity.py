"""Reads the parity fixtures: tiny random-weight instances of the reference modules with inputs and outputs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

FOLDER = Path(__file__).parent / "fixtures" / "parity"


@dataclass(frozen=True)
class Fixture:
    weights: dict[str, torch.Tensor]
    inputs: dict[str, torch.Tensor]
    outputs: dict[str, torch.Tensor]
    config: dict[str, Any]
    tolerance: float


def load(name: str) -> Fixture:
    groups: dict[str, dict[str, torch.Tensor]] = {"w": {}, "in": {}, "out": {}}
    with safe_open(FOLDER / f"{name}.safetensors", framework="pt") as file:
        meta = file.metadata()
        for key in file.keys():  # noqa: SIM118  safe_open is not a mapping
            group, _, rest = key.partition(".")
            groups[group][rest] = file.get_tensor(key)
    return Fixture(
        groups["w"], groups["in"], groups["out"], json.loads(meta["config"]), float(meta["tolerance"])
    )


def assert_close(actual: torch.Tensor, expected: torch.Tensor, tolerance: float) -> None:
    assert actual.shape == expected.shape, f"shape {tuple(actual.shape)}, expected {tuple(expected.shape)}"
    error = (actual.double() - expected.double()).abs().max().item()
    assert error <= tolerance, f"largest error {error:.3g}, tolerance {tolerance:g}"
