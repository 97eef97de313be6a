"""What the codec, the flow and the vocoder cost by themselves: held-out speech through real codes, without the code model.

python -m scripts.nano.resynthesis --work build/nano --count 40
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import jiwer
import numpy as np
import torch

from scripts.nano.data import Utterance, load_corpus
from scripts.nano.encoded import load_teacher
from scripts.nano.evaluate import Listener, spoken_words
from scripts.nano.loop import nano_dims
from scripts.nano.pack import checkpoint
from scripts.nano.train_flow import silence_latents
from tts_trt.frontend.features import log_mel
from tts_trt.model.family import TtsModel
from tts_trt.model.reference import Reference


def model_of(work: Path) -> TtsModel:
    """Codec, flow and vocoder as trained so far; the code model stays random and is not used."""
    dims = nano_dims()
    model, teacher = TtsModel(dims), load_teacher(work, dims)
    model.semantic_encoder.load_state_dict(teacher.semantic.state_dict())
    model.semantic_codec.load_state_dict(teacher.codec.state_dict())
    model.style_encoder.load_state_dict(teacher.style.state_dict())
    model.s2mel.load_state_dict(checkpoint(work, "flow-codes"))
    silence_latents(model.s2mel)
    model.vocoder.load_state_dict(checkpoint(work, "vocoder"))
    return model.eval()


def resynthesise(reference: Reference, wave: np.ndarray, prompt: np.ndarray, seed: int) -> np.ndarray:
    """``wave``'s own codes in the voice of ``prompt``."""
    dims = reference.dims
    codes = reference.voice(wave).codes_1T[0].tolist()
    voice = reference.voice(prompt[: int(dims.audio.reference_seconds * dims.audio.sample_rate)])
    frames = 2 * len(codes)
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(1, dims.audio.n_mels, voice.mel_1MT.shape[2] + frames, generator=generator)
    latents = torch.zeros(1, len(codes), dims.gpt.dim)
    return reference.wave(reference.mel(voice, codes, latents, frames, noise)).numpy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("build/nano"))
    parser.add_argument("--count", type=int, default=40)
    args = parser.parse_args()
    torch.set_num_threads(1)
    model = model_of(args.work)
    reference, listener = Reference(model), Listener()
    spoken: list[Utterance] = load_corpus(args.work / "heldout", args.count)
    truth = [spoken_words(u.text) for u in spoken]
    heard: dict[str, list[str]] = {"flite": [], "vocoder": [], "codes": []}
    for i, u in enumerate(spoken):
        wave = u.float_wave()
        prompt = next(o for o in [*spoken[i + 1 :], *spoken] if o.voice == u.voice).float_wave()
        with torch.inference_mode():
            copied = model.vocoder(torch.from_numpy(log_mel(wave, model.dims.audio))[None])[0].numpy()
        heard["flite"].append(listener.hear(wave))
        heard["vocoder"].append(listener.hear(copied))
        heard["codes"].append(listener.hear(resynthesise(reference, wave, prompt, i)))
    print(json.dumps({"sentences": len(truth)} | {f"wer_{k}": jiwer.wer(truth, v) for k, v in heard.items()}))


if __name__ == "__main__":
    main()
