"""A directory in the official layout with random weights, at tiny or at official dimensions: to try everything but the sound.

    python -m scripts.random_checkpoint --size tiny|official --out DIR [--seed N]
    -> DIR/config.yaml, gpt.pth, s2mel.pth, ... as tts_trt/official/layout.py lists them

Keys, nesting and formats are those of the published files. Values are drawn so that activations stay within a few units
through any depth, and half precision holds them; layers that upstream does not use are there too.
"""

from __future__ import annotations

import argparse
import io
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import save_file
from torch import nn

from scripts.official_config import encoder_config, to_yaml, vocoder_config
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
)
from tts_trt.model.keys import DERIVED
from tts_trt.model.official import MODULES, SOURCES, expected, unfilled
from tts_trt.official.config import USED_LAYER
from tts_trt.official.layout import BY_NAME

TINY = ModelDims(
    name="indextts2",
    emotion_rows=(1, 2, 1, 1, 1, 1, 1, 2),
    audio=AudioDims(),
    semantic_encoder=SemanticEncoderDims(
        hidden=16, layers=2, heads=2, ffn=24, conv_kernel=5, left_positions=8, right_positions=4
    ),
    codec=CodecDims(codebook_size=30, codebook_dim=4, vocos_dim=12, vocos_ffn=20, vocos_layers=2),
    style=StyleDims(embedding=12, growth=4, bottleneck=2, init_channels=16),
    gpt=GptDims(
        dim=32,
        layers=2,
        heads=2,
        text_tokens=300,
        max_text=60,
        codes=32,
        max_codes=60,
        start_code=30,
        stop_code=31,
        speaker=ConformerDims(width=16, ffn=24, heads=2, blocks=1),
        emotion=ConformerDims(width=12, ffn=20, heads=2, blocks=1),
    ),
    regulator=RegulatorDims(channels=24, codebook_size=4),
    flow=FlowDims(dim=32, heads=2, depth=3, wavenet_dim=32, wavenet_layers=2, codebook_size=4),
    vocoder=VocoderDims(
        upsample_rates=(8, 8, 4),
        upsample_kernels=(16, 16, 8),
        initial_channels=32,
        resblock_kernels=(3,),
        resblock_dilations=((1, 3),),
    ),
)
OFFICIAL = ModelDims()
SIZES = {"tiny": TINY, "official": OFFICIAL}

PUBLISHED_LAYERS = 24
"""Of the semantic encoder, of which 17 are in use; a smaller one has no more than are used."""

WRAPPED = {"gpt": None, "s2mel": "net", "vocoder": "generator"}
"""Part -> top key of its file."""

SMALLEST_CHINESE = 100  # pieces
LEARNT = "the quick brown fox jumps over a lazy dog while heavy rain falls and nobody minds the time of day"


def write_checkpoint(
    folder: Path,
    dims: ModelDims,
    seed: int = 0,
    given: Mapping[str, Mapping[str, torch.Tensor]] | None = None,
) -> None:
    """Write every part. ``given``: module -> tensors that take the place of random ones, by the module's keys."""
    used = dims.semantic_encoder.layers
    above = PUBLISHED_LAYERS - used if used == USED_LAYER else 0
    folder.mkdir(parents=True, exist_ok=True)
    _write_configs(folder, dims, above)
    (folder / "bpe.model").write_bytes(piece_model(dims.gpt.text_tokens))
    for name in MODULES:
        module = random_module(dims, name, seed)
        if given and name in given:
            module.load_state_dict(dict(given[name]), strict=False)
        for part, source in SOURCES.items():
            if source.module == name:
                _write_part(folder, part, module, above)


def random_module(dims: ModelDims, name: str, seed: int = 0) -> nn.Module:
    """A module of the family with values that keep signals at their size: see ``_draw``."""
    module = unfilled(name, dims)
    generator = torch.Generator().manual_seed(seed + zlib.crc32(name.encode()))
    with torch.no_grad():
        for key, value in module.state_dict(keep_vars=True).items():
            if value.is_floating_point() and not key.endswith(DERIVED):
                _draw(key, value, generator)
    return module.eval()


SMALL_STEPS = (
    "c_proj.weight",
    "output_dense.weight",
    "linear_out.weight",
    "w_2.weight",
    "pointwise_conv2.weight",
)
"""Last layer of a branch that is added to its input: quiet, so that depth does not add up."""


