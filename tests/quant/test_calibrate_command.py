"""How the command hands a calibrated corpus to TensorRT's own calibrator; the library's part is held in tests/build."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tts_trt.commands import calibrate as command
from tts_trt.errors import UsageError
from tts_trt.models import ModelFolder
from tts_trt.quant.binding import Binding
from tts_trt.quant.calibration import Calibration, write
from tts_trt.quant.collect import collect
from tts_trt.quant.corpus import Utterance
from tts_trt.quant.sensitivity import Budget
from tts_trt.quant.trt_cache import load_cache


@pytest.fixture
def calibrated(
    tiny_folder: ModelFolder, fp32_graphs: Mapping[str, Path], utterances: list[Utterance], tmp_path: Path
) -> Calibration:
    collected = collect(tiny_folder, fp32_graphs, utterances[:1], threads=1)
    binding = Binding.of(tiny_folder.weights, fp32_graphs, "c" * 64)
    write(collected, binding, tmp_path)
    return Calibration(tmp_path, collected.stats, binding, fresh=True)


def asked(out: Path, *graphs: str) -> command.Asked:
    return command.Asked(None, out, out, 1, None, Budget(), 1, graphs)


def test_recorded_inputs_go_in_and_a_bound_cache_comes_out(
    calibrated: Calibration,
    tiny_folder: ModelFolder,
    fp32_graphs: Mapping[str, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    runs: list[dict[str, Any]] = []

    @contextmanager
    def create(backend: Any, source: Any, shape: Any, store: Any) -> Iterator[Any]:
        yield SimpleNamespace(source=source, shape=shape, store=store)

    def to_cache(backend: Any, onnx: Path, spec: Any, calibrator: Any) -> None:
        if calibrator.store.read() is None:
            runs.extend(calibrator.source)
            calibrator.store.write(b"TRT-101601-EntropyCalibration2\nmel: 3c010204\n")

    record = SimpleNamespace(
        of=lambda precision: {n: SimpleNamespace(file=p) for n, p in fp32_graphs.items()}
    )
    monkeypatch.setattr(command, "load_backend", lambda name: None)
    monkeypatch.setattr(command.pipeline, "export", lambda *arguments: record)
    monkeypatch.setattr(command, "create_calibrator", create)
    monkeypatch.setattr(command, "calibrate_to_cache", to_cache)
    wanted = asked(calibrated.folder, "vocoder")
    (path,) = command.with_tensorrt(tiny_folder, wanted, calibrated, lambda *_: None)
    assert [run.keys() for run in runs] == [{"mel", "lengths"}]
    assert load_cache(path, "vocoder", calibrated.binding).endswith(b"mel: 3c010204\n")
    command.with_tensorrt(tiny_folder, wanted, calibrated, lambda *_: None)
    assert len(runs) == 1  # read back, not calibrated again
    with pytest.raises(UsageError, match="no graph 'nothing'"):
        command.with_tensorrt(tiny_folder, asked(calibrated.folder, "nothing"), calibrated, lambda *_: None)
