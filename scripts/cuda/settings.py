"""What every section is told, and at what sizes it measures."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
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
)
from tts_trt.doctor import read_gpus
from tts_trt.spec import Limits

Report = Callable[[dict[str, Any]], None]
"""Takes what a section has found so far; kept should it not end well."""

EXECUTORS = {"tensorrt-rtx": "tensorrt_rtx", "tensorrt": "tensorrt", "onnxruntime": "onnxruntime"}
"""Executor -> the package it needs."""

NO_CUDA = "no CUDA device here"
GROWTH_BYTES = 1 << 20
"""More than this between the middle and the end of a soak is growth."""


class NotHere(Exception):
    """Something a section needs is not on this machine; that is its result."""


@dataclass(frozen=True)
class Settings:
    small: bool
    folder: str  # of prepared graphs
    bundles: tuple[str, ...]
    document: str  # what earlier sections found
    deadline: float = 0.0  # time.time() at which the section is stopped

    def left(self) -> float:
        """Seconds."""
        return self.deadline - time.time()

    @property
    def sizes(self) -> Sizes:
        return SMALL if self.small else OFFICIAL

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Sizes:
    dims: ModelDims
    limits: Limits  # of the code model and its sampler
    acoustic_limits: Limits  # of flow and vocoder
    observed: dict[str, int]  # axes of the batch that activation scales come from
    batches: tuple[int, ...]
    plain_batches: tuple[int, ...]  # without CUDA graphs
    acoustic_batches: tuple[int, ...]
    position: int  # rows of the prompt: the slot of the first measured step
    steps: int  # measured decode steps of a case
    frames: dict[str, int]  # graph -> mel frames
    copy_bytes: int
    requests: int
    decodes: int


OFFICIAL = Sizes(
    dims=ModelDims(),
    limits=Limits(batch=16, text=195),  # 37 + 195 prompt rows, 1815 codes and the stop code: 2048 slots
    acoustic_limits=Limits(batch=4),
    observed={"B": 1, "S": 32, "T": 48},
    batches=(1, 8, 4, 2, 16),
    plain_batches=(1, 8),
    acoustic_batches=(1, 4),
    position=200,
    steps=200,
    frames={"flow_step": 1024, "vocoder": 512},
    copy_bytes=2 << 30,
    requests=4,
    decodes=2000,
)

_CONFORMER = ConformerDims(width=16, ffn=24, heads=2, blocks=1, conv_kernel=5)

SMALL = Sizes(
    dims=ModelDims(
        name="small",
        audio=AudioDims(reference_seconds=4.0),
        semantic_encoder=SemanticEncoderDims(hidden=16, layers=1, heads=2, ffn=24, conv_kernel=5),
        codec=CodecDims(codebook_size=62, codebook_dim=4, vocos_dim=12, vocos_ffn=20, vocos_layers=1),
        style=StyleDims(embedding=12, growth=4, bottleneck=2, init_channels=16),
        gpt=GptDims(
            dim=64,
            layers=2,
            heads=2,
            text_tokens=20,
            max_text=24,
            codes=64,
            max_codes=80,
            start_code=62,
            stop_code=63,
            latents=4,
            speaker=_CONFORMER,
            emotion=_CONFORMER,
        ),
        regulator=RegulatorDims(channels=24, codebook_size=4),
        flow=FlowDims(dim=32, heads=2, depth=3, wavenet_dim=32, wavenet_layers=1, codebook_size=4),
        vocoder=VocoderDims(
            upsample_rates=(16, 16),
            upsample_kernels=(32, 32),
            initial_channels=16,
            resblock_kernels=(3,),
            resblock_dilations=((1, 3),),
        ),
    ),
    limits=Limits(batch=2),
    acoustic_limits=Limits(batch=2),
    observed={"B": 1, "S": 8, "T": 12},
    batches=(1, 2),
    plain_batches=(1,),
    acoustic_batches=(1, 2),
    position=20,
    steps=20,
    frames={"flow_step": 16, "vocoder": 8},
    copy_bytes=1 << 20,
    requests=2,
    decodes=20,
)


def has_cuda() -> bool:
    """Asked of the driver: nothing heavy is imported."""
    return bool(read_gpus()[1])


def graph_file(settings: Settings, graph: str, scheme: str) -> Path:
    return Path(settings.folder) / graph / f"{scheme}.onnx"
