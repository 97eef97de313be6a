"""The in-graph sampler against the reference's filters, and its stop rules."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tests.model.tiny import TINY, randomise
from tests.parity import assert_close, load
from tts_trt.model.code_model import CodeModel
from tts_trt.model.emotion import EmotionMatrix
from tts_trt.model.sampling import Sampler, candidates, draw, penalised


def test_filters_match_the_reference() -> None:
    fx = load("sampling_filters")
    logits, history = fx.inputs["logits"], fx.inputs["history_ids"].long()
    seen = torch.zeros(logits.shape, dtype=torch.bool).scatter(1, history, True)
    rows = torch.ones(len(logits))
    scores = penalised(logits, seen, rows * fx.config["repetition_penalty"])
    best, codes = candidates(
        scores, rows * fx.config["temperature"], (rows * fx.config["top_k"]).long(), rows * fx.config["top_p"]
    )
    full = torch.full_like(logits, -torch.inf).scatter(1, codes, best)
    expected = fx.outputs["single_scores"]
    assert torch.equal(full.isinf(), expected.isinf())
    assert_close(full[~full.isinf()], expected[~expected.isinf()], fx.tolerance)
    assert_close(full.softmax(1), fx.outputs["single_probs"], fx.tolerance)


def test_draws_follow_the_filtered_distribution() -> None:
    torch.manual_seed(0)
    rows = 40_000
    scores = torch.tensor([[1.0, 0.0, -1.0, 2.0]]).expand(rows, -1)
    ones = torch.ones(rows)
    best, codes = candidates(scores, ones, (ones * 3).long(), ones)
    drawn = draw(best, codes, torch.rand(rows, 4), ones)
    expected = torch.tensor([1.0, 0.0, -torch.inf, 2.0]).softmax(0)
    assert_close(torch.bincount(drawn, minlength=4) / rows, expected, 0.015)


@pytest.fixture
def sampler() -> Sampler:
    model = CodeModel(TINY).eval()
    randomise(model)
    return Sampler(model)


def call(sampler: Sampler, batch: int = 2, **changes: torch.Tensor) -> tuple[torch.Tensor, ...]:
    v = TINY.gpt.codes
    generator = torch.Generator().manual_seed(5)
    ones, zeros = torch.ones(batch), torch.zeros(batch, dtype=torch.int64)
    inputs = {
        "logits": torch.randn(batch, v, generator=generator),
        "seen": torch.zeros(batch, v, dtype=torch.bool),
        "noise": torch.rand(batch, v, generator=generator),
        "temperature": ones,
        "top_k": zeros + 10,
        "top_p": ones,
        "penalty": ones,
        "min_codes": zeros,
        "max_codes": zeros + 40,
        "prompt_lengths": zeros + 12,
        "step": zeros,
        "done": torch.zeros(batch, dtype=torch.bool),
    }
    return sampler(**(inputs | changes))


def test_stop_is_withheld_until_min_codes_and_forced_at_max_codes(sampler: Sampler) -> None:
    stop = TINY.gpt.stop_code
    logits = torch.zeros(2, TINY.gpt.codes)
    logits[:, stop] = 50.0
    assert call(sampler, logits=logits)[0].tolist() == [stop, stop]
    withheld = call(sampler, logits=logits, min_codes=torch.tensor([1, 0]))
    assert withheld[0][0] != stop and withheld[0][1] == stop
    assert withheld[5].tolist() == [False, True]
    forced = call(sampler, logits=-logits, step=torch.tensor([7, 6]), max_codes=torch.tensor([7, 7]))
    assert forced[0][0] == stop and forced[0][1] != stop


def test_start_code_is_never_drawn_and_done_rows_stay_done(sampler: Sampler) -> None:
    logits = torch.zeros(2, TINY.gpt.codes)
    logits[:, TINY.gpt.start_code] = 99.0
    code, *_, done = call(sampler, logits=logits, done=torch.tensor([True, False]))
    assert code[0] == TINY.gpt.stop_code and code[1] != TINY.gpt.start_code
    assert done.tolist() == [True, False]


def test_state_advances(sampler: Sampler) -> None:
    code, embedding, pos, seen, step, _ = call(sampler, step=torch.tensor([3, 4]))
    assert pos.tolist() == [15, 16] and step.tolist() == [4, 5]
    assert seen.nonzero().tolist() == [[0, int(code[0])], [1, int(code[1])]]
    table = sampler.model.mel_embedding.weight[code] + sampler.model.mel_pos_embedding.emb.weight[[4, 5]]
    assert_close(embedding[:, 0], table, 1e-6)


def test_exact_models_skip_position_one() -> None:
    model = CodeModel(replace(TINY, latents="exact"))
    row = model.next_row(torch.tensor([3]), torch.tensor([0]))
    assert_close(row[0, 0], model.mel_embedding.weight[3] + model.mel_pos_embedding.emb.weight[2], 0.0)


def test_emotion_matrix_matches_the_reference() -> None:
    fx = load("emotion_matrix")
    matrix = EmotionMatrix(fx.config["emo_num"], 24, 48)
    matrix.speaker_matrix.copy_(fx.inputs["spk_matrix"])
    matrix.emotion_matrix.copy_(fx.inputs["emo_matrix"])
    weights = torch.tensor([fx.config["emo_vector"]])
    style = fx.inputs["style"]
    assert torch.equal(matrix.nearest(style)[0], fx.outputs["indices"])
    assert_close(matrix(fx.inputs["emovec"], style, weights), fx.outputs["emovec_mixed"], fx.tolerance)
    assert_close(matrix(fx.inputs["emovec"], style, weights * 0), fx.inputs["emovec"], 0.0)
