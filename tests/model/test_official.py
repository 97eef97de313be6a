"""The parity fixtures through the loader of an official directory, and its account of what does not fit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from scripts.random_checkpoint import TINY, write_checkpoint
from tests.model.state_keys import official
from tests.official.directories import LEVEL, write_chain, write_conditioning, write_encoder, write_flow
from tests.parity import assert_close, load
from tts_trt.dims import ModelDims
from tts_trt.errors import WeightsError
from tts_trt.frontend.timing import nearest_index
from tts_trt.model.cfm import solve
from tts_trt.model.conditioning import ConformerConvolution
from tts_trt.model.family import TtsModel
from tts_trt.model.official import MODULES, SOURCES, expected, load_official, unfilled
from tts_trt.model.reference import Draws, Reference
from tts_trt.model.weights import load_model
from tts_trt.models import OfficialFolder, find_model

FILES = {"gpt": "gpt", "s2mel": "s2mel", "codec": "semantic_codec", "style": "campplus", "vocoder": "bigvgan"}
"""Part -> key map of the published file."""


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.no_grad():
        yield


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    write_checkpoint(folder, TINY)
    return folder


def opened(write: Callable[[Path], ModelDims], folder: Path) -> TtsModel:
    dims = write(folder)
    found = find_model(str(folder))
    assert isinstance(found, OfficialFolder) and found.dims() == dims
    return load_model(found)


def problems(folder: Path) -> str:
    with pytest.raises(WeightsError) as caught:
        load_model(find_model(str(folder)))
    return str(caught.value)


def changed(path: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    """Rewrite a flat checkpoint."""
    stored = path.suffix == ".safetensors"
    tensors = load_file(path) if stored else torch.load(path, weights_only=True)
    tensors = {key: value.clone() for key, value in tensors.items()}
    change(tensors)
    if stored:
        save_file(tensors, path)
    else:
        torch.save(tensors, path)


def copied(tiny: Path, tmp_path: Path) -> Path:
    import shutil

    return Path(shutil.copytree(tiny, tmp_path / "model"))


def test_the_chain_from_conditioning_to_wave_is_the_references(tmp_path: Path) -> None:
    """Conditioning -> greedy codes -> latents -> mel -> wave, each stage on the last one's result, from one directory."""
    model = opened(write_chain, tmp_path)
    fx, vocoder = load("gpt_prefill_decode"), load("bigvgan")
    own, other = fx.inputs["spk_cond_emb"], fx.inputs["emo_cond_emb"]
    length = torch.tensor([own.shape[1]])
    conds = model.gpt.latents(own, length)
    row = model.gpt.merged_emotion(own, length, other, length, torch.tensor([fx.config["alpha"]]))
    assert_close(conds, fx.outputs["conds"], fx.tolerance)
    assert_close(row, fx.outputs["emovec"], fx.tolerance)

    reference, text = Reference(model), fx.inputs["text_tokens"][0].tolist()
    steps = fx.config["new_tokens"]
    draws = Draws(torch.full((steps + 1, model.dims.gpt.codes), 0.5), 0.0, 1, 1.0, 10.0, 0, steps)
    codes, latents = reference.codes(conds + row[:, None], text, 1.0, draws)
    assert codes == [c for c in fx.outputs["greedy_rp10"][0].tolist() if c != model.dims.gpt.stop_code]

    wave = torch.randn(22050) * 0.1
    voice = reference.voice(wave.numpy())
    frames = int(1.72 * len(codes))
    noise = torch.randn(1, model.dims.audio.n_mels, voice.mel_1MT.shape[2] + frames)
    mel = reference.mel(voice, codes, latents, frames, noise, steps=2)
    made = reference.wave(mel)
    assert made.shape == (frames * model.dims.audio.hop,) and made.isfinite().all() and made.std() > 1e-3

    wave = reference.wave(vocoder.inputs["mel"])[None, None]
    assert_close(wave, LEVEL * vocoder.outputs["wav"], vocoder.tolerance * LEVEL)
    style = load("campplus")
    assert_close(model.style_encoder(style.inputs["feat"]), style.outputs["style"], style.tolerance)


def test_conditioning_and_codec_are_the_references(tmp_path: Path) -> None:
    model = opened(write_conditioning, tmp_path)
    for module in model.modules():
        if isinstance(module, ConformerConvolution):
            module.isolate_rows = False
    fx, codec = load("gpt_conditioning"), load("semantic_codec")
    for case in ("full", "masked"):
        lengths = fx.inputs[f"spk_lengths_{case}"].expand(2)
        assert_close(
            model.gpt.latents(fx.inputs["spk_cond_emb"], lengths), fx.outputs[f"conds_{case}"], fx.tolerance
        )
        lengths = fx.inputs[f"emo_lengths_{case}"].expand(2)
        assert_close(
            model.gpt.emotion(fx.inputs["emo_cond_emb"], lengths), fx.outputs[f"emovec_{case}"], fx.tolerance
        )
    codes, quantised = model.semantic_codec.quantize(codec.inputs["x"])
    assert torch.equal(codes, codec.outputs["indices"])
    assert_close(quantised, codec.outputs["quantized"], codec.tolerance)


def test_encoder_regulator_and_matrices_are_the_references(tmp_path: Path) -> None:
    model = opened(write_encoder, tmp_path)
    fx, matrix, regulator = load("w2v_bert"), load("emotion_matrix"), load("length_regulator")
    mask = fx.inputs["attention_mask_masked"].bool()
    made = model.semantic_encoder.normalised(fx.inputs["input_features_masked"], mask)
    assert_close(made, fx.outputs["normalised_masked"], fx.tolerance)
    mixed = model.emotion(
        matrix.inputs["emovec"], matrix.inputs["style"], torch.tensor([matrix.config["emo_vector"]])
    )
    assert_close(mixed, matrix.outputs["emovec_mixed"], matrix.tolerance)
    index = torch.from_numpy(nearest_index(26, 44))[None]
    stretched = model.s2mel.length_regulator(regulator.inputs["x0"], index, torch.tensor([44]))
    assert_close(stretched, regulator.outputs["y0"], regulator.tolerance)


