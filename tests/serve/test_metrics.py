"""Figures say what happened, and docs/serving.md says what the server does: its tables are held to it."""

from __future__ import annotations

import re
import time
import tomllib
from pathlib import Path

from tests.serve.rig import Served
from tts_trt.serve.metrics import Experience, Metrics
from tts_trt.serve.schema import Extension, SpeechBody
from tts_trt.serve.settings import Settings

PAGE = (Path(__file__).parents[2] / "docs" / "serving.md").read_text()


def value(text: str, name: str) -> float:
    found = re.search(rf"^{re.escape(name)} (\S+)$", text, flags=re.MULTILINE)
    assert found, name
    return float(found[1])


def test_a_request_is_counted_once_where_it_belongs(served: Served) -> None:
    def read() -> dict[str, float]:
        text = served.client.get("/metrics").text
        names = (
            'request_success_total{model="fake-int8"}',
            'time_to_first_audio_seconds_count{model="fake-int8"}',
            'stream_underrun_seconds_count{model="fake-int8"}',
            'request_failure_total{reason="model_not_found"}',
        )
        return {name: value(text, f"tts_trt_{name}") for name in names}

    for changes in ({}, {"stream_format": "audio"}, {"model": "none"}):
        served.speak("Hi.", **({"model": "fake-int8"} | changes))
    before = read()
    served.speak("Hi.", model="fake-int8")
    served.speak("Hi.", model="fake-int8", stream_format="sse")
    served.speak("Hi.", model="none")
    assert [after - before[name] for name, after in read().items()] == [2, 2, 1, 1]


def test_figures_of_the_engines_come_with_the_beats(served: Served) -> None:
    served.speak("Hi.")
    deadline = time.monotonic() + 30
    while 'decode_steps_total{model="fake-fp32"}' not in (text := served.client.get("/metrics").text):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert value(text, 'tts_trt_cache_slots{model="fake-fp32"}') >= 1
    assert value(text, 'tts_trt_num_requests_waiting{model="fake-fp32"}') == 0


def test_speed_and_first_sound() -> None:
    metrics = Metrics(dict, lambda: 0, lambda: 2)
    one = Experience("m", began=5.0, streamed=True)
    one.heard(5.25, 2.0)
    metrics.answered(one, 6.0)
    text = metrics.text().decode()
    assert value(text, 'tts_trt_real_time_factor_sum{model="m"}') == 0.5
    assert value(text, 'tts_trt_time_to_first_audio_seconds_sum{model="m"}') == 0.25
    assert value(text, "tts_trt_worker_restarts_total") == 2


def test_every_metric_and_only_those_are_documented(served: Served) -> None:
    rows = re.findall(r"^\| (`tts_trt_.*?`) \|", PAGE, flags=re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`([a-z0-9_]+)(?:\{[a-z]+\})?`", row)}
    kinds = re.findall(r"^# TYPE (\S+) \S+$", served.client.get("/metrics").text, flags=re.MULTILINE)
    assert named == {name for name in kinds if not name.endswith("_created")}


def test_the_settings_of_the_page_are_the_defaults() -> None:
    (block,) = re.findall(r"```toml\n(.*?)```", PAGE, flags=re.DOTALL)
    written = {name: table for name, table in tomllib.loads(block).items() if table}
    defaults = Settings().model_dump(mode="json")
    for section, table in defaults.items():
        assert {k: v for k, v in table.items() if v is not None} == written.get(section, {}), section
    for name in re.findall(r"^# ([a-z_]+) =", block, flags=re.MULTILINE):
        assert any(name in table for table in defaults.values())


def test_every_field_of_a_request_is_on_the_page() -> None:
    for model in (SpeechBody, Extension):
        for name in model.model_fields:
            assert re.search(rf"^\| `{name}` \|", PAGE, flags=re.MULTILINE), name
