"""Triton's config.pbtxt, from the contracts of spec.py.

Triton counts no batch axis: (B,F,160) has dims [-1, 160]. What is one number a row, (B), it calls dims [1] and reshapes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tts_trt.dims import EMOTIONS
from tts_trt.runtime.executors import ONNXRUNTIME
from tts_trt.spec import GraphSpec, TensorSpec

PLATFORMS = {ONNXRUNTIME: "onnxruntime_onnx", "tensorrt": "tensorrt_plan"}
"""Executor -> the backend of Triton that runs its graphs. It has none for TensorRT-RTX."""

TYPES = {"float32": "TYPE_FP32", "float16": "TYPE_FP16", "int64": "TYPE_INT64", "bool": "TYPE_BOOL"}

Message = Mapping[str, Any]
"""Field -> string, number, bool, Word, Message, or a sequence of one of them for a repeated field."""


class Word(str):
    """An enum's value: written without quotes."""


PIPELINE_INPUTS = (
    # name, type, dims, must be given
    ("text", "TYPE_STRING", [1], True),
    (
        "voice",
        "TYPE_STRING",
        [1],
        False,
    ),  # of the bundle; its first where neither this nor a reference is given
    ("reference", "TYPE_STRING", [1], False),  # bytes of an audio file, instead of a voice
    ("emotion", "TYPE_FP32", [len(EMOTIONS)], False),
    ("emotion_reference", "TYPE_STRING", [1], False),
    ("emotion_alpha", "TYPE_FP32", [1], False),
    ("rate", "TYPE_FP32", [1], False),
    ("duration", "TYPE_FP32", [1], False),
    ("seed", "TYPE_INT64", [1], False),
    ("steps", "TYPE_INT64", [1], False),
    ("stream", "TYPE_BOOL", [1], False),  # false: one response with all of the sound
)
PIPELINE_OUTPUTS = (("audio", "TYPE_FP32", [-1]), ("sample_rate", "TYPE_INT32", [1]))


def graph_config(
    name: str, spec: GraphSpec, *, executor: str, float_type: str, batch: int, file: str, threads: int = 0
) -> Message:
    """One graph as a model of its own. Requests of equal shapes are batched, except where a request brings state
    along (the decode loop's caches): joining and parting those would copy them."""
    config: dict[str, Any] = {
        "name": name,
        "platform": PLATFORMS[executor],
        "max_batch_size": batch,
        "default_model_filename": file,
        "input": [_tensor(tensor, float_type) for tensor in spec.inputs],
        "output": [_tensor(tensor, float_type) for tensor in spec.outputs],
        "instance_group": [{"count": 1, "kind": _kind(executor)}],
    }
    if not spec.aliases:
        config["dynamic_batching"] = {}
    if threads and executor == ONNXRUNTIME:
        config["parameters"] = _parameters({"intra_op_thread_count": str(threads)})
    return config


def pipeline_config(name: str, *, executor: str, parameters: Mapping[str, str]) -> Message:
    """Text to speech in one model of the Python backend, whose responses are the chunks of a stream. It batches by
    itself, step by step, so Triton hands it requests as they come."""
    return {
        "name": name,
        "backend": "python",
        "max_batch_size": 0,
        "input": [
            {"name": n, "data_type": Word(kind), "dims": dims, **({} if needed else {"optional": True})}
            for n, kind, dims, needed in PIPELINE_INPUTS
        ],
        "output": [{"name": n, "data_type": Word(kind), "dims": dims} for n, kind, dims in PIPELINE_OUTPUTS],
        "model_transaction_policy": {"decoupled": True},
        "instance_group": [{"count": 1, "kind": _kind(executor)}],
        "parameters": _parameters(parameters),
    }


def to_text(message: Message) -> str:
    """A message in protobuf's text format."""
    return "".join(f"{line}\n" for line in _lines(message))


def _lines(message: Message) -> Iterator[str]:
    for name, value in message.items():
        repeated = isinstance(value, Sequence) and not isinstance(value, str)
        for one in value if repeated else [value]:
            if isinstance(one, Mapping):
                yield f"{name} {{"
                yield from (f"  {line}" for line in _lines(one))
                yield "}"
            else:
                yield f"{name}: {_literal(one)}"


def _literal(value: str | bool | int) -> str:
    if isinstance(value, Word):
        return str(value)
    return json.dumps(value, ensure_ascii=False)  # strings, numbers, true and false are written alike


def _tensor(tensor: TensorSpec, float_type: str) -> Message:
    dims = [axis if isinstance(axis, int) else -1 for axis in tensor.shape[1:]]
    found = {"name": tensor.name, "data_type": Word(TYPES[tensor.resolved(float_type)])}
    return found | ({"dims": dims} if dims else {"dims": [1], "reshape": {}})  # an empty shape


def _kind(executor: str) -> Word:
    return Word("KIND_CPU" if executor == ONNXRUNTIME else "KIND_GPU")


def _parameters(values: Mapping[str, str]) -> list[Message]:
    return [{"key": key, "value": {"string_value": value}} for key, value in values.items()]
