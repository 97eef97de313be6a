"""The shipped voice back to checkpoints, so that training goes on from it: the inverse of ``pack``.

python -m scripts.nano.unpack --work build/nano

What is not shipped starts anew: optimisers, and the heads that only train (phone labels of the codec, the sound heads). The codec itself
is not to be trained on from here, since its heads are new.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path

from scripts.nano.loop import ASSETS, save_atomic
from scripts.nano.train_codec import Teacher
from tts_trt.model.family import TtsModel
from tts_trt.model.weights import load_model
from tts_trt.models import find_model

PHONES = 1  # of heads nobody reads any more


def steps_of(card: str) -> dict[str, int]:
    """Training steps by stage, from the generated lines of the model card."""
    line = re.search(r"^- training steps: (.*)$", card, re.MULTILINE)
    if line is None:
        raise SystemExit("the model card lacks its line of training steps")
    return {name: int(count) for name, count in (part.rsplit(" ", 1) for part in line[1].split(", "))}


def teacher_of(model: TtsModel) -> Teacher:
    teacher = Teacher(model.dims, PHONES)
    teacher.semantic.load_state_dict(model.semantic_encoder.state_dict())
    teacher.codec.load_state_dict(model.semantic_codec.state_dict())
    teacher.style.load_state_dict(model.style_encoder.state_dict())
    return teacher


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("build/nano"))
    work: Path = parser.parse_args().work
    work.mkdir(parents=True, exist_ok=True)
    model = load_model(find_model(ASSETS.name))
    steps = steps_of((ASSETS / "MODEL_CARD.md").read_text("utf-8"))
    stages = {"codec": teacher_of(model), "gpt": model.gpt, "flow": model.s2mel, "vocoder": model.vocoder}
    for name, module in stages.items():
        path = work / f"{name}.pt"
        if path.exists():
            raise SystemExit(f"{path} exists: nothing is written over a checkpoint")
        save_atomic({"model": module.state_dict(), "step": steps[name]}, path)
    print(json.dumps({name: steps[name] for name in stages}))


if __name__ == "__main__":
    main()
