"""Tensors from files that strangers wrote: read without running what is in them.

A .pt, .pth or .bin file is a pickle, which can name any function to be called. Only torch's weights-only reader is used, which
knows tensors and plain containers; anything else in the file is a WeightsError that names the file and what it held.
"""

from __future__ import annotations

import pickle
import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from tts_trt.errors import WeightsError

RESTORE = "download the file again"

_REFUSED = re.compile(r"(?:GLOBAL|global|class|Unsupported) `?([A-Za-z_][\w.]*\.[\w.]+)")
_BROKEN = (
    RuntimeError,
    EOFError,
    OSError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    UnicodeError,
)
"""What torch raises for bytes that are no checkpoint."""


def read_tensors(path: Path, unwrap: str | None = None) -> dict[str, torch.Tensor]:
    """Every tensor of a file under its dotted key, memory-mapped where the format allows.

    ``unwrap``: the top key that holds the tensors; where it is there, what lies beside it (an optimiser's state) is not
    looked at. WeightsError for a file that is cut short, is no checkpoint, or holds anything but tensors.
    """
    content = _safetensors(path) if path.suffix == ".safetensors" else _pickled(path)
    if unwrap is not None and isinstance(content, Mapping) and isinstance(content.get(unwrap), Mapping):
        content = content[unwrap]
    if isinstance(content, torch.Tensor):
        return {"": content}
    if not isinstance(content, Mapping):
        raise WeightsError(f"{path} holds a {type(content).__name__}, expected tensors by name", hint=RESTORE)
    found = dict(_flat(content))
    if wrong := [key for key, value in found.items() if not isinstance(value, torch.Tensor)]:
        kind = type(found[wrong[0]]).__name__
        raise WeightsError(
            f"{path}: {len(wrong)} entries are not tensors: {wrong[0]} is a {kind}", hint=RESTORE
        )
    return found


def _flat(tree: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested modules under dotted keys; what DistributedDataParallel puts before a module's keys is dropped."""
    for key, value in tree.items():
        name = str(key).removeprefix("module.")
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _safetensors(path: Path) -> dict[str, torch.Tensor]:
    try:
        return load_file(path)
    except (OSError, SafetensorError, ValueError) as error:
        raise WeightsError(f"{path} cannot be read: {error}; it may be cut short", hint=RESTORE) from error


def _pickled(path: Path) -> Any:
    try:
        mapped = zipfile.is_zipfile(
            path
        )  # the format of torch since 1.6; its directory stands at the end of the file
        if not mapped and (what := _known_stranger(path)):
            raise WeightsError(f"{path} ({path.stat().st_size} bytes) {what}", hint=RESTORE)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a foreign pickle protocol: the reader decides
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except pickle.UnpicklingError as error:
        raise WeightsError(f"{path} {_refusal(str(error))}", hint=RESTORE) from error
    except _BROKEN as error:
        reason = " ".join(str(error).split())[:200]
        raise WeightsError(
            f"{path} cannot be read: {reason or type(error).__name__}", hint=RESTORE
        ) from error


def _known_stranger(path: Path) -> str | None:
    """What a failed download leaves."""
    with path.open("rb") as file:
        start = file.read(64)
    if start.startswith(b"PK\x03\x04"):
        return "is cut short: the archive has no end"
    if start.startswith(b"version https://git-lfs"):
        return "is a Git LFS pointer, not the file it points to"
    if start.lstrip().startswith(b"<"):
        return "is a web page, not a checkpoint"
    return None if start else "is empty"


def _refusal(message: str) -> str:
    """In our words: torch's own advise switching the safe reader off."""
    if match := _REFUSED.search(message):
        name = next(group for group in match.groups() if group)
        return f"asks to load {name}, which is not a tensor; refused, and nothing of it was run"
    return "holds something else than tensors, or is damaged; refused, and nothing of it was run"
