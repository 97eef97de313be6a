"""A policy's bundle follows the evidence of a report, and says what it followed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tts_trt.choice import Evidence, Offer, pick_bundle
from tts_trt.errors import ConfigError, UsageError
from tts_trt.policy import Audiobook, Dubbing, Live, shipped


def an_offer(precision: str) -> Offer:
    return Offer(
        f"nano-{precision}", Path(precision), precision, "onnxruntime", "nano", "w", f"hash of {precision}"
    )


OFFERS = [an_offer(precision) for precision in ("int8", "fp16", "fp32")]
INT8, FP16, FP32 = OFFERS


def report(first_audio: dict[str, float] | None, **worse: list[str]) -> dict[str, Any]:
    """``worse``: precision -> metrics in which it is judged worse than fp32."""
    sections = {
        "wer": "free",
        "similarity": "free",
        "kl": "same codes",
        "mcd_db": "same codes",
        "time": "cost",
    }
    order = ("fp32", "fp16", "int8")
    return {
        "schema_version": 1,
        "metrics": {name: {"section": section, "title": "more than is needed"} for name, section in sections.items()},
        "bundles": [
            {"name": f"nano-{p}", "manifest_sha256": f"hash of {p}", "again": False, "path": "x"} for p in order
        ]
        + [{"name": "baseline, other seeds", "manifest_sha256": "hash of fp32", "again": True}],
        "candidates": [
            {
                "name": f"nano-{p}",
                "again": False,
                "verdicts": [
                    {"metric": m, "verdict": "worse" if m in worse.get(p, []) else "equal"} for m in sections
                ],
            }
            for p in ("fp16", "int8")
        ],
        "cost": first_audio
        and {"bundles": [{"bundle": f"nano-{p}", "rtf": 0.1, "first_audio": first_audio[p]} for p in order]},
    }  # fmt: skip


TIMES = {"fp32": 0.2, "fp16": 0.3, "int8": 0.1}
LIVE = shipped(Live)


def test_live_takes_the_soonest_that_keeps_the_criterion() -> None:
    found = pick_bundle(LIVE, report(TIMES), OFFERS)
    assert found.offer is INT8
    assert "100 ms" in found.why and "nano-fp32 200 ms" in found.why and not found.ruled_out


def test_a_verdict_that_may_never_be_worse_rules_out() -> None:
    found = pick_bundle(LIVE, report(TIMES, int8=["wer"]), OFFERS)
    assert found.offer is FP32
    assert found.ruled_out == {"nano-int8": "judged worse in wer"}


def test_other_measures_may_be_worse_up_to_a_number_and_cost_does_not_count() -> None:
    some = report(TIMES, int8=["kl", "mcd_db", "time"])
    two = replace(LIVE, criterion=replace(LIVE.criterion, most_worse=2))
    one = replace(LIVE, criterion=replace(LIVE.criterion, most_worse=1))
    assert pick_bundle(two, some, OFFERS).offer is INT8
    assert pick_bundle(one, some, OFFERS).ruled_out == {
        "nano-int8": "judged worse in 2 measures, at most 1 may be"
    }


def test_without_a_report_or_times_the_highest_precision_speaks_and_it_is_said() -> None:
    found = pick_bundle(LIVE, None, OFFERS)
    assert found.offer is FP32 and "no report was given" in found.why
    found = pick_bundle(LIVE, report(None, fp16=["wer"]), OFFERS)
    assert found.offer is FP32 and "times no bundle" in found.why


def test_evidence_about_another_build_counts_for_nothing() -> None:
    rebuilt = replace(INT8, manifest_sha256="another")
    found = pick_bundle(LIVE, report(TIMES), [rebuilt, FP16, FP32])
    assert found.offer is FP32
    assert found.ruled_out == {"nano-int8": "the report is not about this bundle"}
    found = pick_bundle(LIVE, report(TIMES), [rebuilt])
    assert found.offer is rebuilt and "times no bundle" in found.why


def test_dubbing_takes_high_precision_whatever_is_fast() -> None:
    assert pick_bundle(shipped(Dubbing), report(TIMES), OFFERS).offer is FP32
    assert pick_bundle(shipped(Dubbing), None, [INT8, FP16]).offer is FP16
    with pytest.raises(UsageError, match="no bundle of fp32 or fp16 among nano-int8"):
        pick_bundle(shipped(Dubbing), None, [INT8])


def test_narration_is_int8_unless_the_report_rules_it_out() -> None:
    policy = shipped(Audiobook)
    assert pick_bundle(policy, None, OFFERS).offer is INT8
    assert pick_bundle(policy, report(TIMES), OFFERS).offer is INT8
    assert pick_bundle(policy, report(TIMES, int8=["similarity"]), OFFERS).offer is FP16
    found = pick_bundle(
        policy, report(TIMES, int8=["similarity"]), [INT8, replace(FP32, manifest_sha256="new")]
    )
    assert found.offer.precision == "fp32" and "of key passages" in found.why


@pytest.mark.parametrize("wrong", [{}, {"schema_version": 1}, report(TIMES) | {"cost": {"bundles": [{}]}}])
def test_what_is_no_report_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="this is no report"):
        Evidence.of(wrong)
