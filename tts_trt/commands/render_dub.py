"""`tts-trt render --policy dubbing`: subtitles, or a text and a duration, to a wave that is right to the sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tts_trt.choice import Offer, most_precise
from tts_trt.commands.render import Asked, Progress, Speak, set_stage
from tts_trt.errors import SynthesisError, TtsTrtError, UsageError
from tts_trt.policy import Dubbing
from tts_trt.render.dubbing import Room, Spot, ladder
from tts_trt.render.script import read_script
from tts_trt.render.sound import Mark, check_format, write_sound
from tts_trt.render.speakers import Speaker, opened
from tts_trt.render.srt import parse_srt
from tts_trt.render.takes import Kept, best_take
from tts_trt.render.timeline import Part, blocks
from tts_trt.runtime.finish import PEAK
from tts_trt.runtime.plan import Planner

SUBTITLES = ".srt"


def run(
    asked: Asked, policy: Dubbing, offers: Sequence[Offer], progress: Progress, speak: Speak
) -> dict[str, Any]:
    script = read_script(asked.script)
    subtitles = asked.script.suffix.lower() == SUBTITLES
    if subtitles == (asked.duration is not None):
        raise UsageError(
            "subtitles have their own times"
            if subtitles
            else "dubbing needs a time: subtitles, or a duration",
            hint="tts-trt render --policy dubbing film.srt, or text.txt --duration 3.5",
        )
    cues = parse_srt(script) if subtitles else ()
    choice = most_precise(policy.precisions, offers)
    with opened([choice.offer], threads=asked.threads, device=asked.device) as voices:
        (tts,) = voices.values()
        rate = tts.dims.audio.sample_rate
        room = Room(Planner(tts.bundle.tokenizer, tts.dims, tts.limits), tts.bundle.tokenizer, rate)
        if asked.duration is None:
            spots = room.spots(cues, policy)
        else:
            spots = [room.spot(script, asked.duration, policy)]
        stage = set_stage(asked, policy, tts, choice)
        inspector = replace(stage.inspector, most_stretch=policy.most_stretch)
        speaker = Speaker(choice.offer, speak(choice.offer, tts))
        kept = []
        for i, spot in enumerate(spots):
            progress("speaking", i, len(spots))
            kept.append(best_take(ladder(spot, speaker, stage.request, policy, asked.seed), inspector))
            check_length(spot, kept[-1])
    digest = _write(asked, spots, kept, rate)
    return {
        "out": str(asked.out),
        "policy": "dubbing",
        "bundle": choice.offer.name,
        "precision": choice.offer.precision,
        "why": choice.why,
        "sha256": digest,
        "sample_rate": rate,
        "samples": max(spot.end for spot in spots),
        "seconds": max(spot.end for spot in spots) / rate,
        "cues": [_cue(spot, one, policy) for spot, one in zip(spots, kept, strict=True)],
        "notes": [f"{choice.offer.name}: {choice.why}"],
        "warnings": stage.warnings
        + [
            f"flagged: {spot.name}: {', '.join(one.takes[one.chosen].faults)}"
            for spot, one in zip(spots, kept, strict=True)
            if one.flagged
        ],
    }


def check_length(spot: Spot, kept: Kept) -> None:
    """A wave that is off by a sample never leaves."""
    if len(kept.result.wave) != spot.samples:
        raise SynthesisError(
            f"{spot.name} came out at {len(kept.result.wave)} samples, expected {spot.samples}"
        )


def _write(asked: Asked, spots: Sequence[Spot], kept: Sequence[Kept], rate: int) -> str:
    parts = [
        Part(spot.start, spot.samples, partial(np.asarray, one.result.wave))
        for spot, one in zip(spots, kept, strict=True)
    ]
    total = max(spot.end for spot in spots)
    peak = max(float(np.abs(block_S).max()) for block_S in blocks(parts, total))
    gain = np.float32(
        min(1.0, PEAK / max(peak, 1e-9))
    )  # cues that are mixed may add up to more than full scale
    if asked.cues is not None:
        _write_cues(asked.cues, asked.out.suffix, spots, kept, rate)
    marks = [Mark(spot.start, spot.text) for spot in spots] if asked.duration is None else []
    return write_sound(
        asked.out, lambda: (block_S * gain for block_S in blocks(parts, total)), total, rate, marks
    )


def _write_cues(folder: Path, suffix: str, spots: Sequence[Spot], kept: Sequence[Kept], rate: int) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TtsTrtError(f"cannot write {folder}: {error.strerror}", hint="another --cues folder") from error
    for i, (spot, one) in enumerate(zip(spots, kept, strict=True), 1):
        path = folder / f"cue-{i:04}{suffix}"
        check_format(path)
        write_sound(path, partial(iter, [one.result.wave]), spot.samples, rate, [])


def _cue(spot: Spot, kept: Kept, policy: Dubbing) -> dict[str, Any]:
    return {
        "name": spot.name,
        "text": spot.text,
        "start": spot.start,
        "end": spot.end,
        "rate": spot.rate,
        "codes": [len(codes) for codes in kept.result.codes],
        "length": "drawn" if kept.chosen < policy.drawn_takes else "forced",
        "takes": len(kept.takes),
        "flagged": kept.flagged,
    }
