"""What is finished stays, and nothing half-written is taken for finished."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tts_trt.errors import UsageError
from tts_trt.report.journal import Journal, key_of, load_wave, save_wave


def test_items_are_read_back(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        journal.add("a", {"x": [1, 2.5, None]})
        assert "a" in journal and journal["a"] == {"x": [1, 2.5, None]}
    with Journal(tmp_path) as journal:
        assert journal["a"] == {"x": [1, 2.5, None]} and journal.get("b") is None


@pytest.mark.parametrize("cut", [1, 5, 20])
def test_a_line_that_was_being_written_is_cut_off(tmp_path: Path, cut: int) -> None:
    with Journal(tmp_path) as journal:
        journal.add("a", 1)
        journal.add("b", 2)
    path = tmp_path / "journal.jsonl"
    path.write_bytes(path.read_bytes()[:-cut])
    with Journal(tmp_path) as journal:
        assert "a" in journal and "b" not in journal
        journal.add("c", 3)
    with Journal(tmp_path) as journal:
        assert journal["a"] == 1 and journal["c"] == 3 and "b" not in journal


def test_no_number_that_is_none_gets_in(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal, pytest.raises(ValueError):
        journal.add("a", float("nan"))
    with Journal(tmp_path) as journal:
        assert "a" not in journal


def test_two_reports_do_not_share_a_folder(tmp_path: Path) -> None:
    with Journal(tmp_path), pytest.raises(UsageError, match="another report"):
        Journal(tmp_path)
    with Journal(tmp_path):
        pass


def test_keys_follow_what_they_depend_on() -> None:
    assert key_of("said", of="x", line={"a": 1}) == key_of("said", line={"a": 1}, of="x")
    keys = {
        key_of("said", of="x", line={"a": 1}),
        key_of("heard", of="x", line={"a": 1}),
        key_of("said", of="y", line={"a": 1}),
        key_of("said", of="x", line={"a": 2}),
    }
    assert len(keys) == 4


def test_waves_keep_16_bits(tmp_path: Path) -> None:
    wave = np.linspace(-1, 1, 999, dtype=np.float32)
    save_wave(tmp_path / "deep" / "x.flac", wave, 16_000)
    found, rate = load_wave(tmp_path / "deep" / "x.flac")
    assert rate == 16_000 and found.dtype == np.float32
    np.testing.assert_allclose(found, wave, atol=2**-14)
