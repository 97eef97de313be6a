"""What runs a graph: the ``Engine`` interface and its ONNX Runtime form.

An engine takes numpy arrays by the names of its contract in ``spec.py`` and returns its outputs by name. Tensors
that stay where they are between runs (the KV cache) are ``Buffer``s: allocated by the engine on its device, bound
once, and then neither passed nor returned.
"""

from __future__ import annotations

import tempfile
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from tts_trt.artifacts import REBUILD
from tts_trt.errors import EngineError
from tts_trt.onnx_scan import count_ops, scan_nodes
from tts_trt.spec import GraphSpec, TensorSpec

Array = NDArray[Any]
Arrays = Mapping[str, Array]

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
LOG_ERRORS = 3  # ONNX Runtime's severity: 2 would warn of every graph optimisation it skips


class Buffer(Protocol):
    """A tensor in an engine's memory; it lives as long as it is referenced."""

    @property
    def address(self) -> int: ...

    @property
    def shape(self) -> tuple[int, ...]: ...

    def numpy(self) -> Array:
        """A copy on the host, or a view where the memory is the host's."""


class Runner(Protocol):
    def run(self, inputs: Arrays) -> dict[str, Array]:
        """All inputs that are not bound -> all outputs that are not bound. The arrays belong to the caller.
        EngineError for a missing, unknown or mis-shaped input."""


class Engine(ABC):
    """One graph, ready to run. Threads may call ``run`` at once; one bound runner serves one thread."""

    spec: GraphSpec
    float_type: str

    @abstractmethod
    def run(self, inputs: Arrays) -> dict[str, Array]:
        """See ``Runner.run``; nothing is bound."""

    @abstractmethod
    def allocate(self, name: str, axes: Mapping[str, int]) -> Buffer:
        """Zeros of the shape and dtype of input ``name`` with its symbolic axes at these sizes."""

    @abstractmethod
    def bind(self, inputs: Mapping[str, Buffer], outputs: Mapping[str, Buffer]) -> Runner:
        """A runner with these tensors resident. One buffer under an aliased pair is updated in place."""

    @abstractmethod
    def close(self) -> None:
        """Give the device memory back; the engine cannot run afterwards."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def dtype(self, tensor: TensorSpec) -> np.dtype[Any]:
        return np.dtype(tensor.resolved(self.float_type))

    def shape(self, name: str, axes: Mapping[str, int]) -> tuple[int, ...]:
        return tuple(axes[a] if isinstance(a, str) else a for a in self.spec.input(name).shape)

    def checked(self, inputs: Arrays, bound: frozenset[str] = frozenset()) -> dict[str, Array]:
        """Inputs in C order, held to the contract; axes of one name have one size. EngineError otherwise."""
        expected = {t.name for t in self.spec.inputs} - bound
        if inputs.keys() != expected:
            wrong = ", ".join(sorted(inputs.keys() ^ expected))
            raise EngineError(f"graph {self.spec.name}: inputs do not match the contract: {wrong}")
        sizes: dict[str, int] = {}
        for tensor in self.spec.inputs:
            if tensor.name in bound:
                continue
            array = inputs[tensor.name]
            expected_shape = tuple(
                sizes.setdefault(axis, size) if isinstance(axis, str) else axis
                for axis, size in zip(tensor.shape, array.shape, strict=False)
            )
            fits = array.ndim == len(tensor.shape) and array.shape == expected_shape
            if not fits or array.dtype != self.dtype(tensor):
                raise EngineError(
                    f"graph {self.spec.name}: {tensor.name} is {array.dtype} {array.shape}, expected "
                    f"{self.dtype(tensor)} {tensor.shape} at {sizes or 'any size'}"
                )
        return {name: np.ascontiguousarray(array) for name, array in inputs.items()}


class Engines:
    """The graphs of one model by name; closing it closes them all."""

    def __init__(self, engines: Mapping[str, Engine]) -> None:
        self._engines = dict(engines)
        self._stack = ExitStack()
        for engine in self._engines.values():
            self._stack.enter_context(engine)

    def __getitem__(self, name: str) -> Engine:
        try:
            return self._engines[name]
        except KeyError:
            raise EngineError(f"there is no engine {name!r}, only {', '.join(self._engines)}") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._stack.close()


class OrtBuffer:
    """A tensor in ONNX Runtime's memory."""

    def __init__(self, value: Any) -> None:
        self.value = value

    @property
    def address(self) -> int:
        return int(self.value.data_ptr())

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.value.shape())

    def numpy(self) -> Array:
        return np.asarray(self.value.numpy())


