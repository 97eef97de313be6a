"""What this machine is and what is installed on it."""

from __future__ import annotations

import importlib.metadata
import platform
import shutil
import subprocess
import sys
from typing import Any

from scripts.cuda.runner import ROOT
from scripts.cuda.settings import Report, Settings
from tts_trt.doctor import diagnose

PACKAGES = ("numpy", "torch", "onnx", "onnxscript", "onnxruntime", "onnxruntime-gpu", "tensorrt-cu13", "tensorrt-rtx",
            "tensorrt-rtx-cu13-bindings", "pycuda", "cuda-python", "cuda-bindings", "tts-trt")  # fmt: skip
SMI = ("clocks.sm", "clocks.mem", "clocks.max.sm", "clocks.max.mem", "power.limit", "temperature.gpu",
       "memory.used", "persistence_mode", "compute_mode", "driver_version")  # fmt: skip


def run(part: str, settings: Settings, report: Report) -> dict[str, Any]:
    import tts_trt

    found = {
        "tts_trt": tts_trt.__version__,
        "commit": said("git", "-C", str(ROOT), "describe", "--always", "--dirty"),
        "python": platform.python_version(),
        "executable": sys.executable,
        "packages": {name: version for name in PACKAGES if (version := installed(name))},
        "gpu": smi(),
        "doctor": diagnose().to_json(),
    }
    report(found)
    return found | {"torch": _torch(), "onnxruntime": _onnxruntime()}


def installed(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def said(*command: str) -> str | None:
    """A program's words; None where it is not there or fails."""
    if shutil.which(command[0]) is None:
        return None
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    return done.stdout.strip() or None if done.returncode == 0 else None


def smi() -> dict[str, str] | None:
    """Clocks and the like of the first GPU, as nvidia-smi tells them."""
    answer = said("nvidia-smi", f"--query-gpu={','.join(SMI)}", "--format=csv,noheader", "--id=0")
    return None if answer is None else dict(zip(SMI, answer.split(", "), strict=False))


def _torch() -> dict[str, Any] | None:
    try:
        import torch
    except ImportError:
        return None
    found: dict[str, Any] = {"version": torch.__version__, "cuda": torch.version.cuda}
    if torch.cuda.is_available():
        seen = torch.cuda.get_device_properties(0)
        found |= {"gpu": seen.name, "sm": f"{seen.major}.{seen.minor}", "memory_bytes": seen.total_memory}
        found |= {"multiprocessors": seen.multi_processor_count, "l2_bytes": seen.L2_cache_size}
    return found


def _onnxruntime() -> dict[str, Any] | None:
    try:
        import onnxruntime
    except ImportError:
        return None
    return {"version": onnxruntime.__version__, "providers": onnxruntime.get_available_providers()}
