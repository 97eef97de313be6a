"""Bundles without networks for a worker process to open: its openers are functions of this module, which loads fast."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tts_trt.errors import BundleError
from tts_trt.frontend.tokenizer import PhoneTokenizer
from tts_trt.models import find_model
from tts_trt.runtime.bundle import OpenBundle
from tts_trt.runtime.engine import Arrays
from tts_trt.runtime.fake import FakeEngine, fake_engines
from tts_trt.runtime.synthesizer import Synthesizer
from tts_trt.serve.messages import Model
from tts_trt.serve.worker import Opened, Plan
from tts_trt.spec import Limits

RATE = 16_000
LIMITS = Limits(batch=4, text=120, codes=60)

Change = Callable[[Arrays], Arrays]


def hum(plan: Plan) -> list[Opened]:
    """Voices whose sound is a hum; each bundle's folder is named model-precision."""
    return [_opened(path) for path in plan.bundles]


def nan(plan: Plan) -> list[Opened]:
    """As with half-precision weights that overflow."""
    return [_opened(path, vocoder=lambda wave: wave * np.float32("nan")) for path in plan.bundles]


def nothing(plan: Plan) -> list[Opened]:
    """Only silence."""
    return [_opened(path, vocoder=lambda wave: wave * np.float32(0)) for path in plan.bundles]


def slow(plan: Plan) -> list[Opened]:
    """A tenth of a second a vocoder call."""

    def slept(wave: Arrays) -> Arrays:
        time.sleep(0.1)
        return wave

    return [_opened(path, vocoder=slept) for path in plan.bundles]


def broken(plan: Plan) -> list[Opened]:
    """An engine that fails in a way nobody foresaw."""

    def failed(wave: Arrays) -> Arrays:
        raise RuntimeError("a device fell off the bus")

    return [_opened(path, vocoder=failed) for path in plan.bundles]


def stuck(plan: Plan) -> list[Opened]:
    """A device that never comes back."""

    def waited(wave: Arrays) -> Arrays:
        time.sleep(600)
        return wave

    return [_opened(path, vocoder=waited) for path in plan.bundles]


def damaged(plan: Plan) -> list[Opened]:
    raise BundleError("gpt.onnx: 3 bytes, expected 4")


def dead(plan: Plan) -> list[Opened]:
    os._exit(9)


def once(plan: Plan) -> list[Opened]:
    """Opens the first time only: what a disk that fails later does."""
    mark = plan.bundles[0] / "opened"
    if mark.exists():
        raise BundleError("the disk is gone")
    mark.touch()
    return hum(plan)


def _opened(path: Path, vocoder: Change | None = None) -> Opened:
    folder = find_model("nano")
    dims = folder.dims()
    engines = fake_engines(dims, LIMITS)
    if vocoder:
        inner: FakeEngine = engines["vocoder"]  # type: ignore[assignment]
        compute = inner.compute
        inner.compute = lambda inputs: {"wave": vocoder(compute(inputs)["wave"])}
    voices = {file.stem: file for file in sorted(path.glob("*.wav"))}
    tts = Synthesizer(OpenBundle(engines, dims, PhoneTokenizer.from_dir(folder.path), voices, LIMITS))
    name, _, precision = path.name.partition("-")
    model = Model(
        id=path.name,
        path=path,
        model=name,
        precision=precision,
        executor="fake",
        weights_sha256="0" * 64,
        manifest_sha256="0" * 64,
        created=1_700_000_000,
        sample_rate=RATE,
        voices=tuple(voices),
    )
    return Opened(model, tts)