class OrtEngine(Engine):
    """An ONNX file in ONNX Runtime. ``threads`` 0 leaves their number to it; idle threads sleep, not spin.

    ``literal`` runs QuantizeLinear and DequantizeLinear as they are written, as a strongly typed TensorRT network means
    them. Left alone, ONNX Runtime fuses them into integer kernels, and those for weights alone round the activations as
    well: four times faster, and not what a quality figure for a GPU should rest on.
    """

    def __init__(
        self,
        path: Path,
        spec: GraphSpec,
        float_type: str = "float32",
        threads: int = 0,
        provider: str = CPU,
        *,
        literal: bool = False,
    ) -> None:
        self.spec, self.float_type, self.path = spec, float_type, path
        self._ort = _onnxruntime()
        self._device = "cuda" if provider == CUDA else "cpu"
        self._session = self._open(threads, provider, literal)
        _check_contract(self._session, spec, float_type, path)

    def _open(self, threads: int, provider: str, literal: bool) -> Any:
        available = self._ort.get_available_providers()
        if provider not in available:
            raise EngineError(
                f"ONNX Runtime has no {provider}, only {', '.join(available)}",
                hint="pip install onnxruntime-gpu",
            )
        options = self._ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = LOG_ERRORS
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_session_config_entry("session.disable_quant_qdq", str(int(literal)))
        try:
            return self._ort.InferenceSession(
                str(self.path), options, providers=list(dict.fromkeys([provider, CPU]))
            )
        except _ort_errors() as error:
            raise EngineError(f"{self.path} cannot be loaded: {error}", hint=REBUILD) from error

    def kernels(self) -> Counter[str]:
        """Operators of the graph as ONNX Runtime runs it, fused and folded; it is opened once more for that."""
        with tempfile.TemporaryDirectory(prefix="tts-trt-") as folder:
            written = Path(folder) / self.path.name
            options = self._ort.SessionOptions()
            options.log_severity_level = LOG_ERRORS
            options.optimized_model_filepath = str(written)
            self._ort.InferenceSession(str(self.path), options, providers=[CPU])
            return count_ops(scan_nodes(written))

    def run(self, inputs: Arrays) -> dict[str, Array]:
        return self.bind({}, {}).run(inputs)

    def allocate(self, name: str, axes: Mapping[str, int]) -> OrtBuffer:
        dtype = self.dtype(self.spec.input(name))
        zeros = np.zeros(self.shape(name, axes), dtype)
        return OrtBuffer(self._ort.OrtValue.ortvalue_from_numpy(zeros, self._device, 0))

    def bind(self, inputs: Mapping[str, Buffer], outputs: Mapping[str, Buffer]) -> Runner:
        return _OrtRunner(self, self._session, inputs, outputs)

    def close(self) -> None:
        self._session = None


class _OrtRunner:
    """An IO binding: resident tensors are set once, the others before every run."""

    def __init__(
        self, engine: OrtEngine, session: Any, inputs: Mapping[str, Buffer], outputs: Mapping[str, Buffer]
    ) -> None:
        if session is None:
            raise EngineError(f"graph {engine.spec.name} is closed", hint="open the bundle again")
        self._engine, self._session = engine, session
        self._bound = frozenset(inputs)
        self._resident = (dict(inputs), dict(outputs))  # ONNX Runtime does not keep them alive
        self._binding = session.io_binding()
        for name, buffer in inputs.items():
            self._binding.bind_ortvalue_input(name, buffer.value)  # type: ignore[attr-defined]
        self._free: list[str] = []
        for tensor in engine.spec.outputs:
            if tensor.name in outputs:
                self._binding.bind_ortvalue_output(tensor.name, outputs[tensor.name].value)  # type: ignore[attr-defined]
            else:
                self._binding.bind_output(tensor.name, "cpu")
                self._free.append(tensor.name)
        order = [t.name for t in engine.spec.outputs]
        self._wanted = [(order.index(name), name) for name in self._free]

    def run(self, inputs: Arrays) -> dict[str, Array]:
        arrays = self._engine.checked(inputs, self._bound)
        for name, array in arrays.items():
            self._binding.bind_cpu_input(name, array)
        for name in self._free:
            self._binding.bind_output(name, "cpu")
        try:
            self._session.run_with_iobinding(self._binding)
        except _ort_errors() as error:
            raise EngineError(f"graph {self._engine.spec.name} failed: {error}") from error
        values = self._binding.get_outputs()
        return {name: values[i].numpy() for i, name in self._wanted}


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
