"""A bundle: one directory of engines and voice assets with a ``manifest.json`` that accounts for every byte.

    with BundleWriter(Path("engines/nano-fp16")) as bundle:
        build_into(bundle.path("gpt.plan"))
        bundle.seal(model=..., precision="fp16", ...)      # hashes every file, writes the manifest

    manifest = load_manifest(directory)
    verify_files(directory, manifest)                      # before anything is deserialised
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import stat
from collections.abc import Mapping
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    StringConstraints,
    ValidationError,
    model_validator,
)

from tts_trt.atomic import DISK_ERRORS, atomic_directory, write_atomic
from tts_trt.errors import BundleError

SCHEMA_VERSION = 1
MANIFEST = "manifest.json"
SIGNATURE = "manifest.sig"


def _bundle_path(text: str) -> str:
    parts = PurePosixPath(text).parts
    plain = text == "/".join(parts) and not {".", ".."} & set(parts) and not set(text) & set("\\\0:")
    if not text or text.startswith("/") or not plain or text in (MANIFEST, SIGNATURE):
        raise ValueError(f"{text!r} is not a plain relative path inside the bundle")
    return text


def _finite(figures: dict[str, JsonValue]) -> dict[str, JsonValue]:
    json.dumps(figures, allow_nan=False)
    return figures


Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
BundlePath = Annotated[str, AfterValidator(_bundle_path)]
Name = Annotated[str, StringConstraints(min_length=1)]
Shape = tuple[int, ...]


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
    gpu: str | None
    sm: str | None
    driver: str | None
    platform: str
    cpu: str


class GraphEntry(_Record):
    name: Name
    file: BundlePath
    onnx_sha256: Sha256
    dtypes: dict[str, int]  # type -> layers that compute in it
    profiles: tuple[dict[str, tuple[Shape, Shape, Shape]], ...]  # tensor -> min, opt, max shape


class FileEntry(_Record):
    sha256: Sha256
    bytes: Annotated[int, Field(ge=0)]


class Assets(_Record):
    dims: BundlePath | None = None
    tokenizer: BundlePath | None = None
    voices: dict[str, BundlePath] = {}


class Manifest(_Record):
    schema_version: Literal[1] = 1
    created: AwareDatetime
    tts_trt: Name
    model: ModelRef
    precision: Name
    recipe: RecipeRef | None = None
    executor: ExecutorRef
    host: Host
    latents: Literal["exact", "one-pass"]
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
        raise BundleError(f"the bundle has no graph {name!r}; it has {', '.join(g.name for g in self.graphs)}")


def sha256_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fingerprint(inputs: Mapping[str, object]) -> str:
    """SHA-256 over named inputs, in any order: JSON values by value, bytes and Paths by content. TypeError for
    anything else. Two builds with equal fingerprints would produce the same artefact."""

    def encode(value: object) -> object:
        if isinstance(value, Path):
            return {"sha256 of file": sha256_file(value)}
        if isinstance(value, bytes):
            return {"sha256 of bytes": hashlib.sha256(value).hexdigest()}
        raise TypeError(f"fingerprint of {type(value).__name__}")

    text = json.dumps(dict(inputs), sort_keys=True, default=encode, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


class BundleWriter:
    """Collects files beside ``target`` and swaps them in, sealed, when the block ends. Until then, and after any
    exception or kill, a bundle already at ``target`` is untouched. BundleError when the disk is full or when the
    block ends without ``seal``."""

    def __init__(self, target: Path) -> None:
        self.target = target
        self._stack = ExitStack()
        self._sealed = False

    def __enter__(self) -> Self:
        target = self.target
        if target.is_symlink() or (target.exists() and not (target / MANIFEST).is_file() and any(target.iterdir())):
            raise BundleError(f"{target} exists and is not a bundle", hint="choose another --out, or remove it")
        try:
            self._folder = self._stack.enter_context(atomic_directory(target))
        except OSError as error:
            raise BundleError(f"cannot write beside {target}: {error}") from error
        return self

    def path(self, relative: str) -> Path:
        """Where to write a file of the bundle; its folder exists."""
        try:
            path = self._folder / _bundle_path(relative)
        except ValueError as error:
            raise BundleError(str(error)) from error
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def add(self, relative: str, source: Path) -> None:
        shutil.copyfile(source, self.path(relative))

    def seal(self, **fields: Any) -> Manifest:
        """``fields`` of the manifest, all but ``files``, which is taken from the disk."""
        files = {
            name: FileEntry(sha256=sha256_file(path), bytes=path.stat().st_size)
            for name, path in _walk(self._folder).items()
            if name != MANIFEST
        }
        try:
            manifest = Manifest(files=files, **fields)
        except ValidationError as error:
            raise BundleError(f"the manifest does not fit its schema: {_first_problem(error)}") from error
        write_atomic(self._folder / MANIFEST, [manifest.model_dump_json(indent=2).encode(), b"\n"])
        self._sealed = True
        return manifest

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None and not self._sealed:
            error = BundleError(f"{self.target} was never sealed")
            self._stack.__exit__(type(error), error, None)
            raise error
        try:
            self._stack.__exit__(kind, error, traceback)
        except OSError as failure:
            raise BundleError(f"cannot write {self.target}: {failure}") from failure
        if isinstance(error, OSError) and error.errno in DISK_ERRORS:
            raise BundleError(
                f"cannot write {self.target}: {error.strerror}", hint="free some space, or choose another --out"
            ) from error


def load_manifest(directory: Path) -> Manifest:
    path = directory / MANIFEST
    try:
        raw = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise BundleError(f"{directory} is not a bundle: it has no {MANIFEST}", hint="tts-trt build") from error
    except (OSError, ValueError, RecursionError) as error:
        raise BundleError(f"{path} cannot be read: {error}", hint="tts-trt build") from error
    version = raw.get("schema_version") if isinstance(raw, dict) else None
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise BundleError(
            f"{path} has schema {version}; this tts_trt knows up to {SCHEMA_VERSION}", hint="upgrade tts_trt"
        )
    try:
        return Manifest.model_validate(raw)
    except ValidationError as error:
        raise BundleError(f"{path} does not fit its schema: {_first_problem(error)}") from error


def verify_files(directory: Path, manifest: Manifest) -> None:
    """BundleError naming the first file that is missing, extra, of another size or of another content."""
    found = _walk(directory)
    extra = sorted(found.keys() - manifest.files.keys() - {MANIFEST, SIGNATURE})
    if extra:
        raise BundleError(f"{directory / extra[0]} is not in the manifest")
    for name, entry in manifest.files.items():
        if name not in found:
            raise BundleError(f"{directory / name} is missing", hint="tts-trt build")
        size = found[name].stat().st_size
        if size != entry.bytes:
            raise BundleError(f"{directory / name}: {size} bytes, expected {entry.bytes}", hint="tts-trt build")
        digest = sha256_file(found[name])
        if digest != entry.sha256:
            raise BundleError(
                f"{directory / name}: SHA-256 {digest}, expected {entry.sha256}", hint="tts-trt build"
            )
