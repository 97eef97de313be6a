"""What the nano trainers draw: batches in which long sentences count as much by the word as short ones, and phones by the frame."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest

pytest.importorskip("torch")

from scripts.nano.data import BESIDES, Utterance, bucketed, phone_names, phones_of
from scripts.nano.train_codec import together

LENGTHS = np.random.default_rng(0).integers(10, 240, 500).tolist()


def epoch(batch: int, seed: int = 0) -> list[list[int]]:
    made, found = bucketed(LENGTHS, batch, seed), []
    while sum(map(len, found)) < len(LENGTHS):
        found.append(next(made))
    return found


def test_an_epoch_has_everyone_once() -> None:
    assert sorted(i for batch in epoch(16) for i in batch) == list(range(len(LENGTHS)))


def test_a_batch_of_long_ones_has_fewer() -> None:
    batches = epoch(16)
    work = [len(b) * (max(LENGTHS[i] for i in b) + BESIDES) for b in batches]
    most = 16 * (np.mean(LENGTHS) + BESIDES)
    assert max(work) <= most and np.median(work) > 0.8 * most
    by_length = sorted(batches, key=lambda b: max(LENGTHS[i] for i in b))
    assert len(by_length[0]) > 2 * len(by_length[-1])
    spread = [max(LENGTHS[i] for i in b) - min(LENGTHS[i] for i in b) for b in batches]
    assert np.median(spread) < 0.4 * (max(LENGTHS) - min(LENGTHS))


def test_one_longer_than_the_budget_comes_alone() -> None:
    assert sorted(next(bucketed([5, 5000], 1, 0))) in ([0], [1])


def test_the_codec_is_trained_on_no_batch_of_one() -> None:
    lengths = [5, 5, 5, 5000, 400]
    assert 1 in {len(b) for b in islice(bucketed(lengths, 2, 0), 20)}
    assert 1 not in {len(b) for b in islice(together(lengths, 2, 0), 20)}


def test_the_seed_decides() -> None:
    assert epoch(8, 1) == epoch(8, 1) != epoch(8, 2)


def test_each_frame_has_the_phone_spoken_at_its_middle() -> None:
    def spoken(*phones: list[object]) -> Utterance:
        return Utterance(np.zeros(0, np.int16), "", [], 0, 0, 1.0, list(phones), [])

    said = spoken(["pau", 0.04], ["t", 0.05], ["uw", 0.1])
    names = phone_names([said, spoken(["ah", 1.0])])
    assert names == {"ah": 0, "pau": 1, "t": 2, "uw": 3}
    heard = phones_of(said, names, 7)  # the wave was padded: two frames lie beyond the last phone
    assert [sorted(names)[k] for k in heard] == ["pau", "pau", "uw", "uw", "uw", "uw", "uw"]
    assert phones_of(spoken(["pau", 0.04], ["t", 0.051]), names, 3).tolist() == [1, 1, 2]
