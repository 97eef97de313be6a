from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.build.fake_cuda import FakeCuda
from tests.build.fake_tensorrt import SCALES, FakeTensorRT, calibrate
from tests.build.test_batches import BINS, VOCODER, spoken
from tts_trt.build.batches import calibration_shape
from tts_trt.build.calibrator import CacheStore, calibrator_class, create_calibrator
from tts_trt.build.device_memory import PyCudaMemory
from tts_trt.errors import BuildError, QuantError
from tts_trt.quant.binding import Binding
from tts_trt.quant.trt_cache import load_cache, save_cache
from tts_trt.trt import Backend, load_backend

SHAPE = calibration_shape(VOCODER, {"B": 2, "T": 6})
NAMES = ["lengths", "mel"]  # the library's order need not be the contract's


class Rig:
    """A calibrator over fake device memory and a store in memory."""

    def __init__(self, source: Any, stored: bytes | None = None) -> None:
        self.cuda = FakeCuda()
        self.stored = stored
        self.opened = 0
        self.source = source
        store = CacheStore(lambda: self.stored, self.write)
        self.calibrator = create_calibrator(
            FakeTensorRT(VOCODER).backend(),
            self,
            SHAPE,
            store,
            lambda layout: PyCudaMemory(layout, driver=self.cuda),
        )

    def __iter__(self) -> Iterator[Any]:
        self.opened += 1
        return iter(self.source)

    def write(self, cache: bytes) -> None:
        self.stored = cache

    def at(self, address: int, dtype: type, shape: tuple[int, ...]) -> np.ndarray:
        return np.frombuffer(self.cuda.device[address], dtype).reshape(shape)


def test_it_is_the_librarys_own_class() -> None:
    backend = FakeTensorRT(VOCODER).backend()
    kind = calibrator_class(backend.trt)
    assert kind.__name__ == "StratifiedEntropyCalibrator"
    assert issubclass(kind, backend.trt.IInt8EntropyCalibrator2)
    assert calibrator_class(backend.trt) is kind
    assert Rig([]).calibrator.ready  # the base class was initialised


def test_batches_come_as_device_addresses_in_the_librarys_order() -> None:
    rig = Rig([spoken(4, 6), spoken(9), spoken(2)])
    assert rig.calibrator.get_batch_size() == 2
    lengths, mel = rig.calibrator.get_batch(NAMES)
    assert rig.at(lengths, np.int64, (2,)).tolist() == [4, 6]
    assert rig.at(mel, np.float32, (2, BINS, 6))[0, 0].tolist() == [1, 2, 3, 4, 0, 0]
    assert rig.calibrator.get_batch(NAMES) == [lengths, mel]
    assert rig.at(lengths, np.int64, (2,)).tolist() == [6, 2]
    assert rig.calibrator.batches == 2 and rig.cuda.held
    assert rig.calibrator.get_batch(NAMES) is None
    assert rig.cuda.held == []
    assert rig.calibrator.get_batch(NAMES) is None
    assert rig.opened == 1
    rig.calibrator.check()


def test_all_is_taken_once_for_all_batches() -> None:
    rig = Rig([spoken(5, 5)] * 7)
    calibrate(rig.calibrator, NAMES, lambda seen: None)
    taken = [call for call in rig.cuda.calls if call.startswith("take")]
    assert len(taken) == 1 + 2 * len(NAMES)
    assert rig.cuda.calls.count("Stream") == 1
    assert sum(call.startswith("copy") for call in rig.cuda.calls) == 7 * len(NAMES)


def test_what_the_library_writes_is_stored_as_bytes_of_our_own() -> None:
    """The fake wipes its memory after the call, as the library may."""
    rig = Rig([spoken(5, 5)])
    calibrate(rig.calibrator, NAMES, lambda seen: None)
    assert rig.stored == rig.calibrator.cache == SCALES


def test_a_stored_cache_needs_neither_recordings_nor_gpu() -> None:
    rig = Rig([spoken(5, 5)], stored=SCALES)
    calibrate(rig.calibrator, NAMES, lambda seen: pytest.fail("a batch was asked for"))
    assert rig.calibrator.cache == SCALES
    assert (rig.opened, rig.cuda.calls, rig.calibrator.batches) == (0, [], 0)


def test_a_cache_the_library_does_not_take_is_made_again() -> None:
    rig = Rig([spoken(5, 5)], stored=b"TRT-100300-EntropyCalibration2\n")
    calibrate(rig.calibrator, NAMES, lambda seen: None, understood=False)
    assert (rig.opened, rig.stored) == (1, SCALES)


def broken(error: BaseException) -> Iterator[Any]:
    yield spoken(5, 5)
    raise error


@pytest.mark.parametrize("error", [OSError(errno.EIO, "no such recording"), KeyboardInterrupt()])
def test_a_failing_source_ends_calibration_and_stores_nothing(error: BaseException) -> None:
    """Scales of half a corpus would look like any others."""
    rig = Rig(broken(error))
    assert calibrate(rig.calibrator, NAMES, lambda seen: None) == SCALES  # for all the library knows
    assert (rig.stored, rig.calibrator.cache) == (None, None)
    assert rig.cuda.held == []
    with pytest.raises(type(error)):
        rig.calibrator.check()


