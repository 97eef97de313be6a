"""Semantic codec against the reference, padding that changes nothing, and its export."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.parity import assert_close, load
from tts_trt.dims import CodecDims
from tts_trt.model.codec import SemanticCodec
from tts_trt.model.layers import WeightNormConv1d, lengths_to_mask

KEYS = Path(__file__).parents[1] / "fixtures" / "state_dict_keys" / "semantic_codec.json"
SMALL = CodecDims(codebook_size=50, codebook_dim=4, vocos_dim=12, vocos_ffn=20, vocos_layers=2)


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.no_grad():
        yield


def small() -> SemanticCodec:
    torch.manual_seed(0)
    model = SemanticCodec(16, SMALL).eval()
    for block in (*model.encoder[0].convnext, *model.decoder[0].convnext):
        block.gamma.fill_(1.0)  # so that every convolution matters
    return model


def test_codes_and_embeddings_match_the_reference() -> None:
    fixture = load("semantic_codec")
    model = SemanticCodec(40, CodecDims(128, 8, 24, 56, 3)).eval()
    model.load_state_dict(fixture.weights)
    codes, embeddings = model.quantize(fixture.inputs["x"])
    assert codes.dtype == torch.int64
    assert torch.equal(codes, fixture.outputs["indices"])
    assert_close(embeddings, fixture.outputs["quantized"], fixture.tolerance)
    assert_close(model.encode(fixture.inputs["x"]), fixture.outputs["encoder_out"], fixture.tolerance)
    assert_close(model.embed(fixture.inputs["codes"]).mT, fixture.outputs["vq2emb"], fixture.tolerance)


def test_padding_leaves_the_real_frames_as_they_are_alone() -> None:
    model, lengths = small(), [21, 2, 13]
    x = torch.randn(3, 21, 16)
    for run in (model.encode, model.decode, lambda *given: model.quantize(*given)[1]):
        batched = run(x, torch.tensor(lengths))
        for row, length in enumerate(lengths):
            assert_close(batched[row : row + 1, :length], run(x[row : row + 1, :length]), 1e-5)


def test_the_decoder_is_the_encoders_backbone_mirrored() -> None:
    model = small()
    model.decoder.load_state_dict(model.encoder.state_dict())
    x = torch.randn(2, 9, 16)
    assert_close(model.decode(x), model.encode(x), 0.0)


def test_the_scale_of_a_codebook_row_counts_in_the_value_and_not_in_the_search() -> None:
    model = small()
    x = torch.randn(2, 30, 16)
    codes, before = model.quantize(x)
    model.vq.codebook.weight[codes[0, 0]] *= 3.0
    again, after = model.quantize(x)
    assert torch.equal(again, codes)
    changed = (after - before).abs().amax(-1) > 1e-4
    assert torch.equal(changed, codes == codes[0, 0])


def test_keys_and_shapes_are_those_of_the_checkpoint() -> None:
    with torch.device("meta"):
        state = SemanticCodec(1024, CodecDims()).state_dict()
    made = {key: list(value.shape) for key, value in state.items()}
    assert made == json.loads(KEYS.read_text())["keys"]


def test_weight_norm_is_that_of_torch() -> None:
    torch.manual_seed(0)
    made = WeightNormConv1d(6, 10, 5, stride=2, dilation=3, padding=4)
    plain = torch.nn.Conv1d(6, 10, 5, stride=2, dilation=3, padding=4)
    plain.load_state_dict({"weight": made.weight_v, "bias": made.bias})
    x = torch.randn(2, 6, 31)
    assert_close(made(x), plain(x), 1e-6)  # a new layer starts as its v
    made.weight_g.copy_(torch.rand(10, 1, 1) + 0.5)
    normed = torch.nn.utils.parametrizations.weight_norm(plain)
    normed.parametrizations.weight.original0.copy_(made.weight_g)
    assert_close(made(x), normed(x), 1e-6)


def test_a_mask_is_true_up_to_each_length() -> None:
    assert lengths_to_mask(torch.tensor([0, 2, 3]), 3).tolist() == [
        [False] * 3,
        [True, True, False],
        [True] * 3,
    ]


def test_the_exported_graph_agrees_at_other_sizes() -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    model = small()
    batch, frames = torch.export.Dim("batch"), torch.export.Dim("frames")
    program = torch.onnx.export(
        model,
        (torch.randn(2, 11, 16), torch.tensor([11, 7])),
        dynamo=True,
        opset_version=24,
        dynamic_shapes=({0: batch, 1: frames}, {0: batch}),
        verbose=False,
    )
    session = onnxruntime.InferenceSession(program.model_proto.SerializeToString())
    for lengths in ([5], [40, 3, 17]):
        given = torch.randn(len(lengths), max(lengths), 16), torch.tensor(lengths)
        names = [tensor.name for tensor in session.get_inputs()]
        codes, embeddings = session.run(None, dict(zip(names, map(torch.Tensor.numpy, given), strict=True)))
        expected_codes, expected = model(*given)
        np.testing.assert_array_equal(codes, expected_codes)
        np.testing.assert_allclose(embeddings, expected, atol=1e-5)
