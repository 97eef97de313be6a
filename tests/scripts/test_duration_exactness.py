"""The measurement of exact durations, small, over the tiny model's real engines."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest

from scripts import duration_exactness as script
from tests.render.conftest import bundles, graphs, recording
from tts_trt.policy import Dubbing, shipped
from tts_trt.render.dubbing import Fit
from tts_trt.render.srt import overlaps, parse_srt

__all__ = ["bundles", "graphs", "recording"]

TEXTS = ["See me, no cat.", "No bad cat.", "See me.", "Bad cat, no.", "No cat to see."]
POLICY = shipped(Dubbing)


def test_targets_lie_within_the_policy_and_cues_do_not_overlap(monkeypatch: pytest.MonkeyPatch) -> None:
    def fit(text: str) -> Fit:
        return Fit(0.08 * len(text), 0.15)

    drawn = script.drawn(TEXTS, ["anna", "paul"], POLICY, fit, 30, seed=0)
    assert all(POLICY.slowest <= target.rate <= POLICY.fastest for target in drawn)
    assert {target.voice for target in drawn} == {"anna", "paul"} and any(
        t.text.count(".") == 2 for t in drawn
    )
    monkeypatch.setattr(script, "CUES", 5)
    cues = parse_srt(script.film(TEXTS, fit, POLICY, seed=1))
    assert len(cues) == 5 and not overlaps(cues)


def test_a_small_run_is_exact(
    bundles: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(script, "CUES", 3)
    (tmp_path / "texts.txt").write_text("\n".join(TEXTS))
    args = argparse.Namespace(
        bundle=bundles[0], policy="dubbing", count=4, texts=tmp_path / "texts.txt", seed=0, threads=1
    )
    found = script.measure(args)
    assert script.exact(found) and found["targets"] == 4 and found["film"]["exact"] == 3
    assert found["quality_control"]["good_in_the_end"] >= found["quality_control"]["first_take_good"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"error": 1},
        {"start_error": -1},
        {"end_error": 1},
        {"same_samples": False},
        {"between": 1},
        {"length_error": 1},
    ],
)
def test_one_sample_is_an_error(wrong: dict[str, Any]) -> None:
    row = {
        "error": 0,
        "rate": 1.0,
        "first_take_good": True,
        "good": True,
        "forced": False,
        "faults": ["loud_end"],
    }
    cue = {"start_error": 0, "end_error": 0, "same_samples": True, "flagged": False}
    shown = {"cues": [cue, {**cue, **{k: v for k, v in wrong.items() if k in cue}}],
             "samples_between_cues": wrong.get("between", 0), "length_error": wrong.get("length_error", 0)}  # fmt: skip
    found = script.figures([row, {**row, "error": wrong.get("error", 0)}], shown)
    assert not script.exact(found)
    assert found["quality_control"]["faults_of_first_takes"] == {"loud_end": 2}
