"""What candidates cost: nothing when they are the same, more the coarser they are, and only where they differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest

from tests.model.tiny import TINY
from tts_trt.models import ModelFolder
from tts_trt.quant.collect import collect
from tts_trt.quant.corpus import Utterance
from tts_trt.quant.recipe import LayerScheme, resolve
from tts_trt.quant.search import _fewest, recipe_of, search
from tts_trt.quant.sensitivity import (
    WEIGHTS_ONLY,
    Budget,
    Group,
    GroupResult,
    best_methods,
    compare_methods,
    group_layers,
    measure_groups,
)
from tts_trt.quant.trial import POSITIONS, Damage, Trial
from tts_trt.quant.variants import Variants

W8A8 = LayerScheme("w8a8", "max")


@pytest.fixture(scope="module")
def trial(
    tiny_folder: ModelFolder, fp32_graphs: Mapping[str, Path], utterances: list[Utterance]
) -> Iterator[Trial]:
    with Trial(tiny_folder, fp32_graphs, [u.request(TINY) for u in utterances[:2]], threads=1) as made:
        yield made


@pytest.fixture(scope="module")
def variants(
    tiny_folder: ModelFolder,
    fp32_graphs: Mapping[str, Path],
    utterances: list[Utterance],
    tmp_path_factory: pytest.TempPathFactory,
) -> Variants:
    stats = collect(tiny_folder, fp32_graphs, utterances, threads=1).stats
    return Variants(fp32_graphs, stats, tmp_path_factory.mktemp("variants"))


def test_the_same_graphs_do_no_damage(trial: Trial, fp32_graphs: Mapping[str, Path]) -> None:
    for candidates in ({}, {"gpt": fp32_graphs["gpt"]}):
        damage = trial.damage(candidates)
        assert (damage.top1, damage.mel_db, damage.lsd_db) == (1.0, 0.0, 0.0)
        assert damage.kl < 1e-12 and damage.sqnr_db == 200
        assert len(damage.kl_by_position) == POSITIONS


def test_a_graph_hurts_what_comes_after_it_only(trial: Trial, variants: Variants) -> None:
    vocoder = trial.damage(variants.make(variants.uniform("vocoder", W8A8)))
    assert vocoder.lsd_db > 0.05 and vocoder.mel_db == 0 and vocoder.kl == 0
    flow = trial.damage(variants.make(variants.uniform("flow_step", W8A8)))
    assert flow.mel_db > 0 and flow.kl == 0
    gpt = trial.damage(variants.make(variants.uniform("gpt", W8A8)))
    assert gpt.kl > 0 and gpt.sqnr_db < 60


def test_quantised_activations_cost_more_than_weights_alone(trial: Trial, variants: Variants) -> None:
    damage = {s: trial.damage(variants.make(variants.uniform("gpt", s))) for s in (WEIGHTS_ONLY, W8A8)}
    assert damage[WEIGHTS_ONLY].sqnr_db > damage[W8A8].sqnr_db + 0.3


def test_methods_and_groups_are_measured_and_searched(trial: Trial, variants: Variants) -> None:
    budget = Budget(top1=0.5, mel_db=5.0, lsd_db=5.0)
    methods = compare_methods(trial, variants, ["gpt"])
    assert len({(m.scheme.scheme, m.scheme.method, m.scheme.smooth) for m in methods}) == 9
    best = best_methods(methods, budget)
    assert best["gpt"].method is not None
    strained = {m.scheme: budget.strain(m.damage) for m in methods if m.scheme.method}
    assert strained[best["gpt"]] == min(strained.values())
    groups = measure_groups(trial, variants, best, W8A8, graphs=["gpt", "mel_condition", "vocoder"])
    assert {layer for g in groups for layer in g.group.layers} == {
        layer.name for name in ("gpt", "mel_condition", "vocoder") for layer in variants.layers[name]
    }
    tight = Budget(top1=0.5, mel_db=5.0, lsd_db=0.5 * max(g.damage.lsd_db for g in groups))
    found = search(trial, variants, groups, tight)
    assert tight.used(found.damage) <= 1
    recipe = recipe_of("int8", found.assignment, variants)
    resolved = resolve(recipe, variants.layers)
    wanted = {
        graph: {layer: s for g, s in found.assignment.items() if g.graph == graph for layer in g.layers}
        for graph in variants.layers
    }
    assert {g: s for g, s in resolved.items() if s} == {g: s for g, s in wanted.items() if s}


class FakeTrial:
    """Damage adds up over groups, with an interaction that single measurements do not show."""

    def damage(self, candidates: Mapping[str, Mapping[str, LayerScheme]]) -> Damage:
        schemes = candidates.get("vocoder", {})
        costs = {"a": 0.6, "b": 0.3, "c": 0.2, "d": 0.01}
        hurt = sum(costs[layer] * (1.0 if s.method else 0.1) for layer, s in schemes.items())
        hurt += 0.4 * all(schemes.get(layer, WEIGHTS_ONLY).method is not None for layer in "bc")
        return Damage(10, 1.0, 0.0, 99.0, 0.0, hurt, (0.0,) * 5, (0.0,) * 5)


class FakeVariants:
    def make(
        self, schemes: Mapping[str, Mapping[str, LayerScheme]]
    ) -> Mapping[str, Mapping[str, LayerScheme]]:
        return schemes


def results() -> list[GroupResult]:
    alone = FakeTrial()
    groups = [Group("vocoder", name, (name,)) for name in "dcba"]
    return [GroupResult(g, W8A8, 4, alone.damage({"vocoder": {g.name: W8A8}})) for g in groups]


@pytest.mark.parametrize(
    ("lsd", "with_activations", "with_weights"),
    [
        (2.0, "abcd", "abcd"),
        (0.98, "bcd", "abcd"),
        (0.35, "cd", "abcd"),
        (0.12, "d", "abcd"),
        (0.03, "", "cd"),
    ],
)
def test_as_few_groups_give_way_as_the_budget_needs(
    lsd: float, with_activations: str, with_weights: str
) -> None:
    found = search(FakeTrial(), FakeVariants(), results(), Budget(lsd_db=lsd))  # type: ignore[arg-type]
    assert "".join(sorted(g.name for g, s in found.assignment.items() if s.method)) == with_activations
    assert "".join(sorted(g.name for g in found.assignment)) == with_weights
    assert found.damage.lsd_db <= lsd


@pytest.mark.parametrize(
    ("steps", "flips", "fits"), [(400, 10, True), (400, 13, True), (400, 14, False), (40_000, 1050, False)]
)
def test_flips_by_chance_do_not_break_a_budget_and_more_do(steps: int, flips: int, fits: bool) -> None:
    damage = Damage(steps, 1 - flips / steps, 0.0, 99.0, 0.0, 0.0, (0.0,) * 5, (0.0,) * 5)
    assert (Budget(top1=0.975).used(damage) <= 1) is fits


def test_bisection_finds_the_least_count() -> None:
    for least in range(12):
        asked: list[int] = []

        def fits(count: int, least: int = least, asked: list[int] = asked) -> bool:
            asked.append(count)
            return count >= least

        assert _fewest(11, fits) == least
        assert len(asked) <= 6
    assert _fewest(3, lambda count: False) is None


def test_blocks_are_groups(variants: Variants) -> None:
    names = [g.name for g in group_layers("gpt", variants.layers["gpt"])]
    assert names[:2] == ["gpt.gpt.h.0.attn", "gpt.gpt.h.0.mlp"] and names[-1] == "gpt.mel_head"
    encoder = group_layers("style_encoder", variants.layers["style_encoder"])
    assert len(encoder) == 1 and len(encoder[0].layers) == len(variants.layers["style_encoder"])
    assert group_layers("sampler", []) == []
    assert np.sum([len(g.layers) for g in group_layers("vocoder", variants.layers["vocoder"])]) == len(
        variants.layers["vocoder"]
    )
