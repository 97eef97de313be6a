"""Where a model lives: a folder with its dimensions, weights, text tables and reference voices.

Two kinds: our own (config.json, weights.safetensors, three text tables), which ``nano`` is, and the directory that a download of
IndexTTS-2 makes (``tts_trt/official``).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from tts_trt.artifacts import fingerprint, sha256_file
from tts_trt.dims import ModelDims, from_dict
from tts_trt.errors import UsageError
from tts_trt.official.folder import Official
from tts_trt.official.layout import looks_official

ASSETS = Path(__file__).parent / "assets"
SHIPPED = ("nano",)
TEXT_TABLES = ("tokenizer.json", "lexicon.json", "durations.json")
DIMS = "config.json"
"""Name of the dimensions among a bundle's assets."""


@dataclass(frozen=True)
class ModelFolder:
    path: Path

    @property
    def name(self) -> str:
        return self.path.resolve().name

    @property
    def config(self) -> Path:
        return self.path / "config.json"

    @property
    def weights(self) -> Path:
        return self.path / "weights.safetensors"

    @property
    def text_tables(self) -> dict[str, Path]:
        """Files that the tokenizer reads, by their names among a bundle's assets; the first names the tokenizer."""
        return {name: self.path / name for name in TEXT_TABLES}

    @property
    def tokenizer(self) -> Path:
        return next(iter(self.text_tables.values()))

    @property
    def voices(self) -> dict[str, Path]:
        """Reference recordings by voice name."""
        return {path.stem: path for path in sorted((self.path / "voices").glob("*.wav"))}

    @property
    def dims_json(self) -> bytes:
        """The dimensions as a bundle keeps them."""
        return self.config.read_bytes()

    def dims(self) -> ModelDims:
        """UsageError for a file that is not JSON, ConfigError for one that does not fit."""
        try:
            values = json.loads(self.config.read_bytes())
        except (OSError, ValueError) as error:
            raise UsageError(f"{self.config} cannot be read: {error}", hint="--model nano") from error
        return from_dict(ModelDims, values, str(self.config))

    @property
    def weights_sha256(self) -> str:
        return _sha256(self.weights)

    @property
    def config_sha256(self) -> str:
        return _sha256(self.config)

    def assets(self) -> Mapping[str, Path | bytes]:
        """What a bundle keeps of the model beside its graphs: name -> file or content."""
        voices = {f"voices/{name}.wav": path for name, path in self.voices.items()}
        return {DIMS: self.dims_json, **self.text_tables, **voices}


@dataclass(frozen=True)
class OfficialFolder(ModelFolder):
    """The official layout. Without recordings of its own it takes the shipped ones: any recording is a voice to it."""

    official: Official

    @property
    def config(self) -> Path:
        return self.official.file("config")

    @property
    def weights(self) -> Path:
        return self.official.file("gpt")

    @property
    def text_tables(self) -> dict[str, Path]:
        return {"bpe.model": self.official.file("tokens")}

    @property
    def voices(self) -> dict[str, Path]:
        return super().voices or ModelFolder(ASSETS / SHIPPED[0]).voices

    @property
    def dims_json(self) -> bytes:
        return self.official.dims_json()

    def dims(self) -> ModelDims:
        return self.official.dims

    @property
    def weights_sha256(self) -> str:
        """Of all files with tensors together."""
        return fingerprint({name: _sha256(path) for name, path in self.official.weights.items()})

    @property
    def config_sha256(self) -> str:
        files = ("config", "w2v_config", "vocoder_config")
        return fingerprint({name: _sha256(self.official.file(name)) for name in files})


def find_model(name: str) -> ModelFolder:
    """``nano``, or a folder of either kind. UsageError names what is missing from it."""
    path = ASSETS / name if name in SHIPPED else Path(name)
    if not path.is_dir():
        raise UsageError(
            f"no model {name!r}: neither a shipped voice ({', '.join(SHIPPED)}) nor a folder",
            hint="--model nano",
        )
    if looks_official(path):
        folder = OfficialFolder(path, Official(path))
        for part in folder.official.missing()[:1]:
            folder.official.file(part.name)  # tells of all that are missing
        return folder
    own = ModelFolder(path)
    needed = [own.config, own.weights, *own.text_tables.values()]
    if missing := [file.name for file in needed if not file.is_file()]:
        raise UsageError(
            f"{path} is not a model folder: it lacks {', '.join(missing)}",
            hint="name a folder with config.json, weights.safetensors and the text tables, an IndexTTS-2 download, "
            "or --model nano",
        )
    return own


def _sha256(path: Path) -> str:
    """Checkpoints are gigabytes and asked for often: hashed again only where size or time changed."""
    state = path.stat()
    return _hashed(path, state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=256)
def _hashed(path: Path, size: int, time: int) -> str:
    return sha256_file(path)
