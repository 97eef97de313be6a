"""Strict loading: every key of a checkpoint is accounted for, or one error lists all that are not."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from tts_trt.errors import WeightsError
from tts_trt.model.family import TtsModel
from tts_trt.models import ModelFolder, read_dims

DERIVED = ("pos_enc.pe", "input_pos", ".freqs", "num_batches_tracked", "lowpass.filter", "upsample.filter")
"""Endings of buffers that follow from the dimensions: checkpoints may carry them or not."""

UNUSED = ("semantic_codec.decoder.", "gpt.text_head.")
"""Modules that only training needs: a checkpoint may leave them out."""

SHOWN = 8  # offending keys an error names before it counts the rest


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
    problems = [
        f"{len(keys)} {what}: {', '.join(keys[:SHOWN])}{' ...' if len(keys) > SHOWN else ''}"
        for what, keys in (("missing", missing), ("unexpected", unexpected), ("mis-shaped", shapes))
        if keys
    ]
    if problems:
        raise WeightsError(
            f"{where} does not fit the model's dimensions: " + "; ".join(problems),
            hint="check that config.json and the weights belong together",
        )
    module.load_state_dict(
        {k: v for k, v in tensors.items() if k in own and not k.endswith(DERIVED)}, strict=False
    )


def load_model(folder: ModelFolder) -> TtsModel:
    """The model of a folder, in eval mode."""
    dims = read_dims(folder)
    path = folder.weights
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise WeightsError(
            f"{path} cannot be read: {error}", hint="restore the file; it may be cut short"
        ) from error
    model = TtsModel(dims)
    load_strictly(model, tensors, str(path))
    return model.eval()
