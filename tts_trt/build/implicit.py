"""TensorRT 10's own INT8: the library calibrates, and itself chooses the layers that run in INT8.

The network is weakly typed, built from the FP32 graph without Q/DQ nodes, with the INT8 and FP16 flags and a
calibrator. Deprecated by NVIDIA since 10.1 and gone in TensorRT 11 and TensorRT-RTX; it is kept for two purposes:

- ``calibrate_to_cache``: TensorRT's entropy calibrator as one more source of scales. Its cache holds a scale per
  tensor, from which Q/DQ nodes are made as from our own statistics; the build stops as soon as the cache is there.
- ``build_implicit_int8``: a plan to hold explicit Q/DQ plans against, in speed and in quality.

What it may be used for: graphs that turn signals into signals without a state, of convolutions and matrix products
(vocoder, flow_step, style_encoder, semantic_encoder, conditioner), where one step's rounding is not fed back into
a decision. flow_step is fed back into itself, so its error must be measured over whole trajectories.

What is refused:
- graphs with in-place caches (gpt). A cache input and its output are one memory and must keep one float type, while
  implicit INT8 gives every tensor a scale and may change types as it likes; a step's error also stays in the cache
  for all later steps. Use Q/DQ nodes on its matrix products, with scales from tts_trt.quant.
- for plans, graphs with outputs that are no float numbers (sampler, semantic_codec, prompt): these are
  decisions and counts, which a rounding turns into others, and there is next to nothing to gain.
- graphs with Q/DQ nodes: the library ignores the calibrator where it finds any.

Which layers run in INT8 is the library's choice by speed; no layer is promised to, and the choice may differ
from GPU to GPU.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tts_trt.build.builder import BuildConfig, PlanInfo, build_plan, compile_network, open_network
from tts_trt.build.calibrator import Calibrator, require_calibrators
from tts_trt.errors import BuildError
from tts_trt.onnx_scan import count_ops, scan_nodes
from tts_trt.spec import GraphSpec
from tts_trt.trt import Backend, Progress

LIBRARY_CHOICE = "implicit-int8"
"""The precision under which a plan's compute layers are counted: int8, fp16 or fp32, as the library found fastest."""

_EXPLICIT = ("QuantizeLinear", "DequantizeLinear")


@dataclass(frozen=True)
class ImplicitInt8:
    """The builder's ``Calibration``. ``calibrator`` is a StratifiedEntropyCalibrator and must outlive the build."""

    calibrator: Calibrator
    fp16: bool = True  # layers that do not run in INT8 may run in FP16

    def attach(self, backend: Backend, builder: Any, options: Any) -> None:
        trt, shape = backend.trt, self.calibrator.shape
        options.set_flag(trt.BuilderFlag.INT8)
        if self.fp16:
            options.set_flag(trt.BuilderFlag.FP16)
        options.int8_calibrator = self.calibrator
        # A profile of its own: the library overwrites min and max of a calibration profile with opt.
        profile = builder.create_optimization_profile()
        for tensor in shape.spec.inputs:
            if any(isinstance(axis, str) for axis in tensor.shape):
                profile.set_shape(tensor.name, *[shape.of(tensor)] * 3)
        if not options.set_calibration_profile(profile):
            raise BuildError(
                f"graph {shape.spec.name}: the library refuses the calibration shape {dict(shape.axes)}"
            )

    def check(self) -> None:
        self.calibrator.check()


def build_implicit_int8(
    backend: Backend,
    onnx_path: Path,
    spec: GraphSpec,
    out_path: Path,
    calibrator: Calibrator,
    config: BuildConfig | None = None,
    progress: Progress | None = None,
    *,
    fp16: bool = True,
) -> PlanInfo:
    """Writes a plan as ``build_plan`` does, and through the calibrator's store the cache if calibration ran. BuildError
    for what implicit INT8 is not for, and on a library without it; errors of store, recordings and memory as they are."""
    _refuse(backend, onnx_path, spec, calibrator)
    if other := [tensor.name for tensor in spec.outputs if not tensor.dtype.startswith("float")]:
        raise BuildError(
            f"graph {spec.name} has outputs that are not float ({', '.join(other)}), too delicate for implicit INT8",
            hint="keep this graph in FP16 or FP32",
        )
    calibrator.load()

    def watched(phase: str, done: int, total: int) -> bool | None:
        return calibrator.failure is None and (progress is None or progress(phase, done, total))

    try:
        info = build_plan(backend, onnx_path, spec, out_path, config, watched, ImplicitInt8(calibrator, fp16))
    finally:
        calibrator.close()
    return replace(info, precisions={LIBRARY_CHOICE: sum(info.precisions.values())})


def calibrate_to_cache(
    backend: Backend,
    onnx_path: Path,
    spec: GraphSpec,
    calibrator: Calibrator,
    config: BuildConfig | None = None,
    progress: Progress | None = None,
) -> bytes:
    """TensorRT's calibration cache of a graph: from the store if it is there, else calibrated and stored. No plan is
    made; the build is cancelled once the cache is written. Errors as in ``build_implicit_int8``."""
    _refuse(backend, onnx_path, spec, calibrator)
    calibrator.load()
    if calibrator.cache is None:
        try:
            _calibrate(backend, onnx_path, spec, calibrator, config or BuildConfig(), progress)
        finally:
            calibrator.close()
    if calibrator.cache is None:
        raise BuildError(f"{backend.name} {backend.version} ended without a calibration cache of {spec.name}")
    return calibrator.cache


def _calibrate(
    backend: Backend,
    onnx_path: Path,
    spec: GraphSpec,
    calibrator: Calibrator,
    config: BuildConfig,
    progress: Progress | None,
) -> None:
    def watched(phase: str, done: int, total: int) -> bool | None:
        unfinished = calibrator.failure is None and calibrator.cache is None
        return unfinished and (progress is None or progress(phase, done, total))

    with backend.listening() as messages:
        parsed = open_network(backend, onnx_path, spec, strongly_typed=False)
        try:
            compile_network(backend, parsed, spec, config, messages, watched, ImplicitInt8(calibrator))
        except BuildError:  # that it was cancelled, once the cache is there
            if calibrator.cache is None:
                raise


def _refuse(backend: Backend, onnx_path: Path, spec: GraphSpec, calibrator: Calibrator) -> None:
    require_calibrators(backend)
    if calibrator.shape.spec != spec:
        raise BuildError(
            f"the calibrator was made for another contract than graph {spec.name}'s: that of "
            f"{calibrator.shape.spec.name}"
        )
    if spec.aliases:
        raise BuildError(
            f"graph {spec.name} updates {len(spec.aliases)} caches in place, which implicit INT8 cannot keep float",
            hint="INT8 as Q/DQ nodes in the graph",
        )
    if found := sum(count_ops(scan_nodes(onnx_path))[op] for op in _EXPLICIT):
        raise BuildError(
            f"{onnx_path} has {found} QuantizeLinear and DequantizeLinear nodes, which exclude a calibrator",
            hint="the FP32 graph, or an ordinary build of this one",
        )
