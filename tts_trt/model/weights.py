"""Strict loading: every key of a checkpoint is accounted for, or one error lists all that are not."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from tts_trt.errors import WeightsError
from tts_trt.model.family import TtsModel
from tts_trt.model.keys import DERIVED, UNUSED, listed
from tts_trt.model.official import load_official
from tts_trt.models import ModelFolder, OfficialFolder


def load_strictly(module: nn.Module, tensors: Mapping[str, torch.Tensor], where: str) -> None:
    """Copy ``tensors`` into ``module``. WeightsError lists missing, unexpected and mis-shaped keys at once."""
    own = module.state_dict()
    missing = [k for k in own if k not in tensors and not (k.endswith(DERIVED) or k.startswith(UNUSED))]
    unexpected = [k for k in tensors if k not in own and not k.endswith(DERIVED)]
    shapes = [
        f"{k} {tuple(tensors[k].shape)}, expected {tuple(own[k].shape)}"
        for k in own
        if k in tensors and tensors[k].shape != own[k].shape
    ]
    problems = listed(missing=missing, unexpected=unexpected, **{"mis-shaped": shapes})
    if problems:
        raise WeightsError(
            f"{where} does not fit the model's dimensions: " + "; ".join(problems),
            hint="check that config.json and the weights belong together",
        )
    module.load_state_dict(
        {k: v for k, v in tensors.items() if k in own and not k.endswith(DERIVED)}, strict=False
    )


def load_model(folder: ModelFolder, graph: str | None = None) -> TtsModel:
    """The model of a folder, in eval mode. An official directory can be asked for what one ``graph`` is made of alone."""
    if isinstance(folder, OfficialFolder):
        return load_official(folder.dims(), folder.official.weights, graph)
    path = folder.weights
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise WeightsError(
            f"{path} cannot be read: {error}", hint="restore the file; it may be cut short"
        ) from error
    model = TtsModel(folder.dims())
    load_strictly(model, tensors, str(path))
    return model.eval()
