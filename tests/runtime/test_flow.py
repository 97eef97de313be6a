"""Euler steps shared by rows at different times."""

from __future__ import annotations

import numpy as np
import pytest

from tests.model.tiny import TINY
from tts_trt.runtime.acoustic import Acoustic, FlowJob
from tts_trt.runtime.engine import Engines
from tts_trt.runtime.flow import FlowRow, bucket


def job(seed: int, frames: int, steps: int) -> FlowJob:
    rng = np.random.default_rng(seed)
    prompt, mels = 10 + seed, TINY.audio.n_mels
    return FlowJob(
        condition_Tc=[rng.standard_normal((prompt + frames, TINY.regulator.channels), dtype=np.float32)],
        prompt_mP=[rng.standard_normal((mels, prompt), dtype=np.float32)],
        noise_mT=rng.standard_normal((mels, frames), dtype=np.float32),
        style_E=rng.standard_normal(TINY.style.embedding, dtype=np.float32),
        steps=steps,
        guidance=0.7,
    )


def test_rows_that_join_and_leave_get_what_they_get_alone(one_pass: Engines) -> None:
    acoustic = Acoustic(one_pass, TINY)
    jobs = [job(1, 20, 6), job(2, 33, 3), job(3, 26, 8)]
    alone = [acoustic.flow([one])[0].numpy() for one in jobs]
    early, late, last = (acoustic.row(one, 48) for one in jobs)

    def step(*rows: FlowRow, times: int) -> None:
        batch = acoustic.together(rows)
        for _ in range(times):
            batch.step()

    step(early, times=2)
    step(early, late, times=3)
    assert (early.taken, late.taken, late.done, early.done) == (5, 3, True, False)
    step(last, early, times=1)
    step(last, times=7)
    assert early.done
    assert last.done
    for row, expected in zip((early, late, last), alone, strict=True):
        np.testing.assert_allclose(row.mel_mT.numpy(), expected, atol=1e-4)


def test_a_row_that_is_done_stays_as_it_is(one_pass: Engines) -> None:
    acoustic = Acoustic(one_pass, TINY)
    short, long = job(1, 20, 2), job(2, 20, 5)
    together = acoustic.flow([short, long])
    for mel, one in zip(together, (short, long), strict=True):
        np.testing.assert_allclose(mel.numpy(), acoustic.flow([one])[0].numpy(), atol=1e-4)


@pytest.mark.parametrize("frames", [1, 3, 4, 17, 100, 154, 274, 1000, 4415])
def test_a_bucket_holds_its_rows_and_little_more(frames: int) -> None:
    size = bucket(frames)
    assert frames <= size <= max(4, frames * 9 / 8)
    assert bucket(size) == size
