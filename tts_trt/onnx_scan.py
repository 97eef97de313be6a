"""What an ONNX file asks for, read from its protobuf wire format without the onnx package.

The TensorRT parsers drop some things silently, so the parsed network is held against this list. Field numbers
are those of onnx.proto: ModelProto.graph 7 and .functions 25; GraphProto.node 1; FunctionProto.node 7;
NodeProto.input 1, .output 2, .name 3, .op_type 4, .attribute 5; AttributeProto.name 1, .i 3, .g 6, .graphs
11."""

from __future__ import annotations

import mmap
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tts_trt.errors import BuildError

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


@dataclass(frozen=True)
class OnnxNode:
    op_type: str
    name: str  # the node's own, or its first output
    inputs: tuple[str, ...]  # "" for an omitted optional input
    integers: dict[str, int]  # its integer attributes


def scan_nodes(path: Path) -> list[OnnxNode]:
    """All nodes, those of functions and of If and Loop bodies included. BuildError for a file that is not
    ONNX."""
    try:
        with path.open("rb") as file:
            # Unmapped with its last slice, which an exception may outlive this block with.
            nodes = list(_model_nodes(memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))))
    except (OSError, ValueError, IndexError) as error:
        raise BuildError(f"{path} is not a whole ONNX file: {error}", hint="tts-trt export") from error
    if not nodes:
        raise BuildError(f"{path} holds no ONNX graph", hint="tts-trt export")
    return nodes


def count_ops(nodes: list[OnnxNode]) -> Counter[str]:
    return Counter(node.op_type for node in nodes)


def _model_nodes(model: memoryview) -> Iterator[OnnxNode]:
    for number, value in _fields(model):
        if number == 7 and isinstance(value, memoryview):
            yield from _graph_nodes(value, node_field=1)
        elif number == 25 and isinstance(value, memoryview):
            yield from _graph_nodes(value, node_field=7)


def _graph_nodes(graph: memoryview, node_field: int) -> Iterator[OnnxNode]:
    for number, value in _fields(graph):
        if number == node_field and isinstance(value, memoryview):
            yield from _node(value)


def _node(data: memoryview) -> Iterator[OnnxNode]:
    texts: dict[int, list[str]] = {1: [], 2: [], 3: [], 4: []}
    integers: dict[str, int] = {}
    bodies: list[memoryview] = []
    for number, value in _fields(data):
        if not isinstance(value, memoryview):
            continue
        if number in texts:
            texts[number].append(bytes(value).decode())
        elif number == 5:
            name, integer, graphs = _attribute(value)
            bodies += graphs
            if integer is not None:
                integers[name] = integer
    name = next((text for text in texts[3] + texts[2] if text), "")
    yield OnnxNode("".join(texts[4]), name, tuple(texts[1]), integers)
    for body in bodies:
        yield from _graph_nodes(body, node_field=1)


def _attribute(data: memoryview) -> tuple[str, int | None, list[memoryview]]:
    name, integer, graphs = "", None, []
    for number, value in _fields(data):
        if number == 1 and isinstance(value, memoryview):
            name = bytes(value).decode()
        elif number == 3 and isinstance(value, int):
            integer = value
        elif number in (6, 11) and isinstance(value, memoryview):
            graphs.append(value)
    return name, integer, graphs


def _fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """(field number, integer or bytes); ValueError or IndexError where the message is cut or is none."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, kind = tag >> 3, tag & 7
        if kind == _VARINT:
            value, at = _varint(data, at)
            yield number, value
            continue
        if kind == _BYTES:
            size, at = _varint(data, at)
        elif kind in (_FIXED32, _FIXED64):
            size = 4 if kind == _FIXED32 else 8
        else:
            raise ValueError(f"wire type {kind}")
        if at + size > len(data):
            raise ValueError(f"a field of {size} bytes, {len(data) - at} left")
        yield number, data[at : at + size]
        at += size


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("an integer of more than 10 bytes")
