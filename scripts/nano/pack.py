"""Trained checkpoints to the shipped voice: weights, emotion matrices, reference recordings, model card.

python -m scripts.nano.pack --work build/nano
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import numpy as np
import soundfile
import torch
from safetensors.torch import save_file

from scripts.nano.data import (
    ACTED,
    VOICES,
    Utterance,
    load_corpus,
    pad_stack,
    shards_of,
    utterances_of,
)
from scripts.nano.encoded import Encoded, cached_encoding, load_teacher
from scripts.nano.loop import ASSETS, nano_dims
from scripts.nano.train_flow import silence_latents
from tts_trt.artifacts import sha256_file
from tts_trt.dims import EMOTIONS
from tts_trt.model.family import TtsModel
from tts_trt.model.keys import DERIVED, UNUSED

NEIGHBOUR = {"afraid": "calm", "disgusted": "calm", "melancholic": "sad", "surprised": "happy"}
"""What the emotions nobody acted fall to."""

ROW_UTTERANCES = 24  # averaged into one row of the emotion matrix
REFERENCE_SECONDS = (2.6, 4.0)


def checkpoint(work: Path, *names: str) -> dict[str, torch.Tensor]:
    """The first of ``names`` that has been trained."""
    for name in names:
        if (path := work / f"{name}.pt").exists():
            return torch.load(path, map_location="cpu", weights_only=True)["model"]
    raise SystemExit(f"{work} has none of {', '.join(f'{n}.pt' for n in names)}; train it first")


def assemble(work: Path) -> TtsModel:
    dims = nano_dims()
    model = TtsModel(dims)
    teacher = load_teacher(work, dims)
    model.semantic_encoder.load_state_dict(teacher.semantic.state_dict())
    model.semantic_codec.load_state_dict(teacher.codec.state_dict())
    model.style_encoder.load_state_dict(teacher.style.state_dict())
    model.gpt.load_state_dict(checkpoint(work, "gpt"))
    model.s2mel.load_state_dict(checkpoint(work, "flow", "flow-codes"))
    if not (work / "flow.pt").exists():
        silence_latents(model.s2mel)
    model.vocoder.load_state_dict(checkpoint(work, "vocoder"))
    return model.eval()


@torch.inference_mode()
def fill_emotions(model: TtsModel, utterances: list[Utterance], encoded: Encoded) -> None:
    """One row per emotion and voice: mean style of the voice, mean emotion row of its utterances acted so."""
    voices = np.array([u.voice for u in utterances])
    emotions = np.array([u.emotion for u in utterances])
    speaker, emotion = [], []
    for name in EMOTIONS:
        acted = ACTED.index(NEIGHBOUR.get(name, name))
        for voice in range(len(VOICES)):
            chosen = np.flatnonzero((voices == voice) & (emotions == acted))[:ROW_UTTERANCES]
            features, lengths = pad_stack([encoded.semantic[i] for i in chosen])
            emotion.append(model.gpt.emotion(features, lengths).mean(0))
            speaker.append(torch.from_numpy(encoded.style[voices == voice]).mean(0))
    model.emotion.speaker_matrix.copy_(torch.stack(speaker))
    model.emotion.emotion_matrix.copy_(torch.stack(emotion))


def write_voices(heldout: list[Utterance], folder: Path) -> None:
    """A calm recording of each voice at its natural rate, which no training saw."""
    folder.mkdir(parents=True, exist_ok=True)
    low, high = REFERENCE_SECONDS
    for voice, name in enumerate(VOICES):
        fitting = [
            u for u in heldout if u.voice == voice and ACTED[u.emotion] == "calm" and low <= u.seconds <= high
        ]
        if not fitting:
            fitting = [u for u in heldout if u.voice == voice]
        best = min(fitting, key=lambda u: abs(u.rate - 1.0))
        soundfile.write(folder / f"{name}.wav", best.wave, 16000, subtype="PCM_16")


def write_weights(model: TtsModel, path: Path) -> int:
    kept = {
        k: v.contiguous()
        for k, v in model.state_dict().items()
        if not k.endswith(DERIVED) and not k.startswith(UNUSED)
    }
    save_file(kept, path)
    path.chmod(0o644)  # it is written for its owner alone
    return path.stat().st_size


def update_card(path: Path, weights: Path, steps: dict[str, int]) -> None:
    """The generated lines of the model card: hash, size, training steps."""
    size = weights.stat().st_size
    lines = [
        f"- SHA-256 of `weights.safetensors`: `{sha256_file(weights)}`",
        f"- size: {size / 1e6:.1f} MB, float32",
        f"- training steps: {', '.join(f'{k} {v}' for k, v in steps.items())}",
    ]
    head, _, rest = path.read_text().partition("<!-- generated -->")
    _, _, tail = rest.partition("<!-- /generated -->")
    path.write_text(head + "<!-- generated -->\n" + "\n".join(lines) + "\n<!-- /generated -->" + tail)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("build/nano"))
    parser.add_argument("--out", type=Path, default=ASSETS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.out != ASSETS:
        shutil.copytree(ASSETS, args.out, dirs_exist_ok=True)
    dims = nano_dims()
    model = assemble(args.work)
    shards = shards_of(args.work)
    encoded = cached_encoding(args.work, load_teacher(args.work, dims), shards, dims)
    fill_emotions(model, utterances_of(shards), encoded)
    write_voices(load_corpus(args.work / "heldout"), args.out / "voices")
    size = write_weights(model, args.out / "weights.safetensors")
    steps = {
        name: torch.load(args.work / f"{name}.pt", map_location="cpu", weights_only=True)["step"]
        for name in ("codec", "gpt", "flow-codes", "flow", "vocoder")
        if (args.work / f"{name}.pt").exists()
    }
    update_card(args.out / "MODEL_CARD.md", args.out / "weights.safetensors", steps)
    print(json.dumps({"bytes": size, "steps": steps}))


if __name__ == "__main__":
    main()
