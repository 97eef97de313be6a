"""A real server on loopback: the application under uvicorn in a thread, its worker in a process of its own."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import uvicorn

from tests.serve import fakes
from tts_trt.frontend.audio import write_wav
from tts_trt.serve.app import create_app
from tts_trt.serve.run import plan_of
from tts_trt.serve.settings import Settings
from tts_trt.serve.supervisor import Supervisor
from tts_trt.serve.worker import Opener

TEXT = "The ferry leaves at nine."


@dataclass
class Served:
    url: str
    supervisor: Supervisor
    client: httpx.Client

    def speak(self, text: str = TEXT, **fields: Any) -> httpx.Response:
        return self.client.post("/v1/audio/speech", json=body(text, **fields))

    def until_ready(self, restarts: int = 0) -> None:
        """Wait for a worker, after so many have died."""
        deadline = time.monotonic() + 30
        while self.supervisor.restarts < restarts or not self.supervisor.ready:
            assert time.monotonic() < deadline, "no worker came back"
            time.sleep(0.02)


def body(text: str = TEXT, **fields: Any) -> dict[str, Any]:
    return {"model": "fake", "input": text, "voice": "anna", "response_format": "wav"} | fields


def settings(folder: Path, **sections: dict[str, Any]) -> Settings:
    """Of a server of ``fakes``: one model in two precisions, two voices."""
    bundles = []
    for name in ("fake-fp32", "fake-int8"):
        (folder / name).mkdir(exist_ok=True)
        for voice, seed in (("anna", 1), ("ben", 2)):
            write_wav(folder / name / f"{voice}.wav", recording(seed), fakes.RATE)
        bundles.append(folder / name)
    engines = {"bundles": bundles, "threads": 1} | sections.pop("engines", {})
    return Settings.model_validate({"engines": engines} | sections)


def recording(seed: int, seconds: float = 1.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (0.1 * rng.standard_normal(round(seconds * fakes.RATE))).astype(np.float32)


@contextmanager
def serving(asked: Settings, opener: Opener = fakes.hum, **client: Any) -> Iterator[Served]:
    supervisor = Supervisor(plan_of(asked), asked.server, opener)
    supervisor.start()
    try:
        with (
            _listening(create_app(asked, supervisor)) as url,
            httpx.Client(base_url=url, timeout=60, **client) as http,
        ):
            yield Served(url, supervisor, http)
    finally:
        supervisor.kill()


@contextmanager
def _listening(app: Any) -> Iterator[str]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(128)
        config = uvicorn.Config(app, log_config=None, lifespan="on", timeout_graceful_shutdown=5)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
        thread.start()
        try:
            while not server.started:
                assert thread.is_alive(), "the server did not start"
                time.sleep(0.01)
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(20)
