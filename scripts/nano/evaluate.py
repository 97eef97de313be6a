"""How well the nano voice speaks, through a built bundle: WER by pocketsphinx on held-out sentences, beside flite's own.

python -m scripts.nano.evaluate --bundle engines/nano-fp32-onnxruntime --work build/nano --count 60
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import jiwer
import numpy as np
import pocketsphinx

from scripts.nano.data import ACTED, VOICES, Utterance, load_corpus
from tts_trt.dims import EMOTIONS
from tts_trt.errors import SynthesisError
from tts_trt.frontend.features import style_features
from tts_trt.runtime.request import Request
from tts_trt.runtime.sampling import SamplingParams
from tts_trt.runtime.synthesizer import Synthesizer


class Listener:
    """pocketsphinx with its own English model, 16 kHz."""

    def __init__(self) -> None:
        self.decoder = pocketsphinx.Decoder(samprate=16000, loglevel="FATAL")

    def hear(self, wave: np.ndarray) -> str:
        pcm = (np.clip(wave, -1, 1) * 32767).astype(np.int16)
        self.decoder.start_utt()
        self.decoder.process_raw(pcm.tobytes(), full_utt=True)
        self.decoder.end_utt()
        found = self.decoder.hyp()
        return found.hypstr if found else ""


def spoken_words(text: str) -> str:
    kept = "".join(c if c.isalpha() or c in "' " else " " for c in text.lower())
    return " ".join(kept.split())


def speak(tts: Synthesizer, utterance: Utterance, seed: int) -> np.ndarray:
    weights = [0.0] * len(EMOTIONS)
    name = ACTED[utterance.emotion]
    if name != "calm":
        weights[EMOTIONS.index(name)] = 1.0
    request = Request(
        utterance.text,
        VOICES[utterance.voice],
        emotion=tuple(weights),
        rate=float(np.clip(utterance.rate, 0.7, 1.4)),
        sampling=SamplingParams.of(tts.dims, seed=seed),
    )
    return tts.synthesize(request).wave


def style_of(tts: Synthesizer, wave: np.ndarray) -> np.ndarray:
    fbank = style_features(wave.astype(np.float32))[None]
    return tts.engines["style_encoder"].run({"fbank": fbank, "lengths": np.array([fbank.shape[1]])})["style"][
        0
    ]


def nearest_voice(style: np.ndarray, known: dict[str, np.ndarray]) -> str:
    def cosine(a: np.ndarray, b: np.ndarray) -> float:
        return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))

    return max(known, key=lambda name: cosine(style, known[name]))


def evaluate(bundle: Path, utterances: list[Utterance]) -> dict[str, float]:
    listener = Listener()
    truth, heard, flite_heard, right, ratio, failed = [], [], [], [], [], 0
    with Synthesizer.from_bundle(bundle) as tts:
        known = {name: tts.voice(name).style_E for name in VOICES}
        for i, u in enumerate(utterances):
            words = spoken_words(u.text)
            try:
                wave = speak(tts, u, i)
            except SynthesisError:
                failed += 1
                wave = np.zeros(16000, np.float32)
            truth.append(words)
            heard.append(listener.hear(wave))
            flite_heard.append(listener.hear(u.float_wave()))
            right.append(nearest_voice(style_of(tts, wave), known) == VOICES[u.voice])
            ratio.append(len(wave) / len(u.wave))
            print(f"{i:4d} {len(wave) / 16000:5.2f} s  {words!r} -> {heard[-1]!r}", flush=True)
    return {
        "sentences": len(truth),
        "wer": jiwer.wer(truth, heard),
        "wer_flite": jiwer.wer(truth, flite_heard),
        "voice_accuracy": float(np.mean(right)),
        "length_within_30_percent": float(np.mean(np.abs(np.array(ratio) - 1) < 0.3)),
        "length_ratio": float(np.median(ratio)),
        "failed": failed,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, default=Path("engines/nano-fp32-onnxruntime"))
    parser.add_argument("--work", type=Path, default=Path("build/nano"))
    parser.add_argument("--count", type=int, default=60)
    args = parser.parse_args()
    figures = evaluate(args.bundle, load_corpus(args.work / "heldout", args.count))
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
