from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tts_trt.quality.continuity import Continuity, Piece, continuity, summary

POSITIVE = st.floats(0.01, 5.0)


def test_a_player_that_always_has_something_never_waits() -> None:
    pieces = [Piece(0.3, 0.8), Piece(0.9, 1.6), Piece(2.5, 0.4)]
    assert continuity(pieces) == Continuity(first_audio=0.3, deficit=0.0)


def test_the_deficit_is_the_largest_delay_of_a_piece_behind_the_audio_before_it() -> None:
    pieces = [Piece(0.5, 1.0), Piece(1.75, 0.5), Piece(2.25, 3.0), Piece(3.0, 1.0)]
    assert continuity(pieces).deficit == pytest.approx(0.25)


@given(st.lists(st.tuples(POSITIVE, POSITIVE), min_size=1), st.floats(0.0, 3.0))
def test_a_buffer_of_the_deficit_lets_the_stream_play_through(
    steps: list[tuple[float, float]], waited: float
) -> None:
    arrived, pieces = waited, []
    for delay, seconds in steps:
        arrived += delay
        pieces.append(Piece(arrived, seconds))
    found = continuity(pieces)
    plays, late = found.first_audio + found.deficit, 0.0
    for piece in pieces:
        late = max(late, piece.arrived - plays)
        plays += piece.seconds
    assert late == pytest.approx(0.0, abs=1e-6)


def test_many_streams_are_summed_up() -> None:
    found = summary([Continuity(0.2, 0.0), Continuity(0.4, 0.05), Continuity(0.6, 0.4), Continuity(0.8, 0.0)])
    assert found["first_audio_p50"] == pytest.approx(0.5)
    assert found["worst_deficit"] == 0.4
    assert found["share_under_100_ms"] == 0.75


def test_a_stream_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="no pieces"):
        continuity([])
