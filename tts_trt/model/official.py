"""An official directory into our modules: which file fills which module, and an account of every key of every file.

Modules bear the names of the checkpoints' keys, so loading is a comparison, not a translation. What is missing, unexpected,
mis-shaped or not a number in any of the files comes in one error, so that a bad download is mended in one go.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from tts_trt.dims import ModelDims
from tts_trt.errors import WeightsError
from tts_trt.model.checkpoint import read_tensors
from tts_trt.model.code_model import CodeModel
from tts_trt.model.codec import SemanticCodec
from tts_trt.model.emotion import EmotionMatrix
from tts_trt.model.family import MelStage, TtsModel
from tts_trt.model.keys import DERIVED, UNUSED, listed
from tts_trt.model.semantic import SemanticEncoder
from tts_trt.model.style import StyleEncoder
from tts_trt.model.vocoder import Vocoder

MODULES: dict[str, Callable[[ModelDims], nn.Module]] = {
    "semantic_encoder": lambda d: SemanticEncoder(d.semantic_encoder),
    "semantic_codec": lambda d: SemanticCodec(d.semantic_encoder.hidden, d.codec),
    "style_encoder": lambda d: StyleEncoder(d.style),
    "gpt": CodeModel,
    "emotion": lambda d: EmotionMatrix(d.emotion_rows, d.style.embedding, d.gpt.dim),
    "s2mel": MelStage,
    "vocoder": lambda d: Vocoder(d.vocoder, d.audio.n_mels),
}
"""Module of the family -> how it is made."""

NEEDS: dict[str, tuple[str, ...]] = {
    "conditioner": ("gpt", "emotion"),
    "prompt": ("gpt",),
    "sampler": ("gpt",),
    "code_embedding": ("gpt",),
    "mel_condition": ("semantic_codec", "s2mel"),
    "flow_step": ("s2mel",),
}
"""Graph -> modules it is exported from; a graph that is not here, from the module of its name."""


@dataclass(frozen=True)
class Source:
    """One file of the directory. ``places``: key in the file -> key in the module, where they differ."""

    module: str
    unwrap: str | None = None
    places: Mapping[str, str] | None = None
    ignored: str = r"(?!)"  # keys that inference has no use for


SOURCES: dict[str, Source] = {
    "gpt": Source("gpt", "model", ignored=r"gpt\.h\.\d+\.attn\.(masked_)?bias"),
    "s2mel": Source("s2mel", "net"),
    "codec": Source("semantic_codec"),
    "style": Source("style_encoder", "state_dict"),
    "w2v": Source("semantic_encoder", ignored=r"masked_spec_embed|adapter\..*"),
    "statistics": Source("semantic_encoder", places={"mean": "stat_mean", "var": "stat_var"}),
    "vocoder": Source("vocoder", "generator"),
    "speakers": Source("emotion", places={"": "speaker_matrix"}),
    "emotions": Source("emotion", places={"": "emotion_matrix"}),
}
_LAYER = re.compile(r"encoder\.layers\.(\d+)\.")


class _Unfilled(TorchFunctionMode):
    """Parameters keep the memory they are given: what is loaded over them need not be drawn at random first."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if getattr(func, "__module__", None) == "torch.nn.init":
            return args[0] if args else (kwargs or {})["tensor"]
        return func(*args, **(kwargs or {}))


def unfilled(name: str, dims: ModelDims) -> nn.Module:
    """A module of the family whose buffers are as they should be and whose parameters hold whatever was in memory."""
    with _Unfilled():
        return MODULES[name](dims)


def modules_of(graph: str) -> tuple[str, ...]:
    return NEEDS.get(graph, (graph,))


