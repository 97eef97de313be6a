"""The emotion model of an official directory: a small chat model that scores a text on eight feelings.

It is read through ``transformers`` from a folder on this machine, weights from safetensors alone, no code of the folder run,
and asked with the prompt that it was trained on. The answer is the likeliest one: the same text gives the same vector.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tts_trt.errors import LibraryError, UsageError, WeightsError
from tts_trt.frontend.emotion_text import Vector, answer_vector

PROMPT = "文本情感分类"
THOUGHT_ENDS = 151668
"""Token id of ``</think>``: what comes after the last one is the answer."""

MOST_TOKENS = 512  # an answer is one line of JSON
LONGEST_TEXT = 2000  # characters
_BROKEN = (OSError, ValueError, RuntimeError, KeyError, TypeError, AttributeError, ImportError)
"""What transformers raises for a folder that is no model."""


class EmotionModel:
    """Stays in memory until it is dropped: 2.4 GB in float32."""

    def __init__(self, folder: Path) -> None:
        if not (folder / "config.json").is_file():
            raise UsageError(
                f"{folder} is no emotion model: it has no config.json",
                hint="hf download IndexTeam/IndexTTS-2 --include 'qwen0.6bemo4-merge/*' --local-dir DIR",
            )
        try:
            import torch
            from safetensors import SafetensorError
            from transformers import AutoModelForCausalLM, AutoTokenizer
        except ImportError as error:
            raise LibraryError(
                "the emotion model needs transformers and torch", hint="pip install 'tts-trt[emotion-lm]'"
            ) from error
        local: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(folder, **local)
            self._model = AutoModelForCausalLM.from_pretrained(
                folder, use_safetensors=True, dtype=torch.float32, **local
            ).eval()
        except (*_BROKEN, SafetensorError) as error:
            reason = " ".join(str(error).split())[:300]
            raise WeightsError(
                f"{folder} cannot be read as an emotion model: {reason}", hint="download the folder again"
            ) from error

    def vector(self, text: str) -> Vector:
        """Scores of ``text`` in the order of EMOTIONS. UsageError for text that is empty or too long."""
        if not text.strip() or len(text) > LONGEST_TEXT:
            raise UsageError(
                f"the emotion text has {len(text.strip())} characters, expected 1 to {LONGEST_TEXT}"
            )
        return answer_vector(text, self.ask(text))

    def ask(self, text: str) -> str:
        """The model's answer as it is written."""
        import torch

        messages = [{"role": "system", "content": PROMPT}, {"role": "user", "content": text}]
        prompt = self._tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=True, enable_thinking=False
        )
        inputs = self._tokenizer([prompt], return_tensors="pt")
        with torch.inference_mode():
            ids = self._model.generate(**inputs, max_new_tokens=MOST_TOKENS, do_sample=False)
        answer = ids[0, inputs["input_ids"].shape[1] :].tolist()
        if THOUGHT_ENDS in answer:
            answer = answer[len(answer) - answer[::-1].index(THOUGHT_ENDS) :]
        return str(self._tokenizer.decode(answer, skip_special_tokens=True)).strip()
