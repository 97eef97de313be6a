"""The length regulator and gpt_layer against the reference's numbers, single rows and ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.model.onnx_agreement import assert_onnx_agrees
from tests.model.state_keys import official, shapes
from tests.model.tiny import TINY, randomise
from tests.parity import Fixture, assert_close, load
from tts_trt.dims import RegulatorDims
from tts_trt.frontend.timing import nearest_index
from tts_trt.model.flow import GptLayer, LengthRegulator
from tts_trt.model.layers import lengths_to_mask


@pytest.fixture(scope="module")
def fixture() -> Fixture:
    return load("length_regulator")


def tiny() -> LengthRegulator:
    regulator = LengthRegulator(10, TINY.regulator).eval()
    randomise(regulator)
    return regulator


def indices(pairs: list[tuple[int, int]]) -> torch.Tensor:
    """nearest_index of each (source, target) pair, right-padded with 0."""
    rows = [torch.from_numpy(nearest_index(*pair)) for pair in pairs]
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)


@pytest.mark.parametrize("case", [0, 1, 2])
def test_regulator_parity(fixture: Fixture, case: int) -> None:
    """The reference stretches every row to the longest target and masks only the result."""
    config = fixture.config["length_regulator"]
    regulator = LengthRegulator(
        config["in_channels"], RegulatorDims(config["channels"], config["codebook_size"])
    ).eval()
    regulator.load_state_dict(fixture.weights)
    x, lengths = fixture.inputs[f"x{case}"], fixture.inputs[f"ylens{case}"]
    longest = int(lengths.max())
    index = indices([(x.shape[1], longest)] * len(x))
    with torch.no_grad():
        y = regulator(x, index, torch.full_like(lengths, longest))
    y = y * lengths_to_mask(lengths, longest)[:, :, None]
    assert_close(y, fixture.outputs[f"y{case}"], fixture.tolerance)


def test_rows_do_not_depend_on_their_batch() -> None:
    regulator = tiny()
    pairs = [(9, 21), (4, 8), (9, 1)]
    x = torch.randn(3, 9, 10)
    with torch.no_grad():
        batch = regulator(x, indices(pairs), torch.tensor([target for _, target in pairs]))
        for row, (source, target) in enumerate(pairs):
            single = regulator(x[row : row + 1, :source], indices([(source, target)]), torch.tensor([target]))
            assert_close(batch[row, :target], single[0], 1e-5)
            assert batch[row, target:].abs().sum() == 0


def test_official_keys() -> None:
    with torch.device("meta"):
        assert shapes(LengthRegulator(1024, RegulatorDims())) == official("s2mel", "length_regulator.")
        assert shapes(GptLayer(1280, 1024)) == official("s2mel", "gpt_layer.")


def test_gpt_layer_is_affine() -> None:
    layer = GptLayer(6, 4, inner=(5, 3))
    a, b = torch.randn(2, 7, 6), torch.randn(2, 7, 6)
    with torch.no_grad():
        assert_close(layer(a) + layer(b) - layer(a * 0), layer(a + b), 1e-5)


def test_onnx_agrees(tmp_path: Path) -> None:
    def inputs(sources: int, targets: list[int]) -> dict[str, torch.Tensor]:
        return {
            "x": torch.randn(len(targets), sources, 10),
            "source_index": indices([(sources, target) for target in targets]),
            "target_lengths": torch.tensor(targets),
        }

    dynamic = {"x": (0, 1), "source_index": (0, 1), "target_lengths": (0,)}
    others = [inputs(1, [1]), inputs(20, [35, 30, 2])]
    assert_onnx_agrees(tiny(), inputs(5, [9, 4]), dynamic, others, tmp_path)
