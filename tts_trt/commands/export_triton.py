"""What `tts-trt export-triton` does: checked bundles to a model repository, and what to start Triton with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tts_trt.errors import UsageError
from tts_trt.runtime.loading import Bundle
from tts_trt.serve.triton.repository import export


def run(
    bundles: Sequence[Path], out: Path, *, public_key: Path | None, graphs: bool, threads: int
) -> dict[str, Any]:
    """Every bundle is verified before anything is written, its signature too where ``public_key`` is given; the model then
    asks for that signature by the same path whenever it starts."""
    if not bundles:
        raise UsageError("no bundle to export", hint="tts-trt export-triton --bundle B --out REPOSITORY")
    loaded = [Bundle.load(folder, require_signature=public_key or False) for folder in bundles]
    made = export(loaded, out, graphs=graphs, threads=threads)
    return {"out": str(out), "models": list(made.models), "notes": list(made.notes)}
