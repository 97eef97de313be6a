"""Style encoder against the reference, and padding that changes nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from tests.parity import assert_close, load
from tts_trt.dims import StyleDims
from tts_trt.model.style import MEL_BINS, StyleEncoder

KEYS = Path(__file__).parents[1] / "fixtures" / "state_dict_keys" / "campplus.json"
FIXTURE = load("campplus")


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.no_grad():
        yield


@pytest.fixture(scope="module")
def model() -> StyleEncoder:
    made = StyleEncoder(StyleDims(embedding=24, growth=6, bottleneck=2, init_channels=24)).eval()
    made.load_state_dict(FIXTURE.weights)
    return made


def test_styles_match_the_reference(model: StyleEncoder) -> None:
    fbank = FIXTURE.inputs["feat"]
    head = model.head(fbank.mT, torch.ones(fbank.shape[:2]))
    assert_close(head.mean(-1), FIXTURE.outputs["fcm_time_mean"], FIXTURE.tolerance)
    assert_close(model(fbank), FIXTURE.outputs["style"], FIXTURE.tolerance)
    assert_close(model(FIXTURE.inputs["feat_short"]), FIXTURE.outputs["style_short"], FIXTURE.tolerance)


def test_padding_leaves_a_style_as_it_is_alone(model: StyleEncoder) -> None:
    fbank, lengths = (
        FIXTURE.inputs["feat"],
        [437, 400, 201, 38],
    )  # last segments full, full, of one frame, short
    batched = model(fbank.expand(4, -1, -1), torch.tensor(lengths))
    for row, length in enumerate(lengths):
        assert_close(batched[row : row + 1], model(fbank[:, :length]), 1e-5)
    assert (batched[0] - batched[2]).abs().max() > 1e-3


def test_a_clip_of_one_frame_has_a_finite_style_and_gradient(model: StyleEncoder) -> None:
    with torch.enable_grad():
        style = model(torch.randn(1, 1, MEL_BINS))
        style.sum().backward()
    assert style.isfinite().all()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)
    model.zero_grad()


def test_other_dims_run() -> None:
    made = StyleEncoder(StyleDims(embedding=10, growth=4, bottleneck=3, init_channels=16)).eval()
    assert made(torch.randn(2, 57, MEL_BINS), torch.tensor([57, 20])).shape == (2, 10)


def test_keys_and_shapes_are_those_of_the_checkpoint() -> None:
    with torch.device("meta"):
        state = StyleEncoder(StyleDims()).state_dict()
    made = {key: list(value.shape) for key, value in state.items()}
    assert made == json.loads(KEYS.read_text())["keys"]
