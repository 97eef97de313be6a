"""One table of activation thresholds feeds every int8 artefact: Q/DQ graphs, ONNX Runtime's and TensorRT's caches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import Field, StringConstraints

from tts_trt.atomic import write_atomic
from tts_trt.errors import QuantError
from tts_trt.manifest import Name
from tts_trt.quant.binding import CALIBRATE, Record, parse_record, read_bytes
from tts_trt.quant.binding import Binding as Binding
from tts_trt.quant.observe import TensorStats
from tts_trt.quant.thresholds import LARGEST
from tts_trt.quant.thresholds import METHODS as METHODS
from tts_trt.quant.thresholds import threshold as threshold

SMALLEST_SCALE = np.float32(2**-14)
"""6.1e-5, the smallest normal number of FP16: what FP16 graphs divide by must not vanish there."""

Method = Annotated[str, StringConstraints(pattern=f"^({'|'.join(METHODS)})$")]
Threshold = Annotated[float, Field(ge=0, le=float(np.finfo(np.float32).max))]
Thresholds = dict[Name, dict[Name, dict[Method, Threshold]]]
"""Graph -> tensor -> method -> threshold, the magnitude that becomes 127."""


@dataclass(frozen=True)
class ScaleTable:
    binding: Binding
    thresholds: Thresholds

    @classmethod
    def of(cls, stats: Mapping[str, Mapping[str, TensorStats]], binding: Binding) -> Self:
        """Thresholds by every method. QuantError naming a tensor without values."""
        thresholds: Thresholds = {}
        for graph, tensors in stats.items():
            thresholds[graph] = {}
            for tensor, found in tensors.items():
                try:
                    chosen = {method: threshold(found.histogram, method) for method in METHODS}
                except QuantError as error:
                    raise QuantError(f"{graph}, tensor {tensor}: {error.args[0]}", hint=error.hint) from error
                thresholds[graph][tensor] = chosen
        return cls(binding, thresholds)

    def scale(self, graph: str, tensor: str, method: str) -> np.float32:
        """threshold / 127, at least SMALLEST_SCALE. QuantError naming what the table lacks."""
        try:
            found = self.thresholds[graph][tensor][method]
        except KeyError as error:
            wanted = f"{method} of tensor {tensor} in graph {graph}"
            raise QuantError(
                f"the scale table has no {error.args[0]!r}, asked for {wanted}", hint=CALIBRATE
            ) from error
        return np.maximum(np.float32(found / LARGEST), SMALLEST_SCALE)

    def check(self, present: Binding) -> None:
        """QuantError naming which of model, corpus or graphs is another one than the table was made with."""
        self.binding.check(present, "the scale table")

    def save(self, path: Path) -> None:
        """JSON, sorted by name."""
        thresholds = {g: dict(sorted(tensors.items())) for g, tensors in sorted(self.thresholds.items())}
        write_atomic(path, [_File(binding=self.binding, thresholds=thresholds).to_bytes()])

    @classmethod
    def load(cls, path: Path) -> Self:
        """ConfigError for a file that is missing, cut short, or does not fit its schema."""
        file = parse_record(_File, read_bytes(path), path)
        return cls(file.binding, file.thresholds)


class _File(Record):
    format: Literal["tts-trt scales 1"] = "tts-trt scales 1"
    binding: Binding
    thresholds: Thresholds
