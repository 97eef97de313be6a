"""Every figure the nano voice is judged by, through a built bundle, on held-out sentences beside flite speaking them.

    words        word error rate of the voice and of flite, by one recogniser
    resynthesis  what vocoder, codes and the code model's states leave of flite's own words
    voice        how often the style embedding of what was said is nearest to the voice asked for
    emotion      how often a classifier taught on flite's acting hears the emotion asked for
    rate         the rate asked for against the rate measured, and lengths beside flite's

python -m scripts.nano.evaluate --bundle engines/nano-fp32-onnxruntime --work build/nano --count 200
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from scripts.compare_speech import Line, machine, write_json
from scripts.nano.data import ACTED, VOICES, Utterance, load_corpus
from scripts.nano.lexicon import ASSETS
from scripts.nano.resynthesis import RATE, breakdown, checkpoint_synthesizer, line_of, stage_errors
from tts_trt.artifacts import load_manifest
from tts_trt.errors import SynthesisError, UsageError
from tts_trt.frontend.tokenizer import PhoneTokenizer
from tts_trt.quality.prosody import (
    FEATURES,
    EmotionClassifier,
    Prosody,
    confusion,
    features,
    measured_rate,
    prosody,
)
from tts_trt.quality.speech import POCKETSPHINX, Recogniser, WordErrors, word_errors
from tts_trt.quality.statistics import paired_difference, pearson, ratio
from tts_trt.runtime.request import Result
from tts_trt.runtime.synthesizer import Synthesizer

PARTS = ("words", "resynthesis", "voice", "emotion", "rate")
NEAR = 0.3  # of flite's length
BANDS = (0.85, 1.0, 1.15, 1.3)  # upper ends of the rate bands; one more lies above
FAILED = "failed"


class Evaluation:
    """One method per part; what several parts need is made once. N utterances, K features."""

    def __init__(
        self, tts: Synthesizer, utterances: Sequence[Utterance], taught: Path, recogniser: Recogniser
    ) -> None:
        self.tts, self.utterances, self.recogniser = tts, utterances, recogniser
        self._taught = taught
        self._tokenizer = PhoneTokenizer.from_dir(ASSETS)
        self.lines: list[Line] = [line_of(u, i) for i, u in enumerate(utterances)]

    @cached_property
    def said(self) -> list[Result | None]:
        """None where the synthesizer refused its own audio."""
        made: list[Result | None] = []
        began = time.perf_counter()
        for line in self.lines:
            try:
                made.append(self.tts.synthesize(line.request(self.tts.dims)))
            except SynthesisError:
                made.append(None)
            seconds = sum(result.seconds for result in made if result)
            rtf = (time.perf_counter() - began) / max(seconds, 1e-9)
            progress("speaking", len(made), len(self.lines), f"RTF {rtf:.2f}")
        return made

    @cached_property
    def flite(self) -> list[WordErrors]:
        return stage_errors(self.tts, self.utterances, self.recogniser, ("original",))["original"]

    @cached_property
    def spoken(self) -> list[WordErrors]:
        found = []
        for line, result in zip(self.lines, self.said, strict=True):
            heard = self.recogniser.hear(result.wave, result.sample_rate) if result else ""
            found.append(word_errors(line.text, heard))
            progress("listening", len(found), len(self.lines), "")
        return found

    @cached_property
    def prosodies(self) -> tuple[list[Prosody | None], list[Prosody | None]]:
        """Of the voice, and of flite."""
        own = [measured(r.wave, r.sample_rate) if r else None for r in self.said]
        return own, [measured(u.float_wave(), RATE) for u in self.utterances]

    def words(self) -> dict[str, Any]:
        ends = [s.finish for result in self.said if result for s in result.segments]
        counts = {"nano": self.spoken, "flite": self.flite}
        return {
            "flite": {"wer": interval(self.flite)},
            "nano": self._beside_flite(self.spoken),
            "failed": sum(result is None for result in self.said),
            "cut": sum(end != "stop" for end in ends),
            "by_group": breakdown(self.utterances, counts),
            "by_rate": {name: self._by_band(errors) for name, errors in counts.items()},
        }

    def resynthesis(self) -> dict[str, Any]:
        stages = stage_errors(
            self.tts, self.utterances, self.recogniser, ("vocoder", "codes", "latents")
        )  # fmt: skip
        found = {name: self._beside_flite(errors) for name, errors in stages.items()}
        flite = {"wer": interval(self.flite)}
        return {"flite": flite, **found, "by_group": breakdown(self.utterances, stages)}

    def _beside_flite(self, errors: list[WordErrors]) -> dict[str, Any]:
        base, own = [e.errors for e in self.flite], [e.errors for e in errors]
        return {
            "wer": interval(errors),
            "difference_from_flite": asdict(paired_difference(base, own, [e.words for e in errors])),
            "ratio_to_flite": sum(own) / sum(base) if sum(base) else None,
        }

    def _by_band(self, errors: list[WordErrors]) -> dict[str, float]:
        band = np.searchsorted(BANDS, [line.rate for line in self.lines], side="right")
        names = [f"below {BANDS[0]}", *(f"from {low}" for low in BANDS)]
        return {
            names[b]: sum(e.errors for e in part) / sum(e.words for e in part)
            for b in range(len(names))
            if (part := [e for e, at in zip(errors, band, strict=True) if at == b])
        }

    def voice(self) -> dict[str, Any]:
        known = {name: self.tts.voice(name).style_E for name in VOICES}
        truth = [line.voice for line in self.lines]
        found = [self._nearest(r.wave, r.sample_rate, known) if r else FAILED for r in self.said]
        flite = [self._nearest(u.float_wave(), RATE, known) for u in self.utterances]
        return {
            "accuracy": share(truth, found),
            "flite_accuracy": share(truth, flite),
            "confusion": confusion(truth, found),
        }

    def _nearest(self, wave: np.ndarray, rate: int, known: dict[str, np.ndarray]) -> str:
        style = self.tts.encoder.encode(wave, source_rate=rate).style_E

        def cosine(other: np.ndarray) -> float:
            return float(style @ other / (np.linalg.norm(style) * np.linalg.norm(other)))

        return max(known, key=lambda name: cosine(known[name]))

    def emotion(self) -> dict[str, Any]:
        own, flite = self.prosodies
        taught = load_corpus(self._taught, 480)
        # training speech is sound: none of it lacks a measurement
        lessons = self._features(
            [prosody(u.float_wave(), RATE) for u in taught], [u.text for u in taught]
        )  # fmt: skip
        acted, voices = [ACTED[u.emotion] for u in taught], [VOICES[u.voice] for u in taught]
        truth = [line.emotion for line in self.lines]
        silent = [k for k, name in enumerate(FEATURES) if name != "level_db"]
        found: dict[str, Any] = {"taught_on": len(taught)}
        for name, columns in (("", list(range(len(FEATURES)))), ("_without_level", silent)):
            classify = EmotionClassifier(lessons[:, columns], acted, voices)
            for who, measured_N in (("accuracy", own), ("flite_accuracy", flite)):
                heard = self._classified(classify, measured_N, columns)
                found[who + name] = share(truth, heard)
                if who == "accuracy":
                    found["confusion" + name] = confusion(truth, heard)
        return found

    def _classified(
        self, classify: EmotionClassifier, measured_N: Sequence[Prosody | None], columns: list[int]
    ) -> list[str]:
        heard = []
        for line, one in zip(self.lines, measured_N, strict=True):
            if one is None:
                heard.append(FAILED)
            else:
                heard += classify(self._features([one], [line.text])[:, columns], [line.voice])
        return heard

    def _features(self, measured_N: Sequence[Prosody], texts: Sequence[str]) -> np.ndarray:
        """(N,K)."""
        pairs = zip(measured_N, texts, strict=True)
        return np.stack([features(one, measured_rate(self._tokenizer, text, one)) for one, text in pairs])

    def rate(self) -> dict[str, Any]:
        own, flite = self.prosodies
        both = [r.seconds / u.seconds if r else 0.0 for r, u in zip(self.said, self.utterances, strict=True)]
        return {
            "nano": self._rates(own),
            "flite": self._rates(flite),
            "pearson_beside_flite": self._beside_flites_pace(),
            "length_ratio_median": float(np.median([b for b in both if b])) if any(both) else None,
            "length_within_30_percent": float(np.mean([abs(b - 1) <= NEAR for b in both])),
        }

    def _beside_flites_pace(self) -> float:
        """Correlation of the rate asked for with flite's natural length of the very sentence over the voice's length: flite
        stretches all of a sentence alike, so that length is known to the sample, with no table of durations in between."""
        pairs = [
            (u.rate, u.seconds * u.rate / r.seconds)
            for u, r in zip(self.utterances, self.said, strict=True)
            if r
        ]
        return pearson(*(np.array(side) for side in zip(*pairs, strict=True)))

    def _rates(self, measured_N: Sequence[Prosody | None]) -> dict[str, float]:
        """Correlation of asked and measured rates: plainly, and of their logarithms within each voice, as the table of
        durations is one for all voices."""
        kept = [(line, one) for line, one in zip(self.lines, measured_N, strict=True) if one]
        asked = np.array([line.rate for line, _ in kept])
        found = np.array([measured_rate(self._tokenizer, line.text, one) for line, one in kept])
        voices = np.array([line.voice for line, _ in kept])
        own = {v: np.log(found / asked)[voices == v].mean() for v in set(voices)}
        within = np.log(found) - np.array([own[v] for v in voices])
        return {
            "pearson": pearson(asked, found),
            "pearson_within_voice": pearson(np.log(asked), within),
            "measured_over_asked": float(np.median(found / asked)),
        }


def measured(wave: np.ndarray, rate: int) -> Prosody | None:
    """None for what holds no speech to measure."""
    try:
        return prosody(wave, rate)
    except UsageError:
        return None


def interval(errors: Sequence[WordErrors]) -> dict[str, float]:
    return asdict(ratio([e.errors for e in errors], [e.words for e in errors]))


def share(truth: Sequence[str], found: Sequence[str]) -> float:
    return float(np.mean([t == f for t, f in zip(truth, found, strict=True)]))


def progress(what: str, done: int, count: int, more: str) -> None:
    sys.stderr.write(f"\r{what} {done}/{count}  {more}  " + ("\n" if done == count else ""))


def origin(bundle: Path | None) -> dict[str, Any]:
    if bundle is None:
        return {"bundle": "checkpoints"}
    manifest = load_manifest(bundle)
    return {
        "bundle": bundle.name,
        "weights_sha256": manifest.model.weights_sha256,
        "precision": manifest.precision,
        "built": manifest.created.isoformat(timespec="seconds"),
    }


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bundle", type=Path, help="without one, the checkpoints in --work speak")
    parser.add_argument("--work", type=Path, default=Path("build/nano"))
    parser.add_argument("--heldout", type=Path, help="rendered sentences; by default those in --work")
    parser.add_argument("--corpus", type=Path, help="speech to teach emotions on; by default that in --work")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--recogniser", default=POCKETSPHINX, help="pocketsphinx, or module:function")
    parser.add_argument("--threads", type=int, default=0, help="of each graph; 0 leaves it to the executor")
    parser.add_argument("--out", type=Path, default=Path("out/nano.json"))
    return parser.parse_args()


def main() -> None:
    args = options()
    if args.threads:
        torch.set_num_threads(args.threads)
    utterances = load_corpus(args.heldout or args.work / "heldout", args.count)
    recogniser = Recogniser.named(args.recogniser)
    found: dict[str, Any] = {
        **origin(args.bundle),
        "machine": machine(args.threads),
        "date": time.strftime("%Y-%m-%d"),
        "sentences": len(utterances),
        "recogniser": recogniser.name,
    }
    opened = (
        Synthesizer.from_bundle(args.bundle, threads=args.threads)
        if args.bundle
        else checkpoint_synthesizer(args.work)
    )
    with opened as tts:
        evaluation = Evaluation(tts, utterances, args.corpus or args.work / "corpus", recogniser)
        for part in args.only:
            method: Callable[[], dict[str, Any]] = getattr(evaluation, part)
            began = time.perf_counter()
            found[part] = method()
            sys.stderr.write(f"{part}: {time.perf_counter() - began:.0f} s\n")
    write_json(args.out, found)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
