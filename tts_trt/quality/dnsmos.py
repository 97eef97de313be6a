"""DNSMOS, a predictor of opinions that needs no baseline (Reddy et al. 2022, ITU-T P.835): ``tts_trt.quality.dnsmos:predict``.

The network comes in the wheel of speechmos and takes samples as they are, so ONNX Runtime runs it without that package's own code, which
needs librosa. It was fitted to noisy recordings of people: compare differences between engines, nothing else.
"""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tts_trt.errors import LibraryError
from tts_trt.quality.speech import resampled

RATE = 16_000  # Hz
WINDOW_S, HOP_S = 9.01, 1.0
OVERALL = (-0.06766283, 1.11546468, 0.04602535)
"""Polynomial, highest power first, that brings the network's overall score to the scale of listeners (DNSMOS P.835, published with it)."""

NAME = "tts_trt.quality.dnsmos:predict"


def model_file() -> Path | None:
    """The network, where speechmos is installed."""
    found = importlib.util.find_spec("speechmos")
    if found is None or not found.submodule_search_locations:
        return None
    path = Path(next(iter(found.submodule_search_locations))) / "dnsmos_models" / "sig_bak_ovr.onnx"
    return path if path.is_file() else None


def predict(wave_S: NDArray[np.float32], rate: int) -> float:
    """Samples (S) in [-1, 1] -> overall MOS, 1 to 5: the mean over windows of 9.01 s each second; shorter speech is said again
    until it fills one. LibraryError where speechmos is not installed."""
    samples_S = resampled(wave_S, rate, RATE)
    size, hop = int(WINDOW_S * RATE), int(HOP_S * RATE)
    samples_S = np.tile(samples_S, -(-size // len(samples_S))) if len(samples_S) < size else samples_S
    windows = [samples_S[first : first + size] for first in range(0, len(samples_S) - size + 1, hop)]
    scores = [float(_session().run(None, {"input_1": w[None].astype(np.float32)})[0][0][2]) for w in windows]
    return float(np.mean(np.polyval(OVERALL, scores)))


@cache
def _session() -> Any:
    import onnxruntime

    path = model_file()
    if path is None:
        raise LibraryError(
            "DNSMOS needs speechmos, which is not installed", hint="pip install 'tts-trt[mos]'"
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
