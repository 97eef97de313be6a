"""The small pieces: pictures, plots, schema, workers, the command's words."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest

from tts_trt.commands.report import Asked, run
from tts_trt.errors import BundleError, ConfigError, UsageError
from tts_trt.report.markdown import number
from tts_trt.report.picture import heat_map
from tts_trt.report.positions import parts, positions
from tts_trt.report.schema import read_report
from tts_trt.report.subjects import short_names
from tts_trt.report.svg import Scale, intervals
from tts_trt.report.workers import WorkerError, Workers


def test_a_heat_map_is_a_png_with_low_bands_at_the_bottom() -> None:
    gap = np.zeros((3, 5))
    gap[0] = 9.0
    body = heat_map(gap, 3.0)
    assert body.startswith(b"\x89PNG") and struct.unpack(">II", body[16:24]) == (5, 3)
    start = body.index(b"IDAT") + 4
    rows = np.frombuffer(zlib.decompress(body[start:-16]), np.uint8).reshape(3, 16)[:, 1:].reshape(3, 5, 3)
    assert (rows[2] == [255, 250, 225]).all() and (rows[:2] == [20, 22, 40]).all()


def test_scales_hold_their_values() -> None:
    linear, log = Scale.of([0.0, 3.0], 100, 0), Scale.of([1e-6, 1e-3], 100, 0)
    assert (linear(0), linear(3)) == (100, 0) and not linear.log
    assert log.log and log.ticks()[0] == pytest.approx(1e-6) and log(1e-3) == pytest.approx(0)
    assert Scale.of([0.0, 0.0], 100, 0)(0) == 100
    assert linear.ticks() == [0, 1, 2, 3]


def test_plots_escape_their_words() -> None:
    assert "<b>" not in intervals([("<b>", [(0, 0.5, 0.1, 9.0), (1, -7.0, -8.0, -6.0)])])


def test_positions_and_parts_of_nothing() -> None:
    assert positions([]) == {} and parts([]) == ()


def test_an_utterance_too_short_for_fifths_is_left_out() -> None:
    long = {
        key: {name: [1.0, 1, 1, 1, 2] for name in ("kl", "flips", "noise", "signal", "mel")}
        for key in ("fifths", "points")
    }
    short = {key: dict.fromkeys(("kl", "flips", "noise", "signal", "mel")) for key in ("fifths", "points")}
    found = positions([long, long, short])
    assert found["kl"].growth and found["kl"].growth.mean == 2 and found["kl"].fifths[0].mean == 1
    assert found["noise"].fifths[4].mean == 1, "relative to the power in the same place"


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (0.0312, "0.0312"), (4e-6, "4.0e-06"), (1234.5, "1234"), (-0.5, "-0.5")]
)
def test_numbers_are_short(value: float, text: str) -> None:
    assert number(value) == text


def test_reports_of_another_version_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text('{"schema_version": 2}')
    with pytest.raises(ConfigError, match="not a report of version 1"):
        read_report(path)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_report(tmp_path / "none.json")


def test_bundles_of_one_name_keep_their_paths() -> None:
    assert short_names([Path("a/x"), Path("a/y")]) == ["x", "y"]
    assert short_names([Path("a/x"), Path("b/x")]) == ["a/x", "b/x"]


@pytest.mark.parametrize("processes", [0, 1])
def test_workers_hand_over_every_result_and_raise_what_a_job_raises(processes: int) -> None:
    found: list[int] = []
    with Workers(processes) as workers:
        for n in range(4):
            workers.submit(found.append, abs, -n)
        workers.finish()
        assert sorted(found) == [0, 1, 2, 3]
        with pytest.raises(UsageError, match="cannot be read"):
            workers.submit(found.append, read_report_of, "nowhere")
            workers.finish()


def test_a_worker_that_is_killed_is_a_typed_error() -> None:
    with Workers(1) as workers, pytest.raises(WorkerError, match="ended from outside"):
        for _ in range(3):
            workers.submit(print, os._exit, 1)
        workers.finish()


def read_report_of(path: str) -> None:
    read_report(Path(path))


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"texts": Path("nowhere.txt")}, UsageError, "nowhere.txt cannot be read"),
        ({"gate": Path("nowhere.toml")}, ConfigError, "nowhere.toml cannot be read"),
        ({"recogniser": "nobody"}, UsageError, "no recogniser 'nobody'"),
        ({"opinion": "nobody"}, UsageError, "no MOS predictor 'nobody'"),
        ({"candidates": ()}, UsageError, "nothing to compare"),
        ({"candidates": (Path("a"),)}, UsageError, "named twice"),
        ({}, BundleError, "not a bundle"),
    ],
)
def test_wrong_words_are_found_before_anything_is_written(
    changes: dict[str, object], error: type[Exception], words: str, tmp_path: Path
) -> None:
    asked: dict[str, object] = {
        "baseline": Path("a"),
        "candidates": (Path("b"),),
        "out": tmp_path / "out",
        "recogniser": "tests.report.fakes:hear",
    }
    with pytest.raises(error, match=words):
        run(Asked(**{**asked, **changes}), lambda phase, done, total: None)  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()
