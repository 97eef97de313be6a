"""config.yaml and its two neighbours: the official dimensions come back, other models are refused by the key that differs."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from scripts.official_config import encoder_config, to_yaml, vocoder_config
from scripts.random_checkpoint import TINY
from tts_trt.dims import ModelDims
from tts_trt.errors import ConfigError, TtsTrtError
from tts_trt.official.config import Section, file_names, official_dims, read_json, read_yaml

OFFICIAL = ModelDims()


def dims_of(config: dict[str, Any], encoder: dict[str, Any] | None = None) -> ModelDims:
    sections = (
        Section(config, "config.yaml"),
        Section(encoder or encoder_config(OFFICIAL, 24), "encoder.json"),
        Section(vocoder_config(OFFICIAL), "vocoder.json"),
    )
    return official_dims(*sections, "indextts2")


def put(tree: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    tree = copy.deepcopy(tree)
    *parents, last = path.split(".")
    inner = tree
    for key in parents:
        inner = inner[key]
    inner[last] = value
    return tree


def test_the_official_configuration_is_the_official_dimensions() -> None:
    assert dims_of(to_yaml(OFFICIAL)) == OFFICIAL
    assert OFFICIAL.semantic_encoder.layers == 17  # of the 24 that encoder_config names


def test_what_upstream_leaves_to_its_code_may_be_absent() -> None:
    config = to_yaml(OFFICIAL)
    del config["campplus"], config["emo_num"], config["gpt"]["condition_num_latent"]
    del config["s2mel"]["DiT"]["is_causal"]
    config["dataset"]["mel"] = {"n_mels": 100}  # left over from version 1, read by nobody
    assert dims_of(config) == OFFICIAL


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("version", 2.5, "of version 2.5"),
        ("gpt.layers", "many", "gpt.layers is 'many', expected a whole number"),
        ("gpt.model_dim", None, "gpt.model_dim is missing"),
        ("gpt.heads", 7, "not a multiple"),
        ("gpt.condition_type", "perceiver", "another structure: gpt.condition_type is 'perceiver'"),
        ("s2mel.DiT.is_causal", True, "s2mel.DiT.is_causal is True, expected False"),
        ("s2mel.DiT.content_dim", 256, "length_regulator.channels is 512"),
        ("semantic_codec.hidden_size", 768, "hidden_size of encoder.json is 1024"),
        ("semantic_codec.codebook_size", 4096, "speaks 8192 codes"),
        ("s2mel.preprocess_params.spect_params.hop_length", 128, "the vocoder makes 256 samples"),
        ("emo_num", [1, "two"], "emo_num is"),
    ],
)
def test_another_model_is_refused_by_the_key_that_differs(path: str, value: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        dims_of(put(to_yaml(OFFICIAL), path, value))


def test_file_names_stay_in_the_directory() -> None:
    assert file_names(Section(to_yaml(TINY), "c"))["gpt"] == "gpt.pth"
    for name in ("/etc/passwd", "../other/gpt.pth", "", 7):
        with pytest.raises(ConfigError, match="gpt_checkpoint"):
            file_names(Section({"gpt_checkpoint": name}, "c"))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"- a\n- b",
        b"a: [",
        b"\xff\xfe",
        b"!!python/object/apply:os.system ['touch ran']",
        b"x" * 2_000_000,
    ],
)
def test_what_is_no_configuration_is_refused_by_name(content: bytes, tmp_path: Any) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"config\.yaml"):
        read_yaml(path)
    assert list(tmp_path.iterdir()) == [path]


def test_a_damaged_json_is_refused_by_name(tmp_path: Any) -> None:
    path = tmp_path / "config.json"
    for content in ("{", "[]", "[" * 100_000):
        path.write_text(content)
        with pytest.raises(ConfigError, match=r"config\.json"):
            read_json(path)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5000) | st.text(max_size=5) | st.floats(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=4,
)
PATHS = [
    f"{section}.{key}"
    for section, content in to_yaml(TINY).items()
    if isinstance(content, dict)
    for key in content
]


@settings(max_examples=80, deadline=None)
@given(st.sampled_from(PATHS), VALUES)
def test_any_value_anywhere_gives_dimensions_or_an_error_of_ours(path: str, value: Any) -> None:
    config = yaml.safe_load(yaml.safe_dump(put(to_yaml(OFFICIAL), path, value)))
    try:
        assert isinstance(dims_of(config), ModelDims)
    except TtsTrtError as error:
        assert str(error)
