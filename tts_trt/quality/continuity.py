"""What a listener notices of a stream: how long until it begins, and whether it ever runs dry.

arrivals   |--first audio--|####|   |####|####|
player                     [ plays at real time ......stalls...... ]
                                         deficit: how late the piece came that it needed next
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from tts_trt.playback import NOTICED_SECONDS, Playback


@dataclass(frozen=True)
class Piece:
    arrived: float  # seconds since the request
    seconds: float  # of audio


@dataclass(frozen=True)
class Continuity:
    """Seconds."""

    first_audio: float
    deficit: float  # the largest: silence a player must put in that begins with the first piece; 0 where it never waits


def continuity(pieces: Sequence[Piece]) -> Continuity:
    """Of one stream, in the order of arrival. ValueError for none."""
    playback = Playback()
    for piece in pieces:
        playback.add(piece.arrived, piece.seconds)
    if playback.began is None:
        raise ValueError("a stream of no pieces")
    return Continuity(playback.began, playback.deficit)


def summary(streams: Iterable[Continuity]) -> dict[str, float]:
    """Of many: percentiles of the time to first audio, the worst deficit, the share of streams nobody notices a gap in."""
    found = list(streams)
    first = [one.first_audio for one in found]
    deficits = np.array([one.deficit for one in found])
    return {
        "first_audio_p50": percentile(first, 50),
        "first_audio_p95": percentile(first, 95),
        "worst_deficit": float(deficits.max()),
        "share_under_100_ms": float((deficits < NOTICED_SECONDS).mean()),
    }


def percentile(values: Sequence[float], rank: float) -> float:
    """Between the two nearest where none is exactly there."""
    return float(np.percentile(np.asarray(values, float), rank))
