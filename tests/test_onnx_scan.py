from __future__ import annotations

import contextlib
from pathlib import Path

import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

from tests.build.graphs import BOOL, FLOAT, kv_attention, matmul, save
from tts_trt.errors import BuildError
from tts_trt.onnx_scan import count_ops, scan_nodes


def test_nodes_are_those_onnx_reads(tmp_path: Path) -> None:
    path, _ = kv_attention(tmp_path / "kv.onnx", nonpad=True, causal=True)
    nodes = scan_nodes(path)
    reference = onnx.load(path).graph.node
    assert [(n.op_type, n.inputs) for n in nodes] == [(n.op_type, tuple(n.input)) for n in reference]
    assert [n.name for n in nodes] == ["k_out", "v_out", "attend"]
    assert nodes[0].integers == {"axis": 2}
    assert nodes[2].integers == {"is_causal": 1}
    assert count_ops(nodes) == {"TensorScatter": 2, "Attention": 1}


def test_bodies_and_functions_are_searched(tmp_path: Path) -> None:
    def body(op: str) -> onnx.GraphProto:
        out = helper.make_tensor_value_info("r", FLOAT, [4])
        return helper.make_graph([helper.make_node(op, ["x"], ["r"])], op, [], [out])

    node = helper.make_node("If", ["c"], ["y"], then_branch=body("Sin"), else_branch=body("Cos"))
    path = save(tmp_path / "if.onnx", [node], {"c": (BOOL, []), "x": (FLOAT, [4])}, {"y": (FLOAT, [4])})
    model = onnx.load(path)
    opsets = [helper.make_opsetid("", 24)]
    tan = helper.make_node("Tan", ["a"], ["b"])
    model.functions.append(helper.make_function("local", "f", ["a"], ["b"], [tan], opsets))
    onnx.save(model, path)
    assert count_ops(scan_nodes(path)) == {"If": 1, "Sin": 1, "Cos": 1, "Tan": 1}


@pytest.mark.parametrize("content", [b"", b"\x3a", b"<html>no</html>", b"\x00" * 64, b"\x08\x01"])
def test_files_that_are_not_onnx_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.onnx").write_bytes(content)
    with pytest.raises(BuildError, match=r"x\.onnx"):
        scan_nodes(tmp_path / "x.onnx")
    with pytest.raises(BuildError, match="No such file"):
        scan_nodes(tmp_path / "none.onnx")


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    path, _ = matmul(tmp_path / "m.onnx")
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(BuildError, match="not a whole ONNX file"):
        scan_nodes(path)


@given(st.binary(max_size=200))
def test_any_bytes_end_in_nodes_or_a_build_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.onnx"
    path.write_bytes(content)
    with contextlib.suppress(BuildError):
        scan_nodes(path)