def load_official(dims: ModelDims, files: Mapping[str, Path], graph: str | None = None) -> TtsModel:
    """The model, in eval mode; with ``graph``, only what that graph is made of takes memory. WeightsError as one list."""
    wanted = tuple(MODULES) if graph is None else modules_of(graph)
    with torch.device("meta"):
        model = TtsModel(dims)
    problems: list[str] = []
    for name in wanted:
        module = unfilled(name, dims)
        tensors: dict[str, torch.Tensor] = {}
        for part, source in SOURCES.items():
            if source.module == name:
                found, wrong = _read(part, files[part], module)
                tensors |= found
                problems += wrong
        if not problems:
            module.load_state_dict(tensors, strict=False, assign=True)
            setattr(model, name, module.requires_grad_(False))
    if problems:
        raise WeightsError(
            "the checkpoints do not fit config.yaml:\n  " + "\n  ".join(problems),
            hint="download the files named again, all from the same release",
        )
    return model.eval()


def _read(part: str, path: Path, module: nn.Module) -> tuple[dict[str, torch.Tensor], list[str]]:
    """Tensors by module key, float32, and what is wrong with the file."""
    source = SOURCES[part]
    try:
        raw = read_tensors(path, source.unwrap)
    except WeightsError as error:
        return {}, [str(error).partition("\n")[0]]
    places = source.places or {}
    tensors = {places.get(key, key): value for key, value in raw.items()}
    own = expected(part, module)
    known = {key for key in tensors if key in own}
    if not known:
        return {}, [
            f"{path} holds none of the expected tensors, but {_sample(raw)}: another file under this name?"
        ]
    ignored = {key for key in tensors if key not in own and _is_ignored(part, key, module)}
    wrong = listed(
        missing=[key for key in own if key not in tensors and not key.endswith(DERIVED) and not _is_unused(part, key)],
        unexpected=[key for key in tensors if key not in own and key not in ignored],
        **{"mis-shaped": [
            f"{key} {tuple(tensors[key].shape)}, expected {tuple(own[key].shape)}"
            for key in own if key in known and tensors[key].shape != own[key].shape
        ]},
        **{"of another type": [
            f"{key} {tensors[key].dtype}" for key in known if tensors[key].is_floating_point() != own[key].is_floating_point()
        ]},
    )  # fmt: skip
    kept = {key: tensors[key] for key in known if not key.endswith(DERIVED)}
    if not wrong:
        wrong = listed(**{"not finite": [k for k, v in kept.items() if not _is_finite(v)]})
    if wrong:
        return {}, [f"{path}: {'; '.join(wrong)}"]
    return {k: v.float() if v.is_floating_point() else v for k, v in kept.items()}, []


def expected(part: str, module: nn.Module) -> dict[str, torch.Tensor]:
    """What the file of a part fills of its module's state."""
    source, state = SOURCES[part], module.state_dict()
    if source.places:
        return {key: state[key] for key in source.places.values()}
    elsewhere = {
        key for other in SOURCES.values() if other.module == source.module and other.places for key in other.places.values()
    }  # fmt: skip
    return {key: value for key, value in state.items() if key not in elsewhere}


def _is_unused(part: str, key: str) -> bool:
    return f"{SOURCES[part].module}.{key}".startswith(UNUSED)


def _is_ignored(part: str, key: str, module: nn.Module) -> bool:
    if key.endswith(DERIVED) or re.fullmatch(SOURCES[part].ignored, key):
        return True
    layer = _LAYER.match(key) if isinstance(module, SemanticEncoder) else None
    return layer is not None and isinstance(module, SemanticEncoder) and int(layer[1]) >= module.dims.layers


def _is_finite(value: torch.Tensor) -> bool:
    # one pass without a mask as large as the weight: a sum over absolute values is finite only if all are
    return (
        not value.is_floating_point() or bool(torch.isfinite(value.float().abs().amax()))
        if value.numel()
        else True
    )


def _sample(raw: Mapping[str, torch.Tensor]) -> str:
    names = [key or "a lone tensor" for key in list(raw)[:2]]
    return f"{len(raw)} others ({', '.join(names)})" if raw else "nothing"
