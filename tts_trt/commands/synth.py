"""What `tts-trt synth` does: words of the command line to a request, a request to a WAV file and a report."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tts_trt.artifacts import load_manifest
from tts_trt.dims import EMOTIONS
from tts_trt.errors import TextError, UsageError
from tts_trt.frontend.audio import write_wav
from tts_trt.runtime.executors import AUTO
from tts_trt.runtime.request import Request, Result
from tts_trt.runtime.sampling import SamplingParams
from tts_trt.runtime.synthesizer import Synthesizer

LONGEST_TEXT_BYTES = 1_000_000


@dataclass(frozen=True)
class Asked:
    text: str | None
    text_file: Path | None
    voice: str | None
    emotion: str | None
    emotion_audio: Path | None
    rate: float
    duration: float | None
    seed: int
    greedy: bool
    emotion_text: str | None = None  # words about the feeling; "": the text itself
    emotion_model: Path | None = None  # folder of the model that reads them; None: a list of words does


def speak(bundle: Path, asked: Asked, out: Path, threads: int, device: str = AUTO) -> dict[str, Any]:
    """Write ``out`` and return what was made; nothing is written when anything fails."""
    text = read_text(asked)
    if not out.parent.is_dir():
        raise UsageError(f"{out.parent} is not a folder; cannot write {out.name} there")
    emotion, notes = emotion_asked(asked, text)
    with Synthesizer.from_bundle(bundle, threads=threads, device=device) as synthesizer:
        request = Request(
            text=text,
            voice=asked.voice or next(iter(synthesizer.voices)),
            emotion=emotion,
            emotion_audio=asked.emotion_audio,
            rate=asked.rate,
            duration=asked.duration,
            sampling=SamplingParams.of(synthesizer.dims, seed=asked.seed, greedy=asked.greedy),
        )
        started = time.perf_counter()
        result = synthesizer.synthesize(request)
        took = time.perf_counter() - started
        acted, place = synthesizer.dims.acted, synthesizer.engines.device.name
    write_wav(out, result.wave, result.sample_rate)
    return {
        "out": str(out),
        "seconds": result.seconds,
        "samples": len(result.wave),
        "sample_rate": result.sample_rate,
        "took": took,
        "rtf": took / result.seconds,
        "executor": load_manifest(bundle).executor.name,
        "device": place,
        "codes": [len(codes) for codes in result.codes],
        "stages": result.timings,
        "emotion": dict(zip(EMOTIONS, request.emotion, strict=True)) if request.emotion else None,
        "warnings": notes + warnings(result, request, acted),
    }


def read_text(asked: Asked) -> str:
    if (asked.text is None) == (asked.text_file is None):
        raise UsageError(
            "expected one of --text and --text-file", hint="tts-trt synth --text 'Good morning.'"
        )
    if asked.text_file is None:
        return asked.text or ""
    try:
        raw = asked.text_file.read_bytes()
        if len(raw) > LONGEST_TEXT_BYTES:
            raise TextError(f"{asked.text_file} has {len(raw)} bytes, expected at most {LONGEST_TEXT_BYTES}")
        return raw.decode("utf-8")
    except OSError as error:
        raise UsageError(f"{asked.text_file} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise TextError(
            f"{asked.text_file} is not UTF-8: byte {error.start} is 0x{raw[error.start]:02x}"
        ) from error


def emotion_asked(asked: Asked, text: str) -> tuple[tuple[float, ...] | None, list[str]]:
    """The emotion vector, and what to say about how it came about. UsageError for more than one wish."""
    given = {
        "--emotion": asked.emotion,
        "--emotion-audio": asked.emotion_audio,
        "--emotion-text": asked.emotion_text,
    }
    if len(named := [name for name, value in given.items() if value is not None]) > 1:
        raise UsageError(f"both {' and '.join(named)} are given, expected one of them")
    if asked.emotion_text is None:
        return parse_emotion(asked.emotion), []
    from tts_trt.commands.emotion import read_feeling

    return read_feeling(asked.emotion_text.strip() or text, asked.emotion_model)


def parse_emotion(words: str | None) -> tuple[float, ...] | None:
    """``happy:0.6,calm:0.2`` or eight numbers -> weights in the order of EMOTIONS. UsageError otherwise."""
    if words is None:
        return None
    parts = [part.strip() for part in words.split(",")]
    try:
        if ":" not in words:
            return tuple(float(part) for part in parts)
        named: dict[str, float] = {}
        for part in parts:
            name, _, weight = part.partition(":")
            if name.strip() not in EMOTIONS or name.strip() in named:
                raise UsageError(
                    f"no emotion {name.strip()!r} or named twice; there are {', '.join(EMOTIONS)}"
                )
            named[name.strip()] = float(weight)
    except ValueError as error:
        raise UsageError(
            f"the emotion {words!r} cannot be read: {error}", hint="--emotion happy:0.6,surprised:0.2"
        ) from error
    return tuple(named.get(name, 0.0) for name in EMOTIONS)


def warnings(result: Result, request: Request, acted: tuple[str, ...]) -> list[str]:
    found = [
        f"segment {i + 1} ended by {segment.finish}, its end may be missing or repeated"
        for i, segment in enumerate(result.segments)
        if segment.finish != "stop" and request.duration is None
    ]
    return found + untaught(request.emotion, acted)


def untaught(emotion: tuple[float, ...] | None, acted: tuple[str, ...]) -> list[str]:
    """A warning for emotions that the voice cannot act."""
    foreign = [n for n, w in zip(EMOTIONS, emotion or (), strict=False) if w > 0 and n not in acted]
    if not foreign:
        return []
    return [f"this voice was not taught {', '.join(foreign)}; it uses a neighbour of {', '.join(acted)}"]
