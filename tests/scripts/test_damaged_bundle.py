"""The damage is as deep as asked, in one graph only, and the damaged bundle is whole."""

from __future__ import annotations

import numpy as np
import onnx
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from onnx import TensorProto, helper, numpy_helper

from scripts.damaged_bundle import damage, rounded


@given(
    arrays.arrays(np.float32, (4, 6), elements=st.floats(-8, 8, width=32)),
    st.integers(min_value=2, max_value=8),
)
def test_rounding_leaves_few_values_near_the_old_ones(weights: np.ndarray, bits: int) -> None:
    made = rounded(weights, bits)
    step = np.abs(weights).max() / (2 ** (bits - 1) - 1)
    assert len(np.unique(np.abs(made))) <= 2 ** (bits - 1)
    assert np.abs(made - weights).max() <= step / 2 + 1e-5


def test_vectors_and_integers_are_left_alone() -> None:
    rng = np.random.default_rng(0)
    kept = {"bias": rng.normal(size=7).astype(np.float32), "index": np.arange(6).reshape(2, 3)}
    weights = rng.normal(size=(5, 5)).astype(np.float32)
    tensors = [numpy_helper.from_array(v, k) for k, v in {**kept, "weights": weights}.items()]
    value = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    model = helper.make_model(helper.make_graph([], "g", [], [value], tensors))
    assert damage(model, 4) == 1
    found = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    assert all(np.array_equal(found[name], values) for name, values in kept.items())
    assert not np.array_equal(found["weights"], weights)
    assert isinstance(model, onnx.ModelProto)
