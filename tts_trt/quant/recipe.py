"""Which layer computes in which format: a recipe is data (TOML) that checks itself, first alone, then against graphs.

    schema = 1
    name = "mixed"
    base = "fp16"                                # what is not quantised: fp16 or fp32
    method = "percentile"                        # of activation thresholds, where a rule names none
    skip = ["gpt/gpt.mel_head", "style_encoder/*"]  # graph/layer: float, whatever the rules say

    [[rule]]                                     # the last rule that matches a layer decides
    graph = "*"
    layers = ["*.feed_forward.*", "*.mlp.*"]
    scheme = "w8a8"                              # w8a8, w8 (weights alone), fp8 or float
    smooth = "search"                            # SmoothQuant's alpha, or one searched for each layer

Patterns are those of fnmatch: ``*`` matches anything, dots included.
"""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from tts_trt.atomic import write_atomic
from tts_trt.errors import ConfigError
from tts_trt.models import ModelFolder
from tts_trt.quant.layers import Layer
from tts_trt.quant.thresholds import PERCENTILE

SHIPPED = Path(__file__).parent / "recipes"

Method = Literal["max", "percentile", "mse", "entropy"]
WITH_ACTIVATIONS = ("w8a8", "fp8")


class _Strict(BaseModel):
    model_config: ClassVar[ConfigDict] = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False
    )


class Rule(_Strict):
    """``layers`` may be given as one pattern. ``method``, ``percentile`` and ``smooth`` need a scheme with
    activations."""

    graph: str = Field(min_length=1)
    layers: tuple[str, ...] = Field(min_length=1)
    scheme: Literal["w8a8", "w8", "fp8", "float"]
    method: Method | None = None
    percentile: float | None = Field(None, gt=0, le=100)
    smooth: float | Literal["search"] | None = None

    @field_validator("layers", mode="before")
    @classmethod
    def _one_or_more(cls, value: Any) -> Any:
        return _as_tuple([value] if isinstance(value, str) else value)

    @field_validator("smooth")
    @classmethod
    def _alpha(cls, value: float | str | None) -> float | str | None:
        if isinstance(value, float) and not 0 <= value <= 1:
            raise ValueError('expected a number from 0 to 1, or "search"')
        return value

    @model_validator(mode="after")
    def _fits_its_scheme(self) -> Rule:
        given = [key for key in ("method", "percentile", "smooth") if getattr(self, key) is not None]
        if given and self.scheme not in WITH_ACTIVATIONS:
            raise ValueError(f"{given[0]} is of activations, which scheme {self.scheme} leaves as they are")
        if self.percentile is not None and self.method != "percentile":
            raise ValueError('percentile without method = "percentile"')
        return self

    def matches(self, graph: str, layer: str) -> bool:
        return fnmatchcase(graph, self.graph) and any(fnmatchcase(layer, p) for p in self.layers)


