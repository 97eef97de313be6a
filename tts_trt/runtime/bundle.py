"""What a synthesizer is made of, and how it is read from a bundle directory.

BUNDLE/manifest.json          every file with its hash: checked before anything is opened
BUNDLE/graphs/<graph>.onnx    (+ .onnx.data), or <graph>.plan
BUNDLE/assets/                config.json, voices/<name>.wav; tokenizer.json, lexicon.json, durations.json, or bpe.model
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tts_trt.artifacts import REBUILD, load_manifest, verify_files
from tts_trt.dims import ModelDims, from_dict
from tts_trt.errors import BundleError, EngineError
from tts_trt.frontend.opening import Tokenizer, open_tokenizer
from tts_trt.manifest import Manifest
from tts_trt.runtime.engine import Engines
from tts_trt.runtime.executors import AUTO, TENSORRT, open_engines
from tts_trt.spec import GraphSpec, Limits, graph_specs


@dataclass(frozen=True)
class OpenBundle:
    """Engines and assets of one model; whoever holds it closes the engines."""

    engines: Engines
    dims: ModelDims
    tokenizer: Tokenizer
    voices: Mapping[str, Path] = field(default_factory=dict)  # name -> recording
    limits: Limits = field(default_factory=Limits)


def open_bundle(folder: Path | str, *, threads: int = 0, device: str = AUTO) -> OpenBundle:
    """BundleError for a damaged bundle, EngineError for graphs that do not keep their contract or cannot run here."""
    folder = Path(folder)
    manifest = verified(folder)
    dims, limits = dims_of(folder, manifest), limits_of(manifest)
    tokenizer = open_tokenizer(folder / (manifest.assets.tokenizer or "assets/tokenizer.json"))
    if len(tokenizer) > dims.gpt.text_tokens + 1:
        raise BundleError(
            f"the tokenizer has {len(tokenizer)} ids, the model {dims.gpt.text_tokens + 1}", hint=REBUILD
        )
    voices = {name: folder / file for name, file in manifest.assets.voices.items()}
    engines = open_engines(folder, manifest, graph_specs(dims, limits), threads=threads, device=device)
    return OpenBundle(engines, dims, tokenizer, voices, limits)


def obstacle(folder: Path, manifest: Manifest) -> str | None:
    """Why the engines of a verified bundle cannot run on this machine, in words; None where they can, as far as the
    smallest of them tells."""
    if manifest.executor.name not in TENSORRT:
        return None
    limits = limits_of(manifest)
    specs = {"prompt": graph_specs(dims_of(folder, manifest), limits)["prompt"]}
    try:
        with open_engines(folder, manifest, specs):
            return None
    except EngineError as error:
        return str(error)


def _config(folder: Path, manifest: Manifest) -> Path:
    return folder / (manifest.assets.dims or "assets/config.json")


def dims_of(folder: Path, manifest: Manifest) -> ModelDims:
    config = _config(folder, manifest)
    try:
        return from_dict(ModelDims, json.loads(config.read_bytes()), config.name)
    except (OSError, ValueError) as error:
        raise BundleError(f"{config} cannot be read: {error}", hint=REBUILD) from error


def limits_of(manifest: Manifest) -> Limits:
    return from_dict(Limits, manifest.limits, "limits")


def verified(folder: Path) -> Manifest:
    """The manifest of a bundle all of whose files are as it says; BundleError otherwise."""
    manifest = load_manifest(folder)
    verify_files(folder, manifest)
    return manifest


def load_engines(
    folder: Path, specs: Mapping[str, GraphSpec], *, threads: int = 0, device: str = AUTO
) -> Engines:
    """The engines of a bundle, every file of it verified before one is opened."""
    return open_engines(folder, verified(folder), specs, threads=threads, device=device)
