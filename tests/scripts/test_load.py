"""The load script's clients on real and fake engines."""

from __future__ import annotations

import numpy as np
import pytest

from scripts.load import Shared, agreement, alone, measure, over_rounds, streamed, whole
from tests.model.tiny import TINY
from tests.runtime.conftest import tokenizer  # noqa: F401
from tts_trt.errors import TtsTrtError
from tts_trt.frontend.tokenizer import PhoneTokenizer
from tts_trt.runtime.bundle import OpenBundle
from tts_trt.runtime.fake import fake_engines
from tts_trt.runtime.request import Request
from tts_trt.runtime.sampling import SamplingParams
from tts_trt.runtime.scheduler import Scheduler, StreamOptions
from tts_trt.runtime.synthesizer import Synthesizer

OPTIONS = StreamOptions(5, 9)


@pytest.fixture
def tts(tokenizer: PhoneTokenizer) -> Synthesizer:  # noqa: F811
    return Synthesizer(OpenBundle(fake_engines(TINY), TINY, tokenizer))


@pytest.fixture
def asked() -> list[Request]:
    voice = (0.3 * np.sin(np.arange(20000) / 9)).astype(np.float32)
    return [Request("See me, no cat.", voice, sampling=SamplingParams.of(TINY, seed=i)) for i in range(6)]


def test_every_request_is_taken_once_by_so_many_clients(tts: Synthesizer, asked: list[Request]) -> None:
    expected = sum(tts.synthesize(one).seconds for one in asked)
    with Scheduler(tts) as scheduler:
        for client in (alone(tts), whole(scheduler), streamed(scheduler, OPTIONS)):
            found = measure(client, 3, asked)
            assert found["audio_seconds"] == pytest.approx(expected)
            assert found["audio_per_second"] == pytest.approx(expected / found["seconds"])
            assert 0 < found["latency_p50"] <= found["latency_p95"] <= found["seconds"]
        assert 0 < found["first_audio_p50"] <= found["first_audio_p95"]
        assert 0 <= found["share_under_100_ms"] <= 1
        assert scheduler.stats().finished == 12
    assert list(Shared([])) == []


def test_rounds_are_summed_up_by_their_median() -> None:
    rounds = [{"audio_per_second": rate, "seconds": 1 / rate} for rate in (2.0, 8.0, 4.0)]
    assert over_rounds(rounds) == {"audio_per_second": 4.0, "seconds": 0.25, "rounds": [2.0, 8.0, 4.0]}


def test_another_sound_than_alone_is_told(tts: Synthesizer, asked: list[Request]) -> None:
    with Scheduler(tts) as scheduler:
        found = agreement(tts, scheduler, asked[:2], OPTIONS)
        assert found["largest_wave_difference"] < 1e-4
        other = Synthesizer(OpenBundle(fake_engines(TINY), TINY, tts.bundle.tokenizer))
        vocoder = other.engines["vocoder"]
        sound = vocoder.compute  # type: ignore[attr-defined]
        vocoder.compute = lambda x: {"wave": 0.9 * sound(x)["wave"]}  # type: ignore[attr-defined]
        with pytest.raises(TtsTrtError, match="waves differ"):
            agreement(other, scheduler, asked[:2], OPTIONS)
