"""Sentencepiece ids, and segments cut by the official rules."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.parity import FOLDER
from tts_trt.errors import BundleError, TextError
from tts_trt.frontend.opening import open_tokenizer
from tts_trt.frontend.pieces import Pieces, PieceTokenizer, split_pieces

pytest.importorskip("sentencepiece")
from scripts.random_checkpoint import piece_model

CASES = json.loads((FOLDER / "text_and_emotion_rules.json").read_text())["segments"]


@pytest.fixture(scope="module")
def tokenizer() -> PieceTokenizer:
    return PieceTokenizer(piece_model(300))


@pytest.mark.parametrize("case", CASES, ids=range(len(CASES)))
def test_segments_are_the_references(case: dict) -> None:
    made = split_pieces(case["tokens"], case["max_text_tokens_per_segment"], case["quick_streaming_tokens"])
    assert made == case["segments"]


@given(
    st.lists(st.sampled_from(["▁A", "B", ",", "▁,", ".", "-", "'", "▁?", "你"]), max_size=60),
    st.integers(2, 20),
)
@settings(deadline=None)
def test_no_piece_is_lost_and_no_segment_is_too_long(pieces: list[str], most: int) -> None:
    segments = split_pieces(pieces, most)
    assert all(len(segment) <= most + 1 for segment in segments)  # + an apostrophe that both sides keep
    left = iter(piece for segment in segments for piece in segment)
    assert all(any(piece == other for other in left) for piece in pieces)


def test_ids_leave_start_and_stop_to_the_prompt(tokenizer: PieceTokenizer) -> None:
    ids = tokenizer.encode("The quick brown fox")
    assert ids.dtype == "int64" and len(ids) and ids.min() > 2 and ids.max() < len(tokenizer)
    assert list(ids) == list(tokenizer.encode("the QUICK brown fox"))  # case is not heard
    assert len(tokenizer.encode("你好世界")) >= 4


def test_a_segment_keeps_the_pieces_it_was_cut_into(tokenizer: PieceTokenizer) -> None:
    text = "THE QUICK BROWN FOX. JUMPS OVER. A LAZY DOG."
    whole = tokenizer.pieces(text)
    segments = tokenizer.split(text, 12, lambda part: len(tokenizer.encode(part)))
    assert len(segments) > 1 and all(isinstance(segment, Pieces) for segment in segments)
    assert [piece for segment in segments for piece in segment.pieces] == whole
    assert sum(len(tokenizer.encode(segment)) for segment in segments) == len(whole)


def test_a_segment_too_long_to_speak_is_cut_further(tokenizer: PieceTokenizer) -> None:
    text = "THE QUICK BROWN FOX JUMPS OVER A LAZY DOG AND NOBODY MINDS THE TIME OF DAY."
    whole = tokenizer.split(text, 500, len)
    assert len(whole) == 1
    cut = tokenizer.split(text, 500, lambda part: 40 * len(tokenizer.encode(part)))
    assert len(cut) > 2 and "".join(cut).replace(" ", "") == whole[0].replace(" ", "")


def test_letters_outside_the_vocabulary_are_named_and_symbols_dropped(tokenizer: PieceTokenizer) -> None:
    with pytest.raises(TextError, match=r"no 'Д' \(U\+0414\)"):
        tokenizer.encode("day Д")
    assert list(tokenizer.encode("day 😀")) == list(tokenizer.encode("day"))
    with pytest.raises(TextError, match="nothing can be spoken"):
        tokenizer.encode("😀")


def test_length_grows_with_text_and_falls_with_rate(tokenizer: PieceTokenizer) -> None:
    short, long = tokenizer.natural_seconds("你好."), tokenizer.natural_seconds("你好，今天天气很好.")
    assert 0 < short < long
    assert tokenizer.natural_seconds("a brown fox", 2.0) == tokenizer.natural_seconds("a brown fox") / 2


@pytest.mark.parametrize("content", [b"", b"not a model", b"\x00" * 40, piece_model(300)[:400]])
def test_a_damaged_model_is_refused_by_name(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "bpe.model"
    path.write_bytes(content)
    with pytest.raises(BundleError, match=r"bpe\.model"):
        open_tokenizer(path)
