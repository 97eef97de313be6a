"""What ``corpus.toml`` says: the axes of a calibration corpus, their levels, and where voices and texts are."""

from __future__ import annotations

import json
import tomllib
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from tts_trt.dims import EMOTIONS
from tts_trt.errors import ConfigError
from tts_trt.runtime.request import EMOTION_LIMIT, RATES

AXES = ("rate", "emotion", "timbre", "sentence")
MODEL_VOICES = "model"

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]
Weight = Annotated[float, Field(gt=0)]
Range = tuple[float, float]


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class _Axis(_Table):
    weights: dict[str, Weight] = {}  # of levels that shall come more or less often; 1 where none is given

    def weighted(self, levels: Sequence[str]) -> dict[str, float]:
        """Level -> weight, in the order of ``levels``."""
        if strangers := sorted(set(self.weights) - set(levels)):
            raise ConfigError(
                f"weights are given to {', '.join(strangers)}, which are no levels; these are {', '.join(levels)}"
            )
        return {level: self.weights.get(level, 1.0) for level in levels}


class Rate(_Axis):
    levels: dict[Name, Range]

    @model_validator(mode="after")
    def _apart(self) -> Self:
        _check_named(self.levels)
        for level, (low, high) in self.levels.items():
            _check_range(f"the level {level}", low, high, *RATES)
        by_start = sorted(self.levels.items(), key=lambda item: item[1])
        for (one, (_, end)), (two, (start, _)) in pairwise(by_start):
            if start < end:
                raise ValueError(f"the levels {one} and {two} overlap between {start} and {end}")
        return self


class Emotion(_Axis):
    levels: tuple[str, ...] = EMOTIONS
    strength: Range = (1.0, 1.0)  # of the weight in the emotion vector
    unacted: Literal["keep", "skip"] = "keep"  # emotions the voice cannot act

    @model_validator(mode="after")
    def _known(self) -> Self:
        _check_named(self.levels)
        if unknown := [level for level in self.levels if level not in EMOTIONS]:
            raise ValueError(f"no emotion {', '.join(unknown)}; there are {', '.join(EMOTIONS)}")
        _check_range("strength", *self.strength, 0.0, EMOTION_LIMIT)
        return self


class Timbre(_Axis):
    voices: str = MODEL_VOICES  # or a folder of recordings
    levels: tuple[str, ...] = ()  # names of voices; none: every voice

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        _check_distinct(self.levels)
        return self


class Sentence(_Axis):
    levels: tuple[Name, ...]

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        _check_named(self.levels)
        return self


class CorpusConfig(_Table):
    utterances: Annotated[int, Field(ge=1, le=100_000)] = 48
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    repeats: Annotated[int, Field(ge=1)] = 2
    unevenness: Annotated[float, Field(gt=0, lt=1)] = 0.2
    languages: tuple[Name, ...] = ()
    rate: Rate
    emotion: Emotion = Field(default_factory=Emotion)
    timbre: Timbre = Field(default_factory=Timbre)
    sentence: Sentence
    texts: Annotated[dict[Name, str], Field(min_length=1)]
    folder: Annotated[Path, Field(exclude=True)] = Path()  # of the file; its relative paths start here

    @model_validator(mode="after")
    def _languages_have_texts(self) -> Self:
        _check_distinct(self.languages)
        if missing := [language for language in self.languages if language not in self.texts]:
            raise ValueError(f"languages names {', '.join(missing)}, but [texts] has {', '.join(self.texts)}")
        return self


def load_corpus_config(path: Path) -> CorpusConfig:
    """Read a corpus file. ConfigError names the key, what was found and what was expected."""
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
        # by way of JSON, which is strict about types but has no tuples of its own
        config = CorpusConfig.model_validate_json(json.dumps(values))
    except OSError as error:
        raise ConfigError(
            f"the corpus {path} cannot be read: {error.strerror}", hint="--corpus calibration/corpus.toml"
        ) from error
    except ValidationError as error:
        raise ConfigError(f"{path}: {_first_problem(error)}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, TypeError) as error:
        raise ConfigError(
            f"{path} is not a corpus file: {error}", hint="a level or key is written once, in UTF-8"
        ) from error
    return config.model_copy(update={"folder": path.parent})


def restrict(config: CorpusConfig, levels: Mapping[str, str]) -> CorpusConfig:
    """The same corpus with one level on each axis named: ``{"rate": "slow", "emotion": "calm"}``.

    As many utterances are dealt, all of that stratum. ConfigError for an axis or level there is not.
    """
    update: dict[str, Any] = {}
    for axis, level in levels.items():
        if axis not in AXES:
            raise ConfigError(f"no axis {axis!r}; there are {', '.join(AXES)}")
        table = getattr(config, axis)
        if level not in table.levels and (axis != "timbre" or table.levels):
            raise ConfigError(f"no {axis} {level!r} in the corpus; there are {', '.join(table.levels)}")
        kept = {level: table.levels[level]} if axis == "rate" else (level,)
        update[axis] = table.model_copy(update={"levels": kept, "weights": {}})
    return config.model_copy(update=update)


def default_corpus() -> Path:
    """The corpus file that ships: inside an installed package, else at the top of the checkout."""
    package = Path(__file__).parents[1]
    packaged = package / "_calibration" / "corpus.toml"
    return packaged if packaged.is_file() else package.parent / "calibration" / "corpus.toml"


def _check_named(levels: Sequence[str] | Mapping[str, Any]) -> None:
    if not levels:
        raise ValueError("levels is empty, expected at least one level")
    _check_distinct(list(levels))


def _check_distinct(names: Sequence[str]) -> None:
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise ValueError(f"{', '.join(twice)} is named twice")


def _check_range(what: str, low: float, high: float, least: float, most: float) -> None:
    if not least <= low <= high <= most:
        raise ValueError(f"{what} is [{low}, {high}], expected a range within {least} to {most}")


def _first_problem(error: ValidationError) -> str:
    """Like ``emotion.levels: angry is named twice``; an unknown key is answered with the known ones."""
    problem = error.errors(include_url=False)[0]
    where = ".".join(map(str, problem["loc"]))
    if problem["type"] == "extra_forbidden":
        table: Any = CorpusConfig
        for name in problem["loc"][:-1]:
            table = table.model_fields[name].annotation
        known = [name for name in table.model_fields if name != "folder"]
        return f"{where}: unknown key; known: {', '.join(known)}"
    said = problem["msg"].removeprefix("Value error, ")
    found = "" if isinstance(problem["input"], dict) else f", found {problem['input']!r}"
    return f"{where}: {said}{found}" if where else said
