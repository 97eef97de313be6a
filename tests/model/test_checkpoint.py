"""Files from strangers: what is no checkpoint is refused by name, and nothing that is in one runs."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tts_trt.errors import WeightsError
from tts_trt.model.checkpoint import read_tensors

WEIGHTS = {"a.weight": torch.arange(6.0).view(2, 3), "a.bias": torch.ones(2)}


class Attack:
    """Unpickled by anything but a weights-only reader, it leaves a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch '{self.mark}'",)


def refused(path: Path, **options: Any) -> str:
    with pytest.raises(WeightsError) as caught:
        read_tensors(path, **options)
    assert str(path) in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("form", ["zip", "legacy", "pickle"])
def test_code_in_a_checkpoint_is_not_run(form: str, tmp_path: Path) -> None:
    path, mark = tmp_path / "gpt.pth", tmp_path / "ran"
    content = {**WEIGHTS, "b": Attack(mark)}
    if form == "pickle":
        path.write_bytes(pickle.dumps(content["b"]))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=form == "zip")
    told = refused(path)
    assert not mark.exists()
    assert "refused, and nothing of it was run" in told
    assert "weights_only" not in told  # nobody is told how to switch the safe reader off
    if form != "pickle":
        assert "posix.system" in told
        torch.load(path, weights_only=False)  # the attack is real
        assert mark.exists()


@pytest.mark.parametrize(
    "content", [np.ones(3), Path("x"), {"a": {1, 2}}, [torch.ones(2)], {"a": torch.ones(1), "b": 3}]
)
def test_what_is_not_tensors_by_name_is_refused(content: Any, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "x.pt")
    refused(tmp_path / "x.pt")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"<!DOCTYPE html><html>", "is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 9\n", "Git LFS pointer"),
        (b"\x80\x02}q\x00", "cannot be read"),
    ],
)
def test_what_failed_downloads_leave_is_told(content: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / "s2mel.pth"
    path.write_bytes(content)
    assert words in refused(path)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_file_cut_anywhere_is_refused(suffix: str, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    path = tmp_path / f"model{suffix}"
    save_file(WEIGHTS, path) if suffix == ".safetensors" else torch.save(WEIGHTS, path)
    whole = path.read_bytes()
    for size in (1, 7, len(whole) // 3, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        refused(path)


def test_nesting_and_wrapping_are_undone(tmp_path: Path) -> None:
    path = tmp_path / "s2mel.pth"
    nested = {"net": {"cfm": {"module.a": torch.ones(1)}, "gpt_layer": {"0.weight": torch.zeros(2)}}}
    torch.save(nested | {"epoch": 3, "optimizer": {"lr": 0.1}}, path)
    found = read_tensors(path, "net")
    assert set(found) == {"cfm.a", "gpt_layer.0.weight"}
    torch.save(torch.ones(3), path)
    assert list(read_tensors(path)) == [""]


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_damaged_bytes_raise_nothing_else(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.pth"
    torch.save(WEIGHTS, path)
    raw = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(raw))
    try:
        read_tensors(path)
    except WeightsError as error:
        assert str(path) in str(error)
