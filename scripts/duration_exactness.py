"""Is dubbing right to the sample? Random targets within the natural rates, and a film of twenty cues.

python -m scripts.duration_exactness --bundle engines/nano-fp32-onnxruntime --out benchmarks/DATE-duration-nano.json

A target is one or two held-out sentences, a voice, and a duration drawn evenly from what the policy admits; its wave is written
and counted in the file. The film goes through the whole command: each cue is looked for at its samples in the finished file, and
nothing may sound between cues. Beside that it is told how often quality control had something against the only take, by the
rate that was needed, and after the takes of the policy. Exit code 1 for an error of a single sample.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from scripts.compare_speech import progress, write_json
from tts_trt.choice import offer
from tts_trt.commands.render import NEUTRAL, Asked, limits_of, run, samples_of
from tts_trt.errors import TtsTrtError, UsageError
from tts_trt.frontend.audio import write_wav
from tts_trt.policy import Dubbing, load_policy, to_json
from tts_trt.render.dubbing import Fit, Room, ladder
from tts_trt.render.speakers import Speaker, opened
from tts_trt.render.takes import Inspector, best_take
from tts_trt.report.environment import environment
from tts_trt.report.lines import default_texts, read_texts
from tts_trt.runtime.plan import Planner
from tts_trt.runtime.request import Request
from tts_trt.runtime.sampling import SamplingParams
from tts_trt.runtime.synthesizer import Synthesizer

CUES = 20
LONGEST_GAP = 1500  # ms between cues
BANDS = (0.0, 0.85, 1.0, 1.15, 2.0)
"""Rates needed, for the share of takes that quality control is against."""


@dataclass(frozen=True)
class Target:
    text: str
    voice: str
    seconds: float
    rate: float  # needed


def drawn(
    texts: Sequence[str],
    voices: Sequence[str],
    policy: Dubbing,
    fit: Callable[[str], Fit],
    count: int,
    seed: int,
) -> list[Target]:
    rng = np.random.default_rng(seed)
    made = []
    for n in range(count):
        text = " ".join(rng.choice(texts, 1 + n % 3 // 2, replace=False))  # every third has two sentences
        found = fit(text)
        seconds = float(rng.uniform(*found.range(policy)))
        made.append(Target(text, voices[n % len(voices)], seconds, found.rate(seconds)))
    return made


def try_targets(
    tts: Synthesizer, speaker: Speaker, room: Room, args: argparse.Namespace, policy: Dubbing
) -> list[dict[str, Any]]:
    rate, tokenizer = tts.dims.audio.sample_rate, tts.bundle.tokenizer
    texts, voices = read_texts(args.texts), list(tts.voices)
    targets = drawn(texts, voices, policy, room.fit, args.count, args.seed)
    limits, rows = limits_of(None, speaker.offer), []
    with tempfile.TemporaryDirectory() as folder:
        for n, target in enumerate(targets):
            spot = room.spot(target.text, target.seconds, policy)
            request = Request("", target.voice, sampling=SamplingParams.of(tts.dims))
            style = f"{target.voice}/{NEUTRAL}"
            inspector = Inspector(
                limits, style, tokenizer.natural_seconds, samples_of(tts), policy.most_stretch
            )
            kept = best_take(ladder(spot, speaker, request, policy, args.seed), inspector)
            path = Path(folder) / "one.wav"
            write_wav(path, kept.result.wave, rate)
            rows.append(
                {
                    "seconds": target.seconds,
                    "rate": target.rate,
                    "segments": len(kept.result.segments),
                    "error": soundfile.info(path).frames - round(target.seconds * rate),
                    "first_take_good": kept.takes[0].passed,
                    "good": not kept.flagged,
                    "forced": kept.chosen >= policy.drawn_takes,
                    "faults": [fault.split()[0] for fault in kept.takes[0].faults],
                }
            )
            progress(n + 1, len(targets))
    return rows


def film(texts: Sequence[str], fit: Callable[[str], Fit], policy: Dubbing, seed: int) -> str:
    """Subtitles of random cues with random gaps, some of which are none."""
    rng = np.random.default_rng(seed)
    at, blocks = 0, []
    for n, text in enumerate(rng.choice(texts, CUES, replace=False), 1):
        at += int(rng.integers(0, LONGEST_GAP)) * int(rng.integers(0, 2))
        shortest, longest = (1000 * s for s in fit(text).range(policy))
        end = at + int(rng.integers(int(np.ceil(shortest)), int(longest)))
        blocks.append(f"{n}\n{_clock(at)} --> {_clock(end)}\n{text}\n")
        at = end
    return "\n".join(blocks)


def try_film(args: argparse.Namespace, subtitles: str) -> dict[str, Any]:
    """The errors of every cue in the finished file: of its first and its last sample against the times of the subtitles, of its
    samples against the file of the cue alone, and samples that sound between cues."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "film.srt").write_text(subtitles)
        asked = Asked(
            folder / "film.srt",
            args.policy,
            folder / "film.wav",
            (args.bundle,),
            cues=folder / "cues",
            threads=args.threads,
        )
        made = run(asked, lambda phase, done, total: progress(done + 1, total))
        whole_S, rate = soundfile.read(folder / "film.wav", dtype="int16")
        between, rows = np.ones(len(whole_S), bool), []
        times = [line.split(" --> ") for line in subtitles.splitlines() if "-->" in line]
        for i, (cue, (start, end)) in enumerate(zip(made["cues"], times, strict=True), 1):
            first, last = (round(_ms(clock) * rate / 1000) for clock in (start, end))
            alone_S = soundfile.read(folder / "cues" / f"cue-{i:04}.wav", dtype="int16")[0]
            inside_S = whole_S[first:last]
            same = len(alone_S) == len(inside_S) and bool((alone_S == inside_S).all())
            between[first:last] = False
            rows.append({"start_error": cue["start"] - first, "end_error": cue["end"] - last, "same_samples": same,
                         "rate": cue["rate"], "flagged": cue["flagged"]})  # fmt: skip
        return {
            "cues": rows,
            "samples_between_cues": int(np.count_nonzero(whole_S[between])),
            "length_error": len(whole_S) - round(_ms(times[-1][1]) * rate / 1000),
        }


