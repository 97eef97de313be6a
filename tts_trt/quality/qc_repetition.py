"""What is said twice, held too long, or said too fast or too slowly.

M codes, R runs of equal codes, T spectrum frames, N stretches, D values of a stretch.
"""

from __future__ import annotations

import re

import numpy as np

from tts_trt.quality.qc_signal import HOP_SECONDS, STEP_SECONDS, Measured, Signal, SpeechSegment

STRETCH_SECONDS = 0.24  # the shortest repetition looked for
SAMPLED = 4  # of a stretch every fourth frame is compared, and of earlier stretches every fourth
FLOOR_DB = -35.0  # relative to speech: fainter sounds are alike
SPEAKING_SHARE = 0.75  # of a stretch
SOUNDING_DB = -28.0  # loudest mel band of a frame with speech, relative to that of the segment
SHORT_WORDS_SECONDS = 0.12  # "the" twice in a sentence is not worth an excuse


def tempo(signal: Signal, segment: SpeechSegment) -> Measured | None:
    """Expected over actual length of the speech, log2: 1 is twice as fast as asked."""
    if segment.expected_seconds is None:
        return None
    start, end = (signal.time(frame) for frame in signal.span)
    return Measured(float(np.log2(segment.expected_seconds / max(end - start, HOP_SECONDS))), start, end)


def said_twice(text: str) -> float:
    """Share of the letters of a text that lie in its longest run of words that comes again."""
    words = re.findall(r"[\w']+", text.lower())
    longest = 0
    for i in range(len(words)):
        for j in range(i + 1, len(words)):
            count = 0
            while j + count < len(words) and words[i + count] == words[j + count]:
                count += 1
            longest = max(longest, sum(map(len, words[i : i + count])))
    return longest / max(sum(map(len, words)), 1)


def _excused(segment: SpeechSegment) -> float:
    """Seconds that the text itself repeats."""
    seconds = said_twice(segment.text) * segment.seconds
    return seconds if seconds > SHORT_WORDS_SECONDS else 0.0


def repeated_sound(signal: Signal, segment: SpeechSegment) -> Measured | None:
    """Least distance of two stretches of speech that do not overlap, dB between mel levels (root mean square). They
    are longer than what the text says twice."""
    seconds = max(STRETCH_SECONDS, _excused(segment) + SHORT_WORDS_SECONDS)
    size = round(seconds / STEP_SECONDS)
    mel_bT = signal.mel_bT.astype(np.float32)
    if mel_bT.shape[1] < 2 * size + SAMPLED:
        return None
    sounding_T = mel_bT.max(0) > mel_bT.max() + SOUNDING_DB
    speaking_N = np.convolve(sounding_T, np.ones(size) / size, "valid") >= SPEAKING_SHARE
    mel_bT = np.maximum(mel_bT, np.float32(signal.speech_db + FLOOR_DB))
    frames_NbP = np.lib.stride_tricks.sliding_window_view(mel_bT, size, axis=1)[..., ::SAMPLED]
    stretch_ND = frames_NbP.transpose(1, 0, 2).reshape(len(speaking_N), -1)
    stretch_ND = stretch_ND - stretch_ND.mean(0)  # the same for all: only keeps rounding small
    power_N = np.mean(stretch_ND**2, axis=1)
    cross = stretch_ND[::SAMPLED] @ stretch_ND.T / stretch_ND.shape[1]
    square = power_N[::SAMPLED, None] + power_N - 2 * cross
    starts = np.arange(len(speaking_N))
    apart = starts - starts[::SAMPLED, None] >= size
    apart &= speaking_N & speaking_N[::SAMPLED, None]
    square[~apart] = np.inf
    earlier, later = np.unravel_index(int(square.argmin()), square.shape)
    if not np.isfinite(square[earlier, later]):
        return None
    start = signal.step_time(int(later))
    return Measured(float(np.sqrt(max(square[earlier, later], 0.0))), start, start + seconds)


def repeated_codes(signal: Signal, segment: SpeechSegment) -> Measured | None:
    """Longest run of codes that comes again with the same timing, in changes of code, beyond what the text repeats."""
    codes_M = segment.codes_M
    if len(codes_M) < 4:
        return None
    changes_M = np.concatenate([[0], np.cumsum(np.diff(codes_M) != 0)])
    best, start, end = 0, 0, 0
    for lag in range(1, len(codes_M)):
        same = np.concatenate([[False], codes_M[lag:] == codes_M[:-lag], [False]])
        edges = np.flatnonzero(np.diff(same.astype(np.int8))).reshape(-1, 2) + lag
        if not len(edges):
            continue
        changes = changes_M[edges[:, 1] - 1] - changes_M[edges[:, 0]]
        place = int(changes.argmax())
        if changes[place] > best:
            best, start, end = int(changes[place]), int(edges[place, 0]), int(edges[place, 1])
    per_code = segment.seconds / len(codes_M)
    return Measured(max(best - _excused(segment) / per_code, 0.0), start * per_code, end * per_code)


def held_code(signal: Signal, segment: SpeechSegment) -> Measured | None:
    """Longest time that one code is held, seconds."""
    codes_M = segment.codes_M
    if not len(codes_M):
        return None
    edges_R = np.concatenate([[0], np.flatnonzero(np.diff(codes_M)) + 1, [len(codes_M)]])
    place = int(np.diff(edges_R).argmax())
    start, end = (float(edges_R[place + i]) * segment.seconds / len(codes_M) for i in (0, 1))
    return Measured(end - start, start, end)
