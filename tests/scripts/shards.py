"""A corpus of noise that claims to be speech, for what only needs its form."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path

import numpy as np

from scripts.nano import ragged
from scripts.nano.data import ACTED, VOICES


def render(folder: Path, shard: int, count: int) -> Path:
    """Stem of a new shard of ``count`` utterances of a quarter to half a second; of 16 each voice has each emotion once."""
    rng = np.random.default_rng(shard)
    stem = folder / f"shard-{shard:04d}"
    folder.mkdir(exist_ok=True)
    acted = list(product(VOICES, ACTED))
    rows = [
        {
            "text": f"{shard} {i}",
            "ids": [5, 6],
            "voice": acted[i % len(acted)][0],
            "emotion": acted[i % len(acted)][1],
            "rate": 1.0,
            "phones": [["pau", 0.1], ["t", 0.2], ["uw", 0.5]],
            "phone_index": [-1, 0, 1],
        }
        for i in range(count)
    ]
    stem.with_suffix(".jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    lengths = rng.integers(4000, 9000, count)
    ragged.write(stem, [rng.integers(-9000, 9000, int(n)).astype(np.int16) for n in lengths])
    return stem
