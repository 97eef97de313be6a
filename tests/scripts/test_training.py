"""From a corpus to a voice: every trainer runs, takes up where it was, and what is packed loads."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("pyworld")

import torch

from scripts.nano import pack, train_codec, train_flow, train_gpt, train_vocoder
from tests.scripts.shards import render
from tts_trt.model.weights import load_model
from tts_trt.models import find_model


@pytest.fixture
def work(tmp_path: Path) -> Path:
    render(tmp_path / "corpus", 0, 32)
    render(tmp_path / "heldout", 0, 16)
    return tmp_path


def test_a_corpus_becomes_a_voice(
    work: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(module, *more: str) -> None:  # type: ignore[no-untyped-def]
        monkeypatch.setattr("sys.argv", ["it", "--work", str(work), *more])
        module.main()

    def step(name: str) -> int:
        return int(torch.load(work / f"{name}.pt", weights_only=True)["step"])

    short = ("--batch", "3", "--device", "cpu", "--threads", "1")
    for module in (train_codec, train_vocoder, train_gpt):
        run(module, "--steps", "2", *short)
    run(train_flow, "--steps", "4", *short)
    run(train_gpt, "--steps", "3", *short)
    run(train_flow, "--phase", "latents", "--steps", "6", *short)
    assert "nan" not in capsys.readouterr().out
    reached = {name: step(name) for name in ("codec", "vocoder", "gpt", "flow-codes", "flow")}
    assert reached == {"codec": 2, "vocoder": 2, "gpt": 3, "flow-codes": 1, "flow": 4}
    run(pack, "--out", str(work / "voice"))
    packed = load_model(find_model(str(work / "voice"))).state_dict()
    trained = torch.load(work / "gpt.pt", weights_only=True)["model"]
    shipped = {name: value for name, value in trained.items() if not name.startswith("text_head.")}
    assert not [name for name, value in shipped.items() if not torch.equal(packed[f"gpt.{name}"], value)]
    assert all(value.isfinite().all() for value in packed.values())
    card = (work / "voice" / "MODEL_CARD.md").read_text("utf-8")
    assert "- training steps: codec 2, gpt 3, flow-codes 1, flow 4, vocoder 2" in card
