"""From words to an emotion vector: the emotion model's answers as the reference reads them, and the word list."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.parity import FOLDER
from tts_trt.dims import EMOTIONS
from tts_trt.errors import UsageError
from tts_trt.frontend.emotion_text import CAP, answer_vector, content_vector, tempered, words_vector
from tts_trt.runtime.request import emotion_vector

RULES = json.loads((FOLDER / "text_and_emotion_rules.json").read_text())


@pytest.mark.parametrize("case", RULES["qwen_convert"])
def test_answers_are_read_as_the_reference_reads_them(case: dict) -> None:
    if case["out"] == "ValueError":
        with pytest.raises(UsageError, match="expected a number"):
            content_vector(case["content"])
    else:
        assert dict(zip(EMOTIONS, content_vector(case["content"]), strict=True)) == case["out"]


@pytest.mark.parametrize("case", RULES["qwen_parse"])
def test_replies_are_parsed_as_the_reference_parses_them(case: dict) -> None:
    vector = answer_vector(case["user_text"], case["model_reply"])
    assert dict(zip(EMOTIONS, vector, strict=True)) == case["out"]


@pytest.mark.parametrize("case", RULES["normalize_emo_vec"])
def test_bias_and_cap_are_the_references(case: dict) -> None:
    assert tempered(case["emo_vector"], bias=case["apply_bias"]) == pytest.approx(case["out"], abs=1e-9)


@pytest.mark.parametrize(
    ("text", "feeling"),
    [
        ("I am so happy today!", "happy"),
        ("How dare you, he shouted furiously.", "angry"),
        ("She wept for her lost brother.", "sad"),
        ("今天真开心", "happy"),
        ("我很难过，哭了", "sad"),
        ("天哪，居然是你", "surprised"),
        ("别吓我，太可怕了", "afraid"),
        ("I am not angry.", "calm"),
        ("The train leaves at nine.", "calm"),
        ("madam", "calm"),  # "mad" is a word of its own
        ("very well, in a deep voice", "calm"),
        ("an angry voice", "angry"),
        ("he said angrily", "angry"),
        ("grieving", "sad"),
        ("a scary place", "afraid"),
        ("this is revolting", "disgusted"),
    ],
)
def test_the_word_list_hears_the_feeling(text: str, feeling: str) -> None:
    vector = words_vector(text)
    assert EMOTIONS[max(range(8), key=vector.__getitem__)] == feeling


@given(st.text(max_size=80), st.text(max_size=80))
def test_whatever_is_said_the_vector_can_be_spoken(text: str, reply: str) -> None:
    for read in (lambda: words_vector(text), lambda: answer_vector(text, reply)):
        try:
            vector = tempered(read())
        except UsageError:
            continue
        assert sum(vector) <= CAP + 1e-9
        assert emotion_vector(vector) == vector
