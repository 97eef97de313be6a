"""Levels over time: silence where there should be none, speech that fades, drops or breaks off.

F level frames, 2.5 ms each.
"""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from tts_trt.quality.qc_signal import HOP_SECONDS, Floats, Measured, Signal, SpeechSegment

EDGE = 4  # frames, 10 ms: less than a pitch period apart, levels follow the pulses of the voice
QUIET_DB = -60.0  # levels below this, relative to speech, are alike
HEARD_DB = -32.0  # of a sound worth interrupting
LONGEST_DROPOUT = 100  # frames, 0.25 s
LOUD_SHARE = 0.9  # how loud a stretch is, its loud frames say
STRIDE = 8  # frames between stretches compared
DROP_SHARE, DROP_LEAST = 0.3, 0.5  # of the speech; seconds
TAIL_SHARE, TAIL_LEAST, TAIL_FLOOR_DB = 0.25, 0.25, -40.0
END_SECONDS = 0.02
PAUSE_SECONDS = 0.1  # a gap below this is a consonant
SYLLABLE = 40  # frames, 0.1 s


def _edges(signal: Signal) -> tuple[Floats, Floats, int]:
    """How far the level falls and rises within 10 ms of each frame, dB, and which frame is the first."""
    first, last = signal.span
    level_F = np.maximum(signal.level_F - signal.speech_db, QUIET_DB)[first + EDGE : last - EDGE]
    before_F, after_F = level_F[:-EDGE], level_F[EDGE:]
    step_F = after_F - before_F
    fall_F, rise_F = np.where(before_F > HEARD_DB, -step_F, 0.0), np.where(after_F > HEARD_DB, step_F, 0.0)
    return fall_F, rise_F, first + EDGE


def _steepest(signal: Signal, edge_F: Floats, first: int) -> Measured | None:
    if not len(edge_F):
        return None
    place = int(edge_F.argmax())
    return Measured(float(edge_F[place]), signal.time(first + place), signal.time(first + place + EDGE))


def sudden_silence(signal: Signal, segment: SpeechSegment) -> Measured | None:
    """Steepest fall of the level inside the speech, dB in 10 ms."""
    fall_F, _, first = _edges(signal)
    return _steepest(signal, fall_F, first)


def sudden_onset(signal: Signal, segment: SpeechSegment) -> Measured | None:
    """Steepest rise of the level inside the speech, dB in 10 ms."""
    _, rise_F, first = _edges(signal)
    return _steepest(signal, rise_F, first)


def dropout(signal: Signal, segment: SpeechSegment) -> Measured | None:
    """The lesser of a steep fall and the steepest rise within the next 0.25 s, dB in 10 ms. A stop consonant is gentle
    on one side."""
    fall_F, rise_F, first = _edges(signal)
    gap = 2 * EDGE
    if len(fall_F) <= gap:
        return None
    ahead_FW = np.lib.stride_tricks.sliding_window_view(
        np.pad(rise_F[gap:], (0, LONGEST_DROPOUT - 1)), LONGEST_DROPOUT
    )
    both_F = np.minimum(fall_F[:-gap], ahead_FW.max(1))
    place = int(both_F.argmax())
    back = place + gap + int(ahead_FW[place].argmax())
    return Measured(float(both_F[place]), signal.time(first + place), signal.time(first + back + EDGE))


def dead_air(signal: Signal, segment: SpeechSegment) -> Measured:
    """Lowest level of 10 ms inside the speech, dBFS: no vocoder is as silent as no signal at all."""
    first, last = signal.span
    inside_F = signal.level_F[first : last + 1]
    place = int(inside_F.argmin())
    louder = np.flatnonzero(inside_F > inside_F[place] + 6)
    start = louder[louder < place].max(initial=-1) + 1
    end = louder[louder > place].min(initial=len(inside_F))
    return Measured(float(inside_F[place]), signal.time(first + int(start)), signal.time(first + int(end)))


