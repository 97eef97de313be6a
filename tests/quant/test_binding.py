from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from pathlib import Path

import pytest

from tts_trt.errors import QuantError
from tts_trt.quant.binding import Binding

BINDING = Binding("a" * 64, {"gpt": "b" * 64, "vocoder": "c" * 64}, "d" * 64)


def test_a_binding_is_that_of_the_files(tmp_path: Path) -> None:
    for name in ("weights", "gpt.onnx"):
        (tmp_path / name).write_text(name)
    found = Binding.of(tmp_path / "weights", {"gpt": tmp_path / "gpt.onnx"}, "d" * 64)
    digest = {name: hashlib.sha256(name.encode()).hexdigest() for name in ("weights", "gpt.onnx")}
    assert found == Binding(digest["weights"], {"gpt": digest["gpt.onnx"]}, "d" * 64)


@pytest.mark.parametrize(
    ("present", "named"),
    [
        (replace(BINDING, model="0" * 64), r"another model \(made with a{12}, found 0{12}\)$"),
        (replace(BINDING, corpus="0" * 64), r"another corpus \(made with d{12}, found 0{12}\)$"),
        (replace(BINDING, graphs={"gpt": "0" * 64, "vocoder": "c" * 64}), r"another graph gpt \([^)]*\)$"),
        (replace(BINDING, graphs={"sampler": "0" * 64}), r"another graph sampler \(made with nothing,"),
        (Binding("0" * 64, {"gpt": "1" * 64}, "2" * 64), "another model .*, corpus .*, graph gpt"),
    ],
)
def test_what_differs_is_named(present: Binding, named: str) -> None:
    with pytest.raises(QuantError) as error:
        BINDING.check(present, "the table")
    message = error.value.args[0]
    assert message.startswith("the table belongs to ")
    assert error.value.hint == "tts-trt calibrate"
    assert re.search(named, message)


def test_graphs_that_are_not_present_do_not_matter() -> None:
    BINDING.check(BINDING, "the table")
    BINDING.check(BINDING.only("vocoder"), "the table")


def test_a_part_of_an_unknown_graph_is_refused() -> None:
    with pytest.raises(QuantError, match="sampler was not calibrated; these were: gpt, vocoder"):
        BINDING.only("sampler")
