"""Features of a reference recording: resampling, log-mel, Kaldi fbank and stacked fbank.

Everything is computed in float64 and returned as float32, so that a graph's tolerance is never spent here.

Shapes: S samples, T mel frames, F fbank frames (10 ms), K FFT bins.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tts_trt.dims import AudioDims
from tts_trt.errors import ReferenceAudioError

FloatArray = NDArray[np.float32]
Wave = NDArray[np.floating[Any]]

FBANK_RATE = 16000  # Hz, of the semantic and the style encoder
FBANK_BINS = 80
FBANK_WINDOW = FBANK_RATE * 25 // 1000  # samples
FBANK_HOP = FBANK_RATE * 10 // 1000  # samples
FBANK_FFT = 512  # the next power of two above the window
FBANK_LOW, FBANK_HIGH = 20.0, FBANK_RATE / 2  # Hz
FBANK_FLOOR = float(np.finfo(np.float32).eps)  # power
PRE_EMPHASIS = 0.97
SEMANTIC_SCALE = 2.0**15  # the semantic encoder was trained on the level of 16-bit integers
SEMANTIC_VARIANCE_FLOOR = 1e-7
SEMANTIC_PAD = 1.0  # value of the frames that fill up the last stack; masked later

MEL_FLOOR = 1e-5  # magnitude
MAGNITUDE_FLOOR = 1e-9  # power, under the square root
SINC_ZEROS, SINC_ROLLOFF = 6, 0.99  # zero crossings each side; cutoff as a share of the lower Nyquist


def hann_sinc_resample(wave_S: Wave, source_rate: int, target_rate: int) -> FloatArray:
    """Band-limited interpolation with a Hann-windowed sinc; (S) -> (ceil(S * target / source)).

    Time is counted in sinc zero crossings. Source samples further than ``SINC_ZEROS`` have no weight, and
    the wave is zero outside.
    """
    if source_rate == target_rate:
        return np.asarray(wave_S, dtype=np.float32)
    common = math.gcd(source_rate, target_rate)
    source, target = source_rate // common, target_rate // common
    cutoff = min(1.0, target / source) * SINC_ROLLOFF  # zero crossings per source sample
    reach = math.ceil(SINC_ZEROS / cutoff)
    length = -(-len(wave_S) * target // source)
    periods = -(-length // target)  # every ``target`` outputs the same fractions of a sample come back
    wave_S = np.asarray(wave_S, dtype=np.float64)
    padded = np.pad(wave_S, (reach, periods * source + reach + 1 - len(wave_S)))
    spans = _frames(padded, source + 2 * reach + 1, source)
    first, phase = np.divmod(np.arange(target) * source, target)
    result = np.zeros((periods, target))
    for offset in range(-reach, reach + 2):
        time = np.clip((offset - phase / target) * cutoff, -SINC_ZEROS, SINC_ZEROS)
        taps = np.sinc(time) * np.cos(time * np.pi / (2 * SINC_ZEROS)) ** 2 * cutoff
        result += taps * spans[:periods, first + offset + reach]
    return result.reshape(-1)[:length].astype(np.float32)


def log_mel(wave_S: Wave, dims: AudioDims) -> FloatArray:
    """Log magnitude mel spectrogram of the acoustic model, (S) -> (n_mels, T); T = S // hop.

    Reflect-padded so that frame t is centred on samples t*hop .. (t+1)*hop, periodic Hann window, Slaney mel;
    shifted and scaled as the model's dims say (not at all officially).
    """
    pad = (dims.n_fft - dims.hop) // 2
    if len(wave_S) < max(dims.hop, 2):
        raise ReferenceAudioError(
            f"the recording has {len(wave_S)} samples, a mel frame needs {dims.hop}",
            hint="use a longer recording",
        )
    padded = np.pad(np.asarray(wave_S, dtype=np.float64), pad, mode="reflect")
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(dims.n_fft) / dims.n_fft)
    spectrum_TK = np.fft.rfft(_frames(padded, dims.n_fft, dims.hop) * window)
    magnitude_TK = np.sqrt(spectrum_TK.real**2 + spectrum_TK.imag**2 + MAGNITUDE_FLOOR)
    mel_TM = magnitude_TK @ slaney_filters(dims.sample_rate, dims.n_fft, dims.n_mels).T
    logarithm_MT = np.log(np.maximum(mel_TM, MEL_FLOOR)).T
    return ((logarithm_MT - dims.mel_shift) / dims.mel_scale).astype(np.float32)


def kaldi_fbank(wave_S: Wave) -> FloatArray:
    """Kaldi log-mel energies of a 16 kHz wave in [-1, 1], (S) -> (F, 80); F = 1 + (S - 400) // 160.

    Per frame: DC removal, pre-emphasis, Povey window, power spectrum, triangles in the mel domain; no dither.
    """
    wave_S = np.asarray(wave_S, dtype=np.float64)
    if len(wave_S) < FBANK_WINDOW + FBANK_HOP:
        raise ReferenceAudioError(
            f"the recording has {len(wave_S)} samples at 16 kHz, the features need "
            f"{FBANK_WINDOW + FBANK_HOP}",
            hint="use a longer recording",
        )
    frames = _frames(wave_S, FBANK_WINDOW, FBANK_HOP)
    frames = frames - frames.mean(-1, keepdims=True)
    previous = np.concatenate([frames[:, :1], frames[:, :-1]], axis=1)
    spectrum_FK = np.fft.rfft((frames - PRE_EMPHASIS * previous) * _povey_window(), FBANK_FFT)
    power_FK = spectrum_FK.real**2 + spectrum_FK.imag**2
    return np.log(np.maximum(power_FK @ _kaldi_filters().T, FBANK_FLOOR)).astype(np.float32)


def style_features(wave_S: Wave) -> FloatArray:
    """What the style encoder reads: the 16 kHz wave's fbank less its mean over time, (S) -> (F, 80)."""
    fbank = kaldi_fbank(wave_S)
    centred: FloatArray = fbank - fbank.mean(0)
    return centred


