"""Runs the calibrator on TensorRT 10's real base class, called from C++ as the library would, and prints JSON.

    python -m tests.build.calibrator_probe GRAPH.onnx OUT.plan

The bindings turn each virtual call of the C++ class into a call of its Python override. Here those virtual calls are
made through the object's table of functions, so the bindings' own conversions of addresses, names and
buffers are what is tested. Network, options and builder are stand-ins of tests/bindings.py.
"""

from __future__ import annotations

import ctypes
import dataclasses
import gc
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tests.bindings import StandIn, used
from tests.build.fake_cuda import FakeCuda
from tests.build.fake_tensorrt import SCALES, calibrate, parsed_network
from tests.build.test_batches import VOCODER, spoken
from tts_trt.build.batches import calibration_shape
from tts_trt.build.calibrator import CacheStore, calibrator_class, create_calibrator
from tts_trt.build.device_memory import PyCudaMemory
from tts_trt.build.implicit import build_implicit_int8
from tts_trt.errors import BuildError
from tts_trt.trt import Backend, load_backend

Address = ctypes.c_void_p
NAMES = ["mel", "lengths"]
SHAPE = calibration_shape(VOCODER, {"B": 2, "T": 6})


class Info(ctypes.Structure):
    _fields_ = [("kind", ctypes.c_char_p), ("major", ctypes.c_int32), ("minor", ctypes.c_int32)]


class FromCpp:
    """A calibrator as C++ sees it. Order of the virtual functions as in NvInfer.h 10: IVersionedInterface's language,
    version and two destructors, then IInt8Calibrator's."""

    LANGUAGE, INFO, BATCH_SIZE, BATCH, READ, WRITE, ALGORITHM = 0, 1, 4, 5, 6, 7, 8

    def __init__(self, calibrator: Any) -> None:
        self.owner = calibrator  # keeps the C++ object alive
        # pybind11 holds the C++ address directly behind the object's header.
        self.this = Address.from_address(id(calibrator) + object.__basicsize__).value
        self.table = Address.from_address(self.this).value

    def call(self, slot: int, result: Any, *arguments: Any) -> Any:
        function = Address.from_address(self.table + slot * ctypes.sizeof(Address)).value
        kinds = [ctypes.c_size_t if isinstance(a, int) else Address for a in arguments]
        return ctypes.CFUNCTYPE(result, Address, *kinds)(function)(
            self.this, *(a if isinstance(a, int) else ctypes.cast(a, Address) for a in arguments)
        )

    def describe(self) -> dict[str, Any]:
        info = self.call(self.INFO, Info)
        return {
            "kind": info.kind.decode(),
            "algorithm": self.call(self.ALGORITHM, ctypes.c_int32),
            "batch_size": self.call(self.BATCH_SIZE, ctypes.c_int32),
        }

    def get_batch(self, names: list[str]) -> list[int] | None:
        addresses = (Address * len(names))()
        texts = (ctypes.c_char_p * len(names))(*(name.encode() for name in names))
        more = self.call(self.BATCH, ctypes.c_bool, addresses, texts, len(names))
        return list(addresses) if more else None

    def read_calibration_cache(self) -> bytes | None:
        length = ctypes.c_size_t()
        pointer = self.call(self.READ, Address, ctypes.pointer(length))
        gc.collect()  # the bytes must outlive the call
        return ctypes.string_at(pointer, length.value) if pointer else None

    def write_calibration_cache(self, cache: memoryview) -> None:
        memory = ctypes.create_string_buffer(bytes(cache), len(cache))
        self.call(self.WRITE, None, memory, len(cache))
        ctypes.memset(memory, 0, len(cache))


class Rig:
    def __init__(self, backend: Backend, source: Any, stored: list[bytes]) -> None:
        self.cuda, self.stored, self.seen = FakeCuda(), stored, []
        store = CacheStore(lambda: stored[-1] if stored else None, stored.append)
        self.calibrator = create_calibrator(
            backend, source, SHAPE, store, lambda layout: PyCudaMemory(layout, driver=self.cuda)
        )

    def look(self, addresses: dict[str, int]) -> None:
        lengths = np.frombuffer(self.cuda.device[addresses["lengths"]], np.int64)
        mel = np.frombuffer(self.cuda.device[addresses["mel"]], np.float32).reshape(SHAPE.layout["mel"][0])
        self.seen.append([lengths.tolist(), mel[:, 0].tolist()])

    def run(self) -> bytes | None:
        return calibrate(FromCpp(self.calibrator), NAMES, self.look)


