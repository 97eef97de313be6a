"""Semantic encoder against the reference, and padding that changes nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from tests.parity import assert_close, load
from tts_trt.dims import SemanticEncoderDims
from tts_trt.model.semantic import SemanticEncoder

KEYS = Path(__file__).parents[1] / "fixtures" / "state_dict_keys" / "w2v_bert.json"
UNUSED = {"masked_spec_embed"}  # replaces features during the reference's pre-training
STATISTICS = {"stat_mean", "stat_var"}  # of a file of their own
SMALL = SemanticEncoderDims(stride=3, hidden=24, layers=2, heads=3, ffn=40, conv_kernel=7, left_positions=5)


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.no_grad():
        yield


def small() -> SemanticEncoder:
    torch.manual_seed(0)
    return SemanticEncoder(SMALL).eval()


@pytest.mark.parametrize("case", ["long", "masked"])
def test_hidden_states_match_the_reference(case: str) -> None:
    fixture = load("w2v_bert")
    model = SemanticEncoder(SemanticEncoderDims(hidden=48, layers=3, heads=4, ffn=96)).eval()
    wanted = model.state_dict().keys() - STATISTICS
    model.load_state_dict(
        {key: fixture.weights[key] for key in wanted} | {key: fixture.inputs[key] for key in STATISTICS}
    )
    features = fixture.inputs[f"input_features_{case}"]
    mask = fixture.inputs[f"attention_mask_{case}"].bool()
    states = model.hidden_states(features, mask)
    for layer in fixture.config["hidden_layers"]:
        assert_close(states[layer], fixture.outputs[f"hidden{layer}_{case}"], fixture.tolerance)
    assert_close(model(features, mask), fixture.outputs[f"hidden3_{case}"], fixture.tolerance)
    assert_close(model.normalised(features, mask), fixture.outputs[f"normalised_{case}"], fixture.tolerance)


def test_padding_leaves_the_real_frames_as_they_are_alone() -> None:
    model, lengths = small(), [19, 1, 12]
    features = 10 * torch.randn(3, 19, SMALL.features)
    batched = model(features, torch.tensor(lengths))
    for row, length in enumerate(lengths):
        alone = model(features[row : row + 1, :length])
        assert_close(batched[row : row + 1, :length], alone, 1e-5)


def test_a_masked_last_frame_stays_in_the_output() -> None:
    model = small()
    features = torch.randn(1, 8, SMALL.features)
    mask = torch.arange(8)[None] < 7
    alone = model(features, mask)
    padded = model(torch.cat([features, torch.randn(1, 5, SMALL.features)], 1), torch.tensor([7]))
    assert_close(padded[:, :8], alone, 1e-5)
    assert_close(alone[:, :7], model(features[:, :7]), 1e-5)


def test_lengths_are_the_mask_they_stand_for() -> None:
    model, features = small(), torch.randn(2, 9, SMALL.features)
    mask = torch.arange(9)[None] < torch.tensor([[9], [4]])
    assert_close(model(features, torch.tensor([9, 4])), model(features, mask), 0.0)


def test_keys_and_shapes_are_those_of_the_checkpoint() -> None:
    with torch.device("meta"):
        state = SemanticEncoder(SemanticEncoderDims(layers=24)).state_dict()
    made = {key: list(value.shape) for key, value in state.items() if key not in STATISTICS}
    published = json.loads(KEYS.read_text())["keys"]
    assert made == {key: shape for key, shape in published.items() if key not in UNUSED}
