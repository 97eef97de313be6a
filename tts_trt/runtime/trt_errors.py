"""What TensorRT reports when it fails, in words that say what to do about it."""

from __future__ import annotations

import logging
import re
from functools import cache
from pathlib import Path
from typing import Any

from tts_trt.artifacts import REBUILD
from tts_trt.errors import EngineError
from tts_trt.trt import NEEDS_GPU, Backend

_log = logging.getLogger(__name__)

LONGEST_REASON = 600  # characters of one report in a message
MOST_REASONS = 4

FREE_MEMORY = "free GPU memory, or a smaller model or precision"

_CAUSES: tuple[tuple[str, str, str], ...] = (
    # in the library's words, in ours, what mends it ("": a rebuild); this machine's value comes first in the library's
    (
        r"expecting library version ([\d.]+\d) got ([\d.]+\d)",
        "the plan was built by version {1}, this machine has {0}",
        "",
    ),
    (
        r"expecting compute ([\d.]+\d) got compute ([\d.]+\d)",
        "the plan was built for compute capability {1}, this machine's GPU has {0}",
        "",
    ),
    (
        r"Current Version: (\d+), Serialized Engine Version: (\d+)",
        "the plan was built by a version that writes format {1}, this machine's reads {0}",
        "",
    ),
    (
        r"kEXPECTED_MAGIC_TAG|incompatible serialization version",
        "the plan is of another library or version",
        "",
    ),
    (r"header\.size == blobSize", "the plan file is cut short", ""),
    (
        r"driver version is insufficient|no CUDA-capable device|cudaError (?:35|100)\b",
        "this machine has no NVIDIA driver, or one older than the library needs",
        NEEDS_GPU,
    ),
    (r"out of memory|OutOfMemory|cudaError 2\b", "the GPU has too little free memory", FREE_MEMORY),
)

_INVALID = {
    "VERSION_MISMATCH": ("was built by another version", ""),
    "UNSUPPORTED_CC": ("was not built for this GPU's compute capability", ""),
    "OLD_CUDA_DRIVER": ("needs a newer driver", "a newer NVIDIA driver"),
    "OLD_CUDA_RUNTIME": ("needs a newer CUDA runtime", "a newer CUDA runtime"),
    "INSUFFICIENT_GPU_MEMORY": ("needs more GPU memory than there is", FREE_MEMORY),
    "MALFORMED_ENGINE": ("is damaged, or of another library", ""),
    "CUDA_ERROR": ("cannot be judged, as the driver or CUDA runtime is not installed correctly", NEEDS_GPU),
}
"""Name in EngineInvalidityDiagnostics -> what the plan is or does, what mends it ("": a rebuild)."""


def rebuild(backend: Backend) -> str:
    return f"{REBUILD} --executor {backend.name}"


def create_recorder(backend: Backend) -> Any:
    """An IErrorRecorder with ``reason``: what was reported since ``clear``, or else the words given."""
    return _recorder_class(backend.trt)()


@cache
def _recorder_class(trt: Any) -> type:
    class Recorder(trt.IErrorRecorder):  # type: ignore[misc]
        """The library calls from threads of its own, too; each method is one step on the list."""

        def __init__(self) -> None:
            trt.IErrorRecorder.__init__(self)
            self._reports: list[tuple[Any, str]] = []

        def report_error(self, arg0: Any, arg1: str) -> bool:
            self._reports.append((arg0, arg1))
            _log.info("%s: %s", arg0, arg1)
            return True  # to stop: no call is to go on after an error

        def num_errors(self) -> int:
            return len(self._reports)

        def get_error_code(self, arg0: int) -> Any:
            return self._reports[arg0][0]

        def get_error_desc(self, arg0: int) -> str:
            return self._reports[arg0][1]

        def has_overflowed(self) -> bool:
            return False

        def clear(self) -> None:
            self._reports.clear()

        def reason(self, fallback: str = "no reason given") -> str:
            texts = dict.fromkeys(text.strip()[:LONGEST_REASON] for _, text in self._reports)
            return "\n  ".join(list(texts)[:MOST_REASONS]) or fallback

    return Recorder


def unloadable(plan: Path, backend: Backend, machine: str, reason: str) -> EngineError:
    """Why the library gives no engine for a plan. ``reason``: what it reported; ``machine``: the device's name."""
    words, hint = "", ""
    for pattern, cause, mend in _CAUSES:
        if found := re.search(pattern, reason):
            words, hint = ": " + cause.format(*found.groups()), mend
            break
    return EngineError(
        f"{plan} cannot be opened by {backend.name} {backend.version} on {machine}{words}\n  {reason}",
        hint=hint or rebuild(backend),
    )


def invalid(plan: Path, backend: Backend, machine: str, diagnostics: int) -> EngineError | None:
    """The error for a header that the library calls invalid; None where it does not say why."""
    bits = backend.trt.EngineInvalidityDiagnostics.__members__
    causes = [cause for name, cause in _INVALID.items() if name in bits and diagnostics & int(bits[name])]
    if not causes:
        return None
    words = ", ".join(does for does, _ in causes)
    hints = list(dict.fromkeys(mend or rebuild(backend) for _, mend in causes))
    return EngineError(
        f"{plan} {words}; here: {backend.name} {backend.version} on {machine}", hint="; ".join(hints)
    )