def test_the_flow_is_the_references(tmp_path: Path) -> None:
    model, fx = opened(write_flow, tmp_path), load("cfm_inference")
    given, size, prompt = fx.inputs, fx.inputs["noise"].shape[2], fx.inputs["prompt"].shape[2]
    mel = solve(
        model.s2mel.cfm.estimator, given["mu"], given["prompt"], torch.tensor([prompt]), torch.tensor([size]),
        given["style"], given["noise"], fx.config["n_timesteps"], torch.tensor([0.7]),
    )  # fmt: skip
    assert_close(mel, fx.outputs["mel_full_cfg0.7"], fx.tolerance)


@pytest.mark.parametrize("part", FILES)
def test_what_a_file_must_hold_is_what_the_published_one_holds(part: str) -> None:
    with torch.device("meta"):
        module = MODULES[SOURCES[part].module](ModelDims())
    wanted = {key: list(value.shape) for key, value in expected(part, module).items()}
    published = official(FILES[part])
    assert wanted.items() <= published.items()


def test_one_graph_takes_the_memory_of_its_modules_alone(tiny: Path) -> None:
    folder = find_model(str(tiny))
    model = load_model(folder, "flow_step")
    assert not any(p.is_meta for p in model.s2mel.parameters())
    assert all(p.is_meta for p in model.gpt.parameters())


def test_half_precision_is_read_as_single(tiny: Path, tmp_path: Path) -> None:
    folder = copied(tiny, tmp_path)
    changed(folder / "gpt.pth", lambda t: t.update({k: v.half() for k, v in t.items()}))
    model = load_model(find_model(str(folder)), "gpt")
    assert {p.dtype for p in model.gpt.parameters()} == {torch.float32}


def test_one_error_accounts_for_every_file(tiny: Path, tmp_path: Path) -> None:
    folder = copied(tiny, tmp_path)

    def spoil_gpt(tensors: dict[str, torch.Tensor]) -> None:
        del tensors["mel_head.bias"]
        tensors["extra.weight"] = torch.zeros(2)
        tensors["final_norm.weight"] = torch.zeros(7)

    changed(folder / "gpt.pth", spoil_gpt)
    changed(folder / "campplus_cn_common.bin", lambda t: t.pop("head.conv1.weight"))
    codec = folder / "semantic_codec" / "model.safetensors"
    changed(
        codec,
        lambda t: t.__setitem__("quantizer.quantizers.0.codebook.weight", torch.full((30, 4), torch.nan)),
    )
    told = problems(folder)
    assert (
        "gpt.pth: 1 missing: mel_head.bias; 1 unexpected: extra.weight; 1 mis-shaped: final_norm.weight (7,)"
        in told
    )
    assert "campplus_cn_common.bin: 1 missing: head.conv1.weight" in told
    assert "model.safetensors: 1 not finite: quantizer.quantizers.0.codebook.weight" in told


def test_tensors_that_follow_from_dimensions_may_be_there_or_not(tiny: Path, tmp_path: Path) -> None:
    folder = copied(tiny, tmp_path)

    def other_buffers(tensors: dict[str, torch.Tensor]) -> None:
        for key in [k for k in tensors if k.endswith("pos_enc.pe")]:
            del tensors[key]
        tensors["gpt.h.0.attn.bias"] = torch.ones(1, 1, 4, 4)

    changed(folder / "gpt.pth", other_buffers)
    model = load_model(find_model(str(folder)), "conditioner")
    table = model.gpt.state_dict()["conditioning_encoder.embed.pos_enc.pe"]
    assert_close(table, unfilled("gpt", TINY).state_dict()["conditioning_encoder.embed.pos_enc.pe"], 0.0)


def test_a_swapped_file_is_told_by_its_keys(tiny: Path, tmp_path: Path) -> None:
    folder = copied(tiny, tmp_path)
    (folder / "s2mel.pth").write_bytes((folder / "gpt.pth").read_bytes())
    (folder / "feat1.pt").write_bytes((folder / "wav2vec2bert_stats.pt").read_bytes())
    told = problems(folder)
    assert "s2mel.pth holds none of the expected tensors" in told and "conditioning_encoder" in told
    assert "feat1.pt holds none of the expected tensors, but 2 others (mean, var)" in told


def test_swapped_matrices_are_told_by_their_shapes(tiny: Path, tmp_path: Path) -> None:
    folder = copied(tiny, tmp_path)
    first = (folder / "feat1.pt").read_bytes()
    (folder / "feat1.pt").write_bytes((folder / "feat2.pt").read_bytes())
    (folder / "feat2.pt").write_bytes(first)
    told = problems(folder)
    assert "feat1.pt: 1 mis-shaped: speaker_matrix" in told and "feat2.pt: 1 mis-shaped" in told


def test_nothing_of_a_bad_directory_is_loaded(tiny: Path, tmp_path: Path) -> None:
    """Before a gigabyte is read twice: the error comes from reading, no module is filled first."""
    folder = find_model(str(copied(tiny, tmp_path)))
    assert isinstance(folder, OfficialFolder)
    folder.official.file("vocoder").write_bytes(b"PK\x03\x04 cut")
    with pytest.raises(WeightsError, match=r"bigvgan_generator\.pt \(8 bytes\) is cut short"):
        load_official(folder.dims(), folder.official.weights, "vocoder")
