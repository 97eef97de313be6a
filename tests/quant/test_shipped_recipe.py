"""The recipe that ships with nano is the product of a search, and its evidence lies beside it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tts_trt.models import find_model
from tts_trt.quant.plot import bars
from tts_trt.quant.recipe import load_recipe, recipe_text
from tts_trt.quant.sensitivity import Budget

NANO = find_model("nano")


@pytest.fixture(scope="module")
def evidence() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((NANO.path / "recipes" / "int8.json").read_text())
    return found


def test_the_recipe_is_the_one_that_was_measured(evidence: dict[str, Any]) -> None:
    recipe = load_recipe("int8", NANO)
    assert recipe_text(recipe) == evidence["recipe"]
    assert recipe.base == "fp16" and recipe.needs_statistics


def test_it_keeps_within_its_budget(evidence: dict[str, Any]) -> None:
    budget, int8 = Budget(**evidence["budget"]), evidence["int8"]
    assert int8["top1"] >= budget.top1 - budget.chance(int8["steps"]) and budget.top1 >= 0.97
    assert int8["mel_db"] <= budget.mel_db and int8["lsd_db"] <= budget.lsd_db


def test_every_group_has_a_verdict_and_every_method_a_figure(evidence: dict[str, Any]) -> None:
    assert {row["chosen"].split()[0] for row in evidence["groups"]} <= {"w8a8", "w8", "float"}
    schemes = {row["scheme"] for row in evidence["methods"]}
    assert {"w8a8 max", "w8a8 percentile", "w8a8 mse", "w8a8 entropy", "w8"} <= schemes


def test_a_chart_has_a_bar_for_each_value_and_escapes_labels() -> None:
    chart = bars([("a<b", 2.0), ("c", 0.5)])
    assert chart.count("<rect") == 2 and "a&lt;b" in chart
    assert 'width="360.0"' in chart and 'width="90.0"' in chart
