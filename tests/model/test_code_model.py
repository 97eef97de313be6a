"""The code model against the reference's numbers, and batches against single rows."""

from __future__ import annotations

import json

import torch

from tests.model.tiny import TINY, fixture_dims, randomise
from tests.parity import FOLDER, Fixture, assert_close, load
from tts_trt.dims import ModelDims
from tts_trt.model.code_model import CodeModel
from tts_trt.model.conditioning import ConformerConvolution
from tts_trt.model.sampling import penalised


def loaded(fixture: Fixture) -> CodeModel:
    model = CodeModel(fixture_dims(fixture.config)).eval()
    missing, unexpected = model.load_state_dict(fixture.weights, strict=False)
    assert not unexpected
    conditioning_only = "gpt.ln_f.weight" not in fixture.weights
    decoder = ("gpt.", "mel_", "text_", "final_norm", "speed_emb")
    missing = [k for k in missing if not (conditioning_only and k.startswith(decoder))]
    assert all(key.endswith("pos_enc.pe") for key in missing)
    return model


def empty_caches(model: CodeModel, batch: int, slots: int) -> list[torch.Tensor]:
    g = model.dims.gpt
    return [torch.zeros(batch, g.heads, slots, g.head_dim) for _ in range(2 * g.layers)]


@torch.inference_mode()
def test_conditioning_matches_the_reference() -> None:
    fx = load("gpt_conditioning")
    model = loaded(fx)
    for module in model.modules():
        if isinstance(module, ConformerConvolution):
            module.isolate_rows = False
    for case in ("full", "masked"):
        spk, emo = fx.inputs["spk_cond_emb"], fx.inputs["emo_cond_emb"]
        spk_len = fx.inputs[f"spk_lengths_{case}"].expand(2)
        emo_len = fx.inputs[f"emo_lengths_{case}"].expand(2)
        states, _ = model.conditioning_encoder(spk, spk_len)
        if case == "full":
            assert_close(states, fx.outputs[f"conformer_{case}"], fx.tolerance)
        assert_close(model.latents(spk, spk_len), fx.outputs[f"conds_{case}"], fx.tolerance)
        assert_close(model.emotion(emo, emo_len), fx.outputs[f"emovec_{case}"], fx.tolerance)
        for j, alpha in enumerate(fx.config["alphas"]):
            merged = model.merged_emotion(spk, spk_len, emo, emo_len, torch.full((2,), alpha))
            assert_close(merged, fx.outputs[f"merged_{case}_a{j}"], fx.tolerance)


def _prompt(fx: Fixture, model: CodeModel) -> tuple[torch.Tensor, torch.Tensor]:
    conditioning = fx.outputs["conds"] + fx.outputs["emovec"][:, None]
    text = fx.inputs["text_tokens"]
    return model.prompt(conditioning, text, torch.tensor([text.shape[1]]), torch.ones(1))


@torch.inference_mode()
def test_prompt_matches_the_reference() -> None:
    fx = load("gpt_prefill_decode")
    embeddings, lengths = _prompt(fx, loaded(fx))
    assert_close(embeddings[:, :-1], fx.outputs["prompt_embeds"], fx.tolerance)
    assert lengths.tolist() == [embeddings.shape[1]]


@torch.inference_mode()
def test_cached_decoding_matches_the_reference() -> None:
    fx = load("gpt_prefill_decode")
    model = loaded(fx)
    prompt, lengths = _prompt(fx, model)
    start = torch.zeros(1, dtype=torch.int64)
    caches = empty_caches(model, 1, 128)
    logits, hidden, caches = model.step(prompt, lengths, start, start, caches)
    all_logits, all_hidden = [logits], [hidden[:, -1]]
    for step, code in enumerate(fx.inputs["codes"][0]):
        row = model.next_row(code[None], torch.tensor([step]))
        logits, hidden, caches = model.step(
            row, torch.ones(1, dtype=torch.int64), lengths + step, start, caches
        )
        all_logits.append(logits)
        all_hidden.append(hidden[:, -1])
    assert_close(torch.stack(all_logits, 1), fx.outputs["tf_logits"], fx.tolerance)
    assert_close(torch.stack(all_hidden, 1), fx.outputs["tf_hidden"], fx.tolerance)


@torch.inference_mode()
def test_latent_pass_reusing_the_prompt_cache_matches_the_reference() -> None:
    fx = load("gpt_prefill_decode")
    model = loaded(fx)
    prompt, lengths = _prompt(fx, model)
    zero = torch.zeros(1, dtype=torch.int64)
    _, hidden, caches = model.step(prompt, lengths, zero, zero, empty_caches(model, 1, 128))
    chunk = model.code_rows(fx.inputs["codes"][:, :-1])
    _, rest, _ = model.step(chunk, torch.tensor([chunk.shape[1]]), lengths, zero, caches)
    latent = torch.cat([hidden[:, -1:], rest], dim=1)
    assert_close(latent, fx.outputs["latent"], fx.tolerance)


