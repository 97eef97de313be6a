"""Bundles on disk, of the tiny model in two precisions by name."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.runtime.conftest import graphs, recording
from tests.runtime.test_bundle import write_bundle
from tts_trt.manifest import MANIFEST

__all__ = ["graphs", "recording"]


@pytest.fixture(scope="session")
def bundles(
    graphs: Path, recording: np.ndarray, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    """fp32 and int8, which differ by their manifest only."""
    folder = tmp_path_factory.mktemp("bundles")
    whole = write_bundle(folder / "tiny-fp32", graphs, recording)
    twin = Path(shutil.copytree(whole, folder / "tiny-int8"))
    text = (twin / MANIFEST).read_text()
    (twin / MANIFEST).write_text(text.replace('"precision": "fp32"', '"precision": "int8"'))
    return whole, twin