def _draw(key: str, value: torch.Tensor, generator: torch.Generator) -> None:
    """Gains near 1, biases near 0, variances positive; matrices by the number of values that a sum runs over."""
    value.normal_(generator=generator)
    if key.endswith(("running_var", "stat_var")):
        value.mul_(0.1).abs_().add_(0.9)
    elif key == "conv_post.weight_g":  # the wave's level: loud enough to be heard, far from full scale
        value.fill_(0.02)
    elif key.endswith("weight_g") or (value.dim() == 1 and key.endswith(("weight", "gamma"))):
        value.mul_(0.1).add_(1.0)
    elif key.endswith(("alpha", "beta")):  # exponents of the vocoder's periodic activation
        value.mul_(0.1)
    elif value.dim() < 2:
        value.mul_(0.02)
        if key.endswith("project_layer.bias"):  # gain and shift of an adaptive norm
            value[: len(value) // 2] += 1.0
    elif "t_embedder" in key:  # every gain and shift of the flow hangs on it
        value.mul_(0.3 / value.shape[1] ** 0.5)
    elif ("embed" in key and value.dim() == 2) or key.endswith(("latents", "matrix", "codebook.weight")):
        value.mul_(0.3)
    else:
        fan = value.shape[0] if key.startswith("gpt.h.") else value[0].numel()
        value.mul_((0.3 if key.endswith(SMALL_STEPS) else 0.8) / fan**0.5)


def _write_configs(folder: Path, dims: ModelDims, above: int) -> None:
    (folder / BY_NAME["config"].path).write_text(yaml.safe_dump(to_yaml(dims), sort_keys=False))
    layers = dims.semantic_encoder.layers + above
    for part, values in (
        ("w2v_config", encoder_config(dims, layers)),
        ("vocoder_config", vocoder_config(dims)),
    ):
        path = folder / BY_NAME[part].path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values, indent=2))


def _write_part(folder: Path, part: str, module: nn.Module, above: int) -> None:
    """One file as its publisher writes it."""
    source, path = SOURCES[part], folder / BY_NAME[part].path
    path.parent.mkdir(parents=True, exist_ok=True)
    back = {inner: outer for outer, inner in (source.places or {}).items()}
    tensors = {back.get(key, key): value.detach() for key, value in expected(part, module).items()}
    if part == "w2v":
        tensors |= dict(_upper_layers(tensors, above))
    if path.suffix == ".safetensors":
        save_file({key: value.contiguous() for key, value in tensors.items()}, path)
    elif set(tensors) == {""}:
        torch.save(tensors[""], path)
    elif part == "s2mel":
        modules: dict[str, Any] = {}
        for key, value in tensors.items():
            modules.setdefault(key.split(".")[0], {})[key.partition(".")[2]] = value
        torch.save({"net": modules, "epoch": 0}, path)
    else:
        torch.save({WRAPPED[part]: tensors} if WRAPPED.get(part) else tensors, path)


def _upper_layers(tensors: Mapping[str, torch.Tensor], above: int) -> Iterator[tuple[str, torch.Tensor]]:
    """What the published encoder has above the layers in use, and its mask embedding."""
    used = [key for key in tensors if key.startswith("encoder.layers.0.")]
    most = 1 + max(int(key.split(".")[2]) for key in tensors if key.startswith("encoder.layers."))
    for layer in range(most, most + above):
        for key in used:
            yield key.replace("layers.0.", f"layers.{layer}.", 1), torch.zeros_like(tensors[key])
    yield "masked_spec_embed", torch.zeros(tensors["feature_projection.projection.bias"].shape)


def piece_model(pieces: int, texts: Iterable[str] = ()) -> bytes:
    """A sentencepiece model of at most ``pieces`` pieces with <s> as 0 and </s> as 1, as the published one has them."""
    import sentencepiece

    made = io.BytesIO()
    chinese = ["你 好 世 界 今 天 天 气 很 好 二 零 四 年 五 月 一 日"] if pieces >= SMALLEST_CHINESE else []
    lines = [LEARNT.upper(), *chinese, *texts] * 20
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines),
        model_writer=made,
        vocab_size=pieces,
        hard_vocab_limit=False,
        model_type="bpe",
        bos_id=0,
        eos_id=1,
        unk_id=2,
        user_defined_symbols=[",", ".", "!", "?", "'", *"ABCDEFGHIJKLMNOPQRSTUVWXYZ"],
        normalization_rule_name="identity",
        minloglevel=2,
    )
    return made.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", choices=SIZES, default="tiny")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(1)
    write_checkpoint(args.out, SIZES[args.size], args.seed)
    for path in sorted(p for p in args.out.rglob("*") if p.is_file()):
        print(f"{path.stat().st_size / 1e6:10.3f} MB  {path.relative_to(args.out)}")


if __name__ == "__main__":
    main()
