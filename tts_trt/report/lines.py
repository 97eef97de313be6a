"""What is said to compare bundles: sentences, voices, emotions, rates and seeds, dealt evenly and always the same way."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from tts_trt.dims import EMOTIONS, ModelDims
from tts_trt.errors import UsageError
from tts_trt.runtime.request import Request
from tts_trt.runtime.sampling import SamplingParams

RATES = (0.75, 1.35)
NEUTRAL = "calm"
SEED_STRIDE = 10_000
"""Between the seeds of one sentence said several times; no plan has as many sentences."""


@dataclass(frozen=True)
class Line:
    """One thing to say."""

    text: str
    voice: str
    emotion: str
    rate: float
    seed: int

    def request(self, dims: ModelDims, seed_offset: int = 0) -> Request:
        """A neutral voice is what its own recording sounds like; every other emotion is asked for in full."""
        asked = "" if self.emotion == NEUTRAL else self.emotion
        weights = tuple(float(name == asked) for name in EMOTIONS)
        sampling = SamplingParams.of(dims, seed=self.seed + seed_offset)
        return Request(self.text, self.voice, emotion=weights, rate=self.rate, sampling=sampling)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def lines_of(
    texts: Sequence[str],
    voices: Sequence[str],
    emotions: Sequence[str],
    count: int,
    seed: int,
    seeds: int = 1,
) -> list[Line]:
    """``count`` texts in a seeded order, each with ``seeds`` seeds; voices and emotions in turn, so that all pairs come up
    alike. A longer plan starts with the shorter one's texts. UsageError for a count there are no texts for."""
    if not 1 <= count <= len(texts):
        raise UsageError(
            f"{count} sentences asked for, expected 1 to {len(texts)}, as many as there are texts"
        )
    if not 1 <= seeds <= 100:
        raise UsageError(f"{seeds} seeds asked for, expected 1 to 100")
    generator = np.random.default_rng(seed)
    pairs = list(product(emotions, voices))
    made = []
    for n, i in enumerate(generator.permutation(len(texts))[:count]):
        emotion, voice = pairs[n % len(pairs)]
        rate = round(float(generator.uniform(*RATES)), 4)
        made += [Line(texts[i], voice, emotion, rate, seed + n + SEED_STRIDE * k) for k in range(seeds)]
    return made


def turns(names: Sequence[str], count: int) -> Iterator[tuple[int, str]]:
    """Line by line every bundle, each line starting with the next one: a busy machine slows all alike."""
    for n in range(count):
        for k in range(len(names)):
            yield n, names[(n + k) % len(names)]


def read_texts(path: Path) -> list[str]:
    """One sentence a line, each once. UsageError for a file that cannot be read or holds none."""
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}", hint="one sentence a line, UTF-8") from error
    found = list(dict.fromkeys(line.strip() for line in lines if line.strip()))
    if not found:
        raise UsageError(f"{path} holds no text, expected one sentence a line")
    return found


def default_texts() -> Path:
    """The sentences that ship: inside an installed package, else those of the checkout, which training never saw."""
    package = Path(__file__).parents[1]
    packaged = package / "_report" / "sentences.txt"
    return packaged if packaged.is_file() else package.parent / "scripts" / "nano" / "heldout.txt"


def chosen_voices(asked: Sequence[str], known: Sequence[str]) -> list[str]:
    """Those asked for, all where none is. UsageError for one that a bundle lacks, or where there is none."""
    if unknown := [name for name in asked if name not in known]:
        raise UsageError(
            f"no voice {', '.join(unknown)} in every bundle; there are {', '.join(known) or 'none'}"
        )
    if not known:
        raise UsageError("the bundles have no voice in common, expected at least one")
    return list(dict.fromkeys(asked)) or list(known)
