"""Bundles for other services: checked first, opened when asked.

    bundle = Bundle.load("engines/nano-fp32-onnxruntime", require_signature="release.pem")
    with bundle.synthesizer(threads=1) as tts: ...                     # the whole pipeline
    with bundle.engines("gpt", "sampler") as engines: ...              # graphs by their contracts

The signature covers the manifest, the manifest's hashes cover every other file, and both are checked before anything is
deserialised. A check holds for the moment it is made: keep bundles where only their builder may write.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

from tts_trt.artifacts import load_manifest, verify_files, verify_signature
from tts_trt.dims import ModelDims
from tts_trt.errors import BundleError, UsageError
from tts_trt.manifest import SIGNATURE, Manifest
from tts_trt.runtime.bundle import dims_of, limits_of
from tts_trt.runtime.engine import Engines
from tts_trt.runtime.executors import AUTO, open_engines
from tts_trt.runtime.synthesizer import Synthesizer
from tts_trt.spec import GraphSpec, Limits, graph_specs

TRUSTED_KEYS = "TTS_TRT_TRUSTED_KEYS"
"""Environment variable that names the folder of trusted public keys; default: tts_trt/trusted-keys in the user's
configuration."""


@dataclass(frozen=True)
class Bundle:
    """A verified bundle directory, nothing of it opened yet."""

    folder: Path
    manifest: Manifest
    dims: ModelDims
    limits: Limits
    signed_by: Path | None  # the public key whose signature was required; None: none was

    @classmethod
    def load(cls, path: Path | str, *, require_signature: bool | Path | str = False) -> Self:
        """Every file of ``path`` checked against the manifest. ``require_signature``: a public key (PEM file), a folder of
        them, of which any will do, or True for the folder of trusted keys. BundleError for a bundle that is damaged, foreign,
        unsigned or signed by another, UsageError for keys that are not there."""
        folder = Path(path)
        signer = None if require_signature is False else _signer(folder, _public_keys(require_signature))
        manifest = load_manifest(folder)
        verify_files(folder, manifest)
        return cls(folder, manifest, dims_of(folder, manifest), limits_of(manifest), signer)

    @cached_property
    def specs(self) -> Mapping[str, GraphSpec]:
        """Contract of every graph: names, dtypes, axes and ranges of its tensors, in the order of the pipeline."""
        return graph_specs(self.dims, self.limits)

    @property
    def voices(self) -> tuple[str, ...]:
        return tuple(self.manifest.assets.voices)

    def synthesizer(self, *, threads: int = 0, device: str = AUTO) -> Synthesizer:
        """The whole pipeline, ready to speak; close it. EngineError where its engines cannot run here, BundleError when the
        files have changed since ``load``."""
        self._unchanged()
        return Synthesizer.from_bundle(self.folder, threads=threads, device=device)

    def engines(self, *graphs: str, threads: int = 0, device: str = AUTO) -> Engines:
        """These graphs, or all, each to be run by the names of its contract; close them. Errors as ``synthesizer``, and
        UsageError for a graph that the bundle does not have."""
        if unknown := [name for name in graphs if name not in self.specs]:
            raise UsageError(f"there is no graph {', '.join(unknown)}; there are {', '.join(self.specs)}")
        self._unchanged()
        verify_files(self.folder, self.manifest)
        wanted = {name: spec for name, spec in self.specs.items() if not graphs or name in graphs}
        return open_engines(self.folder, self.manifest, wanted, threads=threads, device=device)

    def _unchanged(self) -> None:
        """What is opened must be what was signed: files are checked against the manifest again on opening, and the manifest
        is held to the one of ``load`` here."""
        if load_manifest(self.folder) != self.manifest:
            raise BundleError(f"{self.folder} is another bundle than the one loaded", hint="load it again")


def trusted_keys() -> Path:
    """The folder of public keys that ``require_signature=True`` accepts."""
    config = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(os.environ.get(TRUSTED_KEYS) or Path(config) / "tts_trt" / "trusted-keys")


def _public_keys(named: bool | Path | str) -> dict[Path, bytes]:
    """Key file -> PEM; UsageError when there is none, or one that cannot be read."""
    place = trusted_keys() if isinstance(named, bool) else Path(named)
    files = sorted(place.glob("*.pem")) if place.is_dir() else [place]
    if not files or not place.exists():
        raise UsageError(f"there is no public key at {place}", hint="put one there: NAME.pem")
    try:
        return {file: file.read_bytes() for file in files}
    except OSError as error:
        raise UsageError(f"{error.filename} cannot be read: {error.strerror}") from error


def _signer(folder: Path, keys: Mapping[Path, bytes]) -> Path:
    """The key that signed the manifest."""
    refusals = []
    for file, key in keys.items():
        try:
            verify_signature(folder, key)
            return file
        except BundleError as error:
            refusals.append(error)
    if len(refusals) == 1 or not (folder / SIGNATURE).is_file():
        raise refusals[0]
    raise BundleError(f"{folder} is signed by none of {', '.join(file.name for file in keys)}")
