"""One number per thing that can be wrong with a segment, and where in it that number was found.

S samples, F level frames (2.5 ms), T spectrum frames (10 ms), b mel bands, M codes. A measure is None where a segment
has nothing to measure it on.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from tts_trt.quality.qc_signal import HOP_SECONDS, STEP_SECONDS, Floats, Signal, SpeechSegment

EDGE_FRAMES = 4  # levels are compared over 10 ms: less than a pitch period apart they follow the voice's pulses
QUIET_DB = -60.0  # levels below this, relative to speech, are alike
HEARD_DB = -32.0  # a sound worth interrupting
LONGEST_BREAK = 100  # level frames, 0.25 s

BLOCK_SECONDS = 0.001  # of the click detector
NEAR_BLOCKS = 18  # a pitch period of 55 Hz
CLICK_FLOOR = 3e-3  # of the peak: clicks below it drown in anything

CLIP_SHARE, CLIP_FLAT = 0.985, 2e-3  # of the peak

WINDOW_SECONDS, WINDOW_STEP = 0.4, 0.05
PRESENT_DB = -45.0

PATCH_SECONDS = 0.24  # the shortest stretch whose repetition is looked for
ALIKE_FLOOR_DB = -45.0


@dataclass(frozen=True)
class Measured:
    value: float
    start: float  # seconds
    end: float


def offset(signal: Signal, segment: SpeechSegment) -> Measured:
    """Distance of the mean from 0, full scale being 1."""
    return _whole(abs(float(signal.wave_S.mean())), segment)


def clipping(signal: Signal, segment: SpeechSegment) -> Measured:
    """Share of samples in flat tops, %: neighbours that are equal and both at the wave's own rail."""
    wave_S = signal.wave_S - signal.wave_S.mean()
    size_S = np.abs(wave_S)
    peak = size_S.max()
    top_S = size_S >= CLIP_SHARE * peak
    flat_S = top_S[1:] & top_S[:-1] & (np.abs(np.diff(wave_S)) <= CLIP_FLAT * peak)
    places = np.flatnonzero(flat_S)
    if not len(places):
        return _whole(0.0, segment)
    return Measured(100 * len(places) / len(wave_S), places[0] / signal.rate, (places[-1] + 2) / signal.rate)


def click(signal: Signal, segment: SpeechSegment) -> Measured:
    """Largest bend of the wave within 1 ms over the largest in the 18 ms before and after, dB. Pitch pulses have
    neighbours alike, bursts of consonants go on: what stands alone is no speech."""
    size = round(BLOCK_SECONDS * signal.rate)
    bend_S = np.abs(np.diff(signal.wave_S, 3, prepend=[signal.wave_S[0]] * 3))
    count = len(bend_S) // size
    block_N = bend_S[: count * size].reshape(count, size).max(1)
    padded = np.pad(block_N, NEAR_BLOCKS)
    windows = np.lib.stride_tricks.sliding_window_view(padded, NEAR_BLOCKS - 1)
    around_N = np.maximum(windows[:count].max(1), windows[NEAR_BLOCKS + 2 : NEAR_BLOCKS + 2 + count].max(1))
    floor = CLICK_FLOOR * float(np.abs(signal.wave_S).max())
    ratio_N = block_N / np.maximum(around_N, floor)
    place = int(ratio_N.argmax())
    return Measured(
        20 * np.log10(max(ratio_N[place], 1e-6)), place * size / signal.rate, (place + 1) * size / signal.rate
    )


def _falls(signal: Signal) -> tuple[Floats, Floats, int]:
    """How far the level falls and rises within 10 ms, dB, from the first to the last speaking frame."""
    first, last = signal.span
    level_F = np.maximum(signal.level_F - signal.speech_db, QUIET_DB)[first + 4 : max(last - 4, first + 5)]
    before_F, after_F = level_F[:-EDGE_FRAMES], level_F[EDGE_FRAMES:]
    step_F = after_F - before_F
    return np.where(before_F > HEARD_DB, -step_F, 0), np.where(after_F > HEARD_DB, step_F, 0), first + 4


def _edge(signal: Signal, edges_F: Floats, first: int) -> Measured | None:
    if not len(edges_F):
        return None
    place = int(edges_F.argmax())
    start = signal.time(first + place)
    return Measured(float(edges_F[place]), start, start + EDGE_FRAMES * HOP_SECONDS)


