"""Dimensions from plain values: strict, frozen, and consistent with each other."""

from __future__ import annotations

import contextlib
import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.model.tiny import TINY
from tts_trt.dims import EMOTIONS, FlowDims, GptDims, ModelDims, from_dict, to_dict
from tts_trt.errors import ConfigError
from tts_trt.models import find_model


@pytest.mark.parametrize("dims", [ModelDims(), TINY])
def test_a_round_trip_through_json_changes_nothing(dims: ModelDims) -> None:
    assert from_dict(ModelDims, json.loads(json.dumps(to_dict(dims)))) == dims


def test_official_derived_sizes() -> None:
    dims = ModelDims()
    assert dims.gpt.head_dim == 64
    assert (dims.gpt.text_positions, dims.gpt.code_positions) == (602, 1818)
    assert dims.gpt.max_prompt == 32 + 2 + 600 + 2 + 1
    assert dims.flow.ffn == 1536
    assert dims.vocoder.hop == dims.audio.hop == 256
    assert dims.prompt_frames == 1292  # all of the longest reference
    assert dims.codes_per_second == pytest.approx(50.08, abs=0.01)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"gpt": {"dimm": 3}}, "config.gpt: unknown key dimm"),
        ({"gpt": 3}, "config.gpt: expected a table"),
        ({"gpt": {"dim": "wide"}}, "expected int, found 'wide'"),
        ({"gpt": {"dim": True}}, "expected int, found True"),
        ({"emotion_rows": [1, 2]}, "2 entries, expected 8"),
        ({"latents": "two-pass"}, "expected 'exact' or 'one-pass'"),
        ({"audio": {"hop": 300}}, "256 samples a frame but audio.hop is 300"),
        ({"acted": ["jolly"]}, "jolly"),
        ({"flow": {"prompt_seconds": 0.0}}, "prompt_seconds is 0.0"),
    ],
)
def test_wrong_values_are_named(values: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        from_dict(ModelDims, values)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda x: st.lists(x) | st.dictionaries(st.text(), x),
    )
)
def test_any_json_is_dims_or_a_config_error(value: object) -> None:
    values = value if isinstance(value, dict) else {"gpt": value}
    with contextlib.suppress(ConfigError):
        assert isinstance(from_dict(ModelDims, values), ModelDims)


def test_dims_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        GptDims().dim = 3  # type: ignore[misc]
    assert FlowDims(dim=192).ffn == 512


def test_the_shipped_voice_has_dims_of_its_own() -> None:
    dims = find_model("nano").dims()
    assert dims.latents == "one-pass" and set(dims.acted) <= set(EMOTIONS)
    assert dims.audio.sample_rate == 16000 and dims.codes_per_second == 25.0
