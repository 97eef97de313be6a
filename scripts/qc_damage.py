"""Faults put into clean speech on purpose, in seeded places and strengths, to measure how many of them are found.

S samples. Every strength starts where an attentive listener hears the fault; quieter ones do not count.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from tts_trt.runtime.finish import FADE_SECONDS, fade

FloatArray = NDArray[np.float32]
Generator = np.random.Generator

FRAME_SECONDS = 0.005
SPEECH_DB = -26.0  # below the loud frames: what is louder is speech


@dataclass(frozen=True)
class Damaged:
    wave_S: FloatArray
    start: float  # seconds, of the fault in the damaged wave
    end: float
    strength: float  # in the unit of the fault


Maker = Callable[[FloatArray, int, Generator], Damaged]


@dataclass(frozen=True)
class Fault:
    make: Maker
    lowest: str  # the weakest strength that is made


def speech_S(wave_S: FloatArray, rate: int) -> NDArray[np.bool_]:
    """Samples within 26 dB of the loud frames, gaps under 60 ms (stop consonants) included."""
    size = round(FRAME_SECONDS * rate)
    count = len(wave_S) // size
    power = np.square(wave_S[: count * size].astype(np.float64)).reshape(count, size).mean(1)
    loud = power > np.quantile(power, 0.95) * 10 ** (SPEECH_DB / 10)
    for before, after in pairwise(np.flatnonzero(loud)):
        if (after - before) * FRAME_SECONDS < 0.06:
            loud[before:after] = True
    return np.pad(np.repeat(loud, size), (0, len(wave_S) - count * size))


def place(wave_S: FloatArray, rate: int, length: int, rng: Generator, share: float = 0.9) -> int:
    """First sample of a random stretch with at least this share of speech; the richest one where none has it."""
    speech = np.concatenate([[0], np.cumsum(speech_S(wave_S, rate))])
    length = min(length, len(wave_S) - 1)
    inside = (speech[length:] - speech[:-length]) / length
    edge = round(0.1 * rate)  # not where speech starts and ends anyway
    spoken = np.flatnonzero(np.diff(speech))
    starts = np.arange(len(inside))
    inside[(starts < spoken[0] + edge) | (starts + length > spoken[-1] - edge)] -= 1
    good = np.flatnonzero(inside >= share)
    return int(rng.choice(good)) if len(good) else int(inside.argmax())


def _ramp(length: int, edge: int) -> NDArray[np.float64]:
    """1 inside, 0 at both ends, with raised-cosine edges (length)."""
    mask = np.ones(length)
    if edge := min(edge, length // 2):
        slope = 0.5 - 0.5 * np.cos(np.pi * (np.arange(edge) + 0.5) / edge)
        mask[:edge], mask[-edge:] = slope, slope[::-1]
    return mask


def cut_end(wave_S: FloatArray, rate: int, rng: Generator) -> Damaged:
    spoken = np.flatnonzero(speech_S(wave_S, rate))
    seconds = rng.uniform(0.1, 0.5)
    end = max(int(spoken[-1] - seconds * rate), int(spoken[0]) + rate // 5)
    return Damaged(fade(wave_S[:end], rate, start=False), end / rate - FADE_SECONDS, end / rate, seconds)


def hole(wave_S: FloatArray, rate: int, rng: Generator) -> Damaged:
    seconds = rng.uniform(0.06, 0.2)
    length = round(seconds * rate)
    start = place(wave_S, rate, length, rng)
    made = wave_S.copy()
    made[start : start + length] = 0
    return Damaged(made, start / rate, (start + length) / rate, seconds)


def gap(wave_S: FloatArray, rate: int, rng: Generator) -> Damaged:
    """A hole that is faded into and out of, with a little of the sound left in it."""
    seconds = rng.uniform(0.06, 0.2)
    length = round(seconds * rate)
    start = place(wave_S, rate, length, rng)
    left = 10 ** (rng.uniform(-60, -40) / 20)
    made = wave_S.copy()
    mask = _ramp(length, round(0.004 * rate))
    made[start : start + length] *= (1 - mask * (1 - left)).astype(np.float32)
    return Damaged(made, start / rate, (start + length) / rate, seconds)


def click(wave_S: FloatArray, rate: int, rng: Generator) -> Damaged:
    share, length = rng.uniform(0.3, 1.0), int(rng.integers(1, 5))
    start = int(rng.integers(rate // 20, len(wave_S) - rate // 20))
    made = wave_S.copy()
    made[start : start + length] += np.float32(rng.choice([-1, 1]) * share * np.abs(wave_S).max())
    made = np.clip(made, -1, 1)
    return Damaged(made, start / rate, (start + length) / rate, share)


def hiss(wave_S: FloatArray, rate: int, rng: Generator) -> Damaged:
    snr = rng.uniform(10, 30)
    noise = rng.standard_normal(len(wave_S))
    level = np.sqrt(np.mean(wave_S[speech_S(wave_S, rate)].astype(np.float64) ** 2)) * 10 ** (-snr / 20)
    return Damaged((wave_S + level * noise).astype(np.float32), 0.0, len(wave_S) / rate, snr)


def repeat(wave_S: FloatArray, rate: int, rng: Generator) -> Damaged:
    seconds = rng.uniform(0.3, 1.0)
    length = min(round(seconds * rate), len(wave_S) // 2)
    start = place(wave_S, rate, length, rng, 0.8)
    edge = round(FADE_SECONDS * rate)
    end = start + length
    made = np.concatenate([wave_S[:end], wave_S[start:]])
    blend = np.linspace(0, 1, edge, dtype=np.float32)
    made[end : end + edge] = wave_S[end : end + edge] * (1 - blend) + wave_S[start : start + edge] * blend
    return Damaged(made, end / rate, (end + length) / rate, length / rate)


def fade_out(wave_S: FloatArray, rate: int, rng: Generator) -> Damaged:
    decibels = rng.uniform(20, 40)
    spoken = np.flatnonzero(speech_S(wave_S, rate))
    start, end = int(spoken[0] + (spoken[-1] - spoken[0]) * 2 / 3), int(spoken[-1])
    gain = np.interp(np.arange(len(wave_S)), [start, end], [0.0, -decibels])
    faded = (wave_S * 10 ** (gain / 20)).astype(np.float32)
    return Damaged(faded, start / rate, len(wave_S) / rate, decibels)


def level_drop(wave_S: FloatArray, rate: int, rng: Generator) -> Damaged:
    decibels = rng.uniform(12, 24)
    spoken = np.flatnonzero(speech_S(wave_S, rate))
    first, last = int(spoken[0]), int(spoken[-1])
    length = round((last - first) * rng.uniform(0.3, 0.5))
    start = int(rng.integers(first + (last - first) // 5, last - length + 1))
    mask = _ramp(length, round(0.01 * rate))
    made = wave_S.copy()
    made[start : start + length] *= (10 ** (-decibels * mask / 20)).astype(np.float32)
    return Damaged(made, start / rate, (start + length) / rate, decibels)


def offset(wave_S: FloatArray, rate: int, rng: Generator) -> Damaged:
    level = rng.uniform(0.02, 0.2)
    made = np.clip(wave_S + np.float32(level * rng.choice([-1, 1])), -1, 1)
    return Damaged(made, 0.0, len(wave_S) / rate, level)


def clip(wave_S: FloatArray, rate: int, rng: Generator) -> Damaged:
    """Driven into the limit, which is full scale or, where it was turned down afterwards, below."""
    decibels, rail = rng.uniform(6, 18), rng.uniform(0.2, 1.0)
    driven = wave_S / np.abs(wave_S).max() * 10 ** (decibels / 20)
    return Damaged((np.clip(driven, -1, 1) * rail).astype(np.float32), 0.0, len(wave_S) / rate, decibels)


def silence(wave_S: FloatArray, rate: int, rng: Generator) -> Damaged:
    """At the start, the end or between any two samples, with the wave's own faintest noise in it."""
    seconds = rng.uniform(1.0, 3.0)
    where = int(rng.choice([0, len(wave_S), rng.integers(len(wave_S))]))
    rest = (rng.standard_normal(round(seconds * rate)) * 1e-5).astype(np.float32)
    edged = [fade(part, rate) for part in (wave_S[:where], wave_S[where:])]
    return Damaged(np.concatenate([edged[0], rest, edged[1]]), where / rate, where / rate + seconds, seconds)


