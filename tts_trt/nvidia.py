"""PyCUDA behind one door, for whatever uses a GPU: calibration and the runtime."""

from __future__ import annotations

import ctypes
from typing import Any

from tts_trt.errors import LibraryError


def load_pycuda() -> Any:
    """pycuda.driver. LibraryError where the NVIDIA driver or PyCUDA is missing."""
    try:
        # Some builds of PyCUDA are not linked to the driver's library and find it only where it is loaded globally.
        ctypes.CDLL("libcuda.so.1", mode=ctypes.RTLD_GLOBAL)
    except OSError as error:
        raise LibraryError(
            f"there is no NVIDIA driver here: {error}",
            hint="a machine with an NVIDIA GPU, or engines of onnxruntime on the CPU",
        ) from error
    try:
        import pycuda.driver
    except ImportError as error:
        raise LibraryError(f"PyCUDA cannot be loaded: {error}", hint="pip install 'tts-trt[cuda]'") from error
    return pycuda.driver
