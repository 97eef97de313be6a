"""Which part of the model suffers how much: by method of choosing thresholds, and by group of layers, each alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tts_trt.quant.layers import Layer
from tts_trt.quant.recipe import LayerScheme
from tts_trt.quant.thresholds import METHODS, PERCENTILE
from tts_trt.quant.trial import Damage, Trial
from tts_trt.quant.variants import Variants

Progress = Callable[[str, int, int], None]

DIVIDED = ("gpt", "flow_step", "vocoder", "mel_condition")
"""Graphs that run for every sentence, told apart layer group by layer group; the others count as one group each."""

WEIGHTS_ONLY = LayerScheme("w8")


@dataclass(frozen=True)
class Group:
    graph: str
    name: str
    layers: tuple[str, ...]

    @property
    def title(self) -> str:
        return f"{self.graph}: {self.name}"


@dataclass(frozen=True)
class Budget:
    """What a precision may cost against FP32, over the same codes and noise. Best codes that differ are counted over some hundred
    steps: one that costs just what is allowed would be over it every second time, so a standard deviation more passes. The spectrum
    may cost a fifth less than a report's margin: what spends just the margin is never found equal."""

    top1: float = 0.975
    mel_db: float = 0.5
    lsd_db: float = 0.8

    def used(self, damage: Damage) -> float:
        """The largest share of an allowance that is used up; above 1 the budget is broken."""
        flips = (1 - damage.top1) / (1 - self.top1 + self.chance(damage.steps))
        return max(flips, damage.mel_db / self.mel_db, damage.lsd_db / self.lsd_db)

    def chance(self, steps: int) -> float:
        """Standard deviation of the share of flips, of as many as are allowed."""
        return math.sqrt(self.top1 * (1 - self.top1) / max(1, steps))

    def strain(self, damage: Damage) -> float:
        """The same for a small part of the model, where no best code may have flipped yet: KL stands for flips, at the
        ratio that is usual between them (2 % of flips at 1e-3 nats)."""
        flips = damage.kl * 20.0
        return max(flips / (1 - self.top1), damage.mel_db / self.mel_db, damage.lsd_db / self.lsd_db)


@dataclass(frozen=True)
class MethodResult:
    graph: str
    scheme: LayerScheme
    damage: Damage


@dataclass(frozen=True)
class GroupResult:
    group: Group
    scheme: LayerScheme
    bytes: int  # of FP32 weights
    damage: Damage


def activation_schemes() -> list[LayerScheme]:
    """W8A8 by every method, plain and smoothed."""
    return [
        LayerScheme("w8a8", method, PERCENTILE if method == "percentile" else None, smooth)
        for smooth in (None, "search")
        for method in METHODS
    ]


def compare_methods(
    trial: Trial, variants: Variants, graphs: Sequence[str] = DIVIDED, progress: Progress | None = None
) -> list[MethodResult]:
    """Every method on every graph, all its layers at once; weights alone for comparison."""
    jobs = [(graph, scheme) for graph in graphs for scheme in (WEIGHTS_ONLY, *activation_schemes())]
    found = []
    for i, (graph, scheme) in enumerate(jobs):
        if progress:
            progress(f"{graph} {describe(scheme)}", i, len(jobs))
        damage = trial.damage(variants.make(variants.uniform(graph, scheme)))
        found.append(MethodResult(graph, scheme, damage))
    return found


def best_methods(results: Sequence[MethodResult], budget: Budget) -> dict[str, LayerScheme]:
    """Graph -> the scheme with quantised activations that strains the budget least."""
    best: dict[str, MethodResult] = {}
    for result in results:
        if result.scheme.method is None:
            continue
        held = best.get(result.graph)
        if held is None or budget.strain(result.damage) < budget.strain(held.damage):
            best[result.graph] = result
    return {graph: result.scheme for graph, result in best.items()}


def group_layers(graph: str, layers: Sequence[Layer]) -> list[Group]:
    """Layers of one block belong together: the name up to its number, and one more part where more follow."""
    if graph not in DIVIDED:
        return [Group(graph, graph, tuple(layer.name for layer in layers))] if layers else []
    groups: dict[str, list[str]] = {}
    for layer in layers:
        groups.setdefault(_block(layer.name), []).append(layer.name)
    return [Group(graph, name, tuple(names)) for name, names in groups.items()]


def measure_groups(
    trial: Trial,
    variants: Variants,
    schemes: dict[str, LayerScheme],
    default: LayerScheme,
    progress: Progress | None = None,
    graphs: Sequence[str] | None = None,
) -> list[GroupResult]:
    """Every group of ``graphs`` (None: all) alone, by the scheme of its graph."""
    chosen = list(variants.layers) if graphs is None else graphs
    groups = [g for graph in chosen for g in group_layers(graph, variants.layers[graph])]
    found = []
    for i, group in enumerate(groups):
        if progress:
            progress(group.title, i, len(groups))
        scheme = schemes.get(group.graph, default)
        damage = trial.damage(variants.make(variants.uniform(group.graph, scheme, group.layers)))
        found.append(GroupResult(group, scheme, variants.bytes_of(group.graph, group.layers), damage))
    return found


def describe(scheme: LayerScheme) -> str:
    words = [scheme.scheme, scheme.method or ""]
    if scheme.smooth is not None:
        words.append("smoothed" if scheme.smooth == "search" else f"smoothed by {scheme.smooth}")
    return " ".join(word for word in words if word)


def _block(name: str) -> str:
    parts = name.split("#")[0].split(".")
    number = next((i for i, part in enumerate(parts) if part.isdigit()), None)
    if number is None:
        return ".".join(parts[:2])
    after = len(parts) - number - 1
    return ".".join(parts[: number + 1 + (after > 1)])
