"""Does quality control keep damage out of a book, and does a book survive being killed? Both are tried on a whole one.

python -m scripts.audiobook_drill --bundles engines --out benchmarks/DATE-audiobook-nano.json

A book of held-out sentences is rendered in INT8 with key passages in a high precision. One take in twenty is damaged on its way
from the synthesizer to quality control, by the faults of ``scripts/qc_damage.py`` in turn; the damage sits in the drill, not in the
package. Counted is how many damaged takes were refused and replaced. Then the same book is rendered by processes that are killed
with SIGKILL at random moments, until one comes to its end: its file must be the uninterrupted one's, byte for byte.
Exit code 1 unless both hold.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from scripts.compare_speech import write_json
from scripts.qc_damage import FAULTS
from tts_trt.choice import Offer
from tts_trt.commands.render import Asked, run
from tts_trt.errors import TtsTrtError
from tts_trt.journal import FILE as JOURNAL
from tts_trt.render.ledger import Ledger, SegmentEntry
from tts_trt.render.speakers import Speaks
from tts_trt.report.environment import environment
from tts_trt.report.lines import default_texts, read_texts
from tts_trt.runtime.executors import AUTO
from tts_trt.runtime.request import Request, Result

SHARE = 0.05
PER_CHAPTER, PER_PARAGRAPH = 20, 4
KEY_EVERY = 8  # a sentence of so many is marked


def book_of(texts: Sequence[str], count: int, seed: int) -> tuple[str, list[str]]:
    """A book in Markdown, and its sentences that are narration or marked, in order."""
    chosen = [str(t) for t in np.random.default_rng(seed).choice(texts, count, replace=False)]
    lines = []
    for n, text in enumerate(chosen):
        if n % PER_CHAPTER == 0:
            lines.append(f"# Part {n // PER_CHAPTER + 1}\n")
        lines.append(f"**{text}**" if n % KEY_EVERY == KEY_EVERY - 1 else text)
        if n % PER_PARAGRAPH == PER_PARAGRAPH - 1:
            lines.append("")
    return "\n".join(lines) + "\n", chosen


def words(text: str) -> str:
    """What stays of a sentence whatever normalisation does to its marks."""
    return "".join(c for c in text.lower() if c.isalpha())


class Damaging:
    """Speaks, and spoils the first take of each text named: the nth text with the nth fault."""

    def __init__(self, speaks: Speaks, faults: dict[str, str], spoilt: set[str]) -> None:
        self._speaks, self._faults, self._spoilt = speaks, faults, spoilt

    def synthesize(self, request: Request) -> Result:
        result = self._speaks.synthesize(request)
        name = words(request.text)
        if name not in self._faults or name in self._spoilt:
            return result
        self._spoilt.add(name)
        rng = np.random.default_rng(list(name.encode()))
        wave_S = FAULTS[self._faults[name]].make(result.wave, result.sample_rate, rng).wave_S
        info = replace(result.segments[0], seconds=len(wave_S) / result.sample_rate)
        return replace(result, wave=wave_S, segments=(info,))


def faults_of(sentences: Sequence[str], seed: int) -> dict[str, str]:
    """Exactly the share of the sentences -> its fault, every kind in turn."""
    count = max(1, round(SHARE * len(sentences)))
    chosen = np.random.default_rng(seed + 1).choice(len(sentences), count, replace=False)
    kinds = list(FAULTS)
    return {words(sentences[i]): kinds[n % len(kinds)] for n, i in enumerate(chosen)}


def render(args: argparse.Namespace, folder: Path, name: str) -> None:
    """In this process; the damage is the same in every one. A take that was spoilt and lost in a kill is spoilt again."""
    faults = json.loads((folder / "faults.json").read_text())
    spoilt: set[str] = set()

    def damaged(_: Offer, speaks: Speaks) -> Speaks:
        return Damaging(speaks, faults, spoilt)

    bundles = tuple(args.bundle) or tuple(sorted(args.bundles.glob("*-onnxruntime")))
    asked = Asked(
        folder / "book.md",
        "audiobook",
        folder / name,
        bundles,
        voice=args.voice,
        seed=args.seed,
        threads=args.threads,
    )
    run(asked, lambda phase, done, total: None, damaged)


def killed_until_done(command: list[str], journal: Path, segments: int, kills: int, seed: int) -> list[int]:
    """Kills at random lengths of the journal; -> its lines at each kill."""
    rng, at = np.random.default_rng(seed), []
    moments = sorted(rng.choice(np.arange(1, segments), kills, replace=False))
    for moment in moments:
        with subprocess.Popen(command) as process:
            while process.poll() is None and lines_of(journal) < moment:
                time.sleep(0.02)
            if process.poll() is None:
                time.sleep(float(rng.uniform(0, 0.5)))  # in the middle of a take
                process.send_signal(signal.SIGKILL)
        if process.returncode != -signal.SIGKILL:
            raise TtsTrtError(f"the render ended with {process.returncode} before it could be killed")
        at.append(lines_of(journal))
    subprocess.run(command, check=True)
    return at


def lines_of(journal: Path) -> int:
    return journal.read_bytes().count(b"\n") if journal.exists() else 0


def figures(ledger: Ledger, faults: dict[str, str]) -> dict[str, Any]:
    spoilt = [(faults[words(one.text)], one) for one in ledger.segments if words(one.text) in faults]
    rows = [{"fault": fault, **_row(one)} for fault, one in spoilt]
    others = [one for one in ledger.segments if words(one.text) not in faults]
    return {
        "damaged": len(rows),
        "refused": sum(not row["first_take_kept"] for row in rows),
        "replaced_by_a_good_take": sum(row["good"] and not row["first_take_kept"] for row in rows),
        "rows": rows,
        "undamaged": len(others),
        "undamaged_spoken_again": sum(len(one.takes) > 1 for one in others),
        "flagged": sum(one.flagged for one in ledger.segments),
    }


def _row(one: SegmentEntry) -> dict[str, Any]:
    kept = next(i for i, take in enumerate(one.takes) if take.seed == one.seed)
    return {
        "first_take_kept": kept == 0,
        "good": not one.flagged,
        "found": [fault.split()[0] for fault in one.takes[0].faults],
        "takes": len(one.takes),
        "kept_precision": one.precision,
    }


def measure(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    text, sentences = book_of(read_texts(args.texts), args.count, args.seed)
    (folder / "book.md").write_text(text)
    faults = faults_of(sentences, args.seed)
    (folder / "faults.json").write_text(json.dumps(faults))
    began = time.perf_counter()
    render(args, folder, "whole.flac")
    took = time.perf_counter() - began
    ledger = Ledger.model_validate_json((folder / "whole.ledger.json").read_bytes())
    sys.stderr.write(f"rendered in {took:.0f} s, now with kills\n")
    command = [sys.executable, "-m", "scripts.audiobook_drill", *sys.argv[1:], "--worker", str(folder)]
    journal = folder / "killed.flac.work" / JOURNAL
    at = killed_until_done(
        command, journal, len({one.text for one in ledger.segments}), args.kills, args.seed
    )
    same = (folder / "whole.flac").read_bytes() == (folder / "killed.flac").read_bytes()
    return {
        "date": time.strftime("%Y-%m-%d"),
        "command": " ".join(["python -m scripts.audiobook_drill", *sys.argv[1:]]),
        "environment": environment(AUTO, args.threads),
        "bundles": {name: one.bundle for name, one in ledger.roles.items()},
        "limits": ledger.limits,
        "warnings": list(ledger.warnings),
        "voice": ledger.voice,
        "seconds": ledger.seconds,
        "counts": ledger.counts,
        "cost": ledger.cost.model_dump(mode="json"),
        "damage": figures(ledger, faults),
        "kills": {"segments_finished_at_each": at, "same_bytes": same, "sha256": ledger.out.sha256},
    }


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bundles", type=Path, default=Path("engines"), help="folder of bundles")
    parser.add_argument(
        "--bundle", type=Path, action="append", default=[], help="in place of --bundles; repeat"
    )
    parser.add_argument("--count", type=int, default=160, help="sentences")
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--voice", default="slt")
    parser.add_argument("--texts", type=Path, default=default_texts())
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("out/audiobook.json"))
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    args = options()
    try:
        if args.worker:
            render(args, args.worker, "killed.flac")
            return
        with tempfile.TemporaryDirectory() as name:
            found = measure(args, Path(name))
    except TtsTrtError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(error.exit_code)
    write_json(args.out, found)
    damage, kills = found["damage"], found["kills"]
    print(
        f"{damage['refused']} of {damage['damaged']} damaged takes refused, {damage['replaced_by_a_good_take']} replaced by a good one"
    )
    print(
        f"killed at {kills['segments_finished_at_each']}: {'the same bytes' if kills['same_bytes'] else 'OTHER BYTES'}"
    )
    print(args.out)
    sys.exit(0 if kills["same_bytes"] and damage["refused"] == damage["damaged"] else 1)


if __name__ == "__main__":
    main()
