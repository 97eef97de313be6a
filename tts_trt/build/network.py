"""ONNX file -> parsed network, held against the graph's contract before any time is spent on building."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tts_trt.errors import BuildError
from tts_trt.onnx_scan import OnnxNode, count_ops, scan_nodes
from tts_trt.spec import GraphSpec, TensorSpec
from tts_trt.trt import Backend

_TRT_TYPES = {
    "float32": "FLOAT",
    "float16": "HALF",
    "int64": "INT64",
    "int32": "INT32",
    "int8": "INT8",
    "bool": "BOOL",
}
_FLOAT_TYPES = ("FLOAT", "HALF", "BF16")
_ATTENTION_NONPAD = 6  # index of the input nonpad_kv_seqlen
_MASK_HINT = "export Attention with an explicit boolean mask"


@dataclass(frozen=True)
class ParsedNetwork:
    """``builder`` and ``parser`` own memory that ``network`` points into."""

    path: Path
    nodes: list[OnnxNode]
    builder: Any
    parser: Any
    network: Any

    def layers(self) -> Iterator[Any]:
        return (self.network.get_layer(i) for i in range(self.network.num_layers))


def parse_onnx(backend: Backend, path: Path, *, strongly_typed: bool = True) -> ParsedNetwork:
    """Weights in external files are found beside ``path``. Only TensorRT 10 knows networks that are not strongly
    typed. BuildError in the parser's words."""
    nodes = scan_nodes(path)
    _refuse_what_the_parser_drops(path, nodes)
    trt = backend.trt
    builder = backend.create_builder()
    strong = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    network = builder.create_network(strong if strongly_typed else 0)
    with backend.listening() as messages:
        parser = trt.OnnxParser(network, backend.logger)
        if not parser.parse_from_file(str(path)):
            problems = [_describe(parser.get_error(i)) for i in range(parser.num_errors)]
            # ModelImporter repeats these with a dump of the node; the rest of the log names missing files.
            problems += [text for text in messages.errors if "ModelImporter.cpp" not in text]
            reason = "\n  ".join(problems) or "no reason given"
            raise BuildError(f"{backend.name} {backend.version} cannot parse {path}:\n  {reason}")
    return ParsedNetwork(path, nodes, builder, parser, network)


def check_network(parsed: ParsedNetwork, spec: GraphSpec) -> None:
    """BuildError when inputs, outputs or cache updates are not those of the contract."""
    network = parsed.network
    inputs = [network.get_input(i) for i in range(network.num_inputs)]
    outputs = [network.get_output(i) for i in range(network.num_outputs)]
    _check_tensors(spec.name, "input", inputs, spec.inputs)
    _check_tensors(spec.name, "output", outputs, spec.outputs)
    needed = _needed_tensors(parsed)
    for tensor in inputs:
        if tensor.name not in needed:
            raise BuildError(
                f"graph {spec.name}: no output of the parsed network depends on input {tensor.name}"
            )
        if tensor.is_shape_tensor:
            raise BuildError(
                f"graph {spec.name}: input {tensor.name} determines a shape",
                hint="take that size from an axis of another input",
            )
    _check_cache_updates(parsed, spec)


def settle_attentions(parsed: ParsedNetwork, backend: Backend) -> int:
    """Sees that every attention has its mask (which excludes causal), and allows the library to decompose
    those it has no fused kernel for: FP32 over long queries, and FP16 of very few heads. Where it has one,
    the permission changes nothing. Returns their number."""
    kind = backend.trt.LayerType.ATTENTION_INPUT
    found = 0
    for layer in parsed.layers():
        if layer.type != kind:
            continue
        found += 1
        name = layer.name
        layer.__class__ = backend.trt.IAttentionInputLayer  # parsed layers come back as plain ILayer
        attention = layer.attention
        if attention.mask is None:
            raise BuildError(f"attention {name} has no mask in the parsed network", hint=_MASK_HINT)
        attention.decomposable = True
    expected = count_ops(parsed.nodes)["Attention"]
    if found != expected:
        raise BuildError(f"{parsed.path} has {expected} Attention nodes, the parsed network {found}")
    return found


