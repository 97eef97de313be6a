"""Autoregressive zero-shot text-to-speech as verified engines.

    with Synthesizer.from_bundle(Path("engines/nano-fp32-onnxruntime")) as tts:
        result = tts.synthesize(Request("Good morning.", voice="slt"))

The synthesizer and its companions are loaded on first use, so that importing the package costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from tts_trt.errors import (
    BuildError,
    BundleError,
    Busy,
    ConfigError,
    DeadlineExceeded,
    EngineError,
    ExportError,
    LibraryError,
    QuantError,
    ReferenceAudioError,
    SynthesisError,
    TextError,
    TtsTrtError,
    UsageError,
    WeightsError,
)

if TYPE_CHECKING:
    from tts_trt.doctor import Diagnosis, diagnose
    from tts_trt.runtime.loading import Bundle
    from tts_trt.runtime.request import Request, Result
    from tts_trt.runtime.sampling import SamplingParams
    from tts_trt.runtime.synthesizer import Synthesizer
    from tts_trt.runtime.voice import Voice

__version__ = "0.1.0"

__all__ = [
    "BuildError",
    "Bundle",
    "BundleError",
    "Busy",
    "ConfigError",
    "DeadlineExceeded",
    "Diagnosis",
    "EngineError",
    "ExportError",
    "LibraryError",
    "QuantError",
    "ReferenceAudioError",
    "Request",
    "Result",
    "SamplingParams",
    "SynthesisError",
    "Synthesizer",
    "TextError",
    "TtsTrtError",
    "UsageError",
    "Voice",
    "WeightsError",
    "diagnose",
]

_HOMES = {
    "Bundle": "tts_trt.runtime.loading",
    "Diagnosis": "tts_trt.doctor",
    "Request": "tts_trt.runtime.request",
    "Result": "tts_trt.runtime.request",
    "SamplingParams": "tts_trt.runtime.sampling",
    "Synthesizer": "tts_trt.runtime.synthesizer",
    "Voice": "tts_trt.runtime.voice",
    "diagnose": "tts_trt.doctor",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
