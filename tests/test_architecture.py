"""The tree is the architecture: imports point one way, nothing heavy hides, no file grows too long."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = "tts_trt"
LONGEST = 400

BASE = {
    "choice",
    "chunks",
    "journal",
    "policy",
    "errors",
    "dims",
    "spec",
    "manifest",
    "atomic",
    "artifacts",
    "models",
    "config",
    "doctor",
    "nvidia",
    "official",
    "onnx_scan",
    "playback",
    "trt",
}
SEES: dict[str, set[str]] = {
    "base": {"base"},
    "frontend": {"base", "frontend"},
    "model": {"base", "frontend", "model"},
    "export": {"base", "frontend", "model", "export"},
    "quant": {"base", "frontend", "export", "runtime", "quality", "quant"},
    "build": {"base", "build"},
    "runtime": {"base", "frontend", "runtime"},
    "quality": {"base", "frontend", "model", "runtime", "quality"},
    "report": {"base", "frontend", "runtime", "quality", "report"},
    "render": {"base", "frontend", "runtime", "quality", "render"},
    "serve": {"base", "frontend", "runtime", "serve"},
}
"""Level -> levels it may import. What is not listed here is the command line, which sees all."""
COMMANDS = {"__init__", "__main__", "cli", "commands", "pipeline"}

WITHOUT_TORCH = {"base", "frontend", "build", "runtime", "report", "render", "serve"}
TRAINING = {"torch", "onnx", "onnxscript", "safetensors"}
OPTIONAL = TRAINING | {
    "cryptography",
    "cuda",
    "fastapi",
    "jiwer",
    "onnxruntime",
    "pesq",
    "pocketsphinx",
    "prometheus_client",
    "pycuda",
    "pyloudnorm",
    "pystoi",
    "pyworld",
    "scipy",
    "sentencepiece",
    "tensorrt",
    "tensorrt_rtx",
    "transformers",
    "uvicorn",
    "wetext",
    "yaml",
}
"""Packages heavy or optional enough to be imported inside the function that needs them."""


@dataclass(frozen=True)
class Import:
    target: str  # dotted module
    name: str | None  # what of it, in `from target import name`
    line: int
    hidden: bool  # inside a function
    typing_only: bool  # under `if TYPE_CHECKING`


def modules() -> dict[str, Path]:
    files = (ROOT / PACKAGE).rglob("*.py")
    return {".".join(f.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): f for f in files}


MODULES = modules()
CASES = [pytest.param(name, id=name) for name in sorted(MODULES)]


def level(module: str) -> str:
    """The level of tts_trt.x.y: "base", the subpackage x, or "commands"."""
    head = module.split(".")[1] if "." in module else "__init__"
    if head in BASE:
        return "base"
    if head in SEES:
        return head
    assert head in COMMANDS, f"{module} belongs to no level: add {head!r} to BASE, SEES or COMMANDS"
    return "commands"


def imports(tree: ast.AST) -> Iterator[Import]:
    yield from _walk(tree, hidden=False, typing_only=False)


def _walk(node: ast.AST, *, hidden: bool, typing_only: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            for alias in child.names:
                yield Import(alias.name, None, child.lineno, hidden, typing_only)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0 and child.module, f"line {child.lineno}: a relative import"
            for alias in child.names:
                whole = f"{child.module}.{alias.name}"
                target = whole if whole in MODULES else child.module
                yield Import(target, alias.name, child.lineno, hidden, typing_only)
        inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        guard = isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING")
        yield from _walk(child, hidden=hidden or inside, typing_only=typing_only or guard)


def imports_of(module: str) -> list[Import]:
    return list(imports(ast.parse(MODULES[module].read_text())))


@pytest.mark.parametrize("module", CASES)
def test_imports_point_one_way(module: str) -> None:
    mine = level(module)
    if mine == "commands":
        return
    for found in imports_of(module):
        if found.target.split(".")[0] != PACKAGE:
            continue
        if found.target == PACKAGE:
            assert found.name == "__version__", f"{module}:{found.line} imports {found.name} from its package"
            continue
        theirs = level(found.target)
        assert theirs in SEES[mine], f"{module}:{found.line} ({mine}) imports {found.target} ({theirs})"


@pytest.mark.parametrize("module", CASES)
def test_nothing_is_imported_inside_a_function_but_optional_packages(module: str) -> None:
    if level(module) == "commands":  # a command loads what it needs when it runs
        return
    hidden = [found for found in imports_of(module) if found.hidden]
    wrong = [
        f"{module}:{found.line} {found.target}"
        for found in hidden
        if found.target.split(".")[0] not in OPTIONAL
    ]
    assert not wrong


@pytest.mark.parametrize("module", CASES)
def test_the_serving_side_imports_neither_torch_nor_onnx(module: str) -> None:
    if level(module) not in WITHOUT_TORCH:
        return
    used = {found.target.split(".")[0] for found in imports_of(module) if not found.typing_only}
    assert not used & TRAINING


def test_there_is_no_import_cycle() -> None:
    graph = {
        module: {
            i.target for i in imports_of(module) if i.target in MODULES and not i.hidden and not i.typing_only
        }
        for module in MODULES
    }
    TopologicalSorter(graph).prepare()  # CycleError names the modules


def test_no_file_is_too_long() -> None:
    files = [f for folder in (PACKAGE, "scripts", "tests") for f in (ROOT / folder).rglob("*.py")]
    lengths = {str(f.relative_to(ROOT)): len(f.read_text().splitlines()) for f in files}
    assert {name: length for name, length in lengths.items() if length > LONGEST} == {}


def test_the_scan_sees_what_it_should() -> None:
    source = """
from typing import TYPE_CHECKING
import numpy
if TYPE_CHECKING:
    import torch
def f():
    import onnx
    if True:
        from tts_trt import dims
"""
    found = {i.target: (i.hidden, i.typing_only) for i in imports(ast.parse(source))}
    assert found["numpy"] == (False, False)
    assert found["torch"] == (False, True)
    assert found["onnx"] == (True, False)
    assert found["tts_trt.dims"] == (True, False)
