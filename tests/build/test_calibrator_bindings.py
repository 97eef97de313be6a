"""The calibrator on the real base class of TensorRT 10.16, in its own process."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from onnx import helper

from tests.bindings import ELEVEN, TEN, run_with
from tests.build.fake_tensorrt import SCALES
from tests.build.graphs import save


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("probe")


def probe(version: str, folder: Path) -> tuple[dict[str, Any], str]:
    """The report and the error stream."""
    onnx = save(folder / "graph.onnx", [helper.make_node("Conv", ["mel", "w"], ["wave"])], {}, {})
    result = run_with(version, "tests.build.calibrator_probe", onnx, folder / "graph.plan", cwd=folder)
    return json.loads(result.stdout), result.stderr


@pytest.fixture(scope="module")
def ten(folder: Path) -> tuple[dict[str, Any], str]:
    return probe(TEN, folder)


@pytest.fixture(scope="module")
def report(ten: tuple[dict[str, Any], str]) -> dict[str, Any]:
    return ten[0]


def test_the_library_sees_an_entropy_calibrator_2(report: dict[str, Any]) -> None:
    assert report["version"] == TEN
    assert report["calibrator"] == {"kind": "IInt8EntropyCalibrator2", "algorithm": 2, "batch_size": 2}
    assert report["get_algorithm"] == "ENTROPY_CALIBRATION_2"


def test_every_callback_is_overridden_with_its_documented_parameters(report: dict[str, Any]) -> None:
    assert report["callbacks"] == {
        "get_algorithm": [["self"], []],  # the base's own
        "get_batch": [["self", "names"]] * 2,
        "get_batch_size": [["self"]] * 2,
        "read_calibration_cache": [["self"]] * 2,
        "write_calibration_cache": [["self", "cache"]] * 2,
    }


def test_batches_and_cache_pass_through_the_bindings(report: dict[str, Any]) -> None:
    scales_seen, batches, stored, held = report["first"]
    assert (scales_seen, stored, held) == (True, True, [])
    assert batches == [
        [[6, 2], [[4, 5, 6, 7, 8, 9], [101, 102, 0, 0, 0, 0]]],
        [[4, 4], [[1, 2, 3, 4, 0, 0], [1, 2, 3, 4, 0, 0]]],
    ]


def test_a_cache_is_read_through_the_bindings_without_a_batch(report: dict[str, Any]) -> None:
    assert report["again"] == [True, [], 0]


def test_no_exception_reaches_the_bindings(ten: tuple[dict[str, Any], str]) -> None:
    """They would print it and go on as if the corpus had ended."""
    report, errors = ten
    assert report["failure"] == [True, "OSError('no such recording')", [], []]
    assert "caught" not in errors


def test_a_build_uses_what_the_bindings_have_in_order(report: dict[str, Any], folder: Path) -> None:
    assert (folder / "graph.plan").read_bytes() == b"plan with " + SCALES
    build = report["build"]
    assert [lengths for lengths, _ in build["seen"]] == [[4, 6], [5, 3]]
    assert build["stored"] == [SCALES.decode()]
    steps = [
        "IBuilderConfig.add_optimization_profile",
        "IBuilderConfig.set_flag",
        "IBuilderConfig.set_flag",
        "IBuilderConfig.int8_calibrator=",
        "IOptimizationProfile.set_shape",
        "IOptimizationProfile.set_shape",
        "IBuilderConfig.set_calibration_profile",
        "IBuilderConfig.progress_monitor=",
        "Builder.build_serialized_network",
    ]
    start = build["used"].index("IBuilderConfig.add_optimization_profile")
    assert [step for step in build["used"][start:] if step in steps][: len(steps)] == steps


def test_tensorrt_11_is_refused(folder: Path) -> None:
    report, _ = probe(ELEVEN, folder)
    assert "tensorrt 11.4.0.106 has no calibrators" in report["refused"]
