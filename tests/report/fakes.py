"""Bundles without networks in them, whole or with one graph damaged, and ears that hear what they like."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from tests.letters import Letters
from tests.model.tiny import TINY
from tts_trt.report.evidence import Evidence, Plan, Progress
from tts_trt.report.journal import Journal
from tts_trt.report.lines import lines_of
from tts_trt.report.listening import Ears
from tts_trt.report.subjects import Subject
from tts_trt.report.workers import Workers
from tts_trt.runtime.bundle import OpenBundle
from tts_trt.runtime.device import Array
from tts_trt.runtime.engine import Arrays, Engine, Engines
from tts_trt.runtime.fake import FakeEngine, fake_engines
from tts_trt.runtime.synthesizer import Synthesizer
from tts_trt.spec import graph_specs

TEXTS = [
    f"{words} <b>now"
    for words in ("see me", "to be", "no more", "say it", "one two", "come here", "so it is")
]
EARS = Ears("tests.report.fakes:hear")
Damage = Callable[[Array], Array]


def hear(wave_S: NDArray[np.float32], rate: int) -> str:
    """Understands nothing, and always the same."""
    return "something else"


def predict(wave_S: NDArray[np.float32], rate: int) -> float:
    return 3.0


def hiss(level: float) -> Damage:
    return lambda wave: wave + level * np.random.default_rng(0).standard_normal(wave.shape, dtype=np.float32)


def silence(wave: Array) -> Array:
    return 0 * wave


def bundle(folder: Path, graph: str = "", output: str = "", damage: Damage | None = None) -> OpenBundle:
    """``damage`` changes one output of one graph."""
    recording = folder / "anna.wav"
    if not recording.exists():
        rng = np.random.default_rng(0)
        soundfile.write(recording, 0.1 * rng.standard_normal(16_000), 16_000)
    sound = fake_engines(TINY)
    engines: dict[str, Engine] = {name: sound[name] for name in graph_specs(TINY)}
    if damage is not None:
        inner = engines[graph]
        assert isinstance(inner, FakeEngine)
        engines[graph] = FakeEngine(inner.spec, _damaged(inner, output, damage))
    return OpenBundle(Engines(engines), TINY, Letters(), {"anna": recording})


def _damaged(inner: FakeEngine, output: str, damage: Damage) -> Callable[[Arrays], dict[str, Array]]:
    def compute(arrays: Arrays) -> dict[str, Array]:
        made = inner.compute(arrays)
        return made | {output: damage(made[output])}

    return compute


def subject(name: str, made: OpenBundle, seed_offset: int = 0, identity: str = "") -> Subject:
    return Subject(name, identity or name, Synthesizer(made), seed_offset)


def plan(sentences: int = 6, forced: int = 5) -> Plan:
    return Plan(tuple(lines_of(TEXTS, ["anna"], ["happy", "calm"], sentences, seed=0)), forced, EARS)


def collected(
    out: Path, subjects: list[Subject], chosen: Plan, progress: Progress = lambda phase, done, total: None
) -> Evidence:
    with Journal(out / "work") as journal, Workers(0) as workers:
        evidence = Evidence(subjects, chosen, journal, workers, progress)
        evidence.collect()
    return evidence
