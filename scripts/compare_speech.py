"""Do several bundles speak equally well? The same sentences, voices, emotions, rates and seeds through each, side by side.

python -m scripts.compare_speech --baseline engines/nano-fp32-onnxruntime --candidate engines/nano-fp16-onnxruntime

Bundles take turns on every sentence, the first one changing, so that a busy machine slows all alike. Decoding runs free:
a bundle whose arithmetic draws one other code goes its own way from there, as it would when used. A sentence that could
not be made counts as one of which no word was heard. This is the quick look at words and lengths; `tts-trt report` judges
everything else too. The last line on standard output is the path of the JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from tts_trt.atomic import write_atomic
from tts_trt.errors import SynthesisError, TtsTrtError
from tts_trt.quality.speech import POCKETSPHINX, Recogniser, WordErrors, total, word_errors
from tts_trt.quality.statistics import Interval, paired_difference, ratio
from tts_trt.report.lines import RATES as RATES
from tts_trt.report.lines import Line, default_texts, lines_of, read_texts, turns
from tts_trt.runtime.synthesizer import Synthesizer


@dataclass(frozen=True)
class Heard:
    """What became of one line through one bundle."""

    errors: WordErrors
    text: str
    seconds: float  # of audio; 0 where none was made
    took: float
    codes: tuple[int, ...]
    finish: str  # stop, length or repetition; failed where there is no audio


def say(tts: Synthesizer, line: Line, recogniser: Recogniser) -> Heard:
    began = time.perf_counter()
    try:
        result = tts.synthesize(line.request(tts.dims))
    except SynthesisError:
        return Heard(word_errors(line.text, ""), "", 0.0, time.perf_counter() - began, (), "failed")
    took = time.perf_counter() - began
    heard = recogniser.hear(result.wave, result.sample_rate)
    codes = tuple(int(code) for part in result.codes for code in part)
    finish = next((s.finish for s in result.segments if s.finish != "stop"), "stop")
    return Heard(word_errors(line.text, heard), heard, result.seconds, took, codes, finish)


def figures(lines: Sequence[Line], heard: Sequence[Heard], baseline: Sequence[Heard]) -> dict[str, Any]:
    """Of one bundle, for JSON."""
    words = [h.errors.words for h in heard]
    errors = [h.errors.errors for h in heard]
    both = [(b.seconds, h.seconds) for b, h in zip(baseline, heard, strict=True) if b.seconds and h.seconds]
    found: dict[str, Any] = {
        "wer": asdict(ratio(errors, words)),
        "errors": asdict(total(h.errors for h in heard)),
        "failed": sum(h.finish == "failed" for h in heard),
        "cut": sum(h.finish in ("length", "repetition") for h in heard),
        "seconds": sum(h.seconds for h in heard),
        "rtf": sum(h.took for h in heard) / max(sum(h.seconds for h in heard), 1e-9),
        **{
            f"wer_by_{key}": {
                value: total(h.errors for line, h in zip(lines, heard, strict=True) if getattr(line, key) == value).rate
                for value in sorted({getattr(line, key) for line in lines})
            }
            for key in ("voice", "emotion")
        },
    }  # fmt: skip
    if heard is not baseline:
        found["wer_difference"] = asdict(
            paired_difference([b.errors.errors for b in baseline], errors, words)
        )
        found["same_codes"] = sum(b.codes == h.codes for b, h in zip(baseline, heard, strict=True))
        found["length_ratio"] = asdict(ratio(*zip(*((h, b) for b, h in both), strict=True))) if both else None
        found["length_ratio_median"] = float(np.median([h / b for b, h in both])) if both else None
    return found


def compare(
    bundles: Mapping[str, Synthesizer],
    lines: Sequence[Line],
    recogniser: Recogniser,
    progress: Callable[[int, int], None] = lambda done, count: None,
) -> dict[str, Any]:
    """Figures per bundle, the first being the baseline, and every line with what was heard of it."""
    heard: dict[str, dict[int, Heard]] = {name: {} for name in bundles}
    for n, name in turns(list(bundles), len(lines)):
        heard[name][n] = say(bundles[name], lines[n], recogniser)
        progress(sum(map(len, heard.values())), len(lines) * len(bundles))
    in_order = {name: [found[n] for n in range(len(lines))] for name, found in heard.items()}
    baseline = next(iter(in_order.values()))
    return {
        "bundles": {name: figures(lines, found, baseline) for name, found in in_order.items()},
        "lines": [
            {
                **asdict(line),
                "heard": {
                    name: {
                        "text": found[n].text,
                        "errors": found[n].errors.errors,
                        "seconds": found[n].seconds,
                        "finish": found[n].finish,
                    }
                    for name, found in in_order.items()
                },
            }
            for n, line in enumerate(lines)
        ],
    }


def machine(threads: int) -> dict[str, Any]:
    return {"platform": platform.platform(), "cores": os.cpu_count(), "threads": threads or os.cpu_count()}


def write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, [json.dumps(value, indent=1).encode() + b"\n"])


def table(found: dict[str, Any]) -> Table:
    title = f"{len(found['lines'])} sentences, heard by {found['recogniser']}"
    rows: dict[str, Callable[[dict[str, Any]], str]] = {
        "word error rate": lambda one: span(one["wer"], "{:.1%}"),
        "difference from the baseline": lambda one: span(one.get("wer_difference"), "{:+.1%}"),
        "length over the baseline's": lambda one: span(one.get("length_ratio"), "{:.3f}"),
        "the same codes": lambda one: str(one.get("same_codes", "")),
        "failed": lambda one: str(one["failed"]),
        "cut short": lambda one: str(one["cut"]),
        "RTF": lambda one: f"{one['rtf']:.2f}",
    }
    made = Table(title=title, title_justify="left")
    for name in ("", *found["bundles"]):
        made.add_column(name, justify="right" if name else "left")
    for name, cell in rows.items():
        made.add_row(name, *(cell(one) for one in found["bundles"].values()))
    return made


def span(interval: dict[str, float] | None, form: str) -> str:
    """An interval as ``estimate (low to high)``."""
    if interval is None:
        return ""
    found = Interval(**interval)
    return f"{form.format(found.estimate)} ({form.format(found.low)} to {form.format(found.high)})"


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--baseline", type=Path, required=True)
    parser.add_argument("--candidate", type=Path, nargs="+", action="extend", required=True)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--texts", type=Path, default=default_texts())
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--recogniser", default=POCKETSPHINX, help="pocketsphinx, or module:function")
    parser.add_argument("--threads", type=int, default=0, help="of each graph; 0 leaves it to the executor")
    parser.add_argument("--out", type=Path, default=Path("out/compare.json"))
    return parser.parse_args()


def run(args: argparse.Namespace) -> dict[str, Any]:
    paths = [args.baseline, *args.candidate]
    names = [path.name for path in paths]
    if len(set(names)) < len(names):
        names = [str(path) for path in paths]
    recogniser = Recogniser.named(args.recogniser)
    bundles: dict[str, Synthesizer] = {}
    try:
        for name, path in zip(names, paths, strict=True):
            bundles[name] = Synthesizer.from_bundle(path, threads=args.threads)
        first = bundles[names[0]]
        lines = lines_of(read_texts(args.texts), list(first.voices), first.dims.acted, args.count, args.seed)
        found = compare(bundles, lines, recogniser, progress)
    finally:
        for tts in bundles.values():
            tts.close()
    head = {"machine": machine(args.threads), "date": time.strftime("%Y-%m-%d"), "seed": args.seed}
    return {**head, "recogniser": recogniser.name, "texts": args.texts.name, **found}


def progress(done: int, count: int) -> None:
    sys.stderr.write(f"\r{done}/{count}" + ("\n" if done == count else ""))


def main() -> None:
    args = options()
    try:
        found = run(args)
    except TtsTrtError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(error.exit_code)
    write_json(args.out, found)
    Console().print(table(found))
    print(args.out)


if __name__ == "__main__":
    main()