def figures(rows: Sequence[dict[str, Any]], shown: dict[str, Any]) -> dict[str, Any]:
    errors = [abs(row["error"]) for row in rows]
    bands = []
    for low, high in pairwise(BANDS):
        inside = [row for row in rows if low <= row["rate"] < high]
        if inside:
            bands.append({"rates": [low, high], "targets": len(inside), **_shares(inside)})
    cues = shown["cues"]
    exact = [c for c in cues if c["same_samples"] and not c["start_error"] and not c["end_error"]]
    return {
        "targets": len(rows),
        "largest_error_samples": max(errors),
        "targets_in_error": sum(error > 0 for error in errors),
        "quality_control": {**_shares(rows), "by_rate": bands},
        "film": {"cues": len(cues), "exact": len(exact), "samples_between_cues": shown["samples_between_cues"],
                 "length_error": shown["length_error"], "flagged": sum(c["flagged"] for c in cues)},
    }  # fmt: skip


def exact(found: dict[str, Any]) -> bool:
    one = found["film"]
    return not (
        found["largest_error_samples"]
        or one["exact"] < one["cues"]
        or one["samples_between_cues"]
        or one["length_error"]
    )


def _shares(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    faults: dict[str, int] = {}
    for name in (name for row in rows for name in row["faults"]):
        faults[name] = faults.get(name, 0) + 1
    return {
        "first_take_good": sum(row["first_take_good"] for row in rows) / len(rows),
        "good_in_the_end": sum(row["good"] for row in rows) / len(rows),
        "held_to_their_codes": sum(row["forced"] for row in rows) / len(rows),
        "faults_of_first_takes": dict(sorted(faults.items(), key=lambda item: -item[1])),
    }


def _clock(ms: int) -> str:
    return f"{ms // 3_600_000:02}:{ms // 60_000 % 60:02}:{ms // 1000 % 60:02},{ms % 1000:03}"


def _ms(clock: str) -> int:
    hours, minutes, seconds = clock.strip().replace(",", "").split(":")
    return (int(hours) * 60 + int(minutes)) * 60_000 + int(seconds)


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--policy", default="dubbing", help="or a file, such as one with drawn_takes = 0")
    parser.add_argument("--count", type=int, default=200, help="random targets")
    parser.add_argument("--texts", type=Path, default=default_texts())
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("out/duration.json"))
    return parser.parse_args()


def measure(args: argparse.Namespace) -> dict[str, Any]:
    policy, chosen = load_policy(args.policy), offer(args.bundle)
    if not isinstance(policy, Dubbing):
        raise UsageError(f"{args.policy} is no policy for dubbing")
    with opened([chosen], threads=args.threads) as voices:
        tts = voices[chosen.manifest_sha256]
        room = Room(
            Planner(tts.bundle.tokenizer, tts.dims, tts.limits),
            tts.bundle.tokenizer,
            tts.dims.audio.sample_rate,
        )
        rows = try_targets(tts, Speaker(chosen, tts), room, args, policy)
        subtitles = film(read_texts(args.texts), room.fit, policy, args.seed)
        place = tts.engines.device.name
    return {
        "date": time.strftime("%Y-%m-%d"),
        "command": " ".join(["python -m scripts.duration_exactness", *sys.argv[1:]]),
        "environment": environment(place, args.threads),
        "bundle": chosen.name,
        "manifest_sha256": chosen.manifest_sha256,
        "policy": to_json(policy),
        **figures(rows, try_film(args, subtitles)),
    }


def main() -> None:
    args = options()
    try:
        found = measure(args)
    except TtsTrtError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(error.exit_code)
    write_json(args.out, found)
    control, shown = found["quality_control"], found["film"]
    print(f"{found['targets']} targets, largest error {found['largest_error_samples']} samples")
    print(
        f"quality control: {control['first_take_good']:.0%} good at once, {control['good_in_the_end']:.0%} in the end"
    )
    print(
        f"film: {shown['exact']} of {shown['cues']} cues exact, {shown['samples_between_cues']} samples between them"
    )
    print(args.out)
    sys.exit(0 if exact(found) else 1)


if __name__ == "__main__":
    main()
