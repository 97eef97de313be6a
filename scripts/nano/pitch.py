"""Pitch of the corpus, two values a code row like the mel, cached on disk beside the features."""

from __future__ import annotations

import multiprocessing
import os
import pickle
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from scripts.nano.data import Features, Utterance

SAMPLE_RATE, HOP_MS = 16_000, 20.0
FLOOR_HZ, CEILING_HZ, UNIT_HZ = 55.0, 400.0, 100.0


def pitch_of(wave_S: np.ndarray) -> np.ndarray:
    """Samples (S,) int16 -> natural logarithm of F0 over 100 Hz, (T,) float32, one each 20 ms, NaN where unvoiced.
    DIO and StoneMask of WORLD (Morise et al. 2016)."""
    import pyworld

    wave = wave_S.astype(np.float64) / 32768
    f0, times = pyworld.dio(
        wave, SAMPLE_RATE, f0_floor=FLOOR_HZ, f0_ceil=CEILING_HZ, frame_period=HOP_MS, speed=4
    )
    f0 = pyworld.stonemask(wave, f0, times, SAMPLE_RATE)
    return np.log(np.where(f0 > 0, f0, np.nan) / UNIT_HZ).astype(np.float32)


def cached_pitch(work: Path, utterances: Sequence[Utterance], features: Features) -> list[np.ndarray]:
    """(frames,) float16 for each utterance, as many as its mel has frames."""
    path = work / f"pitch-{len(utterances)}.pkl"
    if not path.exists():
        with multiprocessing.Pool(len(os.sched_getaffinity(0)), initializer=os.nice, initargs=(5,)) as pool:
            found = pool.map(pitch_of, [u.wave for u in utterances], chunksize=100)
        temporary = path.with_suffix(".part")
        temporary.write_bytes(pickle.dumps([p.astype(np.float16) for p in found], protocol=5))
        os.replace(temporary, path)
    found = pickle.loads(path.read_bytes())
    return [_fitted(p, mel.shape[1]) for p, mel in zip(found, features.mel, strict=True)]


def _fitted(pitch: np.ndarray, frames: int) -> np.ndarray:
    return np.pad(pitch[:frames], (0, max(0, frames - len(pitch))), constant_values=np.nan)
