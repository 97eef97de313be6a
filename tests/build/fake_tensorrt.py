"""The part of TensorRT 10 that an implicit INT8 build touches. It calls the calibrator in the library's order, and
notes in ``log`` what is set in which order."""

from __future__ import annotations

import logging
from collections.abc import Callable
from enum import IntEnum
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tts_trt.spec import GraphSpec
from tts_trt.trt import Backend

TYPES = {"float32": "FLOAT", "float16": "HALF", "int64": "INT64", "bool": "BOOL"}
SCALES = b"TRT-101601-EntropyCalibration2\nmel: 3c010a14\nwave: 3a83126f\n"

Seen = dict[str, int]


def calibrate(
    calibrator: Any, names: list[str], look: Callable[[Seen], None], understood: bool = True
) -> bytes | None:
    """The library's part in Python: the scales, or None where it gives up. ``understood``: the cache is of its own
    version."""
    cache = calibrator.read_calibration_cache()
    if cache is not None and understood:
        return bytes(cache)
    batches = 0
    while addresses := calibrator.get_batch(names):
        look(dict(zip(names, addresses, strict=True)))
        batches += 1
    if not batches:
        return None
    memory = bytearray(SCALES)
    calibrator.write_calibration_cache(memoryview(memory))
    memory[:] = b"\0" * len(memory)  # the library's memory, good for the length of the call
    return SCALES


class BuilderFlag(IntEnum):
    FP16, INT8, TF32 = 0, 1, 7


class IInt8EntropyCalibrator2:
    def __init__(self) -> None:
        self.ready = True


class IProgressMonitor:
    def __init__(self) -> None:
        pass


class Noted:
    """Notes every attribute that is set."""

    def __init__(self, log: list[Any]) -> None:
        object.__setattr__(self, "log", log)

    def __setattr__(self, name: str, value: Any) -> None:
        self.log.append((name, value))
        object.__setattr__(self, name, value)


class IBuilderConfig(Noted):
    int8_calibrator: Any = None
    progress_monitor: Any = None
    accepts_calibration = True

    def set_flag(self, flag: BuilderFlag) -> None:
        self.log.append(("set_flag", flag.name))

    def clear_flag(self, flag: BuilderFlag) -> None:
        self.log.append(("clear_flag", flag.name))

    def add_optimization_profile(self, profile: dict[str, Any]) -> int:
        self.log.append(("add_optimization_profile", profile.shapes))
        return 0

    def set_calibration_profile(self, profile: Any) -> bool:
        self.log.append(("set_calibration_profile", profile.shapes))
        return self.accepts_calibration


class Profile:
    def __init__(self) -> None:
        self.shapes: dict[str, Any] = {}

    def set_shape(self, name: str, *shapes: tuple[int, ...]) -> None:
        self.shapes[name] = shapes


def parsed_network(spec: GraphSpec) -> SimpleNamespace:
    """One layer from all inputs to all outputs of a contract."""

    def tensor(t: Any) -> SimpleNamespace:
        shape = tuple(-1 if isinstance(axis, str) else axis for axis in t.shape)
        dtype = SimpleNamespace(name=TYPES[t.dtype])
        return SimpleNamespace(name=t.name, dtype=dtype, shape=shape, is_shape_tensor=False)

    inputs, outputs = [tensor(t) for t in spec.inputs], [tensor(t) for t in spec.outputs]
    layer = SimpleNamespace(
        name="all",
        type=SimpleNamespace(name="CONVOLUTION"),
        num_inputs=len(inputs),
        num_outputs=len(outputs),
        get_input=inputs.__getitem__,
        get_output=outputs.__getitem__,
    )
    return SimpleNamespace(
        num_layers=1,
        get_layer=lambda i: layer,
        num_inputs=len(inputs),
        get_input=inputs.__getitem__,
        num_outputs=len(outputs),
        get_output=outputs.__getitem__,
    )


class FakeTensorRT:
    """``look`` sees the device addresses of each batch; ``phases`` of the build after calibration are in ``built``."""

    def __init__(self, spec: GraphSpec, look: Callable[[Seen], None] = lambda seen: None) -> None:
        self.spec, self.look = spec, look
        self.log: list[Any] = []
        self.built: list[int] = []
        self.gives_up = False  # after the first batch, as for a tensor it cannot scale
        self.options = IBuilderConfig(self.log)
        self.BuilderFlag = BuilderFlag
        self.IBuilderConfig = IBuilderConfig
        self.IInt8EntropyCalibrator2 = IInt8EntropyCalibrator2
        self.IProgressMonitor = IProgressMonitor
        self.LayerType = SimpleNamespace(ATTENTION_INPUT=object())
        self.NetworkDefinitionCreationFlag = SimpleNamespace(STRONGLY_TYPED=1)

    def backend(self) -> Backend:
        return Backend("tensorrt", "10.16.1.11", self, SimpleNamespace(listeners=[]), (), timing_cache=True)

    def Builder(self, logger: Any) -> Any:
        return SimpleNamespace(
            create_network=self._create_network,
            create_builder_config=lambda: self.options,
            create_optimization_profile=Profile,
            build_serialized_network=self._build,
        )

    def OnnxParser(self, network: Any, logger: Any) -> Any:
        return SimpleNamespace(parse_from_file=lambda path: Path(path).exists())

    def _create_network(self, flags: int) -> Any:
        self.log.append(("create_network", flags))
        return parsed_network(self.spec)

    def _build(self, network: Any, options: IBuilderConfig) -> bytes | None:
        names = [network.get_input(i).name for i in range(network.num_inputs)]
        self.log.append("build")
        monitor = options.progress_monitor
        monitor.phase_start("Building", None, 5)
        calibrator = options.int8_calibrator
        if self.gives_up:
            calibrator.get_batch(names)
            return None
        scales = calibrate(calibrator, names, self.look)
        if scales is None:
            logging.getLogger(__name__).error("calibration failed")
            return None
        for step in range(5):
            self.built.append(step)
            if not monitor.step_complete("Building", step):
                return None
        return b"plan with " + scales
