"""What calibration results belong to, and how the files that hold them are read.

Scales fit one set of weights, exported as particular graphs, fed with one corpus. Every file of calibration
results carries their SHA-256, and is refused where one of them differs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from tts_trt.artifacts import sha256_file
from tts_trt.errors import ConfigError, QuantError
from tts_trt.manifest import Name, Sha256

CALIBRATE = "tts-trt calibrate"
STRICT = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


@dataclass(frozen=True)
class Binding:
    """SHA-256, in hexadecimal, of the weights, of each FP32 graph's ONNX file by its name, and of the corpus."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    model: Sha256
    graphs: dict[Name, Sha256]
    corpus: Sha256

    @classmethod
    def of(cls, weights: Path | str, graphs: Mapping[str, Path], corpus: str) -> Self:
        """Of files on the disk; ``corpus``, and ``weights`` of more than one file, are SHA-256 already."""
        model = sha256_file(weights) if isinstance(weights, Path) else weights
        return cls(model, {name: sha256_file(path) for name, path in graphs.items()}, corpus)

    def only(self, graph: str) -> Self:
        """The part that concerns one graph. QuantError if it is not among ``graphs``."""
        if graph not in self.graphs:
            raise QuantError(
                f"graph {graph} was not calibrated; these were: {', '.join(sorted(self.graphs))}"
            )
        return type(self)(self.model, {graph: self.graphs[graph]}, self.corpus)

    def check(self, present: Binding, what: str) -> None:
        """QuantError unless ``what``, bound to this, fits what is present: the same model and corpus, and every
        graph that is present. Graphs bound here but not present do not matter."""
        pairs = {"model": (self.model, present.model), "corpus": (self.corpus, present.corpus)}
        for graph, digest in present.graphs.items():
            pairs[f"graph {graph}"] = (self.graphs.get(graph, "nothing"), digest)
        wrong = [
            f"{name} (made with {made[:12]}, found {found[:12]})"
            for name, (made, found) in pairs.items()
            if made != found
        ]
        if wrong:
            raise QuantError(f"{what} belongs to another {', '.join(wrong)}", hint=CALIBRATE)


class Record(BaseModel):
    """A JSON file: unknown keys, other types than declared, NaN and infinities are refused."""

    model_config = STRICT

    def to_bytes(self) -> bytes:
        return self.model_dump_json(indent=1).encode() + b"\n"


AnyRecord = TypeVar("AnyRecord", bound=Record)


def parse_record(kind: type[AnyRecord], data: bytes, source: Path) -> AnyRecord:
    """ConfigError naming ``source`` and the first thing that does not fit."""
    try:
        return kind.model_validate_json(data)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        place = ".".join(map(str, problem["loc"])) or "the file"
        raise ConfigError(f"{source}: {place}: {problem['msg']}", hint=CALIBRATE) from error


def read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}", hint=CALIBRATE) from error
