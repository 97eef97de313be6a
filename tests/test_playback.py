"""What a player does with pieces that come late."""

from __future__ import annotations

import pytest

from tts_trt.playback import Playback


def test_a_gap_is_what_a_listener_would_hear() -> None:
    played = Playback()
    for now, seconds in ((10.0, 1.0), (10.9, 0.5), (11.8, 0.5), (11.9, 1.0)):
        played.add(now, seconds)
    assert played.deficit == pytest.approx(0.3)  # at 11.5 all was played, until 11.8
    assert played.sent == 3.0
