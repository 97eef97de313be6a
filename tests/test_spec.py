"""The contracts: axes, ranges, aliases, and what hangs together between graphs."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from tests.model.tiny import TINY
from tts_trt.dims import ModelDims
from tts_trt.spec import Limits, cache_names, cache_slots, graph_specs

DTYPES = {"float", "float32", "int64", "bool"}


@pytest.mark.parametrize("dims", [TINY, ModelDims()])
def test_every_axis_has_a_range_in_every_profile(dims: ModelDims) -> None:
    for spec in graph_specs(dims).values():
        used = {a for t in spec.inputs for a in t.shape if isinstance(a, str)}
        for profile in spec.profiles:
            assert set(profile) == used, spec.name
            assert all(1 <= low <= usual <= high for low, usual, high in profile.values()), spec.name


@pytest.mark.parametrize("dims", [TINY, ModelDims()])
def test_names_are_unique_and_dtypes_known(dims: ModelDims) -> None:
    for spec in graph_specs(dims).values():
        names = [t.name for t in (*spec.inputs, *spec.outputs)]
        assert len(names) == len(set(names)), f"{spec.name}: a name is used twice"
        assert {t.dtype for t in (*spec.inputs, *spec.outputs)} <= DTYPES


def test_caches_are_aliased_and_static() -> None:
    spec = graph_specs(TINY)["gpt"]
    assert spec.aliases == {f"{n}_out": n for n in cache_names(TINY.gpt.layers)}
    for name in spec.aliases.values():
        shape = spec.input(name).shape
        assert shape == ("B", TINY.gpt.heads, cache_slots(TINY, Limits()), TINY.gpt.head_dim)
        assert spec.output(f"{name}_out").shape == shape


def test_the_cache_holds_the_longest_prompt_and_all_codes() -> None:
    for limits in (Limits(), Limits(text=10, codes=8)):
        text, codes = limits.text_of(TINY), limits.codes_of(TINY)
        prompt = TINY.gpt.max_prompt - TINY.gpt.max_text + text
        slots = cache_slots(TINY, limits)
        assert prompt + codes < slots <= prompt + codes + 64 and slots % 64 == 0


def test_only_exact_models_need_code_rows_of_their_own() -> None:
    assert "code_embedding" not in graph_specs(TINY)
    exact = graph_specs(replace(TINY, latents="exact"))
    assert list(exact).index("code_embedding") == list(exact).index("mel_condition") - 1
    # the second pass runs all codes as one chunk
    assert exact["gpt"].profiles[0]["S"][2] >= TINY.gpt.max_codes


def test_the_flow_has_room_for_its_prompt_and_the_condition_for_the_reference() -> None:
    short = graph_specs(replace(TINY, flow=replace(TINY.flow, prompt_seconds=1.0)))
    whole = graph_specs(TINY)
    codes = math.ceil(Limits().codes_of(TINY) * TINY.frames_per_code) + 1
    most = {name: spec.profiles[0]["T"][2] - codes for name, spec in short.items() if "T" in spec.profiles[0]}
    assert most == {"mel_condition": 200, "flow_step": 50, "vocoder": 0}
    assert whole["flow_step"].profiles[0]["T"] == whole["mel_condition"].profiles[0]["T"]


def test_a_wrong_tensor_name_is_answered_with_the_real_ones() -> None:
    with pytest.raises(KeyError, match="no tensor 'mels'; there are mel, lengths"):
        graph_specs(TINY)["vocoder"].input("mels")
