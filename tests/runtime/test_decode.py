"""The decode loop on real engines: against torch, batches against single rows, stop rules, noise."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch

from tests.model.tiny import TINY
from tests.runtime.tiny_graphs import EXACT, tiny_model
from tts_trt.dims import ModelDims
from tts_trt.errors import TextError, UsageError
from tts_trt.model.sampling import Sampler
from tts_trt.runtime.decode import Cancelled, Decoded, Decoder, DecodeRow
from tts_trt.runtime.engine import Engines
from tts_trt.runtime.repetition import RepetitionGuard
from tts_trt.runtime.sampling import SamplingParams
from tts_trt.spec import Limits

MODELS = [pytest.param("one_pass", TINY, id="one-pass"), pytest.param("exact", EXACT, id="exact")]
SAMPLING = SamplingParams(
    temperature=1.0, top_k=20, top_p=0.95, repetition_penalty=1.2, min_codes=4, max_codes=24
)


def rows(sampling: SamplingParams = SAMPLING, count: int = 4) -> list[DecodeRow]:
    """Ragged texts, different voices, rates and seeds."""
    rng = np.random.default_rng(5)
    made = []
    for i in range(count):
        conditioning = rng.standard_normal((TINY.gpt.latents, TINY.gpt.dim), dtype=np.float32)
        text = rng.integers(2, 20, 3 + 4 * i)
        params = SamplingParams(**{**vars(sampling), "seed": sampling.seed + i})
        made.append(DecodeRow(conditioning, text, 0.8 + 0.1 * i, params, segment=i))
    return made


def same(one: Decoded, other: Decoded, tolerance: float = 0.0) -> bool:
    return (
        one.codes_M.tolist() == other.codes_M.tolist()
        and one.finish == other.finish
        and np.allclose(one.latents_MD.numpy(), other.latents_MD.numpy(), atol=tolerance, rtol=0)
    )


@torch.inference_mode()
def recomputed(dims: ModelDims, row: DecodeRow, codes: np.ndarray) -> torch.Tensor:
    """Latents by one causal pass over prompt and codes, without any cache."""
    gpt = tiny_model(dims).gpt
    text = torch.from_numpy(row.text_L)[None]
    prompt, lengths = gpt.prompt(
        torch.from_numpy(row.conditioning_ND)[None],
        text,
        torch.tensor([text.shape[1]]),
        torch.tensor([row.rate]),
    )
    whole = torch.cat([prompt, gpt.code_rows(torch.from_numpy(codes)[None])], dim=1)
    return gpt.final_norm(gpt.gpt(whole))[0, int(lengths[0]) - 1 : -1]


@pytest.mark.parametrize(("engines", "dims"), MODELS)
def test_latents_equal_a_full_recompute(
    engines: str, dims: ModelDims, request: pytest.FixtureRequest
) -> None:
    batch = rows()
    decoded = Decoder(request.getfixturevalue(engines), dims, Limits()).run(batch)
    assert len({len(d.codes_M) for d in decoded}) > 1, "rows must end at different times"
    for row, result in zip(batch, decoded, strict=True):
        expected = recomputed(dims, row, result.codes_M).numpy()
        assert result.latents_MD.shape == expected.shape
        np.testing.assert_allclose(result.latents_MD.numpy(), expected, atol=2e-4)


@torch.inference_mode()
def torch_codes(dims: ModelDims, row: DecodeRow) -> list[int]:
    """The plain loop: no cache, every step from the beginning, greedy."""
    model = tiny_model(dims)
    gpt, sampler = model.gpt, Sampler(model.gpt)
    text = torch.from_numpy(row.text_L)[None]
    rows_BSD, lengths = gpt.prompt(
        torch.from_numpy(row.conditioning_ND)[None],
        text,
        torch.tensor([text.shape[1]]),
        torch.tensor([row.rate]),
    )
    seen = torch.zeros(1, dims.gpt.codes, dtype=torch.bool)
    if dims.latents == "exact":
        seen[:, [1, dims.gpt.start_code]] = True
    s, codes = row.sampling, []
    while len(codes) < (s.max_codes or 0):
        logits = gpt.mel_head(gpt.final_norm(gpt.gpt(rows_BSD)))[:, -1]
        scalars = [
            torch.tensor([v]) for v in (0.0, s.top_k, s.top_p, s.repetition_penalty, s.min_codes, s.max_codes)
        ]
        code, embedding, _, seen, _, done = sampler(
            logits,
            seen,
            torch.full_like(logits, 0.5),
            *scalars,
            lengths,
            torch.tensor([len(codes)]),
            torch.tensor([False]),
        )
        if bool(done[0]):
            break
        codes.append(int(code))
        rows_BSD = torch.cat([rows_BSD, embedding], dim=1)
    return codes


@pytest.mark.parametrize(("engines", "dims"), MODELS)
def test_greedy_codes_equal_the_plain_loop(
    engines: str, dims: ModelDims, request: pytest.FixtureRequest
) -> None:
    batch = rows(SamplingParams(greedy=True, repetition_penalty=10.0, min_codes=6, max_codes=14), 2)
    decoded = Decoder(request.getfixturevalue(engines), dims, Limits()).run(batch)
    for row, result in zip(batch, decoded, strict=True):
        assert result.codes_M.tolist() == torch_codes(dims, row)
        assert len(set(result.codes_M.tolist())) > 3


@pytest.mark.parametrize(("engines", "dims"), MODELS)
@pytest.mark.parametrize("greedy", [True, False])
def test_a_row_of_a_batch_equals_itself_alone(
    engines: str, dims: ModelDims, greedy: bool, request: pytest.FixtureRequest
) -> None:
    decoder = Decoder(request.getfixturevalue(engines), dims, Limits())
    batch = rows(SamplingParams(**{**vars(SAMPLING), "greedy": greedy}))
    together = decoder.run(batch)
    for row, result in zip(batch, together, strict=True):
        assert same(decoder.run([row])[0], result, 2e-4)
    reversed_batch = decoder.run(batch[::-1])[::-1]
    assert all(same(a, b, 2e-4) for a, b in zip(together, reversed_batch, strict=True))


def test_the_same_seed_gives_the_same_bits_and_another_seed_other_codes(one_pass: Engines) -> None:
    decoder = Decoder(one_pass, TINY, Limits())
    first, again = decoder.run(rows()), decoder.run(rows())
    assert all(same(a, b) for a, b in zip(first, again, strict=True))
    other = decoder.run(rows(SamplingParams(**{**vars(SAMPLING), "seed": 99})))
    assert [r.codes_M.tolist() for r in first] != [r.codes_M.tolist() for r in other]


def test_every_row_keeps_its_own_limits(one_pass: Engines) -> None:
    params = [
        SamplingParams(seed=1, min_codes=1, max_codes=3),
        SamplingParams(seed=2).forced(17),
        SamplingParams(seed=3, min_codes=9, max_codes=40),
        SamplingParams(seed=4).forced(1),
    ]
    batch = [DecodeRow(r.conditioning_ND, r.text_L, r.rate, p) for r, p in zip(rows(), params, strict=True)]
    short, forced, long, one = Decoder(one_pass, TINY, Limits()).run(batch)
    assert 1 <= len(short.codes_M) <= 3
    assert (len(forced.codes_M), forced.finish) == (17, "length")
    assert 9 <= len(long.codes_M) <= 40
    assert (len(one.codes_M), one.finish, one.latents_MD.shape) == (1, "length", (1, TINY.gpt.dim))
    stop = {TINY.gpt.stop_code, TINY.gpt.start_code}
    assert not any(stop & set(d.codes_M.tolist()) for d in (short, forced, long, one))


def test_caches_are_used_again(one_pass: Engines) -> None:
    decoder = Decoder(one_pass, TINY, Limits())
    with decoder.slots(2) as first:
        pass
    with decoder.slots(2) as second, decoder.slots(2) as third:
        assert second is first
        assert third is not first


def test_a_cancelled_row_stops_at_once(one_pass: Engines) -> None:
    cancel = threading.Event()
    decoder = Decoder(one_pass, TINY, Limits())
    with (
        decoder.batch(rows(SAMPLING.forced(30), 1)) as batch,
        pytest.raises(Cancelled, match="after 5 codes"),
    ):
        for _ in batch.steps(cancel):
            if batch.drawn(0) == 5:
                cancel.set()


def test_what_does_not_fit_the_bundle_is_refused(one_pass: Engines) -> None:
    decoder = Decoder(one_pass, TINY, Limits(batch=2))
    with pytest.raises(UsageError, match="3 rows, expected 1 to 2"):
        decoder.run(rows(count=3))
    row = rows(count=1)[0]
    with pytest.raises(UsageError, match="41 codes are asked for"):
        decoder.run([DecodeRow(row.conditioning_ND, row.text_L, 1.0, SAMPLING.forced(41))])
    with pytest.raises(TextError, match="25 text ids, expected 1 to 24"):
        decoder.run([DecodeRow(row.conditioning_ND, np.full(25, 3), 1.0, SAMPLING)])


@pytest.mark.parametrize("cycle", [[7], [3, 9], [1, 2, 3, 4, 5, 6, 7, 8]])
def test_the_guard_sees_loops_of_any_short_period(cycle: list[int]) -> None:
    guard = RepetitionGuard(24)
    lead = [40, 41, 42]
    fired = [guard.add(code) for code in lead + cycle * 24]
    assert fired.index(True) == len(lead) + 24 - 1


def test_the_guard_lets_varied_codes_pass() -> None:
    guard = RepetitionGuard(24)
    rng = np.random.default_rng(0)
    assert not any(guard.add(int(code)) for code in rng.integers(0, 6, 2000))
    assert not any(guard.add(code) for code in list(range(9)) * 30), "a period of nine is no short cycle"


def test_a_looping_row_ends_and_a_forced_one_does_not(
    one_pass: Engines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RepetitionGuard, "add", lambda self, code: True)
    decoder = Decoder(one_pass, TINY, Limits())
    free, forced = rows(SAMPLING, 1)[0], rows(SAMPLING.forced(12), 1)[0]
    looped, whole = decoder.run([free, forced])
    assert (len(looped.codes_M), looped.finish) == (SAMPLING.min_codes, "repetition")
    assert (len(whole.codes_M), whole.finish) == (12, "length")


@pytest.mark.parametrize(("engines", "dims"), MODELS)
def test_places_are_used_again_and_none_runs_over_its_slots(
    engines: str, dims: ModelDims, request: pytest.FixtureRequest
) -> None:
    """Rows come one after the other, for longer than the cache is."""
    decoder = Decoder(request.getfixturevalue(engines), dims, Limits())
    batch, ticks = decoder.open(3), 0
    for row in rows(SAMPLING.forced(36), 4):
        solo = decoder.begin(row)
        batch.adopt(solo)
        solo.close()
        while batch.live:
            assert batch.tick() == {}
            assert (batch._slots._out["next_pos"].numpy() < batch._slots.cache.slots).all()
            ticks += 1
        (state,) = [state for state in batch.rows if state is not None]
        assert state.codes_M.tolist() == decoder.run([row])[0].codes_M.tolist()
        batch.release(state)
    assert ticks > batch._slots.cache.slots
    batch.close()


@pytest.mark.parametrize(("engines", "dims"), MODELS)
def test_a_step_on_a_host_goes_over_rows_alone_wherever_others_left(
    engines: str, dims: ModelDims, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoder = Decoder(request.getfixturevalue(engines), dims, Limits())
    asked = [row for count in (9, 30, 16, 23) for row in rows(SAMPLING.forced(count), 4)[count % 4 :][:1]]
    batch, widths, ended = decoder.open(8), [], {}
    step = batch._slots.draw

    def drawn(finished):  # type: ignore[no-untyped-def]
        widths.append(batch._slots.width)
        return step(finished)

    monkeypatch.setattr(batch._slots, "draw", drawn)
    for row in asked:
        solo = decoder.begin(row)
        batch.adopt(solo)
        solo.close()
    states = [state for state in batch.rows if state is not None]
    while batch.live:
        batch.tick()
        for state in [state for state in states if state.finish is not None and state not in ended]:
            latents = None if dims.latents == "exact" else state.slots.states(state.place, len(state.codes))
            ended[state] = state.codes_M.tolist(), latents
            batch.release(state)
    batch.close()
    assert sorted(set(widths), reverse=True) == [4, 3, 2, 1] and widths == sorted(widths, reverse=True)
    for state, row in zip(states, asked, strict=True):
        alone, (codes, latents) = decoder.run([row])[0], ended[state]
        assert codes == alone.codes_M.tolist()
        if latents is not None:
            np.testing.assert_allclose(latents.numpy(), alone.latents_MD.numpy(), atol=1e-5)
