"""The vocoder against the reference's numbers, single rows and ONNX Runtime."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from tests.model.onnx_agreement import assert_onnx_agrees
from tests.model.state_keys import official, shapes
from tests.model.tiny import TINY, randomise
from tests.parity import Fixture, assert_close, load
from tts_trt.dims import VocoderDims
from tts_trt.errors import ConfigError
from tts_trt.model.vocoder import Activation, Edge, Vocoder, lowpass_filter


@pytest.fixture(scope="module")
def fixture() -> Fixture:
    return load("bigvgan")


@pytest.fixture(scope="module")
def reference(fixture: Fixture) -> Vocoder:
    config = fixture.config["bigvgan"]
    dims = VocoderDims(
        upsample_rates=tuple(config["upsample_rates"]),
        upsample_kernels=tuple(config["upsample_kernel_sizes"]),
        initial_channels=config["upsample_initial_channel"],
        resblock_kernels=tuple(config["resblock_kernel_sizes"]),
        resblock_dilations=tuple(map(tuple, config["resblock_dilation_sizes"])),
    )
    vocoder = Vocoder(dims, config["num_mels"]).eval()
    vocoder.fold()
    vocoder.load_state_dict(fixture.weights)
    return vocoder


def tiny() -> Vocoder:
    """Starting weights, which neither clip nor vanish, with random activations and output gain."""
    torch.manual_seed(0)
    vocoder = Vocoder(TINY.vocoder, 8).eval()
    with torch.no_grad():
        for name, parameter in vocoder.named_parameters():
            if name.endswith((".alpha", ".beta")):
                parameter.normal_(0.0, 0.4)
        vocoder.conv_post.weight_g.mul_(0.3)
    return vocoder


def test_wave_parity(fixture: Fixture, reference: Vocoder) -> None:
    with torch.no_grad():
        wave = reference(fixture.inputs["mel"])
    assert_close(wave[:, None], fixture.outputs["wav"], fixture.tolerance)


def test_activation_parity(fixture: Fixture, reference: Vocoder) -> None:
    with torch.no_grad():
        y = reference.resblocks[0].activations[0](fixture.inputs["act_in"])
    assert_close(y, fixture.outputs["activation0"], fixture.tolerance)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("size", [1, 2, 5, 40])
def test_activation_equals_the_textbook_form(size: int, training: bool) -> None:
    """Replicate-padded transposed convolution, snake, replicate-padded strided convolution."""
    activation = Activation(3).train(training)
    randomise(activation)
    x = torch.randn(2, 3, size)
    taps = lowpass_filter().expand(3, 1, -1)
    up = F.conv_transpose1d(F.pad(x, (5, 5), mode="replicate"), 2 * taps, stride=2, groups=3)[..., 15:-15]
    alpha, beta = (p.detach()[:, None] for p in (activation.act.alpha, activation.act.beta))
    up = up + torch.sin(up * alpha.exp()) ** 2 / (beta.exp() + 1e-9)
    expected = F.conv1d(F.pad(up, (5, 6), mode="replicate"), taps, stride=2, groups=3)
    assert_close(activation(x).detach(), expected, 1e-5)


def test_filter_is_the_stored_one(fixture: Fixture) -> None:
    assert_close(lowpass_filter(), fixture.weights["activation_post.upsample.filter"], 1e-7)


@pytest.mark.parametrize(("rates", "kernels"), [((5, 3), (15, 9)), ((5, 4), (5, 8)), ((7,), (21,))])
def test_length_is_kept_for_any_rate(rates: tuple[int, ...], kernels: tuple[int, ...]) -> None:
    dims = replace(TINY.vocoder, upsample_rates=rates, upsample_kernels=kernels)
    for frames in (1, 6):
        assert Vocoder(dims, 8)(torch.randn(2, 8, frames)).shape == (2, frames * dims.hop)


def test_rows_do_not_depend_on_their_batch() -> None:
    vocoder = tiny()
    mel, lengths = torch.randn(4, 8, 12), torch.tensor([12, 7, 2, 1])
    padded = mel.clone()
    for row, length in enumerate(lengths):
        padded[row, :, length:] = 50.0
    with torch.no_grad():
        waves = vocoder(padded, lengths)
        for row, length in enumerate(lengths.tolist()):
            samples = length * vocoder.dims.hop
            single = vocoder(mel[row : row + 1, :, :length])[0]
            assert 0.01 < single.abs().max() < 1.0
            assert_close(waves[row, :samples], single, 2e-6)
            assert waves[row, samples:].abs().sum() == 0


def test_padding_is_never_read() -> None:
    vocoder = tiny()
    mel = torch.randn(1, 8, 9)
    mel[:, :, 5:] = torch.nan
    with torch.no_grad():
        assert vocoder(mel, torch.tensor([5])).isfinite().all()


def test_edge_holds_the_last_sample() -> None:
    edge = Edge.of(torch.tensor([2, 3]), 4)
    x = torch.arange(8.0).view(2, 1, 4)
    assert edge.hold(x).tolist() == [[[0, 1, 1, 1]], [[4, 5, 6, 6]]]
    assert edge.zero(x).tolist() == [[[0, 1, 0, 0]], [[4, 5, 6, 0]]]


def test_fold_keeps_the_function() -> None:
    vocoder, mel = tiny(), torch.randn(1, 8, 5)
    with torch.no_grad():
        before = vocoder(mel)
        vocoder.fold()
        assert_close(vocoder(mel), before, 2e-6)
    assert not [key for key in vocoder.state_dict() if "weight_" in key]


def test_official_keys() -> None:
    with torch.device("meta"):
        assert shapes(Vocoder(VocoderDims(), 80)) == official("bigvgan")


def test_everything_gets_a_gradient() -> None:
    vocoder = tiny().train()
    vocoder(torch.randn(2, 8, 3)).square().sum().backward()
    assert [name for name, p in vocoder.named_parameters() if p.grad is None] == []


def test_onnx_agrees(tmp_path: Path) -> None:
    dims = replace(TINY.vocoder, upsample_rates=(5, 2), upsample_kernels=(15, 4), resblock_dilations=((3,),))
    vocoder = Vocoder(dims, 8)
    vocoder.fold()

    def inputs(lengths: list[int]) -> dict[str, torch.Tensor]:
        return {"mel": torch.randn(len(lengths), 8, max(lengths)), "lengths": torch.tensor(lengths)}

    others = [inputs([1]), inputs([13, 4, 9]), inputs([20, 20])]
    assert_onnx_agrees(vocoder, inputs([6, 3]), {"mel": (0, 2), "lengths": (0,)}, others, tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"upsample_kernels": (15, 8, 8, 7)}, "kernel 7 with rate 4"),
        ({"upsample_kernels": (15, 8, 8, 2)}, "kernel 2 with rate 4"),
        ({"upsample_kernels": (15, 8, 8)}, "4 upsample_rates and 3"),
        ({"resblock_kernels": (3, 5)}, "2 resblock_kernels and 1"),
        ({"resblock_kernels": (4,)}, "must be odd"),
        ({"initial_channels": 24}, "cannot be halved 4 times"),
    ],
)
def test_impossible_dimensions(change: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Vocoder(replace(TINY.vocoder, **change), 8)