class Recipe(_Strict):
    schema_: Literal[1] = Field(alias="schema")
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    base: Literal["fp16", "fp32"]
    method: Method = "max"
    percentile: float = Field(PERCENTILE, gt=0, le=100)
    skip: tuple[str, ...] = ()
    rules: tuple[Rule, ...] = Field((), alias="rule")

    @field_validator("skip", "rules", mode="before")
    @classmethod
    def _lists(cls, value: Any) -> Any:
        return _as_tuple(value)

    @field_validator("skip")
    @classmethod
    def _graph_and_layer(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if wrong := [pattern for pattern in value if not all(pattern.partition("/")[::2])]:
            raise ValueError(f"expected graph/layer, found {wrong[0]!r}")
        return value

    @property
    def needs_statistics(self) -> bool:
        """Whether any rule quantises activations."""
        return any(rule.scheme in WITH_ACTIVATIONS for rule in self.rules)


@dataclass(frozen=True)
class LayerScheme:
    """What a recipe says of one layer. ``method`` is None, and ``smooth`` too, for weights alone; ``percentile`` is set
    for that method only."""

    scheme: str
    method: str | None = None
    percentile: float | None = None
    smooth: float | str | None = None


def make_recipe(
    name: str, base: str, rules: Iterable[Mapping[str, Any]], skip: Iterable[str] = (), **defaults: Any
) -> Recipe:
    """From values as a file would have them. ConfigError where a file would be refused."""
    return _checked(
        {"schema": 1, "name": name, "base": base, "skip": skip, "rule": rules} | defaults, f"recipe {name}"
    )


def load_recipe(name_or_path: str | Path, model: ModelFolder | None = None) -> Recipe:
    """``recipes/<name>.toml`` of the model's folder, else of those that ship; or the file at a path, which ends in
    .toml. ConfigError for a file that does not fit, or where there is none."""
    if Path(name_or_path).suffix == ".toml":
        return parse_recipe(_read(Path(name_or_path)), str(name_or_path))
    folders = [SHIPPED] if model is None else [model.path / "recipes", SHIPPED]
    for folder in folders:
        path = folder / f"{name_or_path}.toml"
        if path.is_file():
            return parse_recipe(_read(path), str(path))
    names = sorted({path.stem for folder in folders for path in folder.glob("*.toml")})
    raise ConfigError(
        f"no recipe {str(name_or_path)!r}; there are {', '.join(names)}", hint="or the path of a .toml file"
    )


def parse_recipe(text: str, where: str) -> Recipe:
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{where} is not TOML: {error}") from error
    return _checked(values, where)


def resolve(recipe: Recipe, layers: Mapping[str, Sequence[Layer]]) -> dict[str, dict[str, LayerScheme]]:
    """Graph -> layer -> scheme, for all graphs; layers that stay float are left out. ConfigError for a rule or a
    ``skip`` that matches no layer of any graph."""
    places = [(graph, layer.name) for graph, found in layers.items() for layer in found]
    for number, rule in enumerate(recipe.rules, 1):
        if not any(rule.matches(*place) for place in places):
            raise ConfigError(
                f"recipe {recipe.name}, rule {number}: no layer of graph {rule.graph!r} matches "
                f"{', '.join(map(repr, rule.layers))}",
                hint=_known(places, rule.graph),
            )
    for pattern in recipe.skip:
        if not any(_skips(pattern, *place) for place in places):
            raise ConfigError(
                f"recipe {recipe.name}: skip = {pattern!r} matches no layer",
                hint=_known(places, pattern.partition("/")[0]),
            )
    chosen: dict[str, dict[str, LayerScheme]] = {graph: {} for graph in layers}
    for graph, layer in places:
        last = next((rule for rule in reversed(recipe.rules) if rule.matches(graph, layer)), None)
        if last and last.scheme != "float" and not any(_skips(p, graph, layer) for p in recipe.skip):
            chosen[graph][layer] = _scheme(recipe, last)
    return chosen


def recipe_sha256(recipe: Recipe) -> str:
    """Of what it says: comments and layout of a file do not count."""
    return hashlib.sha256(recipe_text(recipe).encode()).hexdigest()


def write_recipe(recipe: Recipe, path: Path, comment: str = "") -> None:
    """Reads back as the same recipe. ``comment``: lines for its head."""
    head = "".join(f"# {line}".rstrip() + "\n" for line in comment.splitlines())
    write_atomic(path, [(head + recipe_text(recipe)).encode()])


def recipe_text(recipe: Recipe) -> str:
    values = recipe.model_dump(by_alias=True, exclude_defaults=True)
    rules = values.pop("rule", ())
    blocks = [_table({"schema": 1} | values), *(f"\n[[rule]]\n{_table(rule)}" for rule in rules)]
    return "".join(blocks)


def _table(values: Mapping[str, Any]) -> str:
    return "".join(f"{key} = {_value(value)}\n" for key, value in values.items())


def _value(value: Any) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, str):
        return (
            '"'
            + "".join(_ESCAPES.get(c) or (f"\\u{ord(c):04x}" if _is_control(c) else c) for c in value)
            + '"'
        )
    return repr(value)  # Python and TOML write integers and floats alike


_ESCAPES = {'"': '\\"', "\\": "\\\\"}


def _is_control(character: str) -> bool:
    return ord(character) < 0x20 or ord(character) == 0x7F


def _scheme(recipe: Recipe, rule: Rule) -> LayerScheme:
    if rule.scheme not in WITH_ACTIVATIONS:
        return LayerScheme(rule.scheme)
    method = rule.method or recipe.method
    percentile = (rule.percentile or recipe.percentile) if method == "percentile" else None
    return LayerScheme(rule.scheme, method, percentile, rule.smooth or None)


def _skips(pattern: str, graph: str, layer: str) -> bool:
    graphs, _, layers = pattern.partition("/")
    return fnmatchcase(graph, graphs) and fnmatchcase(layer, layers)


def _known(places: Sequence[tuple[str, str]], graph: str) -> str:
    """Some names that would have matched, or the graphs there are."""
    names = [layer for name, layer in places if fnmatchcase(name, graph)]
    if names:
        return f"a layer such as {', '.join(names[:3])}"
    return f"a graph of {', '.join(sorted({name for name, _ in places})) or 'none with layers'}"


def _as_tuple(value: Any) -> Any:
    """TOML has lists where frozen data has tuples; anything else is left for the type check to refuse."""
    return tuple(value) if isinstance(value, Iterable) and not isinstance(value, str | Mapping) else value


def _checked(values: Mapping[str, Any], where: str) -> Recipe:
    try:
        return Recipe.model_validate(dict(values))
    except ValidationError as error:
        raise ConfigError("\n  ".join(f"{where}: {_describe(one)}" for one in error.errors()[:5])) from error


def _describe(error: Any) -> str:
    place = [str(part + 1) if isinstance(part, int) else part for part in error["loc"]]
    where = " ".join(place)
    if error["type"] == "extra_forbidden":
        model = Rule if place[:-1] else Recipe
        known = [field.alias or name for name, field in model.model_fields.items()]
        return f"unknown key {where}; known: {', '.join(known)}"
    reason = error["msg"].removeprefix("Value error, ")
    return f"{where}: {reason}" if where else reason


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise ConfigError(f"recipe {path} cannot be read: {reason}") from error
