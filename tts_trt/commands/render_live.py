"""`tts-trt render --policy live`: the lines of a script as a live voice says them, and how soon each was heard."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np

from tts_trt.choice import Evidence, Offer, soonest
from tts_trt.commands.render import Asked, Progress, set_stage
from tts_trt.errors import TextError
from tts_trt.policy import Live
from tts_trt.render.live import LiveVoice, Spoken
from tts_trt.render.script import read_script
from tts_trt.render.sound import Mark, write_sound
from tts_trt.render.speakers import opened
from tts_trt.render.timeline import Part, blocks
from tts_trt.runtime.plan import Planner
from tts_trt.runtime.request import Request


def run(
    asked: Asked, policy: Live, evidence: Evidence | None, offers: Sequence[Offer], progress: Progress
) -> dict[str, Any]:
    lines = [line.strip() for line in read_script(asked.script).split("\n") if line.strip()]
    choice = soonest(policy, evidence, offers)
    with opened([choice.offer], threads=asked.threads, device=asked.device) as voices:
        (tts,) = voices.values()
        planner = Planner(tts.bundle.tokenizer, tts.dims, tts.limits)
        segments = [_planned(planner, i, line) for i, line in enumerate(lines, 1)]
        began = time.perf_counter()
        stage = set_stage(asked, policy, tts, choice)
        encoding = 1e3 * (time.perf_counter() - began)
        if encoding > policy.budget_ms.voice:
            stage.warnings.append(f"the voice took {encoding:.0f} ms of {policy.budget_ms.voice:g}, once")
        rate = tts.dims.audio.sample_rate
        voice = LiveVoice(tts, policy, stage.request, tts.dims.flow.steps, rate)
        stages = voice.prepare(segments[0])
        spoken = []
        for i, line in enumerate(lines):
            progress("speaking", i, len(lines))
            spoken.append(voice.say(line))
    digest = _write(asked, spoken, round(policy.pause * rate), rate)
    seconds = sum(len(one.wave_S) for one in spoken) / rate
    return {
        "out": str(asked.out),
        "policy": "live",
        "bundle": choice.offer.name,
        "precision": choice.offer.precision,
        "why": choice.why,
        "ruled_out": dict(choice.ruled_out),
        "sha256": digest,
        "sample_rate": rate,
        "seconds": seconds,
        "first_chunk_ms": asdict(stages) | {"voice": encoding},
        "budget_ms": asdict(policy.budget_ms),
        "lines": [_line(one) for one in spoken],
        "given_up": voice.given_up,
        "notes": [f"{choice.offer.name}: {choice.why}"]
        + [f"not {name}: {why}" for name, why in choice.ruled_out.items()]
        + [_summary(spoken)]
        + [f"given up: {words}" for words in voice.given_up],
        "warnings": stage.warnings + voice.warnings,
    }


def _planned(planner: Planner, number: int, line: str) -> str:
    """The first segment of a line; what cannot be spoken is known before the first word is."""
    try:
        return planner.plan(Request(line, "")).segments[0].text
    except TextError as error:
        raise TextError(f"line {number}: {error.args[0]}", hint=error.hint) from error


def _write(asked: Asked, spoken: Sequence[Spoken], pause: int, rate: int) -> str:
    parts: list[Part] = []
    for one in spoken:
        start = parts[-1].end + pause if parts else 0
        parts.append(Part(start, len(one.wave_S), partial(np.asarray, one.wave_S)))
    marks = [Mark(part.start, one.text) for part, one in zip(parts, spoken, strict=True)]
    return write_sound(asked.out, lambda: blocks(parts, parts[-1].end), parts[-1].end, rate, marks)


def _line(one: Spoken) -> dict[str, Any]:
    figures = {name: value for name, value in vars(one).items() if name != "wave_S"}
    return figures | {"samples": len(one.wave_S)}


def _summary(spoken: Sequence[Spoken]) -> str:
    firsts = sorted(one.first_audio_ms for one in spoken)
    worst = max(one.underrun_ms for one in spoken)
    return f"first audio after {firsts[len(firsts) // 2]:.0f} ms (median), worst gap {worst:.0f} ms"