def callbacks(trt: Any) -> dict[str, list[list[str]]]:
    """Method of the base class -> parameter names in its documentation and in our class."""
    found = {}
    base, ours = trt.IInt8EntropyCalibrator2, calibrator_class(trt)
    for name in dir(base):
        if name.startswith("_"):
            continue
        signature = re.search(rf"{name}\((.*)\) ->", getattr(base, name).__doc__ or "")
        documented = re.findall(r"(\w+): ", signature[1]) if signature else []
        override = vars(ours).get(name)
        code = override.__code__ if override else None
        found[name] = [documented, list(code.co_varnames[: code.co_argcount]) if code else []]
    return found


def failing() -> Iterator[Any]:
    yield spoken(5, 5)
    raise OSError("no such recording")


def failure(backend: Backend) -> list[Any]:
    rig = Rig(backend, failing(), [])
    scales = rig.run()
    return [scales == SCALES, repr(rig.calibrator.failure), rig.stored, rig.cuda.held]


class Library:
    """The library's module, with stand-ins for what only a working library can hand out."""

    def __init__(self, trt: Any, look: Any) -> None:
        self._trt, self._look = trt, look
        self.options = StandIn(
            trt.IBuilderConfig,
            add_optimization_profile=lambda profile: 0,
            set_calibration_profile=lambda profile: True,
        )

    def __getattr__(self, name: str) -> Any:
        return getattr(self._trt, name)

    def Builder(self, logger: Any) -> StandIn:
        return StandIn(
            self._trt.Builder,
            create_network=lambda flags: parsed_network(VOCODER) if flags == 0 else None,
            create_builder_config=lambda: self.options,
            create_optimization_profile=lambda: StandIn(self._trt.IOptimizationProfile),
            build_serialized_network=self._build,
        )

    def OnnxParser(self, network: Any, logger: Any) -> StandIn:
        return StandIn(self._trt.OnnxParser, parse_from_file=lambda model: Path(model).exists())

    def _build(self, network: Any, options: StandIn) -> bytes:
        assert isinstance(options.int8_calibrator, self._trt.IInt8EntropyCalibrator2)
        return b"plan with " + (calibrate(FromCpp(options.int8_calibrator), NAMES, self._look) or b"nothing")


def build(backend: Backend, onnx: Path, plan: Path) -> dict[str, Any]:
    rig = Rig(backend, [spoken(4, 6), spoken(5, 3)], [])
    used.clear()
    with_stand_ins = dataclasses.replace(backend, trt=Library(backend.trt, rig.look))
    build_implicit_int8(with_stand_ins, onnx, VOCODER, plan, rig.calibrator)
    return {"used": list(used), "seen": rig.seen, "stored": [cache.decode() for cache in rig.stored]}


def main() -> None:
    onnx, plan = map(Path, sys.argv[1:])
    backend = load_backend("tensorrt")
    try:
        rig = Rig(backend, [spoken(9, 2), spoken(4)], [])
    except BuildError as error:
        print(json.dumps({"refused": str(error)}))
        return
    report: dict[str, Any] = {
        "version": backend.version,
        "callbacks": callbacks(backend.trt),
        "calibrator": FromCpp(rig.calibrator).describe(),
        "get_algorithm": rig.calibrator.get_algorithm().name,
        "first": [rig.run() == SCALES, rig.seen, rig.stored == [SCALES], rig.cuda.held],
        "failure": failure(backend),
    }
    again = Rig(backend, failing(), [SCALES])
    report["again"] = [again.run() == SCALES, again.cuda.calls, again.calibrator.batches]
    report["build"] = build(backend, onnx, plan)
    print(json.dumps(report))


if __name__ == "__main__":
    main()
