"""A live voice gives up detail before anyone is refused."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.serve.rig import body
from tts_trt.policy import Live, shipped
from tts_trt.serve.messages import Model
from tts_trt.serve.schema import SpeechBody
from tts_trt.serve.settings import Settings
from tts_trt.serve.speech import spoken_of


@dataclass
class Crowd:
    jobs: int


@pytest.mark.parametrize(("jobs", "level"), [(0, 0), (3, 0), (4, 1), (8, 2), (100, 2)])
def test_the_more_run_the_fewer_steps(jobs: int, level: int) -> None:
    live = shipped(Live)
    here: Any = SimpleNamespace(
        settings=Settings.model_validate({"engines": {"rows": 4}}),
        supervisor=Crowd(jobs),
        catalogue=SimpleNamespace(live=live, voice=lambda name: name),
    )
    model = cast(Model, SimpleNamespace(id="fake", voices=("anna",)))

    def spoken(**extra: Any) -> Any:
        return spoken_of(here, SpeechBody.model_validate(body(tts_trt=extra)), model, "local", in_parts=True)

    crowded = spoken(policy="live")
    assert crowded.steps == (live.flow_steps[level] or None)
    assert crowded.chunks == (live.first_codes, live.chunk_codes[0])
    assert spoken(policy="live", steps=9).steps == 9
    assert spoken().steps is None