def leading_silence(signal: Signal, segment: SpeechSegment) -> Measured:
    """Seconds before the first speaking frame."""
    start = signal.time(signal.span[0])
    return Measured(start, 0.0, start)


def trailing_silence(signal: Signal, segment: SpeechSegment) -> Measured:
    """Seconds after the last speaking frame."""
    end = min(signal.time(signal.span[1]), segment.seconds)
    return Measured(segment.seconds - end, end, segment.seconds)


def loud_end(signal: Signal, segment: SpeechSegment) -> Measured:
    """Highest level in the last 20 ms relative to speech, dB: what is said to its end ends in silence."""
    frames = round(END_SECONDS / HOP_SECONDS)
    level = float(signal.level_F[-frames:].max()) - signal.speech_db
    return Measured(level, segment.seconds - END_SECONDS, segment.seconds)


def marks_in(text: str) -> int:
    """Punctuation marks between words: each may stand for a pause."""
    return len(re.findall(r"[,.;:?!…—–](?=.*\w)|\s-\s(?=.*\w)", text))


def pause(signal: Signal, segment: SpeechSegment) -> Measured:
    """Longest silence inside the speech, seconds."""
    return _gap(signal, 0)


def unasked_pause(signal: Signal, segment: SpeechSegment) -> Measured:
    """Longest silence inside the speech that no punctuation mark explains, seconds: each mark excuses one."""
    return _gap(signal, marks_in(segment.text))


def _gap(signal: Signal, excused: int) -> Measured:
    gaps = sorted(signal.gaps, key=lambda gap: gap[0] - gap[1])[excused : excused + 1]
    if not gaps:
        return Measured(0.0, 0.0, 0.0)
    start, end = (signal.time(frame) for frame in gaps[0])
    return Measured(end - start, start, end)


def loudness(signal: Signal, segment: SpeechSegment) -> Measured:
    """Level of the loud frames, dBFS."""
    return signal.whole(signal.speech_db)


def level_drop(signal: Signal, segment: SpeechSegment) -> Measured:
    """How loud the faintest third of the speech is relative to the whole, pauses left out, dB."""
    first, last = signal.span
    frames_F = _without_pauses(signal, first, last + 1)
    size = max(round(DROP_SHARE * len(frames_F)), round(DROP_LEAST / HOP_SECONDS))
    size = min(size, len(frames_F))
    loud_N = np.quantile(_stretches(signal.level_F[frames_F], size), LOUD_SHARE, axis=1) - signal.speech_db
    start = STRIDE * int(loud_N.argmin())
    return Measured(
        float(loud_N.min()),
        signal.time(int(frames_F[start])),
        signal.time(int(frames_F[start + size - 1]) + 1),
    )


def fading_end(signal: Signal, segment: SpeechSegment) -> Measured:
    """Mean level of the syllables in the last quarter relative to speech, pauses left out, dB."""
    frames_F = _without_pauses(signal, 0, len(signal.level_F))
    size = max(round(TAIL_SHARE * len(frames_F)), round(TAIL_LEAST / HOP_SECONDS))
    frames_F = frames_F[-size:]
    level_F = np.maximum(signal.level_F[frames_F] - signal.speech_db, TAIL_FLOOR_DB)
    loud_N = np.quantile(_stretches(level_F, min(SYLLABLE, len(level_F))), LOUD_SHARE, axis=1)
    return Measured(float(loud_N.mean()), signal.time(int(frames_F[0])), segment.seconds)


def _without_pauses(signal: Signal, first: int, end: int) -> NDArray[np.int64]:
    """Level frames from ``first`` on that lie in no pause between speech."""
    kept_F = np.ones(end, np.bool_)
    kept_F[:first] = False
    for start, stop in signal.gaps:
        if signal.time(stop - start) > PAUSE_SECONDS:
            kept_F[start:stop] = False
    return np.flatnonzero(kept_F)


def _stretches(level_F: Floats, size: int) -> Floats:
    view: Floats = np.lib.stride_tricks.sliding_window_view(level_F, size)[::STRIDE]
    return view
