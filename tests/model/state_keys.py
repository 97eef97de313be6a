"""Key and shape maps of the official checkpoints, to compare whole modules with."""

from __future__ import annotations

import json
from pathlib import Path

from torch import nn

FOLDER = Path(__file__).parents[1] / "fixtures" / "state_dict_keys"


def official(name: str, prefix: str = "") -> dict[str, list[int]]:
    """Shapes under ``prefix``, which is removed, in the official checkpoint ``name``."""
    keys = json.loads((FOLDER / f"{name}.json").read_text())["keys"]
    return {key.removeprefix(prefix): shape for key, shape in keys.items() if key.startswith(prefix)}


def shapes(module: nn.Module) -> dict[str, list[int]]:
    return {key: list(value.shape) for key, value in module.state_dict().items()}