def sudden_silence(signal: Signal, segment: SpeechSegment) -> Measured | None:
    """Steepest fall of the level inside the speech, dB in 10 ms."""
    fall_F, _, first = _falls(signal)
    return _edge(signal, fall_F, first)


def sudden_onset(signal: Signal, segment: SpeechSegment) -> Measured | None:
    """Steepest rise of the level inside the speech, dB in 10 ms."""
    _, rise_F, first = _falls(signal)
    return _edge(signal, rise_F, first)


def dropout(signal: Signal, segment: SpeechSegment) -> Measured | None:
    """A steep fall followed by a steep rise within 0.25 s: the lesser of the two, dB in 10 ms. Stop consonants die away
    or start gently on one side."""
    fall_F, rise_F, first = _falls(signal)
    gap = 2 * EDGE_FRAMES
    if len(fall_F) <= gap:
        return None
    padded = np.pad(rise_F[gap:], (0, LONGEST_BREAK - 1))
    ahead_FW = np.lib.stride_tricks.sliding_window_view(padded, LONGEST_BREAK)
    both_F = np.minimum(fall_F[:-gap], ahead_FW.max(1))
    place = int(both_F.argmax())
    back = place + gap + int(ahead_FW[place].argmax())
    return Measured(float(both_F[place]), signal.time(first + place), signal.time(first + back + EDGE_FRAMES))


def dead_air(signal: Signal, segment: SpeechSegment) -> Measured:
    """Lowest level of 10 ms inside the speech, dBFS: a vocoder is never as silent as no signal."""
    first, last = signal.span
    inside_F = signal.level_F[first : last + 1]
    place = int(inside_F.argmin())
    quiet = np.flatnonzero(inside_F < inside_F[place] + 6)
    run = quiet[np.abs(quiet - place - (np.searchsorted(quiet, place) * 0)) <= LONGEST_BREAK]
    return Measured(
        float(inside_F[place]), signal.time(first + int(run[0])), signal.time(first + int(run[-1]) + 1)
    )


def leading_silence(signal: Signal, segment: SpeechSegment) -> Measured:
    """Seconds before the first speaking frame."""
    start = signal.time(signal.span[0])
    return Measured(start, 0.0, start)


def trailing_silence(signal: Signal, segment: SpeechSegment) -> Measured:
    """Seconds after the last speaking frame."""
    end = min(signal.time(signal.span[1]), segment.seconds)
    return Measured(segment.seconds - end, end, segment.seconds)


def ending_level(signal: Signal, segment: SpeechSegment) -> Measured:
    """Level of the last 25 ms relative to speech, dB: an utterance ends in silence."""
    tail = round(0.025 * signal.rate)
    rms = float(np.sqrt(np.mean(signal.wave_S[-tail:] ** 2)))
    return Measured(
        20 * np.log10(max(rms, 1e-6)) - signal.speech_db, segment.seconds - 0.025, segment.seconds
    )


def marks_in(text: str) -> int:
    """Punctuation marks between words: each may stand for a pause."""
    return len(re.findall(r"\w[^\w']*[,.;:?!—–…-][^\w']*(?=\w)", text))


def pause(signal: Signal, segment: SpeechSegment) -> Measured:
    """Longest silence inside the speech, seconds."""
    return _gap(signal, 0)


def unasked_pause(signal: Signal, segment: SpeechSegment) -> Measured:
    """Longest silence inside the speech, seconds, that no punctuation mark asks for: each mark excuses one."""
    return _gap(signal, marks_in(segment.text))


def _gap(signal: Signal, excused: int) -> Measured:
    gaps = sorted(signal.gaps, key=lambda gap: gap[0] - gap[1])[excused : excused + 1]
    if not gaps:
        return Measured(0.0, 0.0, 0.0)
    start, end = map(signal.time, gaps[0])
    return Measured(end - start, start, end)


def _window_levels(signal: Signal) -> tuple[Floats, Floats]:
    """Starts in seconds and loud level of windows with enough sound, relative to speech, dB."""
    size, step = (round(seconds / HOP_SECONDS) for seconds in (WINDOW_SECONDS, WINDOW_STEP))
    level_F = signal.level_F - signal.speech_db
    starts, levels = [], []
    for first in range(signal.span[0], len(level_F) - size + 1, step):
        window = level_F[first : first + size]
        present = window[window > PRESENT_DB]
        if len(present) >= 0.6 * size:
            starts.append(signal.time(first))
            levels.append(float(np.quantile(present, 0.9)))
    return np.array(starts), np.array(levels)


