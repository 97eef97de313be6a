"""What ``manifest.json`` says about a bundle: where it comes from, where it runs, every file with its
hash."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Annotated, Final, Literal, Self

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    StringConstraints,
    model_validator,
)

from tts_trt.errors import BundleError

SCHEMA_VERSION: Final = 1
MANIFEST = "manifest.json"
SIGNATURE = "manifest.sig"


def bundle_path(text: str) -> str:
    """``text`` itself if it is a plain relative POSIX path that stays inside a bundle; ValueError
    otherwise."""
    parts = PurePosixPath(text).parts
    plain = text == "/".join(parts) and not {".", ".."} & set(parts) and not set(text) & set("\\\0:")
    if not parts or text.startswith("/") or not plain or text in (MANIFEST, SIGNATURE):
        raise ValueError(f"{text!r} is not a plain relative path inside the bundle")
    return text


def _finite(figures: dict[str, JsonValue]) -> dict[str, JsonValue]:
    json.dumps(figures, allow_nan=False)
    return figures


def _utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError as error:
        raise ValueError(f"{moment.isoformat()} is outside the years 1 to 9999 in UTC") from error


Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
BundlePath = Annotated[str, AfterValidator(bundle_path)]
Name = Annotated[str, StringConstraints(min_length=1)]
Count = Annotated[int, Field(ge=0)]
Shape = tuple[Count, ...]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ModelRef(_Record):
    name: Name
    weights_sha256: Sha256
    config_sha256: Sha256


class RecipeRef(_Record):
    name: Name
    sha256: Sha256 | None = None  # None: a built-in precision, which has no file


class ExecutorRef(_Record):
    name: Name
    version: Name


class Host(_Record):
    """The machine of the build; ``gpu``, ``sm`` and ``driver`` are None where there is no GPU."""

    gpu: str | None
    sm: str | None
    driver: str | None
    platform: str
    cpu: str


class GraphEntry(_Record):
    name: Name
    file: BundlePath
    onnx_sha256: Sha256
    dtypes: dict[str, Count]  # precision -> layers that compute in it
    profiles: tuple[dict[str, tuple[Shape, Shape, Shape]], ...]  # tensor -> min, opt, max shape


class FileEntry(_Record):
    sha256: Sha256
    bytes: Count


class Assets(_Record):
    dims: BundlePath | None = None
    tokenizer: BundlePath | None = None
    voices: dict[str, BundlePath] = {}  # voice name -> file


class Manifest(_Record):
    schema_version: Literal[1] = 1
    created: Annotated[AwareDatetime, AfterValidator(_utc)]
    tts_trt: Name  # version of this package
    model: ModelRef
    precision: Name
    recipe: RecipeRef | None = None
    executor: ExecutorRef
    host: Host
    latents: Literal["exact", "one-pass"]
    float_type: Literal["float32", "float16"]  # of the graphs' "float" inputs and outputs
    limits: dict[str, Count]  # batch, text and codes the graphs were built for; 0: the model's own maximum
    graphs: tuple[GraphEntry, ...]
    files: dict[BundlePath, FileEntry]
    corpus_sha256: Sha256 | None = None
    calibration_sha256: Sha256 | None = None
    verification: Annotated[dict[str, JsonValue], AfterValidator(_finite)] = {}
    assets: Assets = Assets()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        names = [graph.name for graph in self.graphs]
        if len(set(names)) < len(names):
            raise ValueError(f"graph names repeat: {', '.join(names)}")
        used = [g.file for g in self.graphs] + list(self.assets.voices.values())
        used += [path for path in (self.assets.dims, self.assets.tokenizer) if path]
        if missing := [path for path in used if path not in self.files]:
            raise ValueError(f"{', '.join(missing)} used but not listed under files")
        return self

    def graph(self, name: str) -> GraphEntry:
        for graph in self.graphs:
            if graph.name == name:
                return graph
        raise BundleError(
            f"the bundle has no graph {name!r}; it has {', '.join(g.name for g in self.graphs)}"
        )
