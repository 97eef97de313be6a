"""Graphs in ONNX Runtime, on the CPU or through its CUDA provider.

Tensors are bound by address, so what one graph leaves on the device the next one reads there. With the CUDA provider
sessions run on the device's own stream and are not waited for; a bound graph is captured as a CUDA graph by ONNX Runtime
itself, where ``graphs`` asks for it.
"""

from __future__ import annotations

import itertools
import logging
import tempfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tts_trt.artifacts import REBUILD
from tts_trt.errors import EngineError
from tts_trt.onnx_scan import count_ops, scan_nodes
from tts_trt.runtime.device import HOST, Device, Tensor, contiguous_strides
from tts_trt.runtime.engine import Engine, Feed, Tensors
from tts_trt.spec import GraphSpec

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
LOG_ERRORS = 3  # ONNX Runtime's severity: 2 would warn of every graph optimisation it skips
NOT_CAPTURED = "-1"  # ONNX Runtime's graph id for a run outside any CUDA graph

_log = logging.getLogger(__name__)


class OrtEngine(Engine):
    """An ONNX file in ONNX Runtime. ``threads`` 0 leaves their number to it; idle threads sleep, not spin.

    ``device`` says where: the host, or a CUDA device, whose stream the session then uses. ``graphs`` replays bound graphs as
    CUDA graphs. ``literal`` runs QuantizeLinear and DequantizeLinear as they are written, as a strongly typed TensorRT
    network means them. Left alone, ONNX Runtime fuses them into integer kernels, and those for weights alone round the
    activations as well: four times faster, and not what a quality figure for a GPU should rest on.
    """

    def __init__(
        self,
        path: Path,
        spec: GraphSpec,
        float_type: str = "float32",
        threads: int = 0,
        device: Device = HOST,
        *,
        literal: bool = False,
        graphs: bool = False,
    ) -> None:
        self.spec, self.float_type, self.path, self.device = spec, float_type, path, device
        self._ort = _onnxruntime()
        self._graphs = graphs and not device.host
        self._graph_ids = itertools.count(1)
        self._session = self._open(threads, literal)
        _check_contract(self._session, spec, float_type, path)

    def _open(self, threads: int, literal: bool) -> Any:
        options = self._ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = LOG_ERRORS
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_session_config_entry("session.disable_quant_qdq", str(int(literal)))
        try:
            return self._ort.InferenceSession(str(self.path), options, providers=self._providers())
        except _ort_errors() as error:
            if self._graphs:  # a node without a CUDA kernel rules out capture, not the graph
                _log.info("%s cannot be replayed as a CUDA graph: %s", self.path, error)
                self._graphs = False
                return self._open(threads, literal)
            raise EngineError(f"{self.path} cannot be loaded: {error}", hint=REBUILD) from error

    def _providers(self) -> list[Any]:
        if self.device.host:
            return [CPU]
        available = self._ort.get_available_providers()
        if CUDA not in available:
            raise EngineError(
                f"ONNX Runtime has no {CUDA}, only {', '.join(available)}", hint="pip install onnxruntime-gpu"
            )
        options = {
            "device_id": str(self.device.index),  # type: ignore[attr-defined]
            "user_compute_stream": str(self.device.stream_handle),  # type: ignore[attr-defined]
            "enable_cuda_graph": str(int(self._graphs)),
        }
        return [(CUDA, options), CPU]

    def kernels(self) -> Counter[str]:
        """Operators of the graph as ONNX Runtime runs it, fused and folded; it is opened once more for that."""
        with tempfile.TemporaryDirectory(prefix="tts-trt-") as folder:
            written = Path(folder) / self.path.name
            options = self._ort.SessionOptions()
            options.log_severity_level = LOG_ERRORS
            options.optimized_model_filepath = str(written)
            self._ort.InferenceSession(str(self.path), options, providers=[CPU])
            return count_ops(scan_nodes(written))

    def launch(self, inputs: Feed, outputs: Tensors | None = None) -> dict[str, Tensor]:
        session = self._opened()
        placed = self.given(outputs, fed := self.fed(inputs))
        binding = self._binding(session, fed, placed)
        self._run(session, binding, NOT_CAPTURED, (*fed.values(), *placed.values()))
        made = zip(self.spec.outputs, binding.get_outputs(), strict=True)
        return {t.name: placed.get(t.name) or self._adopted(t.name, value) for t, value in made}

    def bind(self, inputs: Tensors, outputs: Tensors) -> _OrtBound:
        session = self._opened()
        fed, placed = self.bindings(inputs, outputs)
        return _OrtBound(self, session, fed, placed)

    def close(self) -> None:
        self._session = None

    @property
    def _kind(self) -> str:
        return "cpu" if self.device.host else "cuda"

    @property
    def _index(self) -> int:
        return 0 if self.device.host else int(self.device.index)  # type: ignore[attr-defined]

    def _opened(self) -> Any:
        if self._session is None:
            raise EngineError(f"graph {self.spec.name} is closed", hint="open the bundle again")
        return self._session

    def _binding(self, session: Any, inputs: Tensors, outputs: Tensors) -> Any:
        """Outputs in the order of the contract, which is the order they come back in; those without a place go where
        ONNX Runtime likes."""
        binding = session.io_binding()
        for name, tensor in inputs.items():
            binding.bind_input(name, self._kind, self._index, tensor.dtype.type, tensor.shape, tensor.address)
        for name in (t.name for t in self.spec.outputs):
            if (place := outputs.get(name)) is None:
                binding.bind_output(name, self._kind, self._index)
            else:
                binding.bind_output(
                    name, self._kind, self._index, place.dtype.type, place.shape, place.address
                )
        return binding

    def _run(self, session: Any, binding: Any, graph: str, tensors: Iterable[Tensor]) -> None:
        options = None
        if not self.device.host:
            options = self._ort.RunOptions()
            options.add_run_config_entry("gpu_graph_id", graph)
            options.add_run_config_entry("disable_synchronize_execution_providers", "1")
        try:
            with self.device.launching(self.spec.name, *tensors):
                session.run_with_iobinding(binding, options)
        except _ort_errors() as error:
            raise EngineError(f"graph {self.spec.name} failed: {error}") from error

    def _adopted(self, name: str, value: Any) -> Tensor:
        """ONNX Runtime's memory as a tensor that keeps it."""
        shape, dtype = tuple(value.shape()), self.dtype(self.spec.output(name))
        return Tensor(self.device, value.data_ptr(), shape, contiguous_strides(shape, dtype), dtype, value)


