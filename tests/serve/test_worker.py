"""The worker is a process that may die: whatever happens to it, every request ends in sound or in an error that says so."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil
import pytest

from tests.serve import fakes
from tests.serve.rig import Served, body, serving, settings
from tts_trt.errors import EngineError, TtsTrtError, UsageError
from tts_trt.serve.run import plan_of, run
from tts_trt.serve.supervisor import Supervisor

LONG = "The ferry leaves at nine. " * 6


def kill(served: Served, number: int = signal.SIGKILL) -> None:
    assert served.supervisor.pid
    os.kill(served.supervisor.pid, number)


def test_a_killed_worker_fails_its_requests_at_once_and_the_next_one_works(tmp_path: Path) -> None:
    with serving(settings(tmp_path), fakes.slow) as served:
        with ThreadPoolExecutor(3) as pool:
            asked = [pool.submit(served.speak, LONG) for _ in range(3)]
            while served.supervisor.jobs < 3:
                time.sleep(0.01)
            kill(served)
            answers = [one.result(timeout=30) for one in asked]
        for answer in answers:
            assert answer.status_code == 503
            assert answer.json()["error"]["code"] == "worker_died"
            assert int(answer.headers["retry-after"]) >= 1
        assert served.speak("Hi.").status_code == 200
        metrics = served.client.get("/metrics").text
        assert "tts_trt_worker_restarts_total 1.0" in metrics
        assert 'tts_trt_request_failure_total{reason="worker_died"} 3.0' in metrics


def test_a_stream_that_loses_its_worker_is_cut_and_events_say_why(tmp_path: Path) -> None:
    with serving(settings(tmp_path), fakes.slow) as served:
        asked = body(LONG, stream_format="audio")
        with (
            pytest.raises(httpx.RemoteProtocolError),
            served.client.stream("POST", "/v1/audio/speech", json=asked) as answer,
        ):
            assert answer.status_code == 200
            for i, _ in enumerate(answer.iter_raw()):
                if i == 0:
                    kill(served)
        served.until_ready(restarts=1)
        with served.client.stream(
            "POST", "/v1/audio/speech", json=asked | {"stream_format": "sse"}
        ) as answer:
            lines = []
            for line in answer.iter_lines():
                if not lines:
                    kill(served)
                lines.append(line)
        assert '"type": "error"' in lines[-2]
        assert "worker_died" in lines[-2]


def test_a_dozen_requests_and_a_worker_that_keeps_dying(tmp_path: Path) -> None:
    """The short form of scripts/server/chaos.py."""
    rng = random.Random(5)
    with serving(settings(tmp_path), fakes.slow) as served:
        over = threading.Event()

        def killer() -> None:
            while not over.wait(rng.uniform(0.1, 0.8)):
                if served.supervisor.ready:
                    kill(served)

        thread = threading.Thread(target=killer)
        thread.start()
        try:
            with ThreadPoolExecutor(4) as pool:
                texts = [LONG if rng.random() < 0.5 else "Hi." for _ in range(12)]
                answers = list(pool.map(served.speak, texts))
        finally:
            over.set()
            thread.join()
        for answer in answers:
            assert answer.status_code in (200, 503)
            assert (
                answer.content[:4] == b"RIFF"
                if answer.status_code == 200
                else answer.json()["error"]["message"]
            )
        assert served.speak("Hi.").status_code == 200


@pytest.mark.parametrize("opener", [fakes.nan, fakes.nothing, fakes.broken])
def test_sound_that_is_none_never_leaves_with_a_200(tmp_path: Path, opener: object) -> None:
    with serving(settings(tmp_path), opener) as served:  # type: ignore[arg-type]
        for changes in ({}, {"stream_format": "audio"}):
            answer = served.speak("Hi.", **changes)
            assert answer.status_code == 503, changes
            assert answer.json()["error"]["code"] == "synthesis_failed"
        if opener is fakes.broken:
            assert served.speak("Hi.").status_code == 503
            served.until_ready(restarts=1)  # it has given up its place
        else:
            assert served.supervisor.restarts == 0


def test_a_worker_that_stops_answering_is_replaced(tmp_path: Path) -> None:
    with serving(settings(tmp_path, server={"silence_seconds": 2.5})) as served:
        kill(served, signal.SIGSTOP)
        served.until_ready(restarts=1)
        assert served.speak("Hi.").status_code == 200


def test_a_worker_that_gets_nowhere_is_replaced(tmp_path: Path) -> None:
    with serving(settings(tmp_path, server={"stall_seconds": 1.5}), fakes.stuck) as served:
        answer = served.speak("Hi.")
        assert answer.status_code == 503
        assert answer.json()["error"]["code"] == "worker_died"


def test_without_a_worker_the_server_says_when_to_come_again(tmp_path: Path) -> None:
    with serving(settings(tmp_path, server={"restart_wait_seconds": 0.1}), fakes.once) as served:
        kill(served)
        while served.supervisor.ready:
            time.sleep(0.01)
        for answer in (served.speak("Hi."), served.client.get("/health/ready")):
            assert answer.status_code == 503
            assert answer.json()["error"]["code"] == "worker_restarting"
            assert int(answer.headers["retry-after"]) >= 1
        assert served.client.get("/health/live").status_code == 200


@pytest.mark.parametrize(
    ("opener", "error", "words"),
    [
        (fakes.damaged, TtsTrtError, "3 bytes, expected 4"),
        (fakes.dead, EngineError, "ended with 9 while it was loading"),
    ],
)
def test_a_worker_that_cannot_start_says_why(
    tmp_path: Path, opener: object, error: type[Exception], words: str
) -> None:
    asked = settings(tmp_path)
    supervisor = Supervisor(plan_of(asked), asked.server, opener)  # type: ignore[arg-type]
    with pytest.raises(error, match=words):
        supervisor.start()


def test_a_full_queue_refuses_and_does_not_pile_up(tmp_path: Path) -> None:
    asked = settings(tmp_path, engines={"rows": 1, "queue": 2})
    with serving(asked, fakes.slow) as served, ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(served.speak, [LONG] * 12))
        codes = [answer.status_code for answer in answers]
        assert set(codes) == {200, 503}
        assert codes.count(200) >= 1
        for answer in answers:
            if answer.status_code == 503:
                assert answer.json()["error"]["code"] == "overloaded"
                assert int(answer.headers["retry-after"]) >= 1
        assert served.speak("Hi.").status_code == 200


def test_who_hangs_up_stops_the_work(tmp_path: Path) -> None:
    with serving(settings(tmp_path), fakes.slow) as served:
        deadline = time.monotonic() + 60

        def until(condition: Callable[[], bool]) -> None:
            while not condition():
                assert time.monotonic() < deadline, served.supervisor.stats
                time.sleep(0.02)

        for changes in ({}, {"stream_format": "audio"}):
            content = json.dumps(body(LONG * 10, **changes))
            with socket.create_connection(("127.0.0.1", int(served.url.rpartition(":")[2]))) as line:
                head = f"Host: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(content)}"
                line.sendall(f"POST /v1/audio/speech HTTP/1.1\r\n{head}\r\n\r\n{content}".encode())
                until(lambda: served.supervisor.jobs == 1)
            until(lambda: served.supervisor.jobs == 0)
        until(lambda: served.supervisor.stats.get("fake-fp32", {}).get("cancelled") == 2)


def test_a_request_has_a_deadline(tmp_path: Path) -> None:
    with serving(settings(tmp_path, server={"request_seconds": 0.3}), fakes.slow) as served:
        answer = served.speak(LONG * 4)
        assert answer.status_code == 503
        assert answer.json()["error"]["code"] == "deadline_exceeded"


SERVER = """
import sys
from pathlib import Path
from tests.serve import fakes, rig
from tts_trt.serve.run import run
asked = rig.settings(Path(sys.argv[1]), server={"port": 0})
run(asked, opener=fakes.slow, started=lambda url: print(url, flush=True))
"""


@pytest.fixture
def process(tmp_path: Path) -> subprocess.Popen[str]:
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", SERVER, str(tmp_path)]
    return subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_server_told_to_end_finishes_what_runs(process: subprocess.Popen[str]) -> None:
    assert process.stdout
    url = process.stdout.readline().strip()
    children = psutil.Process(process.pid).children(recursive=True)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(httpx.post, f"{url}/v1/audio/speech", json=body(LONG), timeout=60)
        while "tts_trt_requests_in_worker 1.0" not in httpx.get(f"{url}/metrics").text:
            assert not asked.done()
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        answer = asked.result(60)
    assert answer.status_code == 200
    assert answer.content[:4] == b"RIFF"
    assert process.wait(30) == 0, process.stderr and process.stderr.read()
    with pytest.raises(httpx.ConnectError):
        httpx.get(url)
    assert not psutil.wait_procs(children, 10)[1]


def test_a_worker_does_not_outlive_its_server(process: subprocess.Popen[str]) -> None:
    assert process.stdout
    process.stdout.readline()
    children = psutil.Process(process.pid).children(recursive=True)
    assert children
    process.kill()
    process.wait()
    assert not psutil.wait_procs(children, 10)[1]


def test_a_server_anyone_could_use_does_not_start(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no API keys"):
        run(settings(tmp_path, server={"host": "0.0.0.0"}), opener=fakes.dead)