def level_drop(signal: Signal, segment: SpeechSegment) -> Measured | None:
    """Loudness of the faintest 0.4 s relative to all the speech, dB."""
    starts, levels = _window_levels(signal)
    if len(levels) < 3:
        return None
    place = int(levels.argmin())
    return Measured(levels[place], starts[place], starts[place] + WINDOW_SECONDS)


def loudness(signal: Signal, segment: SpeechSegment) -> Measured:
    """Level of the loud frames, dBFS."""
    return _whole(signal.speech_db, segment)


def tilt(signal: Signal, segment: SpeechSegment) -> Measured:
    """Power above 4 kHz relative to that below in speech, dB."""
    low_T, high_T = signal.band_T
    return _whole(10 * np.log10((high_T.sum() + 1e-12) / (low_T.sum() + 1e-12)), segment)


def hiss(signal: Signal, segment: SpeechSegment) -> Measured:
    """Level above 4 kHz where it is lowest (a tenth of the frames lies below), relative to speech, dB."""
    _, high_T = signal.band_T
    return _whole(10 * np.log10(np.quantile(high_T, 0.1) + 1e-12) - signal.speech_db, segment)


def tempo(signal: Signal, segment: SpeechSegment) -> Measured | None:
    """Expected over actual length of the speech, as log2: 1 is twice as fast as asked."""
    if segment.expected_seconds is None:
        return None
    start, end = map(signal.time, signal.span)
    return Measured(float(np.log2(segment.expected_seconds / max(end - start, HOP_SECONDS))), start, end)


def repeated_sound(signal: Signal, segment: SpeechSegment) -> Measured | None:
    """Highest correlation of two stretches of 0.24 s of mel levels that do not overlap."""
    mel_bT = np.maximum(signal.mel_bT, signal.speech_db + ALIKE_FLOOR_DB)
    size = round(PATCH_SECONDS / STEP_SECONDS)
    if mel_bT.shape[1] < 3 * size:
        return None
    patches = np.lib.stride_tricks.sliding_window_view(mel_bT, size, axis=1).transpose(1, 0, 2)
    patches = patches - patches.mean(2, keepdims=True)
    flat = patches.reshape(len(patches), -1).astype(np.float32)
    norm = np.sqrt((flat**2).sum(1, keepdims=True))
    flat = flat / np.maximum(norm, np.quantile(norm, 0.5))
    alike = flat[::2] @ flat.T  # later stretches on every frame, earlier on every other
    lag = np.arange(len(flat))[None] - 2 * np.arange(len(alike))[:, None]
    alike[lag < size] = 0
    first, second = np.unravel_index(int(alike.argmax()), alike.shape)
    start = signal.at_step(int(second))
    return Measured(float(alike[first, second]), start, start + PATCH_SECONDS)


def repeated_codes(signal: Signal, segment: SpeechSegment) -> Measured | None:
    """Longest run of codes that comes again, in codes; a code that is held counts once."""
    codes = segment.codes_M
    if len(codes) < 4:
        return None
    kept = np.flatnonzero(np.diff(codes, prepend=codes[0] - 1))
    row = codes[kept]
    best = (0, 0)
    for lag in range(1, len(row)):
        same = np.concatenate([[False], row[lag:] == row[:-lag], [False]]).astype(np.int8)
        edges = np.flatnonzero(np.diff(same)).reshape(-1, 2)
        if len(edges):
            runs = edges[:, 1] - edges[:, 0]
            place = int(runs.argmax())
            best = max(best, (int(runs[place]), int(edges[place, 0]) + lag))
    length, place = best
    if not length:
        return Measured(0.0, 0.0, 0.0)
    per_code = segment.seconds / len(codes)
    end = kept[min(place + length, len(kept) - 1)]
    return Measured(float(length), kept[place] * per_code, end * per_code)


def held_code(signal: Signal, segment: SpeechSegment) -> Measured | None:
    """Longest time one code is held, seconds."""
    codes = segment.codes_M
    if not len(codes):
        return None
    edges = np.flatnonzero(np.diff(codes, prepend=codes[0] - 1, append=codes[-1] - 1))
    runs = np.diff(edges)
    place = int(runs.argmax())
    per_code = segment.seconds / len(codes)
    return Measured(
        float(runs[place] * per_code), edges[place] * per_code, (edges[place] + runs[place]) * per_code
    )


def _whole(value: float, segment: SpeechSegment) -> Measured:
    return Measured(value, 0.0, segment.seconds)
