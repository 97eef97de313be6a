"""What `tts-trt render` does: a script and a policy to bundles, a voice and a file of sound."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tts_trt.artifacts import load_manifest
from tts_trt.choice import Choice, Evidence, Offer, offer
from tts_trt.commands.synth import parse_emotion, untaught
from tts_trt.dims import EMOTIONS
from tts_trt.errors import ReferenceAudioError, UsageError
from tts_trt.manifest import MANIFEST
from tts_trt.models import ASSETS
from tts_trt.policy import Dubbing, Live, Policy, load_policy
from tts_trt.quality.qc import Thresholds, load_thresholds
from tts_trt.quality.qc_thresholds import FILE as QC_FILE
from tts_trt.render.sound import check_format
from tts_trt.render.takes import Inspector, Samples
from tts_trt.report.schema import read_report
from tts_trt.runtime.acoustic import Acoustic
from tts_trt.runtime.bundle import obstacle, verified
from tts_trt.runtime.executors import AUTO, TENSORRT
from tts_trt.runtime.request import Request
from tts_trt.runtime.sampling import SamplingParams
from tts_trt.runtime.synthesizer import Synthesizer
from tts_trt.runtime.voice import Voice

ENGINES = Path("engines")
NEUTRAL = "calm"
"""As limits of quality control call a voice that no emotion is asked of."""

Progress = Callable[[str, int, int], None]
Speak = Callable[[Offer, Synthesizer], Any]
"""What speaks for a bundle; a trial of quality control damages its sound here."""


@dataclass(frozen=True)
class Asked:
    script: Path
    policy: str  # a scenario, or a file
    out: Path
    bundles: tuple[Path, ...] = ()  # none: all in engines/
    report: Path | None = None
    voice: str | None = None
    emotion: str | None = None
    emotion_audio: Path | None = None
    seed: int = 0
    duration: float | None = None
    work: Path | None = None
    cues: Path | None = None  # folder for a file per cue
    qc: Path | None = None
    threads: int = 0
    device: str = AUTO


@dataclass(frozen=True)
class Stage:
    """What all scenarios need: who speaks, in what voice, and who listens."""

    voice: Voice
    style: str
    request: Request  # all of it but the text
    inspector: Inspector
    depends: dict[str, Any]  # of the sound, as JSON
    warnings: list[str] = field(default_factory=list)


def run(asked: Asked, progress: Progress, speak: Speak = lambda _, tts: tts) -> dict[str, Any]:
    """Write ``asked.out`` and return what was made. Nothing that exists is lost when anything fails."""
    from tts_trt.commands import render_book, render_dub, render_live

    policy = load_policy(asked.policy)
    check_format(asked.out)
    if asked.duration is not None and not isinstance(policy, Dubbing):
        raise UsageError("a duration is given, which only dubbing keeps", hint="--policy dubbing")
    offers = find_offers(asked.bundles)
    evidence = (
        None if asked.report is None else Evidence.of(read_report(asked.report).model_dump(mode="json"))
    )
    if isinstance(policy, Dubbing):
        return render_dub.run(asked, policy, offers, progress, speak)
    if isinstance(policy, Live):
        return render_live.run(asked, policy, evidence, offers, progress)
    return render_book.run(asked, policy, evidence, offers, progress, speak)


def find_offers(paths: Sequence[Path]) -> list[Offer]:
    """The bundles named, or all in ``engines/``, as far as they can run here. UsageError where there is none."""
    found = list(paths) or sorted(p.parent for p in ENGINES.glob(f"*/{MANIFEST}"))
    if not found:
        raise UsageError(f"there is no bundle in {ENGINES}", hint="make engines, or --bundle FOLDER")
    reasons = {path: _obstacle(path) for path in found}
    able = [offer(path) for path, reason in reasons.items() if reason is None]
    if not able:
        path, reason = next(iter(reasons.items()))
        raise UsageError(
            f"none of {len(found)} bundles can run here; {path}: {reason}",
            hint="tts-trt build --executor onnxruntime",
        )
    return able


def _obstacle(path: Path) -> str | None:
    manifest = load_manifest(path)
    return obstacle(path, verified(path)) if manifest.executor.name in TENSORRT else None


def set_stage(asked: Asked, policy: Policy, anchor: Synthesizer, choice: Choice) -> Stage:
    emotion = parse_emotion(asked.emotion)
    recording = None if asked.emotion_audio is None else _bytes(asked.emotion_audio)
    voice = anchor.voice(asked.voice or next(iter(anchor.voices)))
    request = Request(
        text="",
        voice=voice,
        emotion=emotion,
        emotion_audio=recording,
        sampling=SamplingParams.of(anchor.dims, seed=asked.seed),
    )
    limits, warnings = None, untaught(emotion, anchor.dims.acted)
    if not isinstance(policy, Live):  # whose listeners wait for no verdict
        limits = limits_of(asked.qc, choice.offer)
        warnings += _doubts(limits, choice.offer)
    style = _style(voice, emotion, recording)
    conditioning = {
        "voice": voice.key,
        "emotion": list(emotion or ()),
        "emotion_audio": anchor.encoder.emotion(recording).key if recording else None,
        "anchor": choice.offer.manifest_sha256,
    }
    inspector = Inspector(limits, style, anchor.bundle.tokenizer.natural_seconds, samples_of(anchor))
    return Stage(voice, style, request, inspector, conditioning, warnings)


def samples_of(tts: Synthesizer) -> Samples:
    acoustic, hop = Acoustic(tts.engines, tts.dims), tts.dims.audio.hop
    return lambda codes: acoustic.frames(codes) * hop


def _doubts(limits: Thresholds | None, one: Offer) -> list[str]:
    if limits is None:
        return [f"no limits of quality control for {one.model}: only broken sound is found"]
    if limits.source.weights_sha256 != one.weights_sha256:
        return ["the limits of quality control were derived with other weights than these bundles have"]
    return []


def limits_of(path: Path | None, one: Offer) -> Thresholds | None:
    """Those of a file, else those that ship for the model."""
    shipped = ASSETS / one.model / QC_FILE
    if path is None and not shipped.is_file():
        return None
    return load_thresholds(path or shipped)


def _style(voice: Voice, emotion: tuple[float, ...] | None, recording: bytes | None) -> str:
    acted = [name for name, weight in zip(EMOTIONS, emotion or (), strict=False) if weight > 0]
    if recording is not None or len(acted) > 1:
        return voice.name
    return f"{voice.name}/{acted[0] if acted else NEUTRAL}"


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except (OSError, ValueError) as error:
        raise ReferenceAudioError(f"{path} cannot be read: {error}", hint="name one recording") from error
