"""Limits come from clean speech, survive one bad segment, and a file that is wrong says so."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.quality.synthetic import RATE, segment
from tts_trt.errors import ConfigError, UsageError
from tts_trt.quality.qc_checks import CHECKS, NEIGHBOURS, measure
from tts_trt.quality.qc_signal import Signal, SpeechSegment
from tts_trt.quality.qc_thresholds import (
    LARGEST_BYTES,
    Limit,
    Source,
    Thresholds,
    derive,
    load_thresholds,
    shipped_thresholds,
)

SOURCE = Source(model="sounds", bundle="made", weights_sha256="0" * 64, date=date(2026, 1, 1))
CLEAN = [[segment(2 * n), segment(2 * n + 1)] for n in range(12)]
LIMITS = derive(CLEAN, SOURCE)


def values_of(one: SpeechSegment) -> dict[str, float]:
    return {name: found.value for name, found in measure(Signal(one.wave_S, RATE), one).items()}


def scaled(one: SpeechSegment, gain: float, voice: str) -> SpeechSegment:
    return replace(one, wave_S=one.wave_S * np.float32(gain), voice=voice)


def test_every_check_gets_a_limit_and_the_file_says_where_from(tmp_path: Path) -> None:
    assert set(LIMITS.limits) == set(CHECKS) and set(LIMITS.neighbours) == set(NEIGHBOURS)
    assert all(limit is not None for limit in (*LIMITS.limits.values(), *LIMITS.neighbours.values()))
    assert LIMITS.source.segments == 24 and LIMITS.source.bundle == "made"
    LIMITS.save(tmp_path / "new" / "qc.json")
    assert load_thresholds(tmp_path / "new" / "qc.json") == LIMITS


def test_a_limit_is_the_edge_without_the_furthest_and_a_margin_beyond() -> None:
    quiet = np.geomspace(0.02, 0.1, 24)  # by level: everything else stays as it is
    wave = segment(0).wave_S
    rows = [[replace(segment(0), wave_S=wave * np.float32(gain), voice="")] for gain in quiet]
    found = derive(rows, SOURCE).limits["too_quiet"]
    assert found is not None
    decibels = np.sort(values_of(segment(0))["too_quiet"] + 20 * np.log10(quiet))
    edge, middle = decibels[1], np.median(decibels)
    assert found.limit == pytest.approx(edge - CHECKS["too_quiet"].margin * (middle - edge), abs=1e-3)


def test_one_bad_segment_moves_no_limit_far() -> None:
    wave = segment(99).wave_S.copy()
    wave[10_000] = 0.9
    wave[16_000:22_000] = 0
    bad = replace(segment(99), wave_S=(wave * 0.2).astype(np.float32))
    with_bad = derive([*CLEAN, [bad]], SOURCE)
    assert with_bad.source.segments == 25
    bad_values = values_of(bad)
    clean_values = [values_of(s) for pair in CLEAN for s in pair]
    outside = set()
    for name, check in CHECKS.items():
        after = with_bad.limits[name]
        assert after is not None
        clean = check.sign * np.array([values[name] for values in clean_values])
        beyond = max(check.margin * (clean.max() - clean.min()), check.least)
        assert check.sign * after.limit <= clean.max() + beyond + 1e-4, name
        outside |= {name} if check.sign * bad_values[name] > clean.max() + beyond else set()
    assert {"click", "dead_air", "pause", "too_quiet"} <= outside


def test_segments_without_sound_are_left_out_and_too_few_are_refused() -> None:
    silent = replace(segment(0), wave_S=np.zeros(RATE, np.float32))
    broken = replace(segment(0), wave_S=np.full(RATE, np.nan, np.float32))
    assert derive([*CLEAN, [silent, broken]], SOURCE).source.segments == 24
    with pytest.raises(UsageError, match="19 clean segments, expected at least 20"):
        derive([[segment(n)] for n in range(19)], SOURCE)


def test_what_nothing_was_measured_on_is_not_checked() -> None:
    bare = [[SpeechSegment(segment(n).wave_S, RATE, "words")] for n in range(20)]
    found = derive(bare, SOURCE)
    unchecked = {name for name, limit in found.limits.items() if limit is None}
    assert unchecked == {"too_fast", "too_slow", "repeated_codes", "held_code"}
    assert set(found.neighbours.values()) == {None}


def test_a_known_voice_is_compared_with_itself_and_others_with_all() -> None:
    loud = [[scaled(s, 1.0, "anna") for s in pair] for pair in CLEAN[:6]]
    faint = [[scaled(s, 0.1, "bob") for s in pair] for pair in CLEAN[6:]]
    found = derive([*loud, *faint], SOURCE).limits["too_quiet"]
    assert found is not None and set(found.middles) == {"anna", "bob"}
    assert found.middles["anna"] - found.middles["bob"] == pytest.approx(20, abs=0.5)
    assert found.of("anna") - found.of("bob") == pytest.approx(20, abs=0.5)
    assert found.of("carl") == found.limit < found.of("bob")


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"schema_version": 2}, "schema_version"),
        ({"extra": 1}, "extra"),
        ({"limits": {"click": {"limit": 1.0}}}, "missing or unknown checks: clipping"),
        ({"neighbours": {}}, "level_jump"),
        ({"source": {"model": "m"}}, "source"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(tmp_path: Path, change: dict[str, Any], match: str) -> None:
    values = json.loads(LIMITS.model_dump_json()) | change
    path = tmp_path / "qc.json"
    path.write_text(json.dumps(values))
    with pytest.raises(ConfigError, match=match) as caught:
        load_thresholds(path)
    assert "scripts.qc_thresholds" in str(caught.value) and str(path) in str(caught.value)


@pytest.mark.parametrize(
    "limit", ['{"limit": NaN}', '{"limit": 1e999}', '{"limit": 1, "own": 2}', '{"limit": "x"}']
)
def test_a_limit_is_a_number(tmp_path: Path, limit: str) -> None:
    path = tmp_path / "qc.json"
    text = LIMITS.model_dump_json()
    click = LIMITS.limits["click"]
    assert click is not None
    changed = text.replace('"click":' + click.model_dump_json(), '"click":' + limit)
    assert changed != text
    path.write_text(changed)
    with pytest.raises(ConfigError, match="qc.json"):
        load_thresholds(path)


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff\xfe", b"null", b"[" * 100_000])
def test_a_file_that_is_not_ours_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "qc.json"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="qc.json"):
        load_thresholds(path)


def test_missing_and_huge_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_thresholds(tmp_path / "none.json")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_thresholds(tmp_path)
    huge = tmp_path / "huge.json"
    huge.write_bytes(b" " * (LARGEST_BYTES + 1))
    with pytest.raises(ConfigError, match="expected at most"):
        load_thresholds(huge)


def test_the_shipped_limits_are_those_of_the_shipped_voice() -> None:
    found = shipped_thresholds("nano")
    assert found.source.model == "nano" and found.source.segments >= 60
    hiss = found.limits["hiss"]
    assert hiss is not None and {name.split("/")[0] for name in hiss.middles} == {
        "awb",
        "kal16",
        "rms",
        "slt",
    }
    with pytest.raises(ConfigError, match="no thresholds ship for 'other'"):
        shipped_thresholds("other")


def test_own_and_middles_belong_together() -> None:
    with pytest.raises(ValueError, match="belong together"):
        Limit(limit=1.0, middles={"anna": 2.0})
    assert Thresholds.model_fields["schema_version"].default == 1
