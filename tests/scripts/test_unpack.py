"""The shipped voice goes back to checkpoints that the trainers and the packer read, and training resumes from them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from scripts.nano import unpack
from scripts.nano.encoded import load_teacher
from scripts.nano.loop import ASSETS, Options, nano_dims, train
from scripts.nano.pack import assemble


def test_unpacked_checkpoints_are_the_shipped_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["unpack", "--work", str(tmp_path)])
    unpack.main()
    shipped, again = load_file(ASSETS / "weights.safetensors"), assemble(tmp_path).state_dict()
    trained = {
        k: v for k, v in shipped.items() if not k.startswith("emotion.")
    }  # these are made when it is packed
    assert trained and all(torch.equal(again[k], v) for k, v in trained.items())
    assert load_teacher(tmp_path, nano_dims()).training is False
    with pytest.raises(SystemExit, match="nothing is written over"):
        unpack.main()


def test_the_card_tells_the_steps() -> None:
    steps = unpack.steps_of((ASSETS / "MODEL_CARD.md").read_text("utf-8"))
    assert {"codec", "gpt", "flow", "vocoder"} <= set(steps) and min(steps.values()) > 0
    with pytest.raises(SystemExit, match="training steps"):
        unpack.steps_of("# a card")


def test_training_resumes_from_weights_alone_with_a_schedule_of_its_own(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 1)
    torch.save({"model": model.state_dict(), "step": 1000}, tmp_path / "toy.pt")
    chosen = Options(tmp_path, 1150, 1, 0.1, 0, "cpu", 1, False, "all")

    def loss(batch: torch.Tensor, step: int) -> dict[str, torch.Tensor]:
        return {"loss": (model(batch) - 1).square().mean()}

    def batches():  # type: ignore[no-untyped-def]
        while True:
            yield torch.ones(2, 3)

    train("toy", model, batches(), loss, chosen)
    state = torch.load(tmp_path / "toy.pt", weights_only=True)
    assert (state["step"], state["origin"]) == (1150, 1000)
    # step 150 of this run is still within its warm-up: of a schedule from 0 it would be the last, at 2 % of the peak
    assert state["optimiser"]["param_groups"][0]["lr"] == pytest.approx(0.1 * 150 / 200)
