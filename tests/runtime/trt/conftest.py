from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import bindings
from tests.runtime.trt.rig import LIBRARY, PLANS, STEP, Open
from tests.runtime.trt.stand_in import Library, backend_on
from tests.runtime.watched_device import WatchedDevice
from tts_trt.runtime.trt_engine import TrtEngine
from tts_trt.trt import Backend, load_backend


@pytest.fixture
def device() -> WatchedDevice:
    return WatchedDevice()


@pytest.fixture
def rig(device: WatchedDevice) -> tuple[Backend, Library]:
    return backend_on(load_backend(bindings.name_of(LIBRARY)), device, dict(PLANS))


@pytest.fixture
def library(rig: tuple[Backend, Library]) -> Library:
    return rig[1]


@pytest.fixture
def opened(rig: tuple[Backend, Library], device: WatchedDevice, tmp_path: Path) -> Iterator[Open]:
    engines = []

    def open_one(name: str, **options: Path) -> TrtEngine:
        (tmp_path / f"{name}.plan").write_bytes(name.encode().ljust(100))
        spec = rig[1].plans[name.encode()].spec
        spec = STEP if spec.name == "step" else spec
        engines.append(TrtEngine(tmp_path / f"{name}.plan", spec, "float32", device, rig[0], **options))
        return engines[-1]

    yield open_one
    for engine in engines:
        engine.close()
