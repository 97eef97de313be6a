"""What each stage of the nano voice costs in words and melody: held-out speech heard after each of them, beside the speech itself.

    original  flite's recording
    vocoder   its mel spectrogram, through the vocoder
    codes     its codes, through flow and vocoder, without latents
    latents   its codes with the code model's states over them, through flow and vocoder: the path of inference
    spoken    its text, through everything

python -m scripts.nano.resynthesis --work build/nano --count 40            the checkpoints as trained so far
python -m scripts.nano.resynthesis --bundle engines/nano-fp32-onnxruntime  what is built
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from scripts.nano.data import ACTED, VOICES, Utterance, features_of, load_corpus
from scripts.nano.encoded import encode, load_teacher
from scripts.nano.loop import ASSETS
from scripts.nano.pack import assemble, fill_emotions
from scripts.nano.pitch import pitch_of
from tts_trt.errors import SynthesisError
from tts_trt.export.graphs import graph_module
from tts_trt.frontend.audio import to_pcm16
from tts_trt.frontend.features import log_mel
from tts_trt.frontend.tokenizer import PhoneTokenizer
from tts_trt.model.family import TtsModel
from tts_trt.models import find_model
from tts_trt.quality.forced import Teacher
from tts_trt.quality.speech import Recogniser, WordErrors, resampled, total, word_errors
from tts_trt.report.lines import Line
from tts_trt.runtime.acoustic import Acoustic, ConditionJob, FlowJob
from tts_trt.runtime.bundle import OpenBundle
from tts_trt.runtime.engine import Arrays, Engines
from tts_trt.runtime.fake import FakeEngine
from tts_trt.runtime.sampling import mel_noise
from tts_trt.runtime.synthesizer import Synthesizer
from tts_trt.runtime.voice import Voice, VoiceEncoder
from tts_trt.spec import GraphSpec, Limits, graph_specs

RATE = 16_000
EMOTION_UTTERANCES = 400  # of the corpus: two dozen of each voice and emotion
LONGEST_S = 30.0
OCTAVE = 12  # semitones
MISSED = 1.0
STAGES = ("original", "vocoder", "codes", "latents", "spoken")

FloatArray = NDArray[np.float32]


def torch_engines(model: TtsModel, limits: Limits) -> Engines:
    """The graphs of a model as engines, without exporting them."""
    return Engines(
        {name: _torch_engine(spec, model) for name, spec in graph_specs(model.dims, limits).items()}
    )


def _torch_engine(spec: GraphSpec, model: TtsModel) -> FakeEngine:
    module = graph_module(spec.name, model).eval()

    @torch.inference_mode()
    def compute(arrays: Arrays) -> dict[str, Any]:
        given = [torch.from_numpy(arrays[tensor.name]) for tensor in spec.inputs]
        made = module(*given[:4], given[4:]) if spec.name == "gpt" else module(*given)
        values = made if isinstance(made, tuple) else (made,)
        found = {t.name: v.numpy() for t, v in zip(spec.outputs, values, strict=True)}
        for name, source in spec.aliases.items():
            np.copyto(arrays[source], found[name])
        return found

    return FakeEngine(spec, compute)


def checkpoint_synthesizer(work: Path) -> Synthesizer:
    """Speaks with the checkpoints in ``work``, and the shipped recordings as voices."""
    model = assemble(work)
    utterances = load_corpus(work / "corpus", EMOTION_UTTERANCES)
    fill_emotions(
        model, utterances, encode(load_teacher(work, model.dims), features_of(utterances, model.dims))
    )
    engines = torch_engines(model, Limits())
    return Synthesizer(
        OpenBundle(engines, model.dims, PhoneTokenizer.from_dir(ASSETS), find_model("nano").voices, Limits())
    )


class Resynthesiser:
    """Recorded speech through the later stages of a synthesizer. M codes, D width, S samples."""

    def __init__(self, tts: Synthesizer) -> None:
        dims = tts.dims
        self.tts = tts
        self._acoustic, self._teacher = Acoustic(tts.engines, dims), Teacher(tts.bundle)
        # a voice keeps its first seconds only, and here the whole utterance is wanted
        whole = replace(dims, audio=replace(dims.audio, reference_seconds=LONGEST_S))
        self._encoder = VoiceEncoder(tts.engines, whole)

    def wave(self, stage: str, line: Line, wave_S: FloatArray) -> FloatArray:
        """What is left of a recording at RATE after one of the stages but ``spoken``."""
        if stage == "original":
            return wave_S
        if stage == "vocoder":
            return self._acoustic.waves([log_mel(wave_S, self.tts.dims.audio)])[0]
        recorded = self._encoder.encode(wave_S, source_rate=RATE)
        return self._through(line, recorded, self._latents(line, recorded) if stage == "latents" else None)

    def _latents(self, line: Line, recorded: Voice) -> FloatArray:
        """(M,D): the state before each code, which one-pass models decode with."""
        request = replace(
            line.request(self.tts.dims), steps=1
        )  # the sound that comes with them is not wanted
        return self._teacher.force(request, recorded.codes_F).latents_MD

    def _through(self, line: Line, recorded: Voice, latents_MD: FloatArray | None) -> FloatArray:
        dims, voice = self.tts.dims, self.tts.voice(line.voice)
        frames = self._acoustic.frames(len(recorded.codes_F))
        (condition,) = self._acoustic.conditions([ConditionJob(recorded.codes_F, latents_MD, frames)])
        job = FlowJob(
            condition_Tc=[voice.condition_Tc, condition],
            prompt_mP=[voice.mel_mT],
            noise_mT=mel_noise(line.seed, 0, frames, dims.audio.n_mels),
            style_E=voice.style_E,
            steps=dims.flow.steps,
            guidance=dims.flow.guidance,
        )
        return self._acoustic.waves(self._acoustic.flow([job]))[0]


def line_of(utterance: Utterance, seed: int) -> Line:
    """The request that asks for what was recorded."""
    u = utterance
    return Line(u.text, VOICES[u.voice], ACTED[u.emotion], u.rate, seed)


def stage_waves(
    tts: Synthesizer, utterances: Sequence[Utterance], stages: Sequence[str]
) -> Iterator[tuple[Utterance, str, FloatArray]]:
    """Every utterance after every stage, at RATE; no samples where the synthesizer refused its own audio."""
    again = Resynthesiser(tts)
    for i, u in enumerate(utterances):
        line, wave = line_of(u, i), u.float_wave()
        for stage in stages:
            if stage != "spoken":
                yield u, stage, again.wave(stage, line, wave)
                continue
            try:
                result = tts.synthesize(line.request(tts.dims))
                yield u, stage, resampled(result.wave, result.sample_rate, RATE)
            except SynthesisError:
                yield u, stage, np.zeros(0, np.float32)
        sys.stderr.write(f"\r{i + 1}/{len(utterances)}  ")
    sys.stderr.write("\n")


def stage_errors(
    tts: Synthesizer,
    utterances: Sequence[Utterance],
    recogniser: Recogniser,
    stages: Sequence[str] = STAGES,
    tunes: Tunes | None = None,
) -> dict[str, list[WordErrors]]:
    """Word errors of every utterance after each stage; ``tunes`` listens along."""
    found: dict[str, list[WordErrors]] = {stage: [] for stage in stages}
    for u, stage, wave in stage_waves(tts, utterances, stages):
        found[stage].append(word_errors(u.text, recogniser.hear(wave, RATE)))
        if tunes is not None:
            tunes.add(u, stage, wave)
    return found


@dataclass(frozen=True)
class Melody:
    """Pitch of a stage's wave beside the speech it came from; no number where nothing is voiced."""

    raised: float  # mean, semitones
    missed: float  # share of the frames voiced in both that are more than MISSED semitones off; of equal timing only


