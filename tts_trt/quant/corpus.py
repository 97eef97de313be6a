"""The calibration corpus: which text is spoken in which voice, with which emotion and how fast.

Four axes (rate, emotion, timbre, sentence type) have too many combinations to speak each, so utterances are dealt:
every level as often as its weight asks, every pair of levels of two axes as evenly as can be. What would make the
corpus lopsided or empty is an error before anything is spoken.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tts_trt.dims import EMOTIONS, ModelDims
from tts_trt.errors import ConfigError, TextError
from tts_trt.frontend.opening import Tokenizer
from tts_trt.models import ModelFolder
from tts_trt.quant.balance import apportion, deal, shuffled, spread, stream
from tts_trt.quant.corpus_config import AXES, CorpusConfig, load_corpus_config
from tts_trt.quant.corpus_sources import Texts, find_voices, load_texts, pick_texts
from tts_trt.runtime.request import Request
from tts_trt.runtime.sampling import SamplingParams

DEAL = 1
"""Version of the deal: part of the corpus hash, raised whenever the same corpus is dealt differently."""


@dataclass(frozen=True)
class Utterance:
    """One thing to speak. Equal utterances sound equal: where the recording lies does not count."""

    text: str
    voice: str
    emotion: str
    strength: float  # of the emotion, its weight in the emotion vector
    rate: float
    rate_level: str
    sentence_type: str
    seed: int
    recording: Path = field(compare=False)

    @property
    def levels(self) -> dict[str, str]:
        """Axis -> level."""
        return dict(zip(AXES, (self.rate_level, self.emotion, self.voice, self.sentence_type), strict=True))

    def request(self, dims: ModelDims) -> Request:
        """What a synthesizer is asked. The recording is given, so that its encoders run too."""
        return Request(
            text=self.text,
            voice=self.recording,
            emotion=tuple(self.strength * (name == self.emotion) for name in EMOTIONS),
            rate=self.rate,
            sampling=SamplingParams.of(dims, seed=self.seed),
        )


@dataclass(frozen=True)
class Corpus:
    """A corpus file with what it leads to for one model."""

    config: CorpusConfig
    texts: Texts
    voices: Mapping[str, Path]
    acted: tuple[str, ...]

    def draw(self) -> tuple[Utterance, ...]:
        return draw(self.config, self.voices, self.acted, self.texts)

    def sha256(self) -> str:
        return corpus_sha256(self.config, self.texts, self.voices, self.acted)


def read_corpus(path: Path, model: ModelFolder, dims: ModelDims) -> Corpus:
    """The corpus for a model: config, texts and voices are read and checked, and a deal is seen to be possible.

    ConfigError, or ReferenceAudioError for a recording that cannot be used.
    """
    config = load_corpus_config(path)
    texts = load_texts(config, pick_texts(config, dims.name))
    corpus = Corpus(config, texts, find_voices(config, model.voices, dims.audio), dims.acted)
    plan(config, corpus.voices, corpus.acted, texts)
    return corpus


def plan(
    config: CorpusConfig, voices: Mapping[str, Path], acted: Sequence[str], texts: Texts
) -> dict[str, dict[str, int]]:
    """Axis -> level -> utterances. ConfigError for an empty or lopsided stratum."""
    counts = {}
    for axis, weights in _weights(config, voices, acted).items():
        counts[axis] = apportion(weights, config.utterances)
        _check_shares(config, axis, weights)
    for level, count in counts["sentence"].items():
        found = len(texts.get(level, ()))
        if count > found * config.repeats:
            raise ConfigError(
                f"{count} utterances of the sentence type {level} would repeat its {found} texts more than "
                f"{config.repeats} times",
                hint=f"add {-(-count // config.repeats) - found} texts to {level}.txt, or lower utterances",
            )
    return counts


def draw(
    config: CorpusConfig, voices: Mapping[str, Path], acted: Sequence[str], texts: Texts
) -> tuple[Utterance, ...]:
    """The utterances, the same for the same seed whatever the order of files. ConfigError as ``plan``."""
    counts = plan(config, voices, acted, texts)
    names = [list(levels) for levels in counts.values()]
    table_NA = deal([list(levels.values()) for levels in counts.values()], config.seed)
    rows = [tuple(names[axis][level] for axis, level in enumerate(row)) for row in table_NA.tolist()]
    rates = {
        level: iter(_values(config, f"rate/{level}", *config.rate.levels[level], count))
        for level, count in counts["rate"].items()
    }
    decks = {
        level: iter(_deck(sorted(texts[level]), count, config.seed, level))
        for level, count in counts["sentence"].items()
    }
    strengths = _values(config, "strength", *config.emotion.strength, config.utterances)
    seeds = stream(config.seed, "seeds")
    return tuple(
        Utterance(
            text=next(decks[sentence]),
            voice=voice,
            emotion=emotion,
            strength=strength,
            rate=next(rates[rate]),
            rate_level=rate,
            sentence_type=sentence,
            seed=int(seeds.random() * 2**31),
            recording=voices[voice],
        )
        for (rate, emotion, voice, sentence), strength in zip(rows, strengths, strict=True)
    )


def corpus_sha256(
    config: CorpusConfig, texts: Texts, voices: Mapping[str, Path], acted: Sequence[str] = EMOTIONS
) -> str:
    """Hash of everything that decides the utterances and how they sound, wherever the files lie."""
    weights = _weights(config, voices, acted)
    settings = config.model_dump(include={"utterances", "seed", "rate"}) | {
        "strength": config.emotion.strength,
        "weights": {axis: list(levels.items()) for axis, levels in weights.items()},
        "texts": {level: sorted(texts[level]) for level in weights["sentence"]},
        "voices": {name: hashlib.sha256(voices[name].read_bytes()).hexdigest() for name in weights["timbre"]},
        "deal": DEAL,
    }
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def speech_seconds(utterances: Sequence[Utterance], tokenizer: Tokenizer) -> float:
    """Estimated length of all speech together. TextError names the first text that the voice cannot speak."""
    seconds = 0.0
    for utterance in utterances:
        try:
            seconds += tokenizer.natural_seconds(tokenizer.normalise(utterance.text), utterance.rate)
        except TextError as error:
            raise TextError(
                f"calibration text {utterance.text[:60]!r} ({utterance.sentence_type}): {error}",
                hint="give the model a folder of its own in [texts]",
            ) from error
    return seconds


def _weights(
    config: CorpusConfig, voices: Mapping[str, Path], acted: Sequence[str]
) -> dict[str, dict[str, float]]:
    """Axis -> level -> weight, of the levels that are spoken."""
    emotions = [e for e in config.emotion.levels if config.emotion.unacted == "keep" or e in acted]
    if not emotions:
        raise ConfigError(
            f"the voice acts {', '.join(acted)}, none of which is an emotion of the corpus",
            hint='emotion.unacted = "keep", or name emotions that the voice acts',
        )
    # a weight of an emotion that is skipped has been checked as one of the levels
    emotion = config.emotion.weighted(config.emotion.levels)
    chosen = config.timbre.levels or sorted(voices)
    if missing := [name for name in chosen if name not in voices]:
        raise ConfigError(
            f"timbre.levels: no voice {', '.join(missing)}; there are {', '.join(sorted(voices))}"
        )
    return {
        "rate": config.rate.weighted(list(config.rate.levels)),
        "emotion": {name: emotion[name] for name in emotions},
        "timbre": config.timbre.weighted(chosen),
        "sentence": config.sentence.weighted(config.sentence.levels),
    }


def _check_shares(config: CorpusConfig, axis: str, weights: Mapping[str, float]) -> None:
    """Whole utterances cannot follow every weight: refuse what misses a fair share by too much."""
    off, level = _worst(weights, config.utterances)
    if off > config.unevenness:
        count, fair = apportion(weights, config.utterances)[level], weights[level] / sum(weights.values())
        surely = math.ceil(1 / (min(weights.values()) / sum(weights.values()) * config.unevenness))
        tried = range(config.utterances, min(surely, config.utterances + 1000))
        enough = next((n for n in tried if _worst(weights, n)[0] <= config.unevenness), surely)
        raise ConfigError(
            f"{axis} {level} would get {count} of {config.utterances} utterances, {off:.0%} off its fair share "
            f"of {fair * config.utterances:.2f}; expected at most {config.unevenness:.0%}",
            hint=f"utterances = {enough}, or fewer levels",
        )


def _worst(weights: Mapping[str, float], total: int) -> tuple[float, str]:
    """The largest relative distance from a fair share, and whose it is."""
    whole = sum(weights.values())
    counts = apportion(weights, total)
    return max((round(abs(counts[name] * whole / (weights[name] * total) - 1), 9), name) for name in weights)


def _values(config: CorpusConfig, purpose: str, low: float, high: float, count: int) -> list[float]:
    values = spread(low, high, count, stream(config.seed, purpose))
    return [min(max(round(value, 3), low), high) for value in values]


def _deck(texts: Sequence[str], count: int, seed: int, level: str) -> list[str]:
    """``count`` texts; none comes again before all have come."""
    generator = stream(seed, f"texts/{level}")
    dealt: list[str] = []
    while len(dealt) < count:
        dealt += shuffled(texts, generator)
    return dealt[:count]