class _OrtBound:
    """An IO binding set once. ONNX Runtime does not keep the tensors alive, so this does."""

    recordable = False  # ONNX Runtime captures for itself

    def __init__(self, engine: OrtEngine, session: Any, inputs: Tensors, outputs: Tensors) -> None:
        self._engine, self._session, self._tensors = engine, session, (inputs, outputs)
        self._binding = engine._binding(session, inputs, outputs)
        self._graph = str(next(engine._graph_ids)) if engine._graphs else NOT_CAPTURED

    def launch(self) -> None:
        self._engine._opened()
        inputs, outputs = self._tensors
        self._engine._run(self._session, self._binding, self._graph, (*inputs.values(), *outputs.values()))


def _onnxruntime() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise EngineError("this executor needs onnxruntime", hint="pip install onnxruntime") from error
    return onnxruntime


def _ort_errors() -> tuple[type[Exception], ...]:
    """The exceptions of ONNX Runtime, which share no base of their own."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    named = ("Fail", "InvalidArgument", "InvalidGraph", "InvalidProtobuf", "NoSuchFile", "NotImplemented",
             "RuntimeException", "EPFail", "NoModel", "ModelLoaded", "EngineError")  # fmt: skip
    return (*(getattr(state, name) for name in named if hasattr(state, name)), RuntimeError)


ORT_TYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(int64)": "int64",
    "tensor(bool)": "bool",
}


def _check_contract(session: Any, spec: GraphSpec, float_type: str, path: Path) -> None:
    """Names in order, dtypes and fixed sizes."""
    for kind, found, expected in (
        ("input", session.get_inputs(), spec.inputs),
        ("output", session.get_outputs(), spec.outputs),
    ):
        names, wanted = [f.name for f in found], [t.name for t in expected]
        if names != wanted:
            raise EngineError(f"{path}: {kind}s are {names}, the contract says {wanted}", hint=REBUILD)
        for has, tensor in zip(found, expected, strict=True):
            dtype = ORT_TYPES.get(has.type, has.type)
            if dtype != tensor.resolved(float_type):
                raise EngineError(
                    f"{path}: {kind} {tensor.name} is {dtype}, expected {tensor.resolved(float_type)}",
                    hint=REBUILD,
                )
            fixed = [
                (a, b) for a, b in zip(has.shape, tensor.shape, strict=False) if isinstance(a, int) and a != b
            ]
            if len(has.shape) != len(tensor.shape) or any(isinstance(b, int) for _, b in fixed):
                raise EngineError(
                    f"{path}: {kind} {tensor.name} has shape {has.shape}, expected {tensor.shape}",
                    hint=REBUILD,
                )
