"""The builder against the real binding classes of TensorRT 10.16, 11.4 and TensorRT-RTX, each in its own
process."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest

from tests.bindings import ELEVEN, LIBRARIES, RTX, TEN, accepts, name_of, run_with
from tests.build.graphs import kv_attention


def probe(library: str, folder: Path) -> dict[str, Any]:
    path, spec = kv_attention(folder / "kv.onnx")
    (folder / "spec.pickle").write_bytes(pickle.dumps(spec))
    paths = path, folder / "spec.pickle", folder / "kv.plan"
    result = run_with(library, "tests.build.binding_probe", name_of(library), *paths, cwd=folder)
    return json.loads(result.stdout)


@pytest.fixture(params=LIBRARIES)
def library(request: pytest.FixtureRequest) -> str:
    return request.param


def test_the_builder_touches_only_what_the_library_has(library: str, tmp_path: Path) -> None:
    report = probe(library, tmp_path)
    assert report["version"] == library or library == RTX
    assert (tmp_path / "kv.plan").read_bytes() == b"plan of " + report["version"].encode()
    assert report["layers"] == {"ATTENTION_INPUT": 1, "ATTENTION_OUTPUT": 1, "KV_CACHE_UPDATE": 2}
    assert report["precisions"] == {"fp16": 1}
    assert report["verbosity"] == "DETAILED"
    assert report["events"] == [["Building", 0, 1], ["Building", 1, 1], ["Building", 1, 1]]
    expected = {
        "IAttention.decomposable=",
        "IBuilderConfig.builder_optimization_level=",
        "IBuilderConfig.clear_flag",
        "IBuilderConfig.progress_monitor=",
        "IBuilderConfig.set_memory_pool_limit",
        "IOptimizationProfile.set_shape",
        "OnnxParser.parse_from_file",
    }
    assert expected <= set(report["used"])


def test_what_one_library_lacks_is_asked_for_first(library: str, tmp_path: Path) -> None:
    """Names that are absent somewhere may appear in the sources only behind a hasattr."""
    report = probe(library, tmp_path)
    used = set(report["used"])
    targets = ["ComputeCapability", "ComputeCapability.__members__"]
    implicit_int8 = ["BuilderFlag.FP16", "BuilderFlag.INT8", "IInt8EntropyCalibrator2"]
    absent = {TEN: targets, ELEVEN: sorted(targets + implicit_int8), RTX: implicit_int8}
    assert report["missing"] == absent[library]
    assert ("IBuilderConfig.set_compute_capability" in used) == (library == RTX)


def test_timings_are_kept_where_the_library_times_kernels(library: str, tmp_path: Path) -> None:
    report = probe(library, tmp_path)
    cache = tmp_path / "kv.timing"
    if library == RTX:
        assert not cache.exists()
        assert "timing cache" in report["warnings"][0]
    else:
        assert cache.read_bytes() == b"timings"
        assert report["warnings"] == []
        assert {"IBuilderConfig.set_timing_cache", "ITimingCache.serialize"} <= set(report["used"])


@pytest.mark.parametrize("library", [TEN, ELEVEN])
def test_a_library_that_gives_no_builder_is_one_error(library: str, tmp_path: Path) -> None:
    """The stub libraries answer null, as the real ones do without a CUDA driver."""
    report = probe(library, tmp_path)
    assert report["targets"] == []
    assert f"tensorrt {library} cannot start a builder" in report["start_failure"]
    assert "--executor tensorrt-rtx" in report["start_failure"]


@pytest.mark.parametrize(
    ("positional", "keywords", "fits"),
    [
        (2, set(), True),
        (1, {"c"}, False),
        (1, {"b"}, True),
        (3, set(), True),
        (4, set(), False),
        (2, {"x"}, False),
    ],
)
def test_calls_are_held_against_docstring_signatures(positional: int, keywords: set[str], fits: bool) -> None:
    assert accepts("f(self: T, a: list[int, str], b: m.B, c: int = 0) -> None", positional, keywords) is fits
