"""config.yaml, and the two config.json of the published encoders, to our dimensions.

What config.yaml says of structure that this package has only one form of is compared with that form, so that another model
is refused by name instead of loading into the wrong shape. Keys that inference does not need are not read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from tts_trt.dims import (
    AudioDims,
    CodecDims,
    ConformerDims,
    FlowDims,
    GptDims,
    ModelDims,
    RegulatorDims,
    SemanticEncoderDims,
    StyleDims,
    VocoderDims,
    from_dict,
)
from tts_trt.errors import ConfigError, LibraryError
from tts_trt.official.layout import RENAMED

USED_LAYER = 17
"""The hidden state of the semantic encoder that every later stage reads; layers above need not run."""

MOST_CONFIG_BYTES = 1_000_000

FIXED: dict[str, Any] = {
    "gpt.condition_type": "conformer_perceiver",
    "gpt.use_mel_codes_as_input": True,
    "gpt.train_solo_embeddings": False,
    "gpt.condition_module.input_layer": "conv2d2",
    "gpt.emo_condition_module.input_layer": "conv2d2",
    "s2mel.dit_type": "DiT",
    "s2mel.length_regulator.is_discrete": False,
    "s2mel.length_regulator.sampling_ratios": [1, 1, 1, 1],
    "s2mel.length_regulator.f0_condition": False,
    "s2mel.length_regulator.vector_quantize": False,
    "s2mel.DiT.style_condition": True,
    "s2mel.DiT.final_layer_type": "wavenet",
    "s2mel.DiT.is_causal": False,
    "s2mel.DiT.long_skip_connection": True,
    "s2mel.DiT.uvit_skip_connection": True,
    "s2mel.DiT.time_as_token": False,
    "s2mel.DiT.style_as_token": False,
    "s2mel.DiT.f0_condition": False,
    "s2mel.DiT.zero_prompt_speech_token": False,
    "s2mel.wavenet.dilation_rate": 1,
    "vocoder.type": "bigvgan",
}
"""Structure that is built in. A key that is absent is taken to agree."""

FIXED_VOCODER: dict[str, Any] = {
    "resblock": "1", "activation": "snakebeta", "snake_logscale": True, "use_tanh_at_final": False,
    "use_bias_at_final": False,
}  # fmt: skip

FIXED_ENCODER: dict[str, Any] = {"position_embeddings_type": "relative_key", "hidden_act": "swish"}


class Section:
    """A nested mapping that says where it was when something in it is missing or of the wrong type."""

    def __init__(self, values: Mapping[str, Any], where: str) -> None:
        self.values, self.where = values, where

    def at(self, path: str, default: Any = None) -> Any:
        found: Any = self.values
        for key in path.split("."):
            if not isinstance(found, Mapping) or key not in found:
                return default
            found = found[key]
        return found

    def whole(self, path: str, default: int | None = None) -> int:
        value = self.at(path, default)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 10_000_000:
            what = "is missing" if value is None else f"is {value!r}"
            raise ConfigError(f"{self.where}: {path} {what}, expected a whole number")
        return value

    def numbers(self, path: str) -> list[Any]:
        value = self.at(path)
        if not isinstance(value, list | tuple) or not value:
            raise ConfigError(f"{self.where}: {path} is {value!r}, expected a list of numbers")
        return list(value)

    def require(self, fixed: Mapping[str, Any]) -> None:
        wrong = [
            f"{path} is {self.at(path)!r}, expected {value!r}"
            for path, value in fixed.items()
            if self.at(path, value) != value
        ]
        if wrong:
            raise ConfigError(
                f"{self.where} describes a model of another structure: {'; '.join(wrong)}",
                hint="IndexTTS-2 (version 2.0) is what this package can run",
            )


def read_yaml(path: Path) -> Section:
    """config.yaml. ConfigError for a file that is not a YAML mapping; tags that would make objects are refused."""
    try:
        import yaml
    except ImportError as error:
        raise LibraryError(
            "reading config.yaml needs PyYAML", hint="pip install 'tts-trt[indextts2]'"
        ) from error
    try:
        return Section(_mapping(yaml.safe_load(_text(path)), path), str(path))
    except (yaml.YAMLError, RecursionError) as error:
        raise ConfigError(f"{path} is not YAML: {' '.join(str(error).split())[:300]}") from error


def read_json(path: Path) -> Section:
    try:
        return Section(_mapping(json.loads(_text(path)), path), str(path))
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is not JSON: {error}") from error


def file_names(config: Section) -> dict[str, str]:
    """Part -> file name that config.yaml gives it. ConfigError for one that leads out of the directory."""
    found = {}
    for part, key in {**RENAMED, "tokens": "dataset.bpe_model"}.items():
        name = config.at(key)
        if name is None:
            continue
        path = PurePosixPath(str(name))
        if not isinstance(name, str) or path.is_absolute() or ".." in path.parts or not path.parts:
            raise ConfigError(
                f"{config.where}: {key} is {name!r}, expected the name of a file in the same directory"
            )
        found[part] = name
    return found


def official_dims(config: Section, encoder: Section, vocoder: Section, name: str) -> ModelDims:
    """Dimensions of the whole model. ConfigError names the file and the key that does not fit."""
    if str(config.at("version", 2.0)) not in ("2.0", "2"):
        raise ConfigError(
            f"{config.where} is of version {config.at('version')}, expected 2.0",
            hint="download IndexTeam/IndexTTS-2",
        )
    config.require(FIXED)
    encoder.require(FIXED_ENCODER)
    vocoder.require(FIXED_VOCODER)
    dims = ModelDims(
        name=name,
        emotion_rows=_tuple(config, "emo_num", (3, 17, 2, 8, 4, 5, 10, 24)),
        audio=_audio(config),
        semantic_encoder=_encoder(encoder),
        codec=CodecDims(
            codebook_size=config.whole("semantic_codec.codebook_size"),
            codebook_dim=config.whole("semantic_codec.codebook_dim"),
            vocos_dim=config.whole("semantic_codec.vocos_dim"),
            vocos_ffn=config.whole("semantic_codec.vocos_intermediate_dim"),
            vocos_layers=config.whole("semantic_codec.vocos_num_layers"),
        ),
        style=StyleDims(
            embedding=config.whole("s2mel.style_encoder.dim"),
            growth=config.whole("campplus.growth_rate", 32),
            bottleneck=config.whole("campplus.bn_size", 4),
            init_channels=config.whole("campplus.init_channels", 128),
        ),
        gpt=_gpt(config),
        regulator=RegulatorDims(
            channels=config.whole("s2mel.length_regulator.channels"),
            codebook_size=config.whole("s2mel.length_regulator.content_codebook_size", 2048),
        ),
        flow=_flow(config),
        vocoder=_vocoder(vocoder),
    )
    _agree(config, encoder, vocoder, dims)
    return dims


def _audio(config: Section) -> AudioDims:
    p = "s2mel.preprocess_params"
    if config.at(f"{p}.spect_params.win_length", 1024) != config.at(f"{p}.spect_params.n_fft"):
        raise ConfigError(f"{config.where}: {p}.spect_params: win_length and n_fft differ")
    if config.at(f"{p}.spect_params.fmin", 0) != 0 or config.at(f"{p}.spect_params.fmax") not in (
        None,
        "None",
    ):
        raise ConfigError(
            f"{config.where}: {p}.spect_params: the mel bands are not 0 to half the sample rate"
        )
    return AudioDims(
        sample_rate=config.whole(f"{p}.sr"),
        n_fft=config.whole(f"{p}.spect_params.n_fft"),
        hop=config.whole(f"{p}.spect_params.hop_length"),
        n_mels=config.whole(f"{p}.spect_params.n_mels"),
    )


def _encoder(config: Section) -> SemanticEncoderDims:
    features = config.whole("feature_projection_input_dim", 160)
    if features % 80:
        raise ConfigError(
            f"{config.where}: feature_projection_input_dim is {features}, expected a multiple of 80"
        )
    return SemanticEncoderDims(
        stride=features // 80,
        hidden=config.whole("hidden_size"),
        layers=min(USED_LAYER, config.whole("num_hidden_layers")),
        heads=config.whole("num_attention_heads"),
        ffn=config.whole("intermediate_size"),
        conv_kernel=config.whole("conv_depthwise_kernel_size", 31),
        left_positions=config.whole("left_max_position_embeddings", 64),
        right_positions=config.whole("right_max_position_embeddings", 8),
    )


def _conformer(config: Section, key: str) -> ConformerDims:
    return ConformerDims(
        width=config.whole(f"{key}.output_size"),
        ffn=config.whole(f"{key}.linear_units"),
        heads=config.whole(f"{key}.attention_heads"),
        blocks=config.whole(f"{key}.num_blocks"),
        perceiver_mult=config.whole(f"{key}.perceiver_mult", 2),
    )


def _gpt(config: Section) -> GptDims:
    return GptDims(
        dim=config.whole("gpt.model_dim"),
        layers=config.whole("gpt.layers"),
        heads=config.whole("gpt.heads"),
        text_tokens=config.whole("gpt.number_text_tokens"),
        max_text=config.whole("gpt.max_text_tokens"),
        codes=config.whole("gpt.number_mel_codes"),
        max_codes=config.whole("gpt.max_mel_tokens"),
        start_code=config.whole("gpt.start_mel_token"),
        stop_code=config.whole("gpt.stop_mel_token"),
        latents=config.whole("gpt.condition_num_latent", 32),
        start_text=config.whole("gpt.start_text_token", 0),
        stop_text=config.whole("gpt.stop_text_token", 1),
        speaker=_conformer(config, "gpt.condition_module"),
        emotion=_conformer(config, "gpt.emo_condition_module"),
    )


def _flow(config: Section) -> FlowDims:
    return FlowDims(
        dim=config.whole("s2mel.DiT.hidden_dim"),
        heads=config.whole("s2mel.DiT.num_heads"),
        depth=config.whole("s2mel.DiT.depth"),
        wavenet_dim=config.whole("s2mel.wavenet.hidden_dim"),
        wavenet_layers=config.whole("s2mel.wavenet.num_layers"),
        wavenet_kernel=config.whole("s2mel.wavenet.kernel_size"),
        codebook_size=config.whole("s2mel.DiT.content_codebook_size", 1024),
    )


def _vocoder(config: Section) -> VocoderDims:
    names = {
        "upsample_rates": "upsample_rates",
        "upsample_kernels": "upsample_kernel_sizes",
        "initial_channels": "upsample_initial_channel",
        "resblock_kernels": "resblock_kernel_sizes",
        "resblock_dilations": "resblock_dilation_sizes",
    }
    values = {
        field: config.whole(key) if field == "initial_channels" else config.numbers(key)
        for field, key in names.items()
    }
    return from_dict(VocoderDims, values, config.where)


def _agree(config: Section, encoder: Section, vocoder: Section, dims: ModelDims) -> None:
    """ConfigError where two places give one dimension different values."""
    gpt, mels = dims.gpt, dims.audio.n_mels
    pairs = [
        (
            config,
            "semantic_codec.hidden_size",
            dims.semantic_encoder.hidden,
            f"hidden_size of {encoder.where}",
        ),
        (config, "s2mel.length_regulator.in_channels", dims.semantic_encoder.hidden, "the semantic width"),
        (config, "s2mel.DiT.in_channels", mels, "n_mels"),
        (config, "s2mel.DiT.content_dim", dims.regulator.channels, "length_regulator.channels"),
        (vocoder, "num_mels", mels, f"n_mels of {config.where}"),
        (vocoder, "sampling_rate", dims.audio.sample_rate, f"sr of {config.where}"),
    ]
    for section, key, expected, what in pairs:
        if section.at(key, expected) != expected:
            raise ConfigError(f"{section.where}: {key} is {section.at(key)!r}, but {what} is {expected}")
    if not 0 < gpt.heads <= gpt.dim or gpt.dim % gpt.heads:
        raise ConfigError(
            f"{config.where}: gpt.model_dim {gpt.dim} is not a multiple of gpt.heads {gpt.heads}"
        )
    if dims.codec.codebook_size < gpt.codes - 2:
        raise ConfigError(
            f"{config.where}: semantic_codec.codebook_size is {dims.codec.codebook_size}, but the code model speaks "
            f"{gpt.codes - 2} codes"
        )
    if max(gpt.start_code, gpt.stop_code) >= gpt.codes:
        raise ConfigError(f"{config.where}: gpt.stop_mel_token is outside the {gpt.codes} mel codes")


def _tuple(config: Section, path: str, default: tuple[int, ...]) -> tuple[int, ...]:
    value = config.at(path, list(default))
    if not isinstance(value, list) or not all(isinstance(v, int) and v > 0 for v in value):
        raise ConfigError(f"{config.where}: {path} is {value!r}, expected a list of whole numbers")
    return tuple(value)


def _mapping(value: Any, path: Path) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ConfigError(f"{path} holds a {type(value).__name__}, expected a table of settings")
    return value


def _text(path: Path) -> str:
    try:
        raw = path.read_bytes()
        if len(raw) > MOST_CONFIG_BYTES:
            raise ConfigError(f"{path} has {len(raw)} bytes, expected a configuration file")
        return raw.decode("utf-8")
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{path} is not UTF-8 text: byte {error.start} is 0x{raw[error.start]:02x}"
        ) from error
