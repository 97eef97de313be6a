"""The sentence generator: seeded, inside its vocabulary, and never a test sentence in training."""

from __future__ import annotations

import re
from collections import Counter
from itertools import islice
from pathlib import Path

import tts_trt
from scripts.nano.sentences import HELD_OUT_PERCENT, MAX_WORDS, is_held_out, training, vocabulary

TRAIN = list(islice(training(3), 4000))


def words(text: str) -> list[str]:
    return re.findall(r"[a-z']+", text.lower())


def test_the_vocabulary_is_the_shipped_one() -> None:
    shipped = Path(tts_trt.__file__).parent / "assets" / "nano" / "vocabulary.txt"
    assert shipped.read_text(encoding="utf-8").split() == vocabulary()


def test_every_word_comes_up_and_no_other() -> None:
    counts = Counter(word for text in TRAIN for word in words(text))
    assert set(counts) == set(vocabulary())
    assert min(counts.values()) >= 2


def test_sentences_vary_in_kind_and_length() -> None:
    lengths = [len(words(text)) for text in TRAIN]
    assert min(lengths) == 1 and 20 < max(lengths) <= MAX_WORDS
    assert 6 < sum(lengths) / len(lengths) < 9
    endings = Counter(text[-1] for text in TRAIN)
    assert set(endings) == set(".?!") and min(endings.values()) > 200
    assert sum("," in text for text in TRAIN) > 500
    assert len(set(TRAIN)) > 0.95 * len(TRAIN)
    assert all("{" not in text and "  " not in text for text in TRAIN)


def test_a_seed_repeats_and_another_differs() -> None:
    assert list(islice(training(3), 50)) == TRAIN[:50]
    assert list(islice(training(4), 50)) != TRAIN[:50]


def test_training_never_meets_a_held_out_sentence() -> None:
    assert not any(is_held_out(text) for text in TRAIN)


def test_about_one_sentence_in_twenty_is_held_out_by_its_words() -> None:
    held = [text for a in vocabulary()[:50] for b in vocabulary()[:50] if is_held_out(text := f"{a} {b}.")]
    assert 0.8 < len(held) / 2500 / (HELD_OUT_PERCENT / 100) < 1.2
    assert all(is_held_out(text.upper().rstrip(".") + "!") for text in held)