@torch.inference_mode()
def _greedy(model: CodeModel, fx: Fixture, penalty: float) -> list[int]:
    g = model.dims.gpt
    prompt, lengths = _prompt(fx, model)
    zero = torch.zeros(1, dtype=torch.int64)
    logits, _, caches = model.step(prompt, lengths, zero, zero, empty_caches(model, 1, 128))
    seen = torch.zeros(1, g.codes, dtype=torch.bool)
    seen[:, [1, g.start_code]] = True  # the reference's history: prompt ids of 1, then the start code
    codes: list[int] = []
    while len(codes) < fx.config["new_tokens"]:
        code = penalised(logits, seen, torch.tensor([penalty])).argmax(dim=1)
        codes.append(int(code))
        if int(code) == g.stop_code:
            break
        seen[0, code] = True
        row = model.next_row(code, torch.tensor([len(codes) - 1]))
        logits, _, caches = model.step(row, zero + 1, lengths + len(codes) - 1, zero, caches)
    return codes + [g.stop_code] * (fx.config["new_tokens"] - len(codes))


def test_greedy_tokens_match_the_reference() -> None:
    fx = load("gpt_prefill_decode")
    model = loaded(fx)
    assert _greedy(model, fx, 1.0) == fx.outputs["greedy_rp1"][0].tolist()
    assert _greedy(model, fx, 10.0) == fx.outputs["greedy_rp10"][0].tolist()
    with torch.no_grad():
        model.mel_head.bias[model.dims.gpt.stop_code] += fx.config["stop_bias_delta"]
    assert _greedy(model, fx, 10.0) == fx.outputs["greedy_rp10_eos"][0].tolist()


@torch.inference_mode()
def test_rows_of_a_ragged_batch_equal_single_runs() -> None:
    model = CodeModel(TINY).eval()
    randomise(model)
    lengths = torch.tensor([9, 5, 7])
    text = torch.randint(2, 20, (3, 9))
    conditioning = torch.randn(3, TINY.gpt.latents, TINY.gpt.dim)
    rate = torch.tensor([1.0, 0.8, 1.2])
    zero = torch.zeros(3, dtype=torch.int64)
    prompt, prompt_lengths = model.prompt(conditioning, text, lengths, rate)
    logits, _, caches = model.step(prompt, prompt_lengths, zero, zero, empty_caches(model, 3, 48))
    code = logits.argmax(1)
    logits2, _, _ = model.step(model.next_row(code, zero), zero + 1, prompt_lengths, zero, caches)
    for b in range(3):
        row = slice(b, b + 1)
        one, one_length = model.prompt(conditioning[row], text[row, : lengths[b]], lengths[row], rate[row])
        alone, _, own = model.step(one, one_length, zero[row], zero[row], empty_caches(model, 1, 48))
        alone2, _, _ = model.step(
            model.next_row(code[row], zero[row]), zero[row] + 1, one_length, zero[row], own
        )
        assert_close(logits[row], alone, 1e-4)
        assert_close(logits2[row], alone2, 1e-4)


@torch.inference_mode()
def test_left_padding_is_exact_too() -> None:
    model = CodeModel(TINY).eval()
    randomise(model)
    rows = torch.randn(1, 6, TINY.gpt.dim)
    zero = torch.zeros(1, dtype=torch.int64)
    plain, _, _ = model.step(rows, torch.tensor([6]), zero, zero, empty_caches(model, 1, 48))
    padded = torch.cat([torch.randn(1, 3, TINY.gpt.dim), rows], dim=1)
    left, _, _ = model.step(padded, torch.tensor([9]), zero, zero + 3, empty_caches(model, 1, 48))
    assert_close(left, plain, 1e-4)


@torch.inference_mode()
def test_padded_references_do_not_change_a_row() -> None:
    model = CodeModel(TINY).eval()
    randomise(model)
    features = torch.randn(2, 31, TINY.semantic_encoder.hidden)
    lengths = torch.tensor([31, 20])
    both = model.latents(features, lengths), model.emotion(features, lengths)
    alone = model.latents(features[1:, :20], lengths[1:]), model.emotion(features[1:, :20], lengths[1:])
    for together, single in zip(both, alone, strict=True):
        assert_close(together[1:], single, 1e-4)


def test_state_dict_keys_are_the_official_ones() -> None:
    keys = json.loads((FOLDER.parent / "state_dict_keys" / "gpt.json").read_text())["keys"]
    with torch.device("meta"):
        model = CodeModel(ModelDims())
    assert {k: list(v.shape) for k, v in model.state_dict().items()} == keys
