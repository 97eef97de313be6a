"""From words about a feeling, or the text itself, to an emotion vector.

Two readers: the emotion model of the official directory (``model/emotion_lm.py``), whose answers are parsed here, and a list of
words in English and Chinese that stands in for it where it is absent. Either way the vector is tempered by the weights and
the limit that upstream's own interface puts on its sliders.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from tts_trt.dims import EMOTIONS
from tts_trt.errors import UsageError

Vector = tuple[float, ...]

BIAS: Vector = (0.9375, 0.875, 1.0, 1.0, 0.9375, 0.9375, 0.6875, 0.5625)
"""How far each emotion can be pushed before the voice suffers."""
CAP = 0.8  # of all weights together
MOST = 1.2  # of one score

NAMES = dict(zip(("高兴", "愤怒", "悲伤", "恐惧", "反感", "低落", "惊讶", "自然"), EMOTIONS, strict=True))
"""What the emotion model calls them."""
LABEL_KEYS = ("emotion", "emotion_label", "label", "情感", "情绪")
LOW_WORDS = ("低落", "melancholy", "melancholic", "depression", "depressed", "gloomy")
"""The emotion model calls these sadness; the user does not."""

_PAIR = re.compile(r'([^\s":.,]+?)"?\s*:\s*([\d.]+)')

WORDS: dict[str, tuple[str, str]] = {
    "happy": (
        "happy|happi\\w+|joy\\w*|glad\\w*|delight\\w*|cheer\\w*|laugh\\w*|smil\\w+|wonderful|excit\\w+|thrilled|celebrat\\w+|"
        "love\\w*|great news|hooray",
        "高兴|开心|快乐|喜悦|欢喜|兴奋|太好了|哈哈|幸福|笑",
    ),
    "angry": (
        "ang(?:er|ry|rily)|furious\\w*|fury|rage\\w*|mad|outrag\\w+|annoy\\w*|irritat\\w*|hate\\w*|shout\\w*|how dare",
        "愤怒|生气|恼火|气死|发火|怒|混蛋|滚",
    ),
    "sad": (
        "sad\\w*|sorrow\\w*|cry|cries|crying|cried|tears?|weep\\w*|wept|grie(?:f|v\\w+)|mourn\\w*|heartbr\\w+",
        "悲伤|伤心|难过|哭|悲痛|眼泪|心碎|哀",
    ),
    "afraid": (
        "afraid|fear\\w*|scar(?:ed|y|ing)|terrif\\w+|terror|fright\\w*|panic\\w*|horror|horrif\\w+|dread\\w*|nervous\\w*",
        "害怕|恐惧|可怕|吓|惊恐|恐怖|紧张",
    ),
    "disgusted": (
        "disgust\\w*|revolt(?:ed|ing)|gross|nause\\w+|sicken\\w*|repuls\\w+|loath\\w*|yuck",
        "反感|恶心|厌恶|讨厌|作呕",
    ),
    "melancholic": (
        "melanchol\\w+|depress\\w*|gloom\\w*|lonel\\w+|hopeless\\w*|miserabl\\w+|wistful\\w*|homesick|weary",
        "低落|忧郁|沮丧|孤独|失落|消沉|惆怅",
    ),
    "surprised": (
        "surpris\\w+|astonish\\w*|amaz\\w+|shock\\w*|stunned|unbelievable|incredible|wow",
        "惊讶|惊奇|意外|震惊|吃惊|天哪|居然|竟然",
    ),
    "calm": (
        "calm\\w*|peace\\w*|quiet\\w*|relax\\w*|gentl[ey]|serene\\w*|neutral\\w*|composed",
        "平静|自然|安静|冷静|温和|放松|平和",
    ),
}
"""Emotion -> patterns of English words, matched whole, and of Chinese ones, matched anywhere, that tell of it."""

_WORDS = {
    emotion: re.compile(rf"\b(?:{english})\b|{chinese}", re.IGNORECASE)
    for emotion, (english, chinese) in WORDS.items()
}
_STRONG = re.compile(r"\b(?:very|so|extremely|utterly|really)\b|非常|极其|特别|太|十分|!|！", re.IGNORECASE)
_DENIED = re.compile(
    r"\b(?:not|never|no|n't|without|hardly)\s+(?:\w+\s+){0,2}$|(?:不|没有?|别)\s*$", re.IGNORECASE
)
FAINT, STRONGER = 0.6, 0.25


def words_vector(text: str) -> Vector:
    """Scores from the words in ``text``; calm where none tells of a feeling. Denied ones ("not angry") do not count."""
    counts = {
        emotion: sum(
            not _DENIED.search(text[max(0, m.start() - 24) : m.start()]) for m in pattern.finditer(text)
        )
        for emotion, pattern in _WORDS.items()
    }
    total = sum(counts.values())
    if not total:
        return _vector({"calm": 1.0})
    strength = min(1.0, FAINT + STRONGER * bool(_STRONG.search(text)) + 0.1 * (total - 1))
    return _vector({emotion: strength * count / total for emotion, count in counts.items()})


def answer_vector(text: str, reply: str) -> Vector:
    """Scores from what the emotion model answered about ``text``. UsageError for an answer with something else than numbers."""
    try:
        content: Any = json.loads(reply)
    except (ValueError, RecursionError):
        content = {name: float(value) for name, value in _PAIR.findall(reply) if _is_number(value)}
    if isinstance(content, dict) and any(word in text.lower() for word in LOW_WORDS):
        content = content | {"悲伤": content.get("低落", 0.0), "低落": content.get("悲伤", 0.0)}
    return content_vector(content)


def content_vector(content: Any) -> Vector:
    """A parsed answer: scores by class, or one label alone, which counts 1."""
    if (label := _label(content)) is not None:
        return _vector({label: 1.0})
    scores = {}
    for name, value in content.items() if isinstance(content, Mapping) else ():
        if (emotion := _emotion(name)) is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float | str) or not _is_number(value):
            raise UsageError(f"the emotion model gave {name} the score {value!r}, expected a number")
        scores[emotion] = min(max(float(value), 0.0), MOST)
    return _vector(scores if any(score > 0 for score in scores.values()) else {"calm": 1.0})


def tempered(vector: Sequence[float], *, bias: bool = True) -> Vector:
    """The vector a voice is given: weighted per emotion, and scaled down to ``CAP`` in all."""
    weighted = [v * b for v, b in zip(vector, BIAS, strict=True)] if bias else list(vector)
    total = sum(weighted)
    return tuple(v * CAP / total for v in weighted) if total > CAP else tuple(weighted)


def _label(content: Any) -> str | None:
    if isinstance(content, str):
        return _emotion(content)
    if not isinstance(content, Mapping):
        return None
    values = [content.get(key) for key in LABEL_KEYS] + [v for k, v in content.items() if _emotion(k)]
    return next((label for value in values if isinstance(value, str) and (label := _emotion(value))), None)


def _emotion(name: Any) -> str | None:
    plain = str(name).strip().lower()
    return NAMES.get(plain, plain if plain in EMOTIONS else None)


def _is_number(value: Any) -> bool:
    try:
        return abs(float(value)) < 1e6
    except ValueError:
        return False


def _vector(scores: Mapping[str, float]) -> Vector:
    return tuple(float(scores.get(name, 0.0)) for name in EMOTIONS)
