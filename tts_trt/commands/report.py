"""What `tts-trt report` does: open the bundles, measure what is missing, write the report."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console, RenderableType
from rich.table import Table

from tts_trt.errors import UsageError
from tts_trt.models import ASSETS
from tts_trt.quality import dnsmos
from tts_trt.quality.opinion import Predictor
from tts_trt.quality.qc_thresholds import FILE, Thresholds, shipped_thresholds
from tts_trt.quality.speech import Recogniser, words_of
from tts_trt.quality.speed import measure
from tts_trt.report.assemble import assemble
from tts_trt.report.environment import environment
from tts_trt.report.evidence import Evidence, Plan
from tts_trt.report.gate import check, enforce, read_gate
from tts_trt.report.journal import Journal
from tts_trt.report.lines import Line, chosen_voices, default_texts, lines_of, read_texts
from tts_trt.report.listening import Ears
from tts_trt.report.schema import Report
from tts_trt.report.subjects import Subject, opened
from tts_trt.report.workers import Workers
from tts_trt.report.write import write_report

WORK = "work"
COST_RUNS = 7
AUTO, NOBODY = "auto", "none"  # whose opinions
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Asked:
    baseline: Path
    candidates: tuple[Path, ...]
    out: Path
    against_itself: bool = False
    sentences: int = 100
    forced: int = 30
    texts: Path | None = None
    voices: tuple[str, ...] = ()
    seeds: int = 1
    seed: int = 0
    threads: int = 0
    device: str = "auto"
    listeners: int = 1
    recogniser: str = "pocketsphinx"
    opinion: str = AUTO
    gate: Path | None = None


def run(asked: Asked, progress: Progress) -> Report:
    """The report, written. Wrong words are found before anything is said."""
    rules = read_gate(asked.gate) if asked.gate else []
    texts = read_texts(asked.texts or default_texts())
    if wordless := [text for text in texts if not words_of(text)]:
        raise UsageError(f"{wordless[0]!r} has no words to listen for", hint="leave it out of --texts")
    Recogniser.named(asked.recogniser)
    opinion = _opinion(asked.opinion)
    with (
        opened(
            asked.baseline, asked.candidates,
            against_itself=asked.against_itself, threads=asked.threads, device=asked.device,
        ) as subjects,
        Journal(asked.out / WORK) as journal,
        Workers(asked.listeners) as workers,
    ):  # fmt: skip
        lines = _lines(asked, texts, subjects)
        plan = Plan(
            tuple(lines),
            min(asked.forced, len(lines)),
            Ears(asked.recogniser, opinion),
            limits_of(subjects[0]),
            asked.threads,
            asked.device,
        )
        evidence = Evidence(subjects, plan, journal, workers, progress)
        evidence.collect(partial(_cost, asked=asked, progress=progress))
        made = assemble(
            evidence,
            command=shlex.join(["tts-trt", *sys.argv[1:]]),
            environment=environment(subjects[0].tts.engines.device.name, asked.threads),
            settings=_settings(asked, plan),
        )
    made = made.model_copy(update={"gate": check(rules, made.candidates)})
    write_report(made, asked.out, asked.out / WORK)
    return made


def _lines(asked: Asked, texts: Sequence[str], subjects: Sequence[Subject]) -> list[Line]:
    first = subjects[0].tts
    shared = [name for name in first.voices if all(name in s.tts.voices for s in subjects)]
    voices = chosen_voices(asked.voices, shared)
    return lines_of(texts, voices, first.dims.acted, asked.sentences, asked.seed, asked.seeds)


def limits_of(subject: Subject) -> Thresholds | None:
    """Limits of quality control for the subject's model; None where none ship."""
    if subject.manifest is None or not (ASSETS / subject.manifest.model.name / FILE).is_file():
        return None
    return shipped_thresholds(subject.manifest.model.name)


def _opinion(asked: str) -> str:
    """Name of the predictor; DNSMOS where its network is installed and nobody else is named, empty for none. UsageError as
    ``Predictor.named``."""
    if asked == AUTO:
        return dnsmos.NAME if dnsmos.model_file() else ""
    if asked == NOBODY:
        return ""
    return Predictor.named(asked).name


def _cost(subjects: Sequence[Subject], *, asked: Asked, progress: Progress) -> dict[str, Any]:
    paths = [subject.path for subject in subjects if subject.path]
    return measure(
        paths, COST_RUNS, asked.threads, asked.device, lambda name, *at: progress(f"cost {name}", *at)
    )


def _settings(asked: Asked, plan: Plan) -> dict[str, Any]:
    return {
        "sentences": asked.sentences,
        "lines": len(plan.lines),
        "same_codes_lines": plan.forced,
        "seeds": asked.seeds,
        "seed": asked.seed,
        "texts": str(asked.texts or default_texts().name),
        "voices": sorted({line.voice for line in plan.lines}),
        "emotions": sorted({line.emotion for line in plan.lines}),
        "recogniser": asked.recogniser,
        "opinion": plan.ears.opinion or None,
        "gate": str(asked.gate) if asked.gate else None,
    }


def enforce_gate(made: Report) -> None:
    """GateFailed where a threshold was not kept."""
    enforce(made.gate)


def tell(made: Report, out: Path, console: Console) -> None:
    """The table, and where the page is."""
    console.print(render(made))
    console.print(str(out / "report.html"), highlight=False, soft_wrap=True)


def render(made: Report) -> RenderableType:
    """One row per metric, one column per candidate."""
    table = Table(
        title=f"{made.settings['sentences']} sentences against {made.bundles[0].name}", title_justify="left"
    )
    table.add_column("")
    for candidate in made.candidates:
        table.add_column(candidate.name, justify="right")
    for name, entry in made.metrics.items():
        rows = [next((r for r in c.verdicts if r.metric == name), None) for c in made.candidates]
        if any(row and row.verdict for row in rows):
            cells = (f"{row.change:+.3g} {row.verdict}" if row else "" for row in rows)
            table.add_row(entry.title, *cells)
    return table
