"""A worker that is killed at random moments: every request must end in sound or a clear error in time, and the next works.

python -m scripts.server.chaos --requests 100 --out benchmarks/DATE-serve-chaos.json
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx

from scripts.server.clients import Heard, listen
from scripts.server.load import WIDE, bodies
from scripts.server.running import Running, record, running

CLEAR = {"worker_died", "worker_restarting", "overloaded", "cut"}
"""What a killed worker may mean to a client; ``cut``: a stream that had begun ends without its proper end."""


def torment(server: Running, rng: random.Random, over: threading.Event, longest: float) -> int:
    """Kills each worker up to ``longest`` seconds after it was ready; how many there were."""
    killed = 0
    while not over.wait(0.1):
        if httpx.get(f"{server.url}/health/ready", timeout=30).status_code == 200:
            over.wait(rng.uniform(0.2, longest))
            killed += server.kill_worker()
    return killed


def after(server: Running, voice: str) -> dict[str, Any]:
    """One request more, as OpenAI's clients ask: again after a 503, when its Retry-After has passed."""
    (body,) = bodies(1, voice, streamed=False, seed=7)
    statuses, began = [], time.monotonic()
    while not statuses or (statuses[-1] == 503 and len(statuses) < 4):
        answer = httpx.post(f"{server.url}/v1/audio/speech", json=body, timeout=60)
        statuses.append(answer.status_code)
        if answer.status_code == 503:
            time.sleep(int(answer.headers["retry-after"]))
    return {"statuses": statuses, "seconds": round(time.monotonic() - began, 2)}


def run(
    server: Running, voice: str, count: int, clients: int, seed: int, longest: float
) -> tuple[list[Heard], int]:
    rng, over, killed = random.Random(seed), threading.Event(), [0]
    asked = bodies(count, voice, streamed=False, seed=seed) + bodies(
        count, voice, streamed=True, seed=seed + 1
    )
    asked = rng.sample(asked, count)

    def tormentor() -> None:
        killed[0] = torment(server, rng, over, longest)

    thread = threading.Thread(target=tormentor)
    thread.start()
    try:
        heard, _ = asyncio.run(listen(server.url, asked, clients))
    finally:
        over.set()
        thread.join()
    return heard, killed[0]


def judged(heard: list[Heard], seconds: float) -> dict[str, Any]:
    good = [one for one in heard if one.status == 200]
    return {
        "requests": len(heard),
        "answers": {str(k): v for k, v in Counter(one.status for one in heard).items()},
        "errors": dict(Counter(one.code for one in heard if one.code)),
        "slowest": round(max(one.latency for one in heard), 2),
        "in_time": all(one.latency <= seconds for one in heard),
        "all_clear": all(one.code in CLEAR for one in heard if one.status != 200),
        "all_with_sound": all(one.seconds > 0.1 for one in good),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bundle", type=Path, default=Path("engines/nano-fp32-onnxruntime"))
    parser.add_argument("--voice", default="slt")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--requests", type=int, default=100)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=30.0, help="a request may take")
    parser.add_argument("--longest", type=float, default=8.0, help="seconds that a worker lives, at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    with running([asked.bundle], asked.threads, **WIDE) as server:
        heard, killed = run(server, asked.voice, asked.requests, asked.clients, asked.seed, asked.longest)
        figures = judged(heard, asked.seconds) | {"killed": killed, "next": after(server, asked.voice)}
    passed = figures["in_time"] and figures["all_clear"] and figures["all_with_sound"]
    figures["passed"] = bool(passed and figures["next"]["statuses"][-1] == 200 and killed)
    record(asked.out, ["scripts.server.chaos", *sys.argv[1:]], {"bundle": asked.bundle.name} | figures)
    sys.exit(not figures["passed"])


if __name__ == "__main__":
    main()