def seamless_features(wave_S: Wave, stride: int = 2) -> tuple[FloatArray, NDArray[np.bool_]]:
    """What the semantic encoder reads from a 16 kHz wave.

    Returns features (ceil(F/stride), 80*stride) float32, per-bin normalised over time, and a bool mask
    (ceil(F/stride)): False for a last row that is not full. Such a row still belongs to the recording.
    """
    fbank = kaldi_fbank(np.asarray(wave_S, dtype=np.float64) * SEMANTIC_SCALE).astype(np.float64)
    fbank = (fbank - fbank.mean(0)) / np.sqrt(fbank.var(0, ddof=1) + SEMANTIC_VARIANCE_FLOOR)
    frames = len(fbank)
    rows = -(-frames // stride)
    stacked = np.full((rows * stride, FBANK_BINS), SEMANTIC_PAD, dtype=np.float32)
    stacked[:frames] = fbank
    mask = np.arange(1, rows + 1) * stride <= frames
    return stacked.reshape(rows, stride * FBANK_BINS), mask


def _frames(wave_S: Wave, size: int, hop: int) -> Wave:
    """Read-only overlapping views, (frames, size)."""
    return np.lib.stride_tricks.sliding_window_view(wave_S, size)[::hop]


@lru_cache(maxsize=1)
def _povey_window() -> NDArray[np.float64]:
    return np.hanning(FBANK_WINDOW) ** 0.85


@lru_cache(maxsize=1)
def _kaldi_filters() -> NDArray[np.float64]:
    """Triangles of equal width on Kaldi's mel scale, peak 1, (80, K)."""

    def to_mel(hertz: Wave | float) -> NDArray[np.float64]:
        return 1127.0 * np.log1p(np.asarray(hertz) / 700.0)

    edges = np.linspace(to_mel(FBANK_LOW), to_mel(FBANK_HIGH), FBANK_BINS + 2)
    bins = to_mel(np.arange(FBANK_FFT // 2 + 1) * (FBANK_RATE / FBANK_FFT))
    return _triangles(bins, edges)


@lru_cache(maxsize=8)
def slaney_filters(sample_rate: int, n_fft: int, n_mels: int) -> NDArray[np.float64]:
    """Triangles in Hz with unit area (Slaney's Auditory Toolbox), 0 Hz to Nyquist, (n_mels, K)."""
    linear_step, break_hz = 200 / 3, 1000.0  # linear below 1 kHz, logarithmic above
    log_step, break_mel = math.log(6.4) / 27, break_hz / linear_step
    nyquist = sample_rate / 2
    top = nyquist / linear_step if nyquist < break_hz else break_mel + math.log(nyquist / break_hz) / log_step
    mel = np.linspace(0.0, top, n_mels + 2)
    edges = np.where(
        mel < break_mel, mel * linear_step, break_hz * np.exp(log_step * np.maximum(mel - break_mel, 0.0))
    )
    bins = np.arange(n_fft // 2 + 1) * (sample_rate / n_fft)
    return _triangles(bins, edges) * (2.0 / (edges[2:] - edges[:-2]))[:, None]


def _triangles(bins_K: Wave, edges: Wave) -> NDArray[np.float64]:
    """Triangle m rises from edge m to m+1 and falls to m+2, (len(edges) - 2, K)."""
    lower, centre, upper = (edges[i : len(edges) - 2 + i, None] for i in range(3))
    rising, falling = (bins_K - lower) / (centre - lower), (upper - bins_K) / (upper - centre)
    return np.maximum(0.0, np.minimum(rising, falling))
