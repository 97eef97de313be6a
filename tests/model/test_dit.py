"""The velocity estimator against the reference's numbers, single rows and ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.model.onnx_agreement import assert_onnx_agrees
from tests.model.state_keys import official, shapes
from tests.model.tiny import randomise
from tests.parity import assert_close, load
from tts_trt.dims import FlowDims
from tts_trt.model.dit import IGNORABLE, Estimator
from tts_trt.model.wavenet import reflect
from tts_trt.model.weight_norm import fold_weight_norm

MELS, STYLE, CONTENT = 6, 5, 9


def tiny(**change: int) -> Estimator:
    dims = FlowDims(**({"dim": 32, "heads": 2, "depth": 4, "wavenet_dim": 24, "wavenet_layers": 3} | change))
    estimator = Estimator(dims, MELS, STYLE, CONTENT).eval()
    randomise(estimator)
    return estimator


def inputs(lengths: list[int]) -> dict[str, torch.Tensor]:
    B, T = len(lengths), max(lengths)
    return {
        "x": torch.randn(B, MELS, T),
        "prompt": torch.randn(B, MELS, T),
        "lengths": torch.tensor(lengths),
        "t": torch.rand(B),
        "style": torch.randn(B, STYLE),
        "condition": torch.randn(B, T, CONTENT),
    }


def from_fixture() -> tuple[Estimator, dict[str, torch.Tensor], dict[str, torch.Tensor], float]:
    fixture = load("dit_estimator")
    c = fixture.config["s2mel"]
    dims = FlowDims(
        dim=c["DiT"]["hidden_dim"],
        heads=c["DiT"]["num_heads"],
        depth=c["DiT"]["depth"],
        wavenet_dim=c["wavenet"]["hidden_dim"],
        wavenet_layers=c["wavenet"]["num_layers"],
        wavenet_kernel=c["wavenet"]["kernel_size"],
        codebook_size=c["DiT"]["content_codebook_size"],
    )
    estimator = Estimator(dims, c["DiT"]["in_channels"], c["style_encoder"]["dim"], c["DiT"]["content_dim"])
    estimator.load_state_dict({k: v for k, v in fixture.weights.items() if k not in IGNORABLE})
    return estimator.eval(), fixture.inputs, fixture.outputs, fixture.tolerance


@pytest.mark.parametrize(("case", "exact_edges"), [("full", True), ("full", False), ("masked", False)])
def test_velocity_parity(case: str, exact_edges: bool) -> None:
    estimator, given, expected, tolerance = from_fixture()
    with torch.no_grad():
        v = estimator(
            given[f"x_{case}"],
            given[f"prompt_x_{case}"],
            given[f"x_lens_{case}"].expand(2),
            given[f"t_{case}"],
            given[f"style_{case}"],
            given[f"cond_{case}"],
            exact_edges=exact_edges,
        )
    assert_close(v, expected[f"v_{case}"], tolerance)


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("depth", [3, 4])
def test_rows_do_not_depend_on_their_batch(kernel: int, depth: int) -> None:
    estimator = tiny(wavenet_kernel=kernel, depth=depth)
    lengths = [17, 9, 3, 2, 1]
    batch = inputs(lengths)
    with torch.no_grad():
        v = estimator(*batch.values())
        for row, length in enumerate(lengths):
            single = estimator(
                batch["x"][row : row + 1, :, :length],
                batch["prompt"][row : row + 1, :, :length],
                batch["lengths"][row : row + 1],
                batch["t"][row : row + 1],
                batch["style"][row : row + 1],
                batch["condition"][row : row + 1, :length],
            )
            assert_close(v[row, :, :length], single[0], 5e-6)


def test_reflect_at_every_rows_own_end() -> None:
    y = torch.tensor([[1.0, 2, 3, 4, 5], [1, 2, 3, 4, 0], [1, 2, 0, 0, 0]])[:, None]
    padded = reflect(y, torch.tensor([5, 4, 2]), 2)[:, 0].tolist()
    assert padded[0] == [3, 2, 1, 2, 3, 4, 5, 4, 3]
    assert padded[1][:8] == [3, 2, 1, 2, 3, 4, 3, 2]
    assert padded[2][:6] == [0, 2, 1, 2, 0, 2], "two frames are first extended by one zero"


def test_fold_keeps_the_function() -> None:
    estimator, batch = tiny(), inputs([8, 5])
    with torch.no_grad():
        before = estimator(*batch.values())
        fold_weight_norm(estimator)
        assert_close(estimator(*batch.values()), before, 2e-6)
    assert not [key for key in estimator.state_dict() if "weight_" in key]


def test_official_keys() -> None:
    expected = official("s2mel", "cfm.estimator.")
    assert set(IGNORABLE) <= set(expected)
    with torch.device("meta"):
        made = shapes(Estimator(FlowDims(), 80, 192, 512))
    assert made == {key: shape for key, shape in expected.items() if key not in IGNORABLE}


def test_onnx_agrees(tmp_path: Path) -> None:
    estimator = tiny(depth=3, wavenet_layers=2)
    fold_weight_norm(estimator)
    dynamic = {"x": (0, 2), "prompt": (0, 2), "lengths": (0,), "t": (0,), "style": (0,), "condition": (0, 1)}
    others = [inputs([1]), inputs([2]), inputs([30, 11, 22])]
    assert_onnx_agrees(estimator, inputs([9, 6]), dynamic, others, tmp_path)
