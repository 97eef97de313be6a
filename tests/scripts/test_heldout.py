"""The held-out sentences are plain, within the vocabulary, rendered each once, and kept out of training."""

from __future__ import annotations

import re
from itertools import islice
from pathlib import Path

import pytest

from scripts.nano import corpus, sentences
from scripts.nano.corpus import SHARD, Job
from scripts.nano.heldout import is_listed, shuffled, words_of
from scripts.nano.heldout import sentences as listed

LISTED = listed()


def test_there_are_240_different_sentences_of_2_to_25_words() -> None:
    assert len({words_of(text) for text in LISTED}) == len(LISTED) == 240
    lengths = [len(words_of(text).split()) for text in LISTED]
    assert min(lengths) == 2 and max(lengths) == 25
    assert sum(5 <= length <= 14 for length in lengths) > 0.8 * len(lengths)
    assert {text[-1] for text in LISTED} == set(".?!")


def test_they_use_the_vocabulary_and_look_like_sentences() -> None:
    known = set(sentences.vocabulary())
    assert {word for text in LISTED for word in words_of(text).split()} <= known
    assert all(re.fullmatch(r"[A-Z](?: ?[A-Za-z']+,?)* ?[A-Za-z']*[.?!]", text) for text in LISTED)


def test_all_are_held_out_whatever_their_case_and_punctuation() -> None:
    assert all(sentences.is_held_out(text) for text in LISTED)
    assert all(sentences.is_held_out(re.sub(r"[,.?!]", "", text).upper()) for text in LISTED)
    assert not is_listed(LISTED[0] + " again") and not is_listed("")


def test_training_skips_one_that_comes_up(monkeypatch: pytest.MonkeyPatch) -> None:
    by_list_alone = next(text for text in LISTED if not _by_hash(text))
    drawn = iter(["The dog ran.", by_list_alone, by_list_alone.lower(), "We sat down."])
    monkeypatch.setattr(sentences.Sentences, "sentence", lambda self: next(drawn))
    free = list(islice(sentences.training(), 2))
    assert free == ["The dog ran.", "We sat down."]


def _by_hash(text: str) -> bool:
    """Would its hash alone hold it out?"""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sentences, "is_listed", lambda _: False)
        return sentences.is_held_out(text)


def test_every_pass_gives_each_sentence_once_in_an_order_of_its_seed() -> None:
    first, second = (list(islice(shuffled(0), start, start + len(LISTED))) for start in (0, len(LISTED)))
    assert sorted(first) == sorted(second) == sorted(LISTED)
    assert first != second and first != list(LISTED)
    assert first == list(islice(shuffled(0), len(LISTED)))
    assert first != list(islice(shuffled(1), len(LISTED)))


def test_the_corpus_takes_its_test_part_from_them_and_goes_on_in_the_next_shard() -> None:
    shards = [corpus._texts(Job(shard, SHARD, 0, "heldout", Path())) for shard in (0, 1)]
    texts = [list(islice(shard, SHARD)) for shard in shards]
    assert [*texts[0], *texts[1]] == list(islice(shuffled(0), 2 * SHARD))
    taught = corpus._texts(Job(0, SHARD, 0, "train", Path()))
    assert not any(sentences.is_held_out(text) for text in islice(taught, 300))
