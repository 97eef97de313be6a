"""Tests against the real binding classes of TensorRT 10.16, 11.4 and TensorRT-RTX, each in its own process.

Classes, enums, ILogger and the like are the library's. Objects that only a working library can hand out are stand-ins
that have just the attributes of their binding class, refuse to set what it cannot set, and hold calls against the
signatures in its docstrings.
"""

from __future__ import annotations

import importlib.util
import inspect
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
BINDINGS = ROOT / ".cache" / "bindings"
TEN, ELEVEN, RTX = "10.16.1.11", "11.4.0.106", "rtx"
LIBRARIES = (TEN, ELEVEN, RTX)


def name_of(library: str) -> str:
    """As ``load_backend`` knows it."""
    return "tensorrt-rtx" if library == RTX else "tensorrt"


def run_with(
    library: str, module: str, *arguments: str | Path, cwd: Path
) -> subprocess.CompletedProcess[str]:
    """``python -m module`` in a process that imports this library; the test is skipped where it is not installed."""
    search = [str(ROOT)]
    if library == RTX:
        if importlib.util.find_spec("tensorrt_rtx") is None:
            pytest.skip("TensorRT-RTX is not installed: pip install 'tts-trt[rtx]'")
    elif not (BINDINGS / library / "tensorrt").is_dir():
        pytest.skip(f"bindings of TensorRT {library} are not installed: python scripts/stub_bindings.py")
    else:
        search.insert(0, str(BINDINGS / library))
    result = subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(search)},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result


used: list[str] = []
"""What stand-ins were asked for, in order; "=" behind what was set."""


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
        used.append(f"{cls.__name__}.{name}")
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
        used.append(f"{self._cls.__name__}.{name}=")
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