def not_a_number(wave_S: FloatArray, rate: int, rng: Generator) -> Damaged:
    made, start = wave_S.copy(), int(rng.integers(len(wave_S)))
    made[start] = rng.choice([np.nan, np.inf])
    return Damaged(made, start / rate, (start + 1) / rate, 1)


def wrong_rate(wave_S: FloatArray, rate: int, rng: Generator) -> Damaged:
    """Faster or slower, as a wave played at another sample rate."""
    factor = rng.uniform(1.6, 2.5) ** rng.choice([-1, 1])
    made = np.interp(np.arange(0, len(wave_S) - 1, factor), np.arange(len(wave_S)), wave_S)
    return Damaged(made.astype(np.float32), 0.0, len(made) / rate, float(factor))


FAULTS: dict[str, Fault] = {
    "cut_end": Fault(cut_end, "0.1 to 0.5 s of speech missing"),
    "hole": Fault(hole, "60 to 200 ms of zeros in speech"),
    "gap": Fault(gap, "60 to 200 ms turned down by 40 to 60 dB, with edges of 4 ms"),
    "click": Fault(click, "1 to 4 samples, 0.3 to 1 of the peak"),
    "hiss": Fault(hiss, "white, 30 to 10 dB below the speech"),
    "repeat": Fault(repeat, "0.3 to 1 s said twice"),
    "fade_out": Fault(fade_out, "last third down to -20 to -40 dB"),
    "level_drop": Fault(level_drop, "12 to 24 dB for 30 to 50 % of the speech"),
    "offset": Fault(offset, "0.02 to 0.2 of full scale"),
    "clip": Fault(clip, "driven 6 to 18 dB into the limit"),
    "silence": Fault(silence, "1 to 3 s more, anywhere"),
    "not_a_number": Fault(not_a_number, "one sample"),
    "wrong_rate": Fault(wrong_rate, "1.6 to 2.5 times too fast or too slow"),
}
