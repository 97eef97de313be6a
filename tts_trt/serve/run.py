"""A server from start to end: load, listen, drain.

SIGTERM or SIGINT: no new connections, what runs is finished, the worker ends, exit code 0.
"""

from __future__ import annotations

import logging
import math
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import uvicorn

from tts_trt.runtime.scheduler import SchedulerSettings
from tts_trt.serve.app import create_app
from tts_trt.serve.settings import Settings, require_safe
from tts_trt.serve.supervisor import Supervisor
from tts_trt.serve.worker import Opener, Plan, open_bundles

LOG = logging.getLogger("tts_trt.serve")


def plan_of(settings: Settings) -> Plan:
    """What the worker is told."""
    engines = settings.engines
    scheduler = SchedulerSettings(cache_slots=engines.rows, queue=engines.queue)
    return Plan(engines.bundles, engines.public_key, engines.threads, engines.device, scheduler)


def run(
    settings: Settings, *, opener: Opener = open_bundles, started: Callable[[str], None] = lambda _: None
) -> None:
    """Serves until a signal; ``started`` gets the address. TtsTrtError for what keeps it from starting."""
    require_safe(settings)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _leave)
    supervisor = Supervisor(plan_of(settings), settings.server, opener)
    try:
        supervisor.start()
        app, server = create_app(settings, supervisor), settings.server
        config = uvicorn.Config(
            app,
            host=server.host,
            port=server.port,
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,  # or a client could choose its address
            timeout_keep_alive=10,
            timeout_graceful_shutdown=math.ceil(server.drain_seconds),
            ws="none",
        )
        _Announcing(config, started).run()
    finally:
        supervisor.kill()


class _Announcing(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, started: Callable[[str], None]) -> None:
        super().__init__(config)
        self._announce = started

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        if self.started:
            host, port = self.servers[0].sockets[0].getsockname()[:2]
            self._announce(f"http://{f'[{host}]' if ':' in host else host}:{port}")


def _leave(_: int, __: FrameType | None) -> None:
    """Before the server listens, and once more after it has drained."""
    sys.exit(0)
