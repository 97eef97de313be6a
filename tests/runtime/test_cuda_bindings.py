"""What the CUDA runtime calls, held against the real PyCUDA and cuda-python where they are installed, and the fake always.
Neither needs a GPU for that."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import tts_trt.runtime
from tests.runtime.fake_driver import FakeDriver

FOLDER = Path(tts_trt.runtime.__path__[0])
SOURCES = [
    FOLDER / f"{name}.py" for name in ("cuda", "cuda_copy", "cuda_driver", "cuda_graph", "cuda_memory")
]

METHODS = {
    "Context": {"push": 0, "pop": 0, "detach": 0},
    "Device": {
        "count": 0,
        "name": 0,
        "compute_capability": 0,
        "total_memory": 0,
        "retain_primary_context": 0,
    },
    "DeviceAllocation": {"free": 0, "__int__": 0},
    "Event": {"record": 1, "query": 0, "synchronize": 0},
    "Memcpy2D": {
        "set_src_host": 1,
        "set_src_device": 1,
        "set_dst_host": 1,
        "set_dst_device": 1,
        "__call__": 1,
    },
    "Memcpy3D": {
        "set_src_host": 1,
        "set_src_device": 1,
        "set_dst_host": 1,
        "set_dst_device": 1,
        "__call__": 1,
    },
    "PagelockedHostAllocation": {"free": 0},
    "Stream": {"is_done": 0, "synchronize": 0},
}
"""What is called on PyCUDA's objects, with how many arguments."""

LOOK = """
import json, os, sys
sys.setdlopenflags(os.RTLD_LAZY | os.RTLD_GLOBAL)  # its functions are never called: the driver's may be missing
import pycuda.driver
import numpy
found = {}
for name in dir(pycuda.driver):
    value = getattr(pycuda.driver, name)
    init = value.__init__ if isinstance(value, type) else value
    found[name] = str(init.__doc__)
    if isinstance(value, type):
        found |= {f"{name}.{inner}": str(getattr(value, inner).__doc__) for inner in dir(value)}
for cls in (pycuda.driver.Memcpy2D, pycuda.driver.Memcpy3D):
    copy = cls()
    copy.set_src_host(numpy.zeros(8, numpy.uint8)[3:])
    copy.set_dst_device((1 << 47) + 5)
    copy.src_pitch = copy.dst_pitch = copy.width_in_bytes = copy.height = 1 << 33
    assert copy.dst_device == (1 << 47) + 5
copy.src_height = copy.dst_height = copy.depth = 1 << 33
assert issubclass(pycuda.driver.MemoryError, pycuda.driver.Error)
assert int(pycuda.driver.event_flags.DISABLE_TIMING) == 2
print(json.dumps(found))
"""


def calls(root: str) -> dict[str, set[int]]:
    """Name -> counts of arguments, of everything called on an expression that ends in ``root``."""
    found: dict[str, set[int]] = {}
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                name, args = node.func.attr, node.args
                if name == "_call" and isinstance(args[0], ast.Constant):
                    root_found, name, args = "_runtime", str(args[0].value), args[1:]
                else:
                    root_found = re.split(r"[.(]", ast.unparse(node.func.value))[-1]
                if root_found.lstrip("_") == root:
                    found.setdefault(name, set()).add(len(args))
    return found


def test_the_scan_finds_the_calls() -> None:
    assert calls("driver")["memcpy_dtod_async"] == {4}
    assert calls("driver")["mem_get_info"] == {0}
    assert calls("runtime")["cudaGraphInstantiate"] == {2}
    assert {"Memcpy2D", "Memcpy3D", "Event", "Stream", "pagelocked_empty", "memset_d8_async"} <= set(
        calls("driver")
    )


@pytest.mark.parametrize("root", ["driver", "runtime"])
def test_the_fake_has_the_same_names_and_arguments(root: str) -> None:
    driver = FakeDriver()
    fake: Any = driver if root == "driver" else driver.runtime
    for name, counts in calls(root).items():
        for count in counts:
            inspect.signature(getattr(fake, name)).bind(*range(count))


def fits(signatures: str, count: int, own: int = 0) -> bool:
    """Whether a line such as "f( (int)a [, (int)b=0]) -> None :" takes this many arguments beside ``own``."""
    for line in re.findall(r"^\w+\((.*)\) -> ", signatures, re.MULTILINE):
        required, total = (len(re.findall(r"\(\w+\)\w+", part)) for part in (line.split("[")[0], line))
        if required <= count + own <= total:
            return True
    return False


def test_what_is_called_is_what_pycuda_has() -> None:
    if importlib.util.find_spec("pycuda") is None:
        pytest.skip("PyCUDA is not installed: pip install 'tts-trt[cuda]'")
    result = subprocess.run(
        [sys.executable, "-c", LOOK], capture_output=True, text=True, timeout=60, check=False
    )
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    for name, counts in calls("driver").items():
        own = name in ("Device", "Event", "Stream", "Memcpy2D", "Memcpy3D")
        for count in counts:
            assert fits(found[name], count, own), f"{name}, {count} arguments: {found[name]}"
    for cls, methods in METHODS.items():
        for method, count in methods.items():
            text = found[f"{cls}.{method}"]
            own = (cls, method) not in (("Context", "pop"), ("Device", "count"))  # static
            assert fits(text, count, own), f"{cls}.{method}, {count} arguments: {text}"
    assert {"Error", "MemoryError", "event_flags", "Stream.handle"} <= set(found)


def cuda_runtime() -> Any:
    return pytest.importorskip("cuda.bindings.runtime", reason="cuda-python is not installed")


def test_what_is_called_is_what_cuda_python_has() -> None:
    runtime = cuda_runtime()
    for name, counts in calls("runtime").items():
        head = getattr(runtime, name).__doc__.splitlines()[0]
        inside = head[head.index("(") + 1 : head.rindex(")")]
        required = len([p for p in inside.split(",") if p.strip() and "=" not in p])
        assert counts == {required}, f"{head} is called with {counts} arguments"
    assert int(runtime.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal) == 1
    assert int(runtime.cudaError_t.cudaSuccess) == 0


def test_cuda_python_takes_these_arguments_and_answers_in_tuples() -> None:
    runtime = cuda_runtime()
    if runtime.cudaGetDeviceCount()[0] == runtime.cudaError_t.cudaSuccess:
        pytest.skip("with a GPU, these handles would be used")
    mode = runtime.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
    stream = 0x55D0_1234_5678  # PyCUDA's handles are integers
    graph, executable = runtime.cudaGraph_t(0), runtime.cudaGraphExec_t(0)
    refused = runtime.cudaError_t.cudaErrorInsufficientDriver
    for answer, values in (
        (runtime.cudaStreamBeginCapture(stream, mode), 0),
        (runtime.cudaStreamEndCapture(stream), 1),
        (runtime.cudaGraphInstantiate(graph, 0), 1),
        (runtime.cudaGraphLaunch(executable, stream), 0),
        (runtime.cudaGraphDestroy(graph), 0),
        (runtime.cudaGraphExecDestroy(executable), 0),
        (runtime.cudaGetLastError(), 0),
    ):
        error, *rest = answer
        assert isinstance(error, runtime.cudaError_t) and error in (refused, runtime.cudaError_t.cudaSuccess)
        assert rest == [None] * values
    assert runtime.cudaGetErrorString(refused)[1].decode().startswith("CUDA driver version is insufficient")
