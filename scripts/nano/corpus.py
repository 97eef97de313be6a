"""Render the training corpus of the nano voice: shards of speech with ids, rate, emotion and phone times.

    python -m scripts.nano.corpus --count 80000 --out build/nano/corpus
    python -m scripts.nano.corpus --split heldout --count 240 --out build/nano/heldout

``shard-0000.npy`` holds the samples (int16, 16 kHz) of all its utterances, ``shard-0000.ends.npy`` where each ends.
``shard-0000.jsonl`` holds one object for each utterance, in the same order:
    text, ids, voice, emotion
    rate          1 / duration_stretch: what was asked times the emotion's tempo
    word_letters  indices of the words given as letters instead of phones
    phones        [name, end in seconds] of each spoken segment, pauses included
    phone_index   for each segment the position in ``ids`` it belongs to, -1 for the first silence
    seed, index   what this utterance was drawn from
Shards are written whole or not at all; a second run renders only what is missing.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

import numpy as np

from scripts.nano import ragged
from scripts.nano.acting import EMOTIONS, perform
from scripts.nano.flite import PAUSE, SAMPLE_RATE, VOICES, Flite, Spoken
from scripts.nano.heldout import shuffled
from scripts.nano.lexicon import ASSETS, spoken_words
from scripts.nano.sentences import training
from tts_trt.atomic import write_atomic
from tts_trt.frontend.tokenizer import PhoneTokenizer, Word

SHARD = 500
MIN_S, MAX_S, LONG_S = 0.4, 8.0, 12.0
LONG_SHARE = 0.5  # of the utterances between MAX_S and LONG_S, how many stay
LETTERS_SHARE = 0.07
RATES = (0.75, 1.35)
EDGE_S = (0.06, 0.10)  # silence left before and after


@dataclass(frozen=True)
class Job:
    shard: int
    count: int
    seed: int
    split: str
    out: Path


def main() -> None:
    arguments = _arguments()
    arguments.out.mkdir(parents=True, exist_ok=True)
    count = 60 if arguments.smoke else arguments.count
    jobs = [
        Job(i, min(SHARD, count - i * SHARD), arguments.seed, arguments.split, arguments.out)
        for i in range(-(-count // SHARD))
    ]
    missing = [job for job in jobs if not ragged.rows_of(_stem(job)).exists()]
    with multiprocessing.Pool(arguments.workers, initializer=os.nice, initargs=(5,)) as pool:
        for done, line in enumerate(pool.imap_unordered(render, missing), start=1):
            sys.stdout.write(f"[{done}/{len(missing)}] {line}\n")
            sys.stdout.flush()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Render speech for the nano voice.")
    parser.add_argument("--count", type=int, default=80_000)
    parser.add_argument("--out", type=Path, default=Path("build/nano/corpus"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--split", choices=("train", "heldout"), default="train")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--smoke", action="store_true", help="60 utterances only")
    return parser.parse_args()


def render(job: Job) -> str:
    """Write one shard; give a line about it."""
    flite, tokenizer = Flite(), PhoneTokenizer.from_dir(ASSETS)
    rng = np.random.default_rng([job.seed, job.shard, job.split == "heldout"])
    waves: list[np.ndarray] = []
    rows: list[dict] = []
    turns = cycle([(voice, emotion) for emotion in EMOTIONS for voice in VOICES])
    for text in _texts(job):
        voice, emotion = next(turns)
        utterance = _utterance(flite, tokenizer, rng, text, voice, emotion, taught=job.split == "train")
        if utterance is None:
            continue
        wave, row = utterance
        waves.append(wave)
        rows.append({**row, "seed": job.seed, "index": job.shard * SHARD + len(rows)})
        if len(rows) == job.count:
            break
    _write(job, waves, rows)
    seconds = sum(map(len, waves)) / SAMPLE_RATE
    return f"{_stem(job).name}: {len(rows)} utterances, mean {seconds / len(rows):.2f} s"


def _texts(job: Job) -> Iterator[str]:
    if job.split == "train":
        return training(job.seed * 100_000 + job.shard)
    return islice(shuffled(job.seed), job.shard * SHARD, None)


def _utterance(
    flite: Flite,
    tokenizer: PhoneTokenizer,
    rng: np.random.Generator,
    text: str,
    voice: str,
    emotion: str,
    taught: bool,
) -> tuple[np.ndarray, dict] | None:
    """Samples (S,) int16 and metadata of one utterance, or None when its length or reading does not fit.

    What is ``taught`` has some words in letters, and fewer long utterances than short ones.
    """
    spoken, rate = perform(flite, text, voice, emotion, float(rng.uniform(*RATES)))
    places = spoken_words(text, spoken)
    if places is None:
        return None
    words = tokenizer.words(text, (lambda _: bool(rng.random() < LETTERS_SHARE)) if taught else None)
    wave, phones = _trimmed(spoken, rng)
    seconds = len(wave) / SAMPLE_RATE
    if not MIN_S <= seconds <= LONG_S or (taught and seconds > MAX_S and rng.random() > LONG_SHARE):
        return None
    return wave, {
        "text": text,
        "ids": tokenizer.ids_of(words).tolist(),
        "word_letters": [i for i, word in enumerate(words) if word.spelt],
        "voice": voice,
        "rate": round(rate, 4),
        "emotion": emotion,
        "phones": phones,
        "phone_index": _phone_index(spoken, places, words),
    }


def _trimmed(spoken: Spoken, rng: np.random.Generator) -> tuple[np.ndarray, list[list]]:
    """Shorten the outer pauses to EDGE_S; times of the segments follow."""
    segments = spoken.segments
    first = segments[0].end_s if segments[0].phone == PAUSE else 0.0
    last = segments[-2].end_s if segments[-1].phone == PAUSE else segments[-1].end_s
    start = max(0.0, first - rng.uniform(*EDGE_S))
    stop = min(len(spoken.audio) / SAMPLE_RATE, last + rng.uniform(*EDGE_S))
    wave = spoken.audio[round(start * SAMPLE_RATE) : round(stop * SAMPLE_RATE)]
    ends = [round(min(max(segment.end_s, start), stop) - start, 4) for segment in segments]
    return wave, [[segment.phone, end] for segment, end in zip(segments, ends, strict=True)]


def _phone_index(spoken: Spoken, places: list[list[int]], words: list[Word]) -> list[int]:
    """Position in ids of each segment: a word's phones spread evenly, pauses go to the mark before."""
    index = [-1] * len(spoken.segments)
    start = 0
    for segments, word in zip(places, words, strict=True):
        for order, segment in enumerate(segments):
            index[segment] = start + order * len(word.symbols) // len(segments)
        start += len(word.symbols) + 1
        for after in range(segments[-1] + 1, len(index)):
            index[after] = start - 1
    return index


def _stem(job: Job) -> Path:
    return job.out / f"shard-{job.shard:04d}"


def _write(job: Job, waves: list[np.ndarray], rows: list[dict]) -> None:
    """The samples come last: a shard is there when they are."""
    stem = _stem(job)
    write_atomic(stem.with_suffix(".jsonl"), [(json.dumps(row) + "\n").encode() for row in rows])
    ragged.write(stem, waves)


if __name__ == "__main__":
    main()
