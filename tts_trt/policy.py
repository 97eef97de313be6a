"""Policies: what three kinds of user want of the same engines, as settings that are data.

    dubbing     exact time, high precision          live      soonest sound, by a report's evidence
    audiobook   mixed precision, every segment checked

The shipped settings are ``tts_trt/policies/<scenario>.toml``, which state every key. A file of one's own states the scenario
and what differs; an unknown key is an error. Comments in the shipped files say what a setting is.
"""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from tts_trt.chunks import longest_chunk
from tts_trt.dims import from_dict
from tts_trt.errors import ConfigError

FOLDER = Path(__file__).parent / "policies"
SCENARIO = "scenario"

LONGEST_CHUNK: Final = 80
"""Codes of a live chunk at most: what comes later is not live."""

RATES = (0.5, 2.0)
"""What a synthesizer can be asked for at all."""


@dataclass(frozen=True)
class Criterion:
    """What a report may say of a bundle that is to be used. Metrics of cost do not count."""

    never_worse: tuple[str, ...]  # metrics in which the verdict "worse" rules a bundle out
    most_worse: int  # other judged metrics that may be worse

    def __post_init__(self) -> None:
        _within("criterion.most_worse", self.most_worse, 0, 1000)


@dataclass(frozen=True)
class Dubbing:
    precisions: tuple[str, ...]
    slowest: float
    fastest: float
    drawn_takes: int
    forced_takes: int
    most_stretch: float
    overlaps: str

    def __post_init__(self) -> None:
        _named("precisions", self.precisions)
        _within("slowest", self.slowest, RATES[0], 1.0)
        _within("fastest", self.fastest, 1.0, RATES[1])
        _within("drawn_takes", self.drawn_takes, 0, 100)
        _within("forced_takes", self.forced_takes, 0, 100)
        _within("drawn_takes and forced_takes together", self.drawn_takes + self.forced_takes, 1, 200)
        _within("most_stretch", self.most_stretch, 1.0, 4.0)
        if self.overlaps not in ("refuse", "mix"):
            raise ConfigError(f"overlaps is {self.overlaps!r}, expected 'refuse' or 'mix'")


@dataclass(frozen=True)
class Budget:
    """Milliseconds of each stage of the first chunk."""

    plan: float
    voice: float
    decode: float
    sound: float
    first_audio: float

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            _within(f"budget_ms.{name}", value, 0.1, 600_000)


@dataclass(frozen=True)
class Live:
    precisions: tuple[str, ...]
    first_codes: int
    chunk_codes: tuple[int, ...]
    flow_steps: tuple[int, ...]
    pause: float
    underrun_ms: float
    budget_ms: Budget
    criterion: Criterion

    def __post_init__(self) -> None:
        _named("precisions", self.precisions)
        for codes in (self.first_codes, *_some("chunk_codes", self.chunk_codes)):
            _within("codes of a chunk", codes, 1, LONGEST_CHUNK)
        for codes in self.chunk_codes:
            longest = longest_chunk(self.first_codes, codes)
            _within(f"with chunks of {codes} codes the last one", longest, 1, LONGEST_CHUNK)
        for steps in _some("flow_steps", self.flow_steps):
            _within("flow_steps", steps, 0, 200)
        _within("pause", self.pause, 0.0, 10.0)
        _within("underrun_ms", self.underrun_ms, 0.0, 60_000)


@dataclass(frozen=True)
class KeyRules:
    titles: bool
    quoted_speech: bool
    first_sentence: bool
    last_sentence: bool


@dataclass(frozen=True)
class Pauses:
    """Seconds after a passage, by where it ends."""

    clause: float
    sentence: float
    paragraph: float
    scene: float
    title: float
    chapter: float

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            _within(f"pauses.{name}", value, 0.0, 30.0)


@dataclass(frozen=True)
class Loudness:
    target_lufs: float
    segment_db: float
    peak_dbfs: float

    def __post_init__(self) -> None:
        _within("loudness.target_lufs", self.target_lufs, -60.0, -5.0)
        _within("loudness.segment_db", self.segment_db, 0.0, 20.0)
        _within("loudness.peak_dbfs", self.peak_dbfs, -40.0, -0.1)


@dataclass(frozen=True)
class Audiobook:
    key: tuple[str, ...]
    narration: tuple[str, ...]
    narration_takes: int
    key_takes: int
    key_rules: KeyRules
    pauses: Pauses
    loudness: Loudness
    criterion: Criterion

    def __post_init__(self) -> None:
        _named("key", self.key)
        _named("narration", self.narration)
        _within("narration_takes", self.narration_takes, 1, 100)
        _within("key_takes", self.key_takes, 1, 100)


Policy = Dubbing | Live | Audiobook
P = TypeVar("P", Dubbing, Live, Audiobook)

SCENARIOS: dict[str, type[Dubbing] | type[Live] | type[Audiobook]] = {
    "dubbing": Dubbing,
    "live": Live,
    "audiobook": Audiobook,
}


def scenario_of(policy: Policy) -> str:
    return next(name for name, kind in SCENARIOS.items() if isinstance(policy, kind))


def to_json(policy: Policy) -> dict[str, Any]:
    """Every setting, as JSON has it."""
    made: dict[str, Any] = json.loads(json.dumps({SCENARIO: scenario_of(policy), **asdict(policy)}))
    return made


def shipped(kind: type[P]) -> P:
    """The settings that ship: ``shipped(Live).chunk_codes``."""
    name = next(name for name, one in SCENARIOS.items() if one is kind)
    made = load_policy(name)
    assert isinstance(made, kind)
    return made


def load_policy(name: str | Path) -> Policy:
    """A scenario by name, or from a TOML file that names one and says what differs from what ships. ConfigError for a file
    that cannot be read, names no scenario, has unknown keys or values out of range."""
    own = {} if str(name) in SCENARIOS else _table(Path(name))
    scenario = own.pop(SCENARIO, str(name) if not own else None)
    if not isinstance(scenario, str) or scenario not in SCENARIOS:
        raise ConfigError(
            f"{name}: no scenario {scenario!r}, expected one of {', '.join(SCENARIOS)}",
            hint='scenario = "audiobook"',
        )
    settings = _table(FOLDER / f"{scenario}.toml")
    settings.pop(SCENARIO)
    try:
        return from_dict(SCENARIOS[scenario], _merged(settings, own), str(name))
    except ConfigError as error:
        raise ConfigError(
            error.args[0], hint=f"every setting of {scenario} is in {FOLDER / scenario}.toml"
        ) from error


def _table(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8-sig"))
    except (OSError, UnicodeDecodeError, ValueError) as error:  # a NUL in a path is a ValueError too
        words = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(
            f"{path} cannot be read: {words}", hint=f"a policy file, or one of {', '.join(SCENARIOS)}"
        ) from error


def _merged(settings: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Tables within tables; whatever is no table on both sides is replaced."""
    made = dict(settings)
    for key, value in own.items():
        old = made.get(key)
        made[key] = _merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return made


def _within(name: str, value: float, low: float, high: float) -> None:
    if not math.isfinite(value) or not low <= value <= high:
        raise ConfigError(f"{name} is {value}, expected {low:g} to {high:g}")


def _some(name: str, values: tuple[int, ...]) -> tuple[int, ...]:
    if not values:
        raise ConfigError(f"{name} is empty, expected at least one")
    return values


def _named(name: str, values: tuple[str, ...]) -> None:
    if not values or len(set(values)) < len(values):
        raise ConfigError(f"{name} is {list(values)}, expected precisions, each once")