@pytest.mark.parametrize(
    ("source", "names", "message"),
    [
        ([], NAMES, "graph vocoder has no recorded inputs"),
        ([spoken(5) | {"mel": np.zeros(3, np.float32)}], NAMES, "recording 0 of graph vocoder: input mel"),
        ([spoken(5)], ["mel"], "asks for inputs mel, expected mel, lengths"),
        ([spoken(5)], ["mel", "length"], "asks for inputs mel, length"),
    ],
)
def test_what_cannot_be_fed_is_an_error_after_the_build(source: Any, names: list[str], message: str) -> None:
    rig = Rig(source)
    assert rig.calibrator.get_batch(names) is None
    with pytest.raises(BuildError, match=message):
        rig.calibrator.check()


def test_a_full_gpu_is_an_error_after_the_build() -> None:
    rig = Rig([spoken(5)])
    rig.cuda.fail_alloc = 2
    assert rig.calibrator.get_batch(NAMES) is None
    with pytest.raises(BuildError, match="no room for calibration batches"):
        rig.calibrator.check()
    assert rig.cuda.held == []


def test_device_memory_does_not_outlive_the_block() -> None:
    rig = Rig([spoken(5, 5)] * 2)
    with pytest.raises(ZeroDivisionError), rig.calibrator as calibrator:
        calibrator.get_batch(NAMES)
        assert rig.cuda.held
        raise ZeroDivisionError
    assert rig.cuda.held == []


def test_a_store_that_cannot_be_written_is_an_error_after_the_build() -> None:
    rig = Rig([spoken(5, 5)])
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def refuse(cache: bytes) -> None:
        raise full

    object.__setattr__(rig.calibrator._store, "write", refuse)
    calibrate(rig.calibrator, NAMES, lambda seen: None)
    assert rig.calibrator.cache is None
    with pytest.raises(OSError, match="No space left"):
        rig.calibrator.check()


PRESENT = Binding("a" * 64, {"vocoder": "b" * 64}, "c" * 64)


def bound_store(path: Path, present: Binding = PRESENT) -> CacheStore:
    return CacheStore(
        read=lambda: load_cache(path, "vocoder", present) if path.exists() else None,
        write=lambda cache: save_cache(path, cache, "vocoder", present),
    )


def with_store(store: CacheStore, source: Any) -> Any:
    backend = FakeTensorRT(VOCODER).backend()
    return create_calibrator(
        backend, source, SHAPE, store, lambda layout: PyCudaMemory(layout, driver=FakeCuda())
    )


def test_a_bound_cache_serves_the_next_build(tmp_path: Path) -> None:
    path = tmp_path / "vocoder.cache"
    calibrate(with_store(bound_store(path), [spoken(5, 5)]), NAMES, lambda seen: None)
    assert path.read_bytes() == SCALES
    second = with_store(bound_store(path), broken(AssertionError("opened")))
    assert calibrate(second, NAMES, lambda seen: pytest.fail("a batch was asked for")) == SCALES
    second.check()


@pytest.mark.parametrize(
    ("other", "name"),
    [
        (Binding("d" * 64, PRESENT.graphs, PRESENT.corpus), "model"),
        (Binding(PRESENT.model, {"vocoder": "d" * 64}, PRESENT.corpus), "graph vocoder"),
        (Binding(PRESENT.model, PRESENT.graphs, "d" * 64), "corpus"),
    ],
)
def test_a_cache_of_another_binding_is_refused_by_name(tmp_path: Path, other: Binding, name: str) -> None:
    path = tmp_path / "vocoder.cache"
    save_cache(path, SCALES, "vocoder", other)
    calibrator = with_store(bound_store(path), [spoken(5, 5)])
    with pytest.raises(QuantError, match=rf"another {name} \(made with dddddddddddd"):
        calibrator.load()
    assert calibrate(calibrator, NAMES, lambda seen: None) is None
    with pytest.raises(QuantError, match=f"another {name}"):
        calibrator.check()
    assert path.read_bytes() == SCALES


@pytest.mark.parametrize("lacking", ["IInt8EntropyCalibrator2", "int8_calibrator"])
def test_a_library_without_calibrators_is_refused(lacking: str) -> None:
    config = type("IBuilderConfig", (), {} if lacking == "int8_calibrator" else {"int8_calibrator": None})
    trt = SimpleNamespace(IBuilderConfig=config)
    if lacking != "IInt8EntropyCalibrator2":
        trt.IInt8EntropyCalibrator2 = object
    backend = Backend("tensorrt", "11.4.0.106", trt, None, (), timing_cache=True)
    with pytest.raises(
        BuildError, match=r"tensorrt 11.4.0.106 has no calibrators(.|\n)*tts-trt\[tensorrt10\]"
    ):
        create_calibrator(backend, [], SHAPE, CacheStore(lambda: None, lambda cache: None))


def test_tensorrt_rtx_is_refused() -> None:
    pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed: pip install 'tts-trt[rtx]'")
    with pytest.raises(BuildError, match="tensorrt-rtx .* has no calibrators"):
        create_calibrator(
            load_backend("tensorrt-rtx"), [], SHAPE, CacheStore(lambda: None, lambda cache: None)
        )
