"""A stand-in for ``triton_python_backend_utils``, which exists inside a Triton process only.

It has the names, arguments and errors of the real module that a model uses (python_backend, src/pb_stub.cc), and what the
server around it checks: inputs as config.pbtxt names them, responses by declared outputs, none after the final one.
No line of it is Triton's, and passing here is not running there.
"""

from __future__ import annotations

import json
import queue
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

NUMPY = {"TYPE_FP32": np.float32, "TYPE_INT32": np.int32, "TYPE_INT64": np.int64, "TYPE_BOOL": np.bool_,
         "TYPE_STRING": np.object_}  # fmt: skip
FINAL = 1


class Tensor:
    def __init__(self, name: str, array: np.ndarray) -> None:
        assert isinstance(name, str) and isinstance(array, np.ndarray)
        assert array.flags.c_contiguous, f"{name} would be copied wrongly"
        self._name, self._array = name, array

    def name(self) -> str:
        return self._name

    def as_numpy(self) -> np.ndarray:
        return self._array


class TritonError:
    INTERNAL, INVALID_ARG, UNAVAILABLE, CANCELLED = range(4)

    def __init__(self, message: str, code: int = 0) -> None:
        assert isinstance(message, str)
        self._message, self._code = message, code

    def message(self) -> str:
        return self._message

    def code(self) -> int:
        return self._code


class TritonModelException(Exception):
    pass


class InferenceResponse:
    def __init__(
        self, output_tensors: list[Tensor] | tuple[()] = (), error: TritonError | None = None
    ) -> None:
        self._tensors, self._error = list(output_tensors), error

    def output_tensors(self) -> list[Tensor]:
        return self._tensors

    def error(self) -> TritonError | None:
        return self._error


class Sender:
    def __init__(self, outputs: dict[str, dict[str, Any]]) -> None:
        self._outputs, self._closed, self.gone = outputs, False, False
        self.responses: queue.Queue[InferenceResponse | None] = queue.Queue()

    def is_cancelled(self) -> bool:
        return self.gone

    def send(self, response: InferenceResponse | None = None, flags: int = 0) -> None:
        assert not self._closed, "a response after the final one"
        assert response is not None or flags == FINAL
        if response is not None:
            if response.error() is None:
                for tensor in response.output_tensors():
                    _check(self._outputs[tensor.name()], tensor.as_numpy())
            self.responses.put(response)
        if flags == FINAL:
            self._closed = True
            self.responses.put(None)

    def received(self) -> Iterator[InferenceResponse]:
        """What a client gets, to the final one."""
        while (response := self.responses.get(timeout=60)) is not None:
            yield response


class Request:
    def __init__(self, config: dict[str, Any], timeout: int = 0, **inputs: Any) -> None:
        declared = {one["name"]: one for one in config["input"]}
        missing = {n for n, one in declared.items() if not one.get("optional")} - inputs.keys()
        assert not missing and inputs.keys() <= declared.keys()
        self._timeout = timeout
        self._tensors = [Tensor(name, _wire(declared[name], value)) for name, value in inputs.items()]
        self.sender = Sender({one["name"]: one for one in config["output"]})

    def inputs(self) -> list[Tensor]:
        return self._tensors

    def timeout(self) -> int:
        return self._timeout

    def get_response_sender(self) -> Sender:
        return self.sender


def _wire(declared: dict[str, Any], value: Any) -> np.ndarray:
    array = np.array(value if isinstance(value, list) else [value], NUMPY[declared["data_type"]])
    _check(declared, array)
    return array


def _check(declared: dict[str, Any], array: np.ndarray) -> None:
    assert array.dtype == NUMPY[declared["data_type"]], declared
    dims = [int(size) for size in declared["dims"]]
    fits = all(size in (-1, found) for size, found in zip(dims, array.shape, strict=True))
    assert fits, f"{declared['name']}: {array.shape}, declared {dims}"


def install(monkeypatch: pytest.MonkeyPatch) -> None:
    module: Any = ModuleType("triton_python_backend_utils")
    for one in (Tensor, TritonError, TritonModelException, InferenceResponse):
        setattr(module, one.__name__, one)
    module.TRITONSERVER_RESPONSE_COMPLETE_FINAL = FINAL
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.delitem(sys.modules, "tts_trt.serve.triton.model", raising=False)


def arguments(model: Path, config: dict[str, Any], **more: str) -> dict[str, str]:
    """What Triton passes to ``initialize``: words, the configuration as JSON."""
    return {
        "model_config": json.dumps(config),
        "model_instance_kind": "CPU",
        "model_instance_device_id": "0",
        "model_repository": str(model),
        "model_version": "1",
        "model_name": model.name,
    } | more
