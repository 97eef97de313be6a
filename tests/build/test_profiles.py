from __future__ import annotations

import pytest

from tts_trt.build.profiles import resolve_profiles
from tts_trt.dims import ModelDims
from tts_trt.errors import BuildError
from tts_trt.spec import GraphSpec, TensorSpec, graph_specs

INPUTS = (TensorSpec("x", "float32", ("B", 80, "T"), ""), TensorSpec("lengths", "int64", ("B",), ""))


def graph(*profiles: dict[str, tuple[int, int, int]], inputs: tuple[TensorSpec, ...] = INPUTS) -> GraphSpec:
    return GraphSpec("g", inputs, (), profiles, {}, "")


def test_symbols_become_sizes_in_every_input_of_every_profile() -> None:
    prefill, step = resolve_profiles(
        graph({"B": (1, 2, 8), "T": (4, 50, 900)}, {"B": (1, 1, 8), "T": (1, 1, 1)})
    )
    assert prefill["x"] == ((1, 80, 4), (2, 80, 50), (8, 80, 900))
    assert prefill["lengths"] == ((1,), (2,), (8,))
    assert step["x"] == ((1, 80, 1), (1, 80, 1), (8, 80, 1))


def test_a_static_graph_needs_no_profile() -> None:
    assert resolve_profiles(graph(inputs=(TensorSpec("x", "float32", (1, 80), ""),))) == []


@pytest.mark.parametrize(
    ("profiles", "message"),
    [
        ([], "symbolic axes B, T but no profile"),
        ([{"B": (1, 1, 1)}], "profile 0 of graph g has no range for axis T"),
        ([{"B": (1, 1, 1), "T": (1, 1, 1), "S": (1, 1, 1)}], "a range for S; the inputs' axes are B, T"),
        ([{"B": (1, 1, 1), "T": (2, 1, 3)}], "axis T is 2, 1, 3; expected 0 <= min <= opt <= max"),
        ([{"B": (1, 9, 8), "T": (1, 1, 1)}], "axis B is 1, 9, 8"),
        ([{"B": (-1, 1, 1), "T": (1, 1, 1)}], "axis B is -1, 1, 1"),
    ],
)
def test_ranges_that_do_not_match_the_axes_are_refused(profiles: list, message: str) -> None:
    with pytest.raises(BuildError, match=message):
        resolve_profiles(graph(*profiles))


def test_every_graph_of_the_official_model_has_profiles() -> None:
    for spec in graph_specs(ModelDims()).values():
        for profile in resolve_profiles(spec):
            assert set(profile) == {tensor.name for tensor in spec.inputs}
