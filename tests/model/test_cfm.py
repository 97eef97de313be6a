"""The flow solver against the reference's numbers, single rows and ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tests.model import test_dit
from tests.model.onnx_agreement import assert_onnx_agrees
from tests.model.test_dit import CONTENT, MELS, STYLE
from tests.parity import assert_close, load
from tts_trt.model.cfm import euler_step, solve, velocity_with_guidance
from tts_trt.model.dit import IGNORABLE


@pytest.mark.parametrize("guidance", [0.7, 0.0])
def test_solve_parity(guidance: float) -> None:
    fixture = load("cfm_inference")
    estimator, *_ = test_dit.from_fixture()
    weights = {key.removeprefix("estimator."): value for key, value in fixture.weights.items()}
    estimator.load_state_dict({k: v for k, v in weights.items() if k not in IGNORABLE})
    given = fixture.inputs
    size, prompt = given["noise"].shape[2], given["prompt"].shape[2]
    with torch.no_grad():
        mel = solve(
            estimator,
            given["mu"],
            given["prompt"],
            torch.tensor([prompt]),
            torch.tensor([size]),
            given["style"],
            given["noise"],
            fixture.config["n_timesteps"],
            torch.tensor([guidance]),
        )
    assert_close(mel, fixture.outputs[f"mel_full_cfg{guidance}"], fixture.tolerance)
    assert_close(mel[:, :, prompt:], fixture.outputs[f"mel_cfg{guidance}"], fixture.tolerance)


def test_rows_do_not_depend_on_their_batch() -> None:
    estimator = test_dit.tiny()
    lengths, prompts, guidance = [14, 9, 5], [4, 6, 0], torch.tensor([0.7, 0.0, 1.5])
    condition, style = torch.randn(3, 14, CONTENT), torch.randn(3, STYLE)
    prompt, noise = torch.randn(3, MELS, 6), torch.randn(3, MELS, 14)
    with torch.no_grad():
        batch = solve(
            estimator,
            condition,
            prompt,
            torch.tensor(prompts),
            torch.tensor(lengths),
            style,
            noise,
            3,
            guidance,
        )
        for row, (length, p) in enumerate(zip(lengths, prompts, strict=True)):
            one = slice(row, row + 1)
            single = solve(
                estimator,
                condition[one, :length],
                prompt[one, :, :p],
                torch.tensor([p]),
                torch.tensor([length]),
                style[one],
                noise[one, :, :length],
                3,
                guidance[one],
            )
            assert_close(batch[row, :, :length], single[0], 1e-5)
            assert batch[row, :, length:].abs().sum() == 0


def test_guidance_mixes_the_null_branch() -> None:
    estimator, batch = test_dit.tiny(), test_dit.inputs([7, 7])
    null = {k: torch.zeros_like(v) if k in ("prompt", "style", "condition") else v for k, v in batch.items()}
    with torch.no_grad():
        v = velocity_with_guidance(estimator, *batch.values(), torch.tensor([0.7, 0.0]))
        conditional, unconditional = estimator(*batch.values()), estimator(*null.values())
    assert_close(v[0], 1.7 * conditional[0] - 0.7 * unconditional[0], 1e-5)
    assert_close(v[1], conditional[1], 1e-5)


def test_euler_step_resets_the_prompt() -> None:
    x, v = torch.ones(2, 1, 3), torch.ones(2, 1, 3)
    out = euler_step(x, v, torch.tensor([0.5, 0.0]), torch.tensor([1, 2]))
    assert out.tolist() == [[[0, 1.5, 1.5]], [[0, 0, 1]]]


class Mixed(nn.Module):
    """A stand-in estimator that depends on every input, and one guided step with it."""

    def forward(self, x: Tensor, prompt: Tensor, n: Tensor, t: Tensor, style: Tensor, c: Tensor) -> Tensor:
        rows = (t + style.sum(1) + n)[:, None, None]
        return torch.sin(x + 2.0 * prompt + rows + c.sum(2)[:, None, :])


class GuidedStep(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.estimator = Mixed()

    def forward(
        self, x: Tensor, prompt: Tensor, n: Tensor, t: Tensor, style: Tensor, c: Tensor, g: Tensor
    ) -> Tensor:
        v = velocity_with_guidance(self.estimator, x, prompt, n, t, style, c, g)
        return euler_step(x, v, t, n // 2)


def test_onnx_agrees(tmp_path: Path) -> None:
    def inputs(lengths: list[int]) -> dict[str, Tensor]:
        given = test_dit.inputs(lengths)
        given["n"], given["c"] = given.pop("lengths"), given.pop("condition")
        ordered = {name: given[name] for name in ("x", "prompt", "n", "t", "style", "c")}
        return ordered | {"g": torch.rand(len(lengths))}

    rows = {"n": (0,), "t": (0,), "style": (0,), "c": (0, 1), "g": (0,)}
    dynamic = {"x": (0, 2), "prompt": (0, 2)} | rows
    others = [inputs([1]), inputs([23, 20, 8])]
    assert_onnx_agrees(GuidedStep(), inputs([9, 6]), dynamic, others, tmp_path)
