"""Where a model lives: a folder with its dimensions, weights, text tables and reference voices."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from tts_trt.dims import ModelDims, from_dict
from tts_trt.errors import UsageError

ASSETS = Path(__file__).parent / "assets"
SHIPPED = ("nano",)
TEXT_TABLES = ("tokenizer.json", "lexicon.json", "durations.json")


@dataclass(frozen=True)
class ModelFolder:
    path: Path

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def config(self) -> Path:
        return self.path / "config.json"

    @property
    def weights(self) -> Path:
        return self.path / "weights.safetensors"

    @property
    def text_tables(self) -> dict[str, Path]:
        return {name: self.path / name for name in TEXT_TABLES}

    @property
    def voices(self) -> dict[str, Path]:
        """Reference recordings by voice name."""
        return {path.stem: path for path in sorted((self.path / "voices").glob("*.wav"))}


def find_model(name: str) -> ModelFolder:
    """``nano``, or a folder. UsageError names what is missing from it."""
    folder = ModelFolder(ASSETS / name if name in SHIPPED else Path(name))
    if not folder.path.is_dir():
        raise UsageError(
            f"no model {name!r}: neither a shipped voice ({', '.join(SHIPPED)}) nor a folder",
            hint="--model nano",
        )
    needed = [folder.config, folder.weights, *folder.text_tables.values()]
    if missing := [path.name for path in needed if not path.is_file()]:
        raise UsageError(
            f"{folder.path} is not a model folder: it lacks {', '.join(missing)}",
            hint="name a folder with config.json, weights.safetensors and the text tables, or --model nano",
        )
    return folder


def read_dims(folder: ModelFolder) -> ModelDims:
    """The model's dimensions. UsageError for a file that is not JSON, ConfigError for one that does not fit."""
    try:
        values = json.loads(folder.config.read_bytes())
    except (OSError, ValueError) as error:
        raise UsageError(f"{folder.config} cannot be read: {error}", hint="--model nano") from error
    return from_dict(ModelDims, values, str(folder.config))
