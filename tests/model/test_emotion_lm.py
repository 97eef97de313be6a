"""The emotion model's path with a real, tiny, random chat model of the same family: asked, answered, parsed."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path

import pytest

from tts_trt.errors import UsageError, WeightsError
from tts_trt.runtime.request import emotion_vector

transformers = pytest.importorskip("transformers")
from tts_trt.model.emotion_lm import PROMPT, EmotionModel  # noqa: E402  needs the library

TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% if not enable_thinking %}<think></think>{% endif %}{% endif %}"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    path = tmp_path_factory.mktemp("qwen")
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    special = ["<|im_start|>", "<|im_end|>", "<think>", "</think>"]
    vocabulary = {piece: i for i, piece in enumerate([*alphabet, *special])}
    core = Tokenizer(models.BPE(vocabulary, []))
    core.pre_tokenizer, core.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=core,
        eos_token="<|im_end|>",
        additional_special_tokens=special,
        chat_template=TEMPLATE,
    )
    fast.save_pretrained(path)
    config = transformers.Qwen3Config(
        vocab_size=len(vocabulary), hidden_size=16, intermediate_size=24, num_hidden_layers=1, head_dim=8,
        num_attention_heads=2, num_key_value_heads=1, eos_token_id=vocabulary["<|im_end|>"], max_position_embeddings=2048,
    )  # fmt: skip
    transformers.Qwen3ForCausalLM(config).save_pretrained(path)
    return path


def test_it_is_asked_as_it_was_trained_and_answers_the_same_twice(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tts_trt.model import emotion_lm

    monkeypatch.setattr(emotion_lm, "MOST_TOKENS", 12)
    model = EmotionModel(folder)
    prompts: list[str] = []
    template = model._tokenizer.apply_chat_template

    def watched(*args: object, **kwargs: object) -> str:
        prompts.append(template(*args, **kwargs))
        return prompts[-1]

    monkeypatch.setattr(model._tokenizer, "apply_chat_template", watched)
    answer = model.ask("今天真开心")
    assert answer == model.ask("今天真开心") and "<|im" not in answer
    assert prompts[0] == (
        f"<|im_start|>system\n{PROMPT}<|im_end|>\n<|im_start|>user\n今天真开心<|im_end|>\n"
        "<|im_start|>assistant\n<think></think>"
    )
    assert emotion_vector(model.vector("今天真开心"))


def test_texts_out_of_bounds_are_refused(folder: Path) -> None:
    model = EmotionModel(folder)
    for text in ("", "  ", "x" * 3000):
        with pytest.raises(UsageError, match="expected 1 to 2000"):
            model.vector(text)


def test_a_folder_that_is_no_model_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"has no config\.json"):
        EmotionModel(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "nothing"}))
    with pytest.raises(WeightsError, match="cannot be read as an emotion model"):
        EmotionModel(tmp_path)


def test_weights_that_are_pickles_are_not_opened(folder: Path, tmp_path: Path) -> None:
    class Attack:
        def __reduce__(self) -> tuple[object, ...]:
            return os.system, (f"touch '{tmp_path / 'ran'}'",)

    copy = tmp_path / "qwen"
    copy.mkdir()
    for file in folder.iterdir():
        if file.suffix != ".safetensors":
            (copy / file.name).write_bytes(file.read_bytes())
    (copy / "pytorch_model.bin").write_bytes(pickle.dumps(Attack()))
    with pytest.raises(WeightsError, match="cannot be read as an emotion model"):
        EmotionModel(copy)
    assert not (tmp_path / "ran").exists()
