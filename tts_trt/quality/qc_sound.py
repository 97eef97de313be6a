"""The sound itself: clicks, clipping, offset, hiss, grain, balance of the bands.

S samples, P samples predicted from, T spectrum frames, N blocks of 1 ms, W frames of the predictor.
"""

from __future__ import annotations

import numpy as np

from tts_trt.quality.qc_signal import STEP_SECONDS, WINDOW_SECONDS, Floats, Measured, Signal, SpeechSegment

ORDER = 12  # of the predictor: formants up to 8 kHz
PREDICTOR_SECONDS, PREDICTOR_STEP = 0.02, 0.01
REGULAR = 1e-3  # of the frame's power, added to its autocorrelation
BLOCK_SECONDS = 0.001
NEAR = 25  # blocks either side: a pitch period and the ear's masking
CLICK_FLOOR = 1e-3  # of the peak: what is smaller nobody hears

NEAR_RAIL, FLAT = 0.015, 2e-3  # of half the range
REST_SECONDS = 0.03  # the shortest silence noise is measured in
VOICED_DB = -15.0  # relative to speech, below 4 kHz
TILT_HZ = 1000.0
TINY = 1e-12


def offset(signal: Signal, segment: SpeechSegment) -> Measured:
    """Distance of the mean from 0, full scale being 1."""
    return signal.whole(abs(float(signal.wave_S.mean())))


def clipping(signal: Signal, segment: SpeechSegment) -> Measured:
    """Samples in flat tops per thousand: as high or low as the wave gets and equal to their neighbour."""
    wave_S = signal.wave_S
    high, low = wave_S.max(), wave_S.min()
    near = (high - low) / 2 * NEAR_RAIL
    rail_S = (wave_S >= high - near) | (wave_S <= low + near)  # with an offset they are not equally high
    flat_S = np.abs(np.diff(wave_S)) <= (high - low) / 2 * FLAT
    places = np.flatnonzero(rail_S[1:] & rail_S[:-1] & flat_S)
    if not len(places):
        return signal.whole(0.0)
    share = 1000 * len(places) / len(wave_S)
    return Measured(share, places[0] / signal.rate, (places[-1] + 2) / signal.rate)


def click(signal: Signal, segment: SpeechSegment) -> Measured:
    """Largest prediction error within 1 ms over the largest of the 25 ms before and after, dB.

    The linear predictor takes the voice's resonances out; pulses of the voice have neighbours of their kind and bursts
    go on, so what stands alone is no speech.
    """
    ratio_N = standing_out(signal)
    return click_at(signal, ratio_N, int(ratio_N.argmax()))


def standing_out(signal: Signal) -> Floats:
    """Of each block of 1 ms: its largest prediction error over the largest around it (N)."""
    size = round(BLOCK_SECONDS * signal.rate)
    error_S = np.abs(_prediction_error(signal))
    count = len(error_S) // size
    block_N = error_S[: count * size].reshape(count, size).max(1)
    # a click on the border of two blocks is in both, so the next block does not count
    sides_NB = np.lib.stride_tricks.sliding_window_view(np.pad(block_N, NEAR), NEAR - 1)
    around_N = np.maximum(sides_NB[:count].max(1), sides_NB[NEAR + 2 : NEAR + 2 + count].max(1))
    floor = CLICK_FLOOR * np.abs(signal.wave_S).max() + TINY
    ratio_N: Floats = block_N / np.maximum(around_N, floor)
    return ratio_N


def click_at(signal: Signal, ratio_N: Floats, block: int) -> Measured:
    seconds = round(BLOCK_SECONDS * signal.rate) / signal.rate
    decibels = 20 * np.log10(max(float(ratio_N[block]), 1e-3))
    return Measured(float(decibels), block * seconds, (block + 1) * seconds)


def _prediction_error(signal: Signal) -> Floats:
    """Of a linear predictor fitted every 10 ms (autocorrelation method), (S)."""
    size, step = (round(seconds * signal.rate) for seconds in (PREDICTOR_SECONDS, PREDICTOR_STEP))
    padded = np.pad(signal.wave_S, (size // 2, size))
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[::step] * np.hanning(size)
    power = np.abs(np.fft.rfft(frames, 2 * size)) ** 2
    lags_WP = np.fft.irfft(power)[:, : ORDER + 1]
    matrix = lags_WP[:, np.abs(np.subtract.outer(np.arange(ORDER), np.arange(ORDER)))]
    ridge = REGULAR * lags_WP[:, 0] + TINY
    weights_WP = np.linalg.solve(matrix + ridge[:, None, None] * np.eye(ORDER), lags_WP[:, 1:, None])[..., 0]
    past_SP = np.lib.stride_tricks.sliding_window_view(np.pad(signal.wave_S, (ORDER, 0))[:-1], ORDER)
    nearest_S = (np.arange(len(signal.wave_S)) + step // 2) // step
    error_S: Floats = signal.wave_S - np.einsum("sp,sp->s", past_SP, weights_WP[nearest_S, ::-1])
    return error_S


def hiss(signal: Signal, segment: SpeechSegment) -> Measured:
    """Noise above 4 kHz in the quietest 30 ms, relative to speech, dB."""
    _, high_T = signal.low_high_T
    size = round(REST_SECONDS / STEP_SECONDS)
    rest = np.convolve(high_T, np.ones(size) / size, "valid").min()
    return signal.whole(float(10 * np.log10(rest + TINY)) - signal.speech_db)


def grain(signal: Signal, segment: SpeechSegment) -> Measured | None:
    """Power above 4 kHz relative to that below in vowels, dB: a quarter of the frames that are loud below lie under."""
    low_T, high_T = signal.low_high_T
    voiced_T = 10 * np.log10(low_T + TINY) > signal.speech_db + VOICED_DB
    if not voiced_T.any():
        return None
    ratio_T = 10 * np.log10((high_T[voiced_T] + TINY) / low_T[voiced_T])
    return signal.whole(float(np.quantile(ratio_T, 0.25)))


def tilt(signal: Signal, segment: SpeechSegment) -> Measured:
    """Power above 1 kHz relative to that below, dB."""
    spectrum_K = signal.power_KT.sum(1)
    split = round(TILT_HZ * WINDOW_SECONDS)
    return signal.whole(
        float(10 * np.log10((spectrum_K[split:].sum() + TINY) / (spectrum_K[1:split].sum() + TINY)))
    )
