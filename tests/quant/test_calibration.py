"""Calibration as files, and graphs made from them: reused while they fit, refused when they belong to something else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.model.tiny import TINY
from tts_trt.artifacts import sha256_file
from tts_trt.errors import ConfigError, QuantError
from tts_trt.export.passes import census, to_half
from tts_trt.export.record import GraphRecord, file_bytes
from tts_trt.models import ModelFolder
from tts_trt.quant.apply import quantise_graphs
from tts_trt.quant.calibration import (
    CACHE_METHOD,
    CACHES,
    SCALES,
    STATS,
    Calibration,
    calibrate,
    imported_scales,
    read_batches,
)
from tts_trt.quant.corpus import Utterance
from tts_trt.quant.recipe import make_recipe
from tts_trt.quant.scales import ScaleTable
from tts_trt.quant.trt_cache import cache_from_table, save_cache, write_cache
from tts_trt.runtime.onnx_engine import OrtEngine
from tts_trt.spec import graph_specs

W8A8 = [{"graph": "*", "layers": "*", "scheme": "w8a8"}]
W8 = [{"graph": "*", "layers": "*", "scheme": "w8"}]


@dataclass(frozen=True)
class FixedCorpus:
    """Stands in for a corpus file: these utterances, under this hash."""

    utterances: list[Utterance]
    digest: str = "c" * 64

    def draw(self) -> tuple[Utterance, ...]:
        return tuple(self.utterances)

    def sha256(self) -> str:
        return self.digest


@pytest.fixture(scope="module")
def calibrated(
    tiny_folder: ModelFolder,
    fp32_graphs: Mapping[str, Path],
    utterances: list[Utterance],
    tmp_path_factory: pytest.TempPathFactory,
) -> Calibration:
    out = tmp_path_factory.mktemp("calibration")
    return calibrate(tiny_folder, fp32_graphs, FixedCorpus(utterances[:2]), out, threads=1)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def exported(fp32_graphs: Mapping[str, Path]) -> dict[str, dict[str, GraphRecord]]:
    """Both precisions beside each other, recorded as an export does."""
    folder, specs = next(iter(fp32_graphs.values())).parent, graph_specs(TINY)
    (folder / "fp16").mkdir()
    records: dict[str, dict[str, GraphRecord]] = {"fp32": {}, "fp16": {}}
    for name, path in fp32_graphs.items():
        half = folder / "fp16" / path.name
        to_half(path, specs[name], half)
        for precision, file in (("fp32", path), ("fp16", half)):
            records[precision][name] = GraphRecord(
                name,
                precision,
                str(file.relative_to(folder)),
                sha256_file(file),
                file_bytes(file),
                0.0,
                census(file),
            )
    return records


def root(fp32_graphs: Mapping[str, Path]) -> Path:
    return next(iter(fp32_graphs.values())).parent


def test_what_is_current_is_taken_and_what_differs_is_made_anew(
    calibrated: Calibration,
    tiny_folder: ModelFolder,
    fp32_graphs: Mapping[str, Path],
    utterances: list[Utterance],
) -> None:
    assert calibrated.fresh and (calibrated.folder / SCALES).is_file()

    class Silent(FixedCorpus):
        def draw(self) -> tuple[Utterance, ...]:
            raise AssertionError("spoken again")

    again = calibrate(tiny_folder, fp32_graphs, Silent([]), calibrated.folder, threads=1)  # type: ignore[arg-type]
    assert not again.fresh
    assert again.stats.keys() == calibrated.stats.keys()
    with pytest.raises(AssertionError, match="spoken again"):
        calibrate(tiny_folder, fp32_graphs, Silent([], "d" * 64), calibrated.folder, threads=1)  # type: ignore[arg-type]


def test_a_damaged_file_is_made_anew(
    calibrated: Calibration,
    tiny_folder: ModelFolder,
    fp32_graphs: Mapping[str, Path],
    utterances: list[Utterance],
    tmp_path: Path,
) -> None:
    (tmp_path / STATS).write_bytes((calibrated.folder / STATS).read_bytes()[:-100])
    made = calibrate(tiny_folder, fp32_graphs, FixedCorpus(utterances[:1]), tmp_path, threads=1)  # type: ignore[arg-type]
    assert made.fresh


def test_recorded_inputs_can_be_read_back(calibrated: Calibration) -> None:
    batches = list(read_batches(calibrated.folder / "batches" / "vocoder.npz"))
    assert len(batches) == 2
    assert batches[0].keys() == {"mel", "lengths"}
    with pytest.raises(ConfigError, match="cannot be read"):
        list(read_batches(calibrated.folder / SCALES))


def test_the_cpu_twin_computes_what_the_recipe_says(
    calibrated: Calibration,
    exported: dict[str, dict[str, GraphRecord]],
    fp32_graphs: Mapping[str, Path],
    tmp_path: Path,
) -> None:
    recipe = make_recipe("int8-test", "fp16", W8A8)
    made = quantise_graphs(recipe, exported, root(fp32_graphs), calibrated.stats, tmp_path, cpu=True)
    records = made.of("int8-test")
    layers = 4 * TINY.gpt.layers + 1
    assert records["gpt"].census["int8"] == layers
    assert records["gpt"].bytes < 0.6 * exported["fp32"]["gpt"].bytes
    engine = OrtEngine(tmp_path / records["gpt"].file, graph_specs(TINY)["gpt"], threads=1)
    fused = engine.kernels()
    assert fused["MatMulIntegerToFloat"] + fused["QGemm"] == layers
    stamps = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.onnx*")}
    assert quantise_graphs(recipe, exported, root(fp32_graphs), calibrated.stats, tmp_path, cpu=True) == made
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.onnx*")} == stamps
    other = make_recipe("int8-test", "fp16", W8)
    assert quantise_graphs(other, exported, root(fp32_graphs), {}, tmp_path, cpu=True) != made


def test_the_tensorrt_form_has_half_scales_of_the_same_table(
    calibrated: Calibration,
    exported: dict[str, dict[str, GraphRecord]],
    fp32_graphs: Mapping[str, Path],
    tmp_path: Path,
) -> None:
    recipe = make_recipe("int8-test", "fp16", W8A8)
    scales = {}
    for cpu in (True, False):
        made = quantise_graphs(
            recipe, exported, root(fp32_graphs), calibrated.stats, tmp_path / str(cpu), cpu=cpu
        )
        path = tmp_path / str(cpu) / made.of("int8-test")["gpt"].file
        model = onnx.load(str(path))
        constants = {i.name: onnx.numpy_helper.to_array(i) for i in model.graph.initializer}
        head = next(n for n in model.graph.node if n.name.endswith("mel_head"))
        reader = next(n for n in model.graph.node if n.output[0] == head.input[0])
        scales[cpu] = constants[reader.input[1]]
    assert scales[True].dtype == np.float32 and scales[False].dtype == np.float16
    assert scales[False] == scales[True].astype(np.float16)


def test_a_layer_that_was_never_observed_is_an_error(
    exported: dict[str, dict[str, GraphRecord]], fp32_graphs: Mapping[str, Path], tmp_path: Path
) -> None:
    recipe = make_recipe("int8-test", "fp16", W8A8)
    with pytest.raises(QuantError, match="was not observed"):
        quantise_graphs(recipe, exported, root(fp32_graphs), {}, tmp_path, cpu=True)


def test_scales_of_a_tensorrt_cache_go_before_the_statistics(
    calibrated: Calibration,
    exported: dict[str, dict[str, GraphRecord]],
    fp32_graphs: Mapping[str, Path],
    tmp_path: Path,
) -> None:
    own = imported_scales({"gpt": calibrated.folder / CACHES / "gpt.cache"}, calibrated.binding)
    recipe = make_recipe("int8-test", "fp16", W8A8, method=CACHE_METHOD)
    plain = quantise_graphs(recipe, exported, root(fp32_graphs), calibrated.stats, tmp_path / "a", cpu=True)
    same = quantise_graphs(
        recipe, exported, root(fp32_graphs), calibrated.stats, tmp_path / "b", cpu=True, scales=own
    )
    assert same.of("int8-test")["gpt"].sha256 == plain.of("int8-test")["gpt"].sha256

    table = ScaleTable.load(calibrated.folder / SCALES)
    foreign = cache_from_table(table, "gpt", dict.fromkeys(calibrated.stats["gpt"], "entropy"))
    save_cache(tmp_path / "gpt.cache", write_cache(foreign), "gpt", calibrated.binding)
    theirs = imported_scales({"gpt": tmp_path / "gpt.cache"}, calibrated.binding)
    moved = quantise_graphs(
        recipe, exported, root(fp32_graphs), calibrated.stats, tmp_path / "c", cpu=True, scales=theirs
    )
    assert file_of(moved, tmp_path / "c") != file_of(plain, tmp_path / "a")


def file_of(record: object, folder: Path) -> bytes:
    path = folder / record.of("int8-test")["gpt"].file  # type: ignore[attr-defined]
    return path.with_name(path.name + ".data").read_bytes() + path.read_bytes()
