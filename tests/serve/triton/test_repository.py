"""A bundle as a model repository: configurations by NVIDIA's own schema, held against the graphs they describe."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.runtime.test_bundle import SPECS
from tests.runtime.test_loading import Keys, key_pair
from tts_trt import Bundle
from tts_trt.artifacts import sign
from tts_trt.commands.export_triton import run
from tts_trt.errors import BundleError, UsageError
from tts_trt.manifest import MANIFEST
from tts_trt.serve.triton.config import to_text
from tts_trt.serve.triton.repository import export

__all__ = ["key_pair"]

Parse = Callable[[Path], Any]
ORT_TYPES = {"tensor(float)": "TYPE_FP32", "tensor(float16)": "TYPE_FP16", "tensor(int64)": "TYPE_INT64",
             "tensor(bool)": "TYPE_BOOL"}  # fmt: skip


@pytest.mark.parametrize("graph", SPECS)
def test_a_graph_is_configured_as_onnxruntime_sees_it(repository: Path, parse: Parse, graph: str) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    folder = repository / f"tiny-fp32-{graph}"
    config = parse(folder / "config.pbtxt")
    assert (config.name, config.platform, config.max_batch_size) == (folder.name, "onnxruntime_onnx", 4)
    session = onnxruntime.InferenceSession(folder / "1" / config.default_model_filename)
    for declared, found in ((config.input, session.get_inputs()), (config.output, session.get_outputs())):
        assert [tensor.name for tensor in declared] == [tensor.name for tensor in found]
        for tensor, real in zip(declared, found, strict=True):
            kind = tensor.DESCRIPTOR.fields_by_name["data_type"].enum_type.values_by_number[tensor.data_type]
            assert kind.name == ORT_TYPES[real.type]
            inside = list(tensor.reshape.shape) if tensor.HasField("reshape") else list(tensor.dims)
            sizes = [size if isinstance(size, int) else -1 for size in real.shape]
            assert [-1, *inside] == sizes, tensor.name
            assert len(tensor.dims) > 0  # an empty shape is refused by Triton


def test_only_what_brings_no_state_along_is_batched_by_triton(repository: Path, parse: Parse) -> None:
    batched = {
        g for g in SPECS if parse(repository / f"tiny-fp32-{g}" / "config.pbtxt").HasField("dynamic_batching")
    }
    assert batched == SPECS.keys() - {"gpt"}


def test_the_pipeline_streams_and_batches_by_itself(repository: Path, parse: Parse) -> None:
    config = parse(repository / "tiny-fp32" / "config.pbtxt")
    assert (config.backend, config.max_batch_size) == ("python", 0)
    assert config.model_transaction_policy.decoupled
    assert [tensor.name for tensor in config.input if not tensor.optional] == ["text"]
    assert config.parameters["threads"].string_value == "1"
    assert "public_key" not in config.parameters


def test_the_bundle_in_it_is_whole_and_takes_its_space_once(repository: Path, bundle: Path) -> None:
    kept = repository / "tiny-fp32" / "1" / "bundle"
    assert Bundle.load(kept).manifest == Bundle.load(bundle).manifest
    assert os.path.samefile(kept / "graphs" / "gpt.onnx", repository / "tiny-fp32-gpt" / "1" / "gpt.onnx")
    assert not os.path.samefile(kept / "graphs" / "gpt.onnx", bundle / "graphs" / "gpt.onnx")


def test_every_folder_is_a_model(repository: Path) -> None:
    assert {folder.name for folder in repository.iterdir()} == {"tiny-fp32"} | {
        f"tiny-fp32-{g}" for g in SPECS
    }
    for folder in repository.iterdir():
        assert {file.name for file in folder.iterdir()} == {"config.pbtxt", "1"}


@pytest.mark.parametrize("executor", ["tensorrt", "tensorrt-rtx"])
def test_what_triton_cannot_run_is_left_out_and_said(
    bundle: Path, parse: Parse, tmp_path: Path, executor: str
) -> None:
    whole = Bundle.load(bundle)
    ref = whole.manifest.executor.model_copy(update={"name": executor})
    made = export(
        [replace(whole, manifest=whole.manifest.model_copy(update={"executor": ref}))], tmp_path / "r"
    )
    if executor == "tensorrt-rtx":
        assert made.models == ("tiny-fp32",)
        assert "no backend for tensorrt-rtx" in made.notes[0]
    else:
        assert set(made.models) == {"tiny-fp32"} | {f"tiny-fp32-{g}" for g in SPECS if g != "gpt"}
        assert made.notes == ("tiny-fp32-gpt: left out, as Triton cannot bind its caches in place",)
        config = parse(tmp_path / "r" / "tiny-fp32-vocoder" / "config.pbtxt")
        assert config.platform == "tensorrt_plan"
        assert config.instance_group[0].kind == config.instance_group[0].KIND_GPU


def test_nothing_is_overwritten_and_nothing_half_written(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("kept")
    with pytest.raises(UsageError, match="mine is there already"):
        export([Bundle.load(bundle)], tmp_path / "mine")
    with pytest.raises(UsageError, match="two bundles are called tiny-fp32"):
        export([Bundle.load(bundle)] * 2, tmp_path / "new")
    gone = Path(shutil.copytree(bundle, tmp_path / "gone"))
    loaded = Bundle.load(gone)
    (gone / "graphs" / "vocoder.onnx").unlink()
    with pytest.raises(BundleError, match="cannot write"):
        export([loaded], tmp_path / "new")
    assert {path.name for path in tmp_path.iterdir()} == {"mine", "gone"}
    assert (tmp_path / "mine" / "notes.txt").read_text() == "kept"


def test_the_command_asks_for_a_signature_here_and_later(
    bundle: Path, parse: Parse, tmp_path: Path, key_pair: Keys
) -> None:
    private, public = key_pair("release")
    signed = Path(shutil.copytree(bundle, tmp_path / "signed"))

    def go(out: str) -> dict[str, Any]:
        return run([signed], tmp_path / out, public_key=public, graphs=False, threads=0)

    with pytest.raises(BundleError, match="is not signed"):
        go("out")
    sign(signed, private)
    assert go("out")["models"] == ["signed"]
    config = parse(tmp_path / "out" / "signed" / "config.pbtxt")
    assert config.parameters["public_key"].string_value == str(public)
    assert Bundle.load(tmp_path / "out" / "signed" / "1" / "bundle", require_signature=public)
    (signed / MANIFEST).write_bytes((signed / MANIFEST).read_bytes() + b" ")
    with pytest.raises(BundleError, match="not this key's signature"):
        go("again")
    with pytest.raises(UsageError, match="no bundle to export"):
        run([], tmp_path / "again", public_key=None, graphs=True, threads=0)
    assert not (tmp_path / "again").exists()


def test_text_format_survives_awkward_words(model_config: Any) -> None:
    from google.protobuf import text_format

    name = 'a "quoted" \\ name,\nÜber 𝄞'
    assert text_format.Parse(to_text({"name": name, "input": []}), model_config()).name == name


def test_shapes_of_float16_bundles(bundle: Path, parse: Parse, tmp_path: Path) -> None:
    whole = Bundle.load(bundle)
    half = whole.manifest.model_copy(update={"float_type": "float16"})
    export([replace(whole, manifest=half)], tmp_path / "r")
    config = parse(tmp_path / "r" / "tiny-fp32-prompt" / "config.pbtxt")
    types = {tensor.name: tensor.data_type for tensor in (*config.input, *config.output)}
    fp16, fp32 = 10, 11
    assert (types["embeddings"], types["conditioning"]) == (fp16, fp32)
