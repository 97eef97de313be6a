"""Implicit INT8 through a stand-in for TensorRT 10: what is set in which order, what is refused, what is left behind."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper

from tests.build.fake_cuda import FakeCuda
from tests.build.fake_tensorrt import SCALES, FakeTensorRT
from tests.build.graphs import FLOAT, INT8, save
from tests.build.test_batches import BINS, SPECS, VOCODER, spoken
from tts_trt.build.batches import calibration_shape
from tts_trt.build.calibrator import CacheStore, create_calibrator
from tts_trt.build.device_memory import PyCudaMemory
from tts_trt.build.implicit import build_implicit_int8, calibrate_to_cache
from tts_trt.errors import BuildError, QuantError
from tts_trt.spec import GraphSpec
from tts_trt.trt import Backend

AXES = {"B": 2, "T": 6}
BEST = {axis: sizes[1] for axis, sizes in VOCODER.profiles[0].items()}
CORPUS = [spoken(4, 6), spoken(5, 3)]


class Job:
    """A graph file, the library, a calibrator and its store."""

    def __init__(self, folder: Path, source: Any = CORPUS, spec: GraphSpec = VOCODER) -> None:
        self.onnx = folder / "graph.onnx"
        save(self.onnx, [helper.make_node("Conv", ["mel", "w"], ["wave"])], {}, {})
        self.plan = folder / "graph.plan"
        self.spec, self.source = spec, source
        self.cuda = FakeCuda()
        self.stored: list[bytes] = []
        self.seen: list[list[int]] = []
        self.library = FakeTensorRT(spec, self.look)
        self.events: list[Any] = []

    def look(self, seen: dict[str, int]) -> None:
        self.seen.append(np.frombuffer(self.cuda.device[seen["lengths"]], np.int64).tolist())

    def progress(self, *event: Any) -> None:
        self.events.append(event)

    def calibrator(self, backend: Backend) -> Any:
        store = CacheStore(lambda: self.stored[-1] if self.stored else None, self.stored.append)
        shape = calibration_shape(self.spec, AXES if self.spec is VOCODER else None)
        return create_calibrator(
            backend, self.source, shape, store, lambda layout: PyCudaMemory(layout, driver=self.cuda)
        )

    def run(self, how: Any, *, progress: Any = None, **options: Any) -> Any:
        backend = self.library.backend()
        self.made = self.calibrator(backend)
        paths = [self.onnx, self.spec] + ([self.plan] if how is build_implicit_int8 else [])
        return how(backend, *paths, self.made, progress=progress or self.progress, **options)

    def build(self, **options: Any) -> Any:
        return self.run(build_implicit_int8, **options)

    def calibrate(self, **options: Any) -> Any:
        return self.run(calibrate_to_cache, **options)


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Job(tmp_path)


def mel(batch: int, frames: int) -> tuple[int, int, int]:
    return (batch, BINS, frames)


def test_flags_calibrator_and_profile_are_set_before_the_build(job: Job) -> None:
    job.build()
    low, _, high = VOCODER.profiles[0]["T"]
    most = VOCODER.profiles[0]["B"][2]
    monitor = job.library.options.progress_monitor
    assert job.library.log == [
        ("create_network", 0),  # weakly typed
        ("clear_flag", "TF32"),
        (
            "add_optimization_profile",
            {
                "mel": (mel(1, low), mel(BEST["B"], BEST["T"]), mel(most, high)),
                "lengths": ((1,), (BEST["B"],), (most,)),
            },
        ),
        ("set_flag", "INT8"),
        ("set_flag", "FP16"),
        ("int8_calibrator", job.made),
        ("set_calibration_profile", {"mel": (mel(2, 6),) * 3, "lengths": ((2,),) * 3}),
        ("progress_monitor", monitor),
        "build",
    ]


def test_a_plan_is_built_from_the_corpus(job: Job) -> None:
    info = job.build()
    assert job.plan.read_bytes() == b"plan with " + SCALES
    assert job.seen == [[4, 6], [5, 3]]
    assert job.stored == [SCALES]
    assert job.cuda.held == []
    assert info.precisions == {"implicit-int8": 1}
    assert len(job.events) > 4


def test_fp16_can_be_left_out(job: Job) -> None:
    job.build(fp16=False)
    assert [entry for entry in job.library.log if entry[0] == "set_flag"] == [("set_flag", "INT8")]


def test_the_next_build_reads_the_cache(job: Job) -> None:
    job.build()
    job.source = unreadable()
    job.seen.clear()
    job.build()
    assert job.seen == []
    assert job.stored == [SCALES]


def unreadable() -> Iterator[Any]:
    raise AssertionError("the recordings were opened")
    yield


def test_calibrating_alone_stops_the_build_once_the_cache_is_there(job: Job, tmp_path: Path) -> None:
    assert job.calibrate() == SCALES
    assert job.library.built == [0]
    assert job.stored == [SCALES]
    assert job.cuda.held == []
    assert [path.name for path in tmp_path.iterdir()] == ["graph.onnx"]
    assert ("create_network", 0) in job.library.log


def test_calibrating_alone_builds_nothing_where_the_cache_is_there_already(job: Job) -> None:
    job.stored = [SCALES]
    job.source = unreadable()
    assert job.calibrate() == SCALES
    assert job.library.log == []


@pytest.mark.parametrize("how", ["build", "calibrate"])
def test_a_failure_in_a_callback_is_the_error_of_the_build(tmp_path: Path, how: str) -> None:
    def source() -> Iterator[Any]:
        yield spoken(5, 5)
        raise KeyboardInterrupt

    job = Job(tmp_path, source())
    with pytest.raises(KeyboardInterrupt):
        getattr(job, how)()
    assert job.library.built == [0]  # it does not time kernels for scales of half a corpus
    assert job.stored == []
    assert job.cuda.held == []
    assert [path.name for path in tmp_path.iterdir()] == ["graph.onnx"]


@pytest.mark.parametrize("how", ["build", "calibrate"])
def test_a_library_that_gives_up_between_batches_keeps_no_memory(job: Job, how: str) -> None:
    job.library.gives_up = True
    with pytest.raises(BuildError, match="tensorrt 10.16.1.11 cannot build graph vocoder"):
        getattr(job, how)()
    assert job.made.batches == 1
    assert job.cuda.held == []
    assert job.stored == []


@pytest.mark.parametrize("how", ["build", "calibrate"])
def test_an_empty_corpus_is_named_rather_than_the_librarys_words(tmp_path: Path, how: str) -> None:
    with pytest.raises(BuildError, match="graph vocoder has no recorded inputs"):
        getattr(Job(tmp_path, []), how)()


@pytest.mark.parametrize("how", ["build", "calibrate"])
def test_cancelling_ends_with_the_memory_given_back(job: Job, how: str) -> None:
    with pytest.raises(BuildError, match="graph vocoder was cancelled"):
        job.run({"build": build_implicit_int8, "calibrate": never_cached}[how], progress=lambda *event: False)
    assert job.cuda.held == []
    assert not job.plan.exists()


def never_cached(backend: Backend, onnx: Path, spec: GraphSpec, calibrator: Any, progress: Any) -> bytes:
    """Cancelled before the library writes."""
    calibrator.write_calibration_cache = lambda cache: None
    return calibrate_to_cache(backend, onnx, spec, calibrator, progress=progress)


def test_what_progress_raises_is_raised(job: Job) -> None:
    def interrupt(*event: Any) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        job.build(progress=interrupt)
    assert job.cuda.held == [] and not job.plan.exists()


@pytest.mark.parametrize("how", ["build", "calibrate"])
def test_a_foreign_cache_is_refused_before_anything_is_parsed(job: Job, how: str) -> None:
    def refuse() -> bytes:
        raise QuantError("the cache belongs to another corpus")

    job.calibrator = lambda backend: create_calibrator(  # type: ignore[method-assign]
        backend, [], calibration_shape(VOCODER, AXES), CacheStore(refuse, job.stored.append)
    )
    with pytest.raises(QuantError, match="another corpus"):
        getattr(job, how)()
    assert job.library.log == []


def test_a_refused_calibration_shape_is_named(job: Job) -> None:
    object.__setattr__(job.library.options, "accepts_calibration", False)
    with pytest.raises(BuildError, match="refuses the calibration shape {'B': 2, 'T': 6}"):
        job.build()


@pytest.mark.parametrize("how", ["build", "calibrate"])
def test_graphs_with_in_place_caches_are_refused(tmp_path: Path, how: str) -> None:
    job = Job(tmp_path, spec=SPECS["gpt"])
    with pytest.raises(BuildError, match=r"graph gpt updates \d+ caches in place(.|\n)*Q/DQ"):
        getattr(job, how)()
    assert job.library.log == []


@pytest.mark.parametrize(
    ("graph", "outputs"), [("semantic_codec", "codes"), ("sampler", "code, next_pos, seen_out")]
)
def test_plans_of_graphs_that_decide_are_refused(tmp_path: Path, graph: str, outputs: str) -> None:
    job = Job(tmp_path, spec=SPECS[graph])
    with pytest.raises(BuildError, match=rf"graph {graph} has outputs that are not float \({outputs}"):
        job.build()


def test_an_explicitly_quantised_graph_is_refused(job: Job) -> None:
    nodes = [helper.make_node("DequantizeLinear", ["q", "s"], ["y"])]
    save(job.onnx, nodes, {"q": (INT8, [1])}, {"y": (FLOAT, [1])}, {"s": np.array(0.1, np.float32)})
    with pytest.raises(BuildError, match="has 1 QuantizeLinear and DequantizeLinear nodes"):
        job.build()


def test_a_calibrator_of_another_contract_is_refused(job: Job) -> None:
    calibrator = job.calibrator(job.library.backend())
    other = replace(VOCODER, profiles=())
    with pytest.raises(BuildError, match="another contract than graph vocoder's"):
        calibrate_to_cache(job.library.backend(), job.onnx, other, calibrator)