class Tunes:
    """The melody of every utterance after each stage."""

    def __init__(self, stages: Sequence[str]) -> None:
        self.found: dict[str, list[Melody]] = {stage: [] for stage in stages}
        self._of: Utterance | None = None
        self._own: FloatArray = np.zeros(0, np.float32)

    def add(self, u: Utterance, stage: str, wave_S: FloatArray) -> None:
        if u is not self._of:
            self._of, self._own = u, pitch_of(u.wave)
        self.found[stage].append(melody(self._own, stage, wave_S))


def melody(own: FloatArray, stage: str, wave_S: FloatArray) -> Melody:
    """``own``: what ``pitch_of`` finds in the recording."""
    made = pitch_of(to_pcm16(wave_S))
    raised = (np.nanmean(made) if (~np.isnan(made)).any() else np.nan) - np.nanmean(own)
    frames = min(len(own), len(made))
    apart = OCTAVE / np.log(2) * np.abs(made[:frames] - own[:frames])
    apart = apart[~np.isnan(apart)]
    missed = float(np.mean(apart > MISSED)) if stage != "spoken" and len(apart) else float("nan")
    return Melody(float(OCTAVE / np.log(2) * raised), missed)


def melodies(utterances: Sequence[Utterance], found: dict[str, list[Melody]]) -> dict[str, Any]:
    """Per stage: means of all, of each voice, of each emotion."""
    return {
        stage: {
            name: {
                part: round(float(np.nanmean(values)), 3)
                for part in ("raised", "missed")
                if not np.isnan(values := [getattr(m, part) for m in inside]).all()
            }
            for name, chosen in groups_of(utterances).items()
            if (inside := [m for m, is_in in zip(made, chosen, strict=True) if is_in])
        }
        for stage, made in found.items()
    }


def groups_of(utterances: Sequence[Utterance]) -> dict[str, list[bool]]:
    groups = {"all": [True] * len(utterances)}
    groups |= {name: [u.voice == k for u in utterances] for k, name in enumerate(VOICES)}
    return groups | {name: [u.emotion == k for u in utterances] for k, name in enumerate(ACTED)}


def breakdown(
    utterances: Sequence[Utterance], errors: dict[str, list[WordErrors]]
) -> dict[str, dict[str, float]]:
    """WER per stage: of all, of each voice, of each emotion."""
    return {
        stage: {
            name: round(total(e for e, inside in zip(counts, chosen, strict=True) if inside).rate, 4)
            for name, chosen in groups_of(utterances).items()
            if any(chosen)
        }
        for stage, counts in errors.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, default=Path("build/nano"))
    parser.add_argument("--bundle", type=Path, help="a bundle instead of the checkpoints in --work")
    parser.add_argument("--heldout", type=Path, help="rendered sentences; by default those in --work")
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=STAGES)
    parser.add_argument("--threads", type=int, default=1, help="of each graph")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    utterances = load_corpus(args.heldout or args.work / "heldout", args.count)
    tts = (
        Synthesizer.from_bundle(args.bundle, threads=args.threads)
        if args.bundle
        else checkpoint_synthesizer(args.work)
    )
    recogniser = Recogniser.named()
    tunes = Tunes(args.stages)
    with tts:
        errors = stage_errors(tts, utterances, recogniser, args.stages, tunes)
    found = {"wer": breakdown(utterances, errors), "melody": melodies(utterances, tunes.found)}
    print(json.dumps({"sentences": len(utterances)} | found))


if __name__ == "__main__":
    main()
