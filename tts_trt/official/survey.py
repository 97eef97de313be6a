"""`tts-trt doctor --model DIR`: every file of an official directory, what is wrong with it, and the command that brings it.

Nothing heavy is imported and no checkpoint is opened: a file that is cut short is told by its own directory or header.
"""

from __future__ import annotations

import json
import shutil
import zipfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table

from tts_trt.dims import ModelDims
from tts_trt.errors import TtsTrtError, UsageError
from tts_trt.official.folder import WEIGHTS, Official
from tts_trt.official.layout import CONFIG, PARTS, RELEASE, Part, downloads, locate, looks_official

GB = 1_000_000_000
ONNX_SHARE, PLAN_SHARE = 1.5, 0.8
"""Disk that a build takes, as shares of the weights in single precision: graphs in FP32 and FP16; plans in FP16 and INT8."""

PARSED = ("config", "w2v_config", "vocoder_config")
LARGEST_HEADER = 100_000_000  # bytes, of a safetensors file


@dataclass(frozen=True)
class Row:
    name: str
    path: str  # where it is, or belongs
    state: str  # "ok", "missing", "absent" (optional), or what is wrong
    bytes: int
    expected_bytes: int
    use: str
    needed: bool

    @property
    def sound(self) -> bool:
        return self.state in ("ok", "absent")


@dataclass(frozen=True)
class Survey:
    folder: str
    rows: tuple[Row, ...]
    problem: str | None  # with the configuration as a whole
    disk_free_bytes: int
    build_bytes: int  # disk that exporting and building will take

    @property
    def whole(self) -> bool:
        return self.problem is None and all(row.sound for row in self.rows)

    @property
    def commands(self) -> list[str]:
        """What brings everything that is needed and missing or damaged."""
        names = {row.name for row in self.rows if not row.sound and row.needed}
        return downloads(Path(self.folder), [part for part in PARTS if part.name in names])

    @property
    def optional(self) -> list[str]:
        names = {row.name for row in self.rows if row.state != "ok" and not row.needed}
        return downloads(Path(self.folder), [part for part in PARTS if part.name in names])

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"whole": self.whole, "commands": self.commands, "optional": self.optional}


def survey(folder: Path) -> Survey:
    """UsageError for what is not a directory; everything else is a finding."""
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder", hint=f"hf download {RELEASE} --local-dir DIR")
    official, problem = Official(folder), None
    try:
        found = {name: item.path for name, item in official.found.items()}
    except TtsTrtError as error:
        problem, found = str(error).partition("\n")[0], {part.name: locate(folder, part) for part in PARTS}
    rows = tuple(_row(folder, part, found[part.name]) for part in PARTS)
    dims = None
    if problem is None and all(found[name] for name in PARSED):
        try:
            dims = official.dims
        except TtsTrtError as error:
            problem = str(error).partition("\n")[0]
    elif problem is None and not looks_official(folder):
        problem = f"{folder} does not look like an IndexTTS-2 download: it has no {CONFIG}"
    if dims is not None and dims == ModelDims(name=dims.name):
        rows = tuple(_sized(row) for row in rows)
    weights = sum(row.bytes for row in rows if row.bytes > 1_000_000 and row.name != "emotion_model")
    return Survey(
        str(folder), rows, problem, shutil.disk_usage(folder).free, round(weights * (ONNX_SHARE + PLAN_SHARE))
    )


def _row(folder: Path, part: Part, path: Path | None) -> Row:
    if path is None:
        state = "missing" if part.needed else "absent"
        return Row(part.name, part.path, state, 0, part.bytes, part.use, part.needed)
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    wrong = next((f"{f.name} {found}" for f in files if (found := damage(f))), None)
    shown = str(path.relative_to(folder)) if path.is_relative_to(folder) else str(path)
    size = sum(f.stat().st_size for f in files)
    return Row(part.name, shown, wrong or "ok", size, part.bytes, part.use, part.needed)


def _sized(row: Row) -> Row:
    """Of the official dimensions: even in half precision a file has half the bytes."""
    if row.state != "ok" or row.name not in WEIGHTS or row.bytes >= 0.45 * row.expected_bytes:
        return row
    return replace(row, state=f"only {row.bytes / 1e6:.1f} MB")


def damage(path: Path) -> str | None:
    """What can be told without reading the tensors; None where nothing is wrong."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(64)
            if not start:
                return "is empty"
            if start.startswith(b"version https://git-lfs"):
                return "is a Git LFS pointer, not the file"
            if path.suffix in (".pth", ".pt", ".bin", ".safetensors") and start.lstrip().startswith(b"<"):
                return "is a web page"
            if path.suffix == ".safetensors":
                return _safetensors_damage(start, size, file.read(_header_length(start) - 56))
        if start.startswith(b"PK\x03\x04") and not zipfile.is_zipfile(path):
            return f"is cut short at {size / 1e6:.1f} MB"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return None


def _header_length(start: bytes) -> int:
    return min(max(int.from_bytes(start[:8], "little"), 56), LARGEST_HEADER)


def _safetensors_damage(start: bytes, size: int, rest: bytes) -> str | None:
    length = int.from_bytes(start[:8], "little")
    try:
        header = json.loads((start[8:] + rest)[:length])
        ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
        expected = 8 + length + max(ends, default=0)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError):
        return "has no readable header"
    return None if size == expected else f"has {size} bytes, its header says {expected}"


def render(seen: Survey) -> RenderableType:
    table = Table("file", "state", "size", "expected", "for", title=seen.folder, title_justify="left")
    for row in seen.rows:
        colour = "green" if row.state == "ok" else "yellow" if row.sound else "red"
        table.add_row(
            row.path,
            f"[{colour}]{row.state}",
            _size(row.bytes),
            f"about {_size(row.expected_bytes)}",
            row.use,
        )
    lines = [seen.problem.replace("[", r"\[") if seen.problem else ""]
    lines += [f"  {command}" for command in seen.commands]
    lines += [f"  {command}  # optional" for command in seen.optional]
    lines.append(
        f"exporting and building take about {seen.build_bytes / GB:.1f} GB of disk; {seen.disk_free_bytes / GB:.0f} GB are "
        "free here"
        if seen.whole
        else "these commands bring what is missing (hf is the command of the Python package huggingface_hub)"
    )
    return Group(table, *[line for line in lines if line])


def _size(count: int) -> str:
    if not count:
        return "-"
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= scale:
            return f"{count / scale:.1f} {unit}"
    return f"{count} B"
