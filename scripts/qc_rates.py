"""How much does quality control find, and how often does it cry wolf? Damage is put into clean speech and counted.

python -m scripts.qc_rates --bundle engines/nano-fp32-onnxruntime --count 200 --out out/qc_rates.json

Sentences, seeds and rates are others than those the limits were derived from. A fault counts as found when the segment
fails, and as placed when a finding lies over it. Faults of the code model (speech that loops or stops early) are made by
speaking changed codes through the same bundle. The last line on standard output is the path of the JSON.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from scripts.compare_speech import progress, write_json
from scripts.qc_damage import FAULTS, Damaged
from scripts.qc_segments import Spoken, speak, spoken_segment
from tts_trt.errors import TtsTrtError
from tts_trt.models import ASSETS
from tts_trt.quality.forced import Teacher
from tts_trt.quality.qc import (
    Finding,
    SpeechSegment,
    Thresholds,
    check_neighbours,
    check_segment,
    load_thresholds,
)
from tts_trt.report.lines import default_texts
from tts_trt.runtime.bundle import OpenBundle, open_bundle

LOOP_SECONDS = (0.4, 1.0)
EARLY_SECONDS = (0.2, 0.6)
JUMP_DB = (10.0, 20.0)
SPOKEN_FAULTS = {
    "spoken_loop": f"{LOOP_SECONDS[0]} to {LOOP_SECONDS[1]} s of codes twice",
    "spoken_early_stop": f"{EARLY_SECONDS[0]} to {EARLY_SECONDS[1]} s of codes missing",
    "level_jump": f"second segment {JUMP_DB[0]:g} to {JUMP_DB[1]:g} dB fainter",
}
PLACE_TOLERANCE = 0.05  # seconds


@dataclass
class Tally:
    """Of one fault."""

    lowest: str
    made: int = 0
    found: int = 0
    placed: int = 0
    by: Counter[str] = field(default_factory=Counter)

    def add(self, findings: Iterable[Finding], start: float, end: float) -> None:
        failed = [finding for finding in findings if finding.severity == "fail"]
        self.made += 1
        self.found += bool(failed)
        self.placed += any(
            f.start - PLACE_TOLERANCE <= end and f.end + PLACE_TOLERANCE >= start for f in failed
        )
        self.by.update({f.check for f in failed})

    def figures(self) -> dict[str, Any]:
        return {
            "faults": self.made,
            "found": self.found,
            "rate": self.found / max(self.made, 1),
            "placed": self.placed / max(self.found, 1),
            "lowest": self.lowest,
            "by_check": dict(self.by.most_common()),
        }


def loop_codes(
    codes_M: np.ndarray, per_second: float, rng: np.random.Generator
) -> tuple[np.ndarray, int, int]:
    """Codes with a stretch said twice, first and last code of the second time."""
    length = min(round(rng.uniform(*LOOP_SECONDS) * per_second), len(codes_M) // 2)
    first = int(rng.integers(2, max(3, len(codes_M) - length - 2)))
    return np.concatenate([codes_M[: first + length], codes_M[first:]]), first + length, first + 2 * length


def stop_early(codes_M: np.ndarray, per_second: float, rng: np.random.Generator) -> np.ndarray:
    return codes_M[: max(len(codes_M) - round(rng.uniform(*EARLY_SECONDS) * per_second), 5)]


class Rates:
    """Counts as it goes; ``figures`` at the end."""

    def __init__(self, limits: Thresholds, seed: int) -> None:
        self._limits, self._rng = limits, np.random.default_rng(seed)
        lowest = {name: fault.lowest for name, fault in FAULTS.items()} | SPOKEN_FAULTS
        self.tallies = {name: Tally(text) for name, text in lowest.items()}
        self.clean = Tally("")
        self.pairs = Tally("")
        self.took: list[float] = []
        self.audio = 0.0

    def damage(self, segment: SpeechSegment) -> None:
        """The segment as it is, and with every fault of the wave."""
        began = time.perf_counter()
        verdict = check_segment(segment, self._limits)
        self.took.append(time.perf_counter() - began)
        self.audio += segment.seconds
        self.clean.add(verdict.findings, 0.0, segment.seconds)
        for name, fault in FAULTS.items():
            self._tally(name, segment, fault.make(segment.wave_S, segment.sample_rate, self._rng))

    def _tally(self, name: str, segment: SpeechSegment, damaged: Damaged) -> None:
        verdict = check_segment(replace(segment, wave_S=damaged.wave_S), self._limits)
        self.tallies[name].add(verdict.findings, damaged.start, damaged.end)

    def neighbours(self, pair: list[SpeechSegment]) -> None:
        if len(pair) < 2:
            return
        self.pairs.add(check_neighbours(pair, self._limits), 0.0, pair[1].seconds)
        fainter = 10 ** (-self._rng.uniform(*JUMP_DB) / 20)
        damaged = replace(pair[1], wave_S=pair[1].wave_S * np.float32(fainter))
        self.tallies["level_jump"].add(
            check_neighbours([pair[0], damaged], self._limits), 0.0, damaged.seconds
        )

    def spoken(self, bundle: OpenBundle, teacher: Teacher, one: Spoken) -> None:
        """Faults of the codes, spoken."""
        request, per_second = one.line.request(bundle.dims), bundle.dims.codes_per_second
        looped, first, last = loop_codes(one.made.codes_M, per_second, self._rng)
        cut = stop_early(one.made.codes_M, per_second, self._rng)
        for name, codes, start, end in (
            ("spoken_loop", looped, first, last),
            ("spoken_early_stop", cut, len(cut) - 1, len(cut)),
        ):
            segment = spoken_segment(bundle, one.line, teacher.force(request, codes))
            verdict = check_segment(segment, self._limits)
            self.tallies[name].add(verdict.findings, start / per_second, end / per_second)

    def figures(self) -> dict[str, Any]:
        made = sum(tally.made for tally in self.tallies.values())
        return {
            "clean_segments": self.clean.made,
            "false_alarms": self.clean.found / max(self.clean.made, 1),
            "false_alarms_by_check": dict(self.clean.by.most_common()),
            "clean_pairs": self.pairs.made,
            "false_alarms_of_pairs": self.pairs.found / max(self.pairs.made, 1),
            "detection": sum(tally.found for tally in self.tallies.values()) / max(made, 1),
            "faults": {name: tally.figures() for name, tally in self.tallies.items()},
            "ms_per_segment": 1e3 * float(np.median(self.took)) if self.took else None,
            "mean_seconds": self.audio / max(self.clean.made, 1),
        }


def measure(
    bundle: OpenBundle, limits: Thresholds, args: argparse.Namespace, progress: Callable[[int, int], None]
) -> dict[str, Any]:
    rates, teacher = Rates(limits, args.seed), Teacher(bundle)
    for pair in speak(bundle, teacher, args.texts, "rates", args.count, args.seed):
        for one in pair:
            rates.damage(one.segment)
        rates.neighbours([one.segment for one in pair])
        if pair and rates.tallies["spoken_loop"].made < args.spoken:
            rates.spoken(bundle, teacher, pair[0])
        progress(min(rates.clean.made, args.count), args.count)
    return rates.figures()


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument(
        "--thresholds", type=Path, default=ASSETS / "nano" / "qc.json", help="of the bundle's model"
    )
    parser.add_argument("--count", type=int, default=200, help="clean segments")
    parser.add_argument("--spoken", type=int, default=60, help="of them are spoken again with faulty codes")
    parser.add_argument("--texts", type=Path, default=default_texts())
    parser.add_argument("--seed", type=int, default=1_000_000)
    parser.add_argument("--threads", type=int, default=0, help="of each graph; 0 leaves it to the executor")
    parser.add_argument("--out", type=Path, default=Path("out/qc_rates.json"))
    return parser.parse_args()


def main() -> None:
    args = options()
    try:
        limits = load_thresholds(args.thresholds)
        bundle = open_bundle(args.bundle, threads=args.threads)
        try:
            found = measure(bundle, limits, args, progress)
        finally:
            bundle.engines.close()
    except TtsTrtError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(error.exit_code)
    head = {
        "bundle": args.bundle.name,
        "thresholds": limits.source.model_dump(mode="json"),
        "seed": args.seed,
    }
    write_json(args.out, head | found)
    for name, one in found["faults"].items():
        print(
            f"{name:18} {one['rate']:6.1%} of {one['faults']}, placed {one['placed']:.0%}  ({one['lowest']})"
        )
    print(
        f"{'all':18} {found['detection']:6.1%}; false alarms {found['false_alarms']:.1%} of {found['clean_segments']}"
    )
    print(args.out)


if __name__ == "__main__":
    main()
