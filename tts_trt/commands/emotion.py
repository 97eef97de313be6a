"""Words about a feeling to an emotion vector: by the emotion model where its folder is named, else by a list of words."""

from __future__ import annotations

from pathlib import Path

from tts_trt.dims import EMOTIONS
from tts_trt.frontend.emotion_text import Vector, tempered, words_vector


def read_feeling(words: str, model: Path | None) -> tuple[Vector, list[str]]:
    """The vector that the voice is given, and what was read by whom. UsageError and WeightsError as the emotion model."""
    if model is None:
        by, scores = "a list of words (name the emotion model with --emotion-model)", words_vector(words)
    else:
        from tts_trt.model.emotion_lm import EmotionModel

        by, scores = f"the emotion model {model.name}", EmotionModel(model).vector(words)
    vector = tempered(scores)
    told = ", ".join(
        f"{name} {weight:.2f}" for name, weight in zip(EMOTIONS, vector, strict=True) if weight > 0
    )
    return vector, [f"emotion read from the text by {by}: {told}"]
