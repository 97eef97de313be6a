"""Where the texts and voices of a calibration corpus come from: folders of text files and of recordings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from tts_trt.dims import AudioDims
from tts_trt.errors import ConfigError
from tts_trt.frontend.audio import load_reference
from tts_trt.quant.corpus_config import MODEL_VOICES, CorpusConfig

RECORDINGS = (".wav", ".flac")

Texts = Mapping[str, Sequence[str]]
"""Sentence type -> texts."""


def pick_texts(config: CorpusConfig, model: str) -> tuple[str, ...]:
    """Names in [texts] that a model reads: its own, else those of ``languages``."""
    picked = (model,) if model in config.texts else config.languages
    if not picked:
        raise ConfigError(
            f"[texts] has nothing for the model {model!r}; it names {', '.join(config.texts)}",
            hint=f'add {model} = "FOLDER" to [texts], or set languages',
        )
    return picked


def load_texts(config: CorpusConfig, names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Sentence type -> texts of the folders that [texts] gives to ``names``. Empty lines and ``#`` lines are skipped."""
    folders = [config.folder / config.texts[name] for name in names]
    return {
        level: tuple(text for folder in folders for text in _read_texts(folder / f"{level}.txt"))
        for level in config.sentence.levels
    }


def find_voices(config: CorpusConfig, shipped: Mapping[str, Path], audio: AudioDims) -> dict[str, Path]:
    """Voice name -> recording: the model's own (``shipped``) or those of the folder, each one decoded and checked."""
    if config.timbre.voices == MODEL_VOICES:
        voices, where = dict(shipped), "the model"
    else:
        folder = config.folder / config.timbre.voices
        where = str(folder)
        if not folder.is_dir():
            raise ConfigError(
                f"timbre.voices: {folder} is not a folder", hint='voices = "model", or a folder'
            )
        voices = _recordings(folder)
    if not voices:
        raise ConfigError(
            f"{where} has no voices, expected at least one recording ({', '.join(RECORDINGS)})",
            hint="put 5 to 15 s of clear speech of each speaker into a folder and name it in timbre.voices",
        )
    for path in voices.values():
        load_reference(path, audio.sample_rate, audio.reference_seconds)
    return voices


def _read_texts(path: Path) -> list[str]:
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"texts cannot be read from {path}: {error}",
            hint=f"write one {path.stem} text a line, UTF-8, or take {path.stem} out of sentence.levels",
        ) from error
    texts = [line for line in lines if line and not line.startswith("#")]
    if not texts:
        raise ConfigError(f"{path} has no texts, expected at least one a line", hint=f"fill {path}")
    if len(set(texts)) < len(texts):
        twice = next(text for text in texts if texts.count(text) > 1)
        raise ConfigError(f"{path} has the text {twice[:60]!r} twice", hint="remove one of them")
    return texts


def _recordings(folder: Path) -> dict[str, Path]:
    voices: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in RECORDINGS or not path.is_file():
            continue
        if path.stem in voices:
            raise ConfigError(
                f"{voices[path.stem].name} and {path.name} in {folder} name the same voice", hint="rename one"
            )
        voices[path.stem] = path
    return voices