def layer_inputs(layer: Any) -> Iterator[Any]:
    """Its input tensors without the omitted optional ones."""
    return (t for t in (layer.get_input(i) for i in range(layer.num_inputs)) if t is not None)


def _refuse_what_the_parser_drops(path: Path, nodes: Iterable[OnnxNode]) -> None:
    for node in nodes:
        if node.op_type != "Attention":
            continue
        if any(node.inputs[_ATTENTION_NONPAD : _ATTENTION_NONPAD + 1]):
            raise BuildError(
                f"{path}: Attention {node.name} has nonpad_kv_seqlen, which TensorRT drops silently",
                hint=_MASK_HINT,
            )
        if node.integers.get("is_causal"):
            raise BuildError(
                f"{path}: Attention {node.name} is causal, which TensorRT and ONNX Runtime align differently",
                hint=_MASK_HINT,
            )


def _needed_tensors(parsed: ParsedNetwork) -> set[str]:
    """Names of the tensors that an output depends on. Layers without outputs hold the conditions of If and
    Loop."""
    network = parsed.network
    producers: dict[str, Any] = {}
    pending: list[str] = []
    for layer in parsed.layers():
        names = [layer.get_output(i).name for i in range(layer.num_outputs)]
        producers |= dict.fromkeys(names, layer)
        pending += [] if names else [tensor.name for tensor in layer_inputs(layer)]
    pending += [network.get_output(i).name for i in range(network.num_outputs)]
    needed: set[str] = set()
    while pending:
        name = pending.pop()
        if name not in needed:
            needed.add(name)
            pending += [t.name for t in layer_inputs(producers[name])] if name in producers else []
    return needed


def _check_tensors(graph: str, role: str, found: list[Any], expected: tuple[TensorSpec, ...]) -> None:
    names, contract = {tensor.name for tensor in found}, {tensor.name: tensor for tensor in expected}
    if missing := contract.keys() - names:
        raise BuildError(f"graph {graph} has no {role} {', '.join(sorted(missing))}; it has {sorted(names)}")
    if extra := names - contract.keys():
        raise BuildError(
            f"graph {graph} has {role} {', '.join(sorted(extra))}, which its contract does not name"
        )
    for tensor in found:
        spec = contract[tensor.name]
        allowed = _FLOAT_TYPES if spec.dtype == "float" else (_TRT_TYPES[spec.dtype],)
        if tensor.dtype.name not in allowed:
            raise BuildError(
                f"graph {graph}: {role} {tensor.name} is {tensor.dtype.name}, expected {spec.dtype}"
            )
        shape = tuple(tensor.shape)
        wanted = tuple(-1 if isinstance(axis, str) else axis for axis in spec.shape)
        # Outputs are only as known as shape inference makes them.
        if role == "input" and shape != wanted:
            raise BuildError(f"graph {graph}: input {tensor.name} is {shape}, expected {wanted} {spec.shape}")


def _check_cache_updates(parsed: ParsedNetwork, spec: GraphSpec) -> None:
    aliases = {}
    updates = [layer for layer in parsed.layers() if layer.type.name == "KV_CACHE_UPDATE"]
    for layer in updates:
        source, result = layer.get_input(0), layer.get_output(0)
        if not (source.is_network_input and result.is_network_output):
            raise BuildError(
                f"graph {spec.name}: cache update {source.name} -> {result.name} does not join a network "
                "input and a network output directly, so it cannot be in place",
                hint="keep casts and copies off the cache tensors",
            )
        aliases[result.name] = source.name
    expected = count_ops(parsed.nodes)["TensorScatter"]
    if len(updates) != expected:
        raise BuildError(
            f"{parsed.path} has {expected} TensorScatter nodes, the network {len(updates)} cache updates"
        )
    if aliases != dict(spec.aliases):
        wrong = sorted(aliases.items() ^ spec.aliases.items())
        raise BuildError(f"graph {spec.name}: cache pairs differ from the contract: {wrong}")


def _describe(error: Any) -> str:
    if error.node() < 0:
        return str(error.desc())
    return f"node {error.node()} {error.node_operator()} {error.node_name()!r}: {error.desc()}"
