"""The recipe with the most INT8 that keeps within a budget.

Components interact, so what counts is measured together: everything starts quantised, activations too; then the groups
that strain the budget most when alone give up their quantised activations, as few of them as it takes, and if weights
alone are still too much, their quantised weights as well.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from tts_trt.errors import QuantError
from tts_trt.quant.recipe import LayerScheme, Recipe, make_recipe
from tts_trt.quant.sensitivity import WEIGHTS_ONLY, Budget, Group, GroupResult
from tts_trt.quant.trial import Damage, Trial
from tts_trt.quant.variants import Variants

Progress = Callable[[str, int, int], None]
Assignment = dict[Group, LayerScheme]
"""Groups that are not in it stay float."""


@dataclass(frozen=True)
class Step:
    """One combination that was measured."""

    weights_only: int  # groups that gave up quantised activations
    floating: int  # groups that gave up quantised weights too
    damage: Damage


@dataclass(frozen=True)
class Found:
    assignment: Assignment
    damage: Damage
    steps: tuple[Step, ...]


def search(
    trial: Trial,
    variants: Variants,
    results: Sequence[GroupResult],
    budget: Budget,
    progress: Progress | None = None,
) -> Found:
    """QuantError when not even the float model keeps within the budget, which asks for the impossible."""
    ranked = sorted(results, key=lambda r: budget.strain(r.damage), reverse=True)
    steps: list[Step] = []

    def measured(weights_only: int, floating: int) -> Damage:
        if progress:
            progress(f"{weights_only} groups of weights only, {floating} float", len(steps), len(ranked))
        damage = trial.damage(variants.make(_schemes(_assign(ranked, weights_only, floating))))
        steps.append(Step(weights_only, floating, damage))
        return damage

    def fits(damage: Damage) -> bool:
        return budget.used(damage) <= 1

    weights_only = _fewest(len(ranked), lambda count: fits(measured(count, 0)))
    floating = 0
    if weights_only is None:
        weights_only = len(ranked)
        floating_found = _fewest(len(ranked), lambda count: fits(measured(len(ranked), count)))
        if floating_found is None:
            raise QuantError(
                f"no recipe keeps within {budget}", hint="allow more, or calibrate on more speech"
            )
        floating = floating_found
    last = next(s for s in reversed(steps) if (s.weights_only, s.floating) == (weights_only, floating))
    return Found(_assign(ranked, weights_only, floating), last.damage, tuple(steps))


def _fewest(most: int, fits: Callable[[int], bool]) -> int | None:
    """The least count that fits, by bisection: more never fits worse. None when even the most does not."""
    if fits(0):
        return 0
    low, high = 0, most  # low does not fit
    if not fits(most):
        return None
    while high - low > 1:
        middle = (low + high) // 2
        if fits(middle):
            high = middle
        else:
            low = middle
    return high


def _assign(ranked: Sequence[GroupResult], weights_only: int, floating: int) -> Assignment:
    chosen: Assignment = {}
    for i, result in enumerate(ranked):
        if i >= floating:
            chosen[result.group] = WEIGHTS_ONLY if i < weights_only else result.scheme
    return chosen


def _schemes(assignment: Assignment) -> dict[str, dict[str, LayerScheme]]:
    schemes: dict[str, dict[str, LayerScheme]] = {}
    for group, scheme in assignment.items():
        schemes.setdefault(group.graph, {}).update(dict.fromkeys(group.layers, scheme))
    return schemes


def recipe_of(name: str, assignment: Assignment, variants: Variants, base: str = "fp16") -> Recipe:
    """The assignment as rules: per graph one for most of its layers, and one per scheme for the others."""
    rules: list[dict[str, Any]] = []
    for graph, schemes in _schemes(assignment).items():
        layers = [layer.name for layer in variants.layers[graph]]
        full = {layer: schemes.get(layer, LayerScheme("float")) for layer in layers}
        usual = max(set(full.values()), key=lambda s: (list(full.values()).count(s), str(s)))
        rules.append(_rule(graph, "*", usual))
        for scheme in sorted(set(full.values()) - {usual}, key=str):
            wanted = {layer for layer, s in full.items() if s == scheme}
            groups = [g for g in assignment if g.graph == graph and set(g.layers) <= wanted]
            rules.append(_rule(graph, _patterns(wanted, groups, layers), scheme))
    return make_recipe(name, base, rules)


def _rule(graph: str, layers: str | list[str], scheme: LayerScheme) -> dict[str, Any]:
    rule: dict[str, Any] = {"graph": graph, "layers": layers, "scheme": scheme.scheme}
    given = {"method": scheme.method, "percentile": scheme.percentile, "smooth": scheme.smooth}
    return rule | {key: value for key, value in given.items() if value is not None}


def _patterns(wanted: set[str], groups: Sequence[Group], layers: Sequence[str]) -> list[str]:
    """One pattern for a group where it matches nothing else, names for the rest."""
    left, patterns = set(wanted), []
    for group in groups:
        pattern = f"{group.name}.*"
        matched = {layer for layer in layers if fnmatchcase(layer, pattern)}
        if matched and matched <= left:
            patterns.append(pattern)
            left -= matched
    return patterns + sorted(left)
