"""An official directory as a model folder: what is there, what is missing, what the rest of the package needs of it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tts_trt.dims import ModelDims, to_dict
from tts_trt.errors import UsageError
from tts_trt.official.config import Section, file_names, official_dims, read_json, read_yaml
from tts_trt.official.layout import BY_NAME, CONFIG, PARTS, Part, locate

MODEL_NAME = "indextts2"
WEIGHTS = ("gpt", "s2mel", "codec", "style", "w2v", "vocoder", "statistics", "speakers", "emotions")
"""Parts that hold tensors."""


@dataclass(frozen=True)
class Found:
    """One part of a directory. ``path`` is None where it is missing."""

    part: Part
    path: Path | None


class Official:
    """Reads lazily: a directory that lacks files can still be asked which."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def config(self) -> Section:
        return read_yaml(self.path / CONFIG)

    @cached_property
    def found(self) -> dict[str, Found]:
        """Every part by name. ConfigError for a config.yaml that cannot be read."""
        named = file_names(self.config) if (self.path / CONFIG).is_file() else {}
        return {part.name: Found(part, locate(self.path, part, named.get(part.name))) for part in PARTS}

    def missing(self) -> list[Part]:
        """Parts that are needed and not there."""
        return [found.part for found in self.found.values() if found.path is None and found.part.needed]

    def file(self, name: str) -> Path:
        """Where a part is. UsageError lists everything that the directory lacks."""
        if (path := self.found[name].path) is None:
            missing = self.missing() or [BY_NAME[name]]
            raise UsageError(
                f"{self.path} lacks {', '.join(part.path for part in missing)}",
                hint=f"tts-trt doctor --model {self.path} tells where they come from",
            )
        return path

    @cached_property
    def dims(self) -> ModelDims:
        encoder, vocoder = (read_json(self.file(name)) for name in ("w2v_config", "vocoder_config"))
        return official_dims(self.config, encoder, vocoder, MODEL_NAME)

    @property
    def weights(self) -> dict[str, Path]:
        return {name: self.file(name) for name in WEIGHTS}

    def dims_json(self) -> bytes:
        return json.dumps(to_dict(self.dims), indent=1).encode() + b"\n"
