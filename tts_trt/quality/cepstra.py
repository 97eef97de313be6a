"""Mel cepstral distortion, frame by frame or along the best alignment.

m mel bins, T and U mel frames, C cepstral coefficients.
"""

from __future__ import annotations

import numpy as np

from tts_trt.dims import AudioDims
from tts_trt.errors import UsageError
from tts_trt.quality.frames import Floats
from tts_trt.quality.mels import Mel, checked_mels

ORDER = 24
DB_PER_CEPSTRUM = 10 / np.log(10) * np.sqrt(2)


def mel_cepstra(mel_mT: Mel, audio: AudioDims, order: int = ORDER) -> Floats:
    """Coefficients 1 to ``order`` of the log power in the model's mel bands, (T,C); coefficient 0, the level, left out.

    ln P = 2 (x * mel_scale + mel_shift), and c_k = 1/m sum_j ln P_j cos(pi k (j + 1/2) / m): a DCT-II scaled such that
    ln P = c_0 + 2 sum_k c_k cos(...), as cepstra of a power spectrum are. An orthonormal DCT gives sqrt(m/2) times as
    much. UsageError unless 1 <= order < m.
    """
    (mel,) = checked_mels(mel_mT)
    bins = len(mel)
    if not 1 <= order < bins:
        raise UsageError(f"cepstral order {order}, expected 1 to {bins - 1}, below the number of mel bins")
    basis_Cm = np.cos(np.pi / bins * np.outer(np.arange(1, order + 1), np.arange(bins) + 0.5)) / bins
    # mel_shift is the same in every band: it has no coefficient but 0
    cepstra_TC: Floats = (basis_Cm @ mel * (2 * audio.mel_scale)).T
    return cepstra_TC


def mcd_curve(baseline_mT: Mel, candidate_mT: Mel, audio: AudioDims, order: int = ORDER) -> Floats:
    """Mel cepstral distortion of each frame in dB, (T): 10/ln 10 * sqrt(2 sum_{k=1}^{order} (c_k - c'_k)^2) (Kubichek
    1993), over every frame, silent ones too, without alignment.

    With the scale of ``mel_cepstra`` and order m - 1 this is the root mean square over mel bands of the difference in
    dB without its mean (Parseval). 0 for silence in both. UsageError for unequal lengths.
    """
    baseline_TC, candidate_TC = (mel_cepstra(mel, audio, order) for mel in (baseline_mT, candidate_mT))
    if baseline_TC.shape != candidate_TC.shape:
        raise UsageError(
            f"{len(baseline_TC)} and {len(candidate_TC)} mel frames, expected as many",
            hint="mcd_aligned_db takes any two lengths",
        )
    curve_T: Floats = DB_PER_CEPSTRUM * np.sqrt(((baseline_TC - candidate_TC) ** 2).sum(1))
    return curve_T


def mcd_db(baseline_mT: Mel, candidate_mT: Mel, audio: AudioDims, order: int = ORDER) -> float:
    """Mean of ``mcd_curve``: for renderings of the same codes."""
    return float(mcd_curve(baseline_mT, candidate_mT, audio, order).mean())


def mcd_aligned_db(baseline_mT: Mel, candidate_mT: Mel, audio: AudioDims, order: int = ORDER) -> float:
    """Mean distortion in dB along the path that dynamic time warping finds: for two readings of one text.

    The path goes from first frames to last in steps (1,0), (0,1) and (1,1) of equal weight and has the least sum; the
    mean is over its steps (Sakoe and Chiba 1978, without a slope limit). It forgives every difference in timing: do not
    compare it with ``mcd_db``. Itself against itself is 0 to within rounding, 1e-7. UsageError as ``mel_cepstra``, and
    for unlike mel bins.
    """
    checked_mels(baseline_mT, candidate_mT)
    a_TC, b_UC = (mel_cepstra(mel, audio, order) for mel in (baseline_mT, candidate_mT))
    squares_TU = (a_TC**2).sum(1)[:, None] + (b_UC**2).sum(1)[None] - 2 * a_TC @ b_UC.T
    cost_TU = DB_PER_CEPSTRUM * np.sqrt(np.maximum(squares_TU, 0))
    path = warping_path(cost_TU)
    return float(cost_TU[path[:, 0], path[:, 1]].mean())


def warping_path(cost_TU: Floats) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
    """Pairs (t, u) of the cheapest path through the costs, (steps,2); the diagonal wins ties.

    Sums are filled along anti-diagonals, whose cells do not depend on each other.
    """
    rows, columns = cost_TU.shape
    total = np.full((rows + 1, columns + 1), np.inf)
    total[0, 0] = 0.0
    for diagonal in range(rows + columns - 1):
        t = np.arange(max(0, diagonal - columns + 1), min(rows, diagonal + 1))
        u = diagonal - t
        best = np.minimum(np.minimum(total[t, u], total[t, u + 1]), total[t + 1, u])
        total[t + 1, u + 1] = cost_TU[t, u] + best
    t, u = rows, columns
    path = [(t, u)]
    while (t, u) != (1, 1):
        t, u = min(((t - 1, u - 1), (t - 1, u), (t, u - 1)), key=lambda cell: total[cell])
        path.append((t, u))
    return np.array(path[::-1]) - 1
