"""The listeners of scripts/server hear what a listener would, and judge it by the bars they state."""

from __future__ import annotations

import asyncio

import pytest

from scripts.server.chaos import judged
from scripts.server.clients import Heard, listen, summary
from scripts.server.running import percentile
from tests.serve.rig import Served, body


def test_listeners_count_sound_and_errors(served: Served) -> None:
    bodies = [body("Hi.", response_format="pcm", stream_format="audio")] * 3 + [body(model="none")]
    heard, took = asyncio.run(listen(served.url, bodies, 2))
    figures = summary(heard, took, streamed=True)
    assert figures["answers"] == {"200": 3, "404": 1}
    assert figures["audio_seconds"] > 0.2
    assert 0 < figures["first_audio_p50"] <= figures["latency_p95"]
    assert [one.code for one in heard if one.status == 404] == ["model_not_found"]


def test_a_request_that_took_too_long_or_says_nothing_fails_the_drill() -> None:
    good = Heard(200, None, 1.0, 0.5, 2.0, 0.0)
    died = Heard(503, "worker_died", 2.0, None, 0.0, 0.0)
    assert judged([good, died], 30.0) == {
        "requests": 2,
        "answers": {"200": 1, "503": 1},
        "errors": {"worker_died": 1},
        "slowest": 2.0,
        "in_time": True,
        "all_clear": True,
        "all_with_sound": True,
    }
    assert not judged([Heard(200, None, 31.0, 0.5, 2.0, 0.0)], 30.0)["in_time"]
    assert not judged([Heard(500, "internal_error", 1.0, None, 0.0, 0.0)], 30.0)["all_clear"]
    assert not judged([Heard(200, None, 1.0, None, 0.0, 0.0)], 30.0)["all_with_sound"]


def test_percentiles_are_values_that_were_measured() -> None:
    assert percentile([], 0.5) is None
    assert percentile([3.0], 0.95) == 3.0
    assert percentile([float(i) for i in range(100)], 0.95) == pytest.approx(95.0)
