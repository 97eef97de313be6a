"""What `tts-trt serve` bears: one client against several, whole files and streams; then a queue that is full.

    python -m scripts.server.load --bundle engines/nano-fp32-onnxruntime --out benchmarks/DATE-serve-load.json

Each client asks again when it was answered. The queue is full when 64 clients meet a server with room for four requests:
then only 200, 429 and 503 may come back, and memory may not grow.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
from pathlib import Path
from typing import Any

from scripts.server.clients import listen, summary
from scripts.server.running import Running, record, running

SENTENCES = Path(__file__).parents[1] / "nano" / "heldout.txt"
WIDE = {"limits": {"requests_per_minute": 1_000_000, "concurrent": 256, "connections": 512}}


def bodies(count: int, voice: str, *, streamed: bool, seed: int) -> list[dict[str, Any]]:
    """Held-out sentences, each with a seed of its own."""
    rng = random.Random(seed)
    lines = SENTENCES.read_text().splitlines()
    stream = {"stream_format": "audio"} if streamed else {}
    return [
        {
            "model": "nano",
            "input": rng.choice(lines),
            "voice": voice,
            "response_format": "pcm",
            "tts_trt": {"seed": i},
        }
        | stream
        for i in range(count)
    ]


def throughput(server: Running, voice: str, count: int, clients: list[int]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for streamed in (False, True):
        runs: dict[str, Any] = {}
        asyncio.run(listen(server.url, bodies(4, voice, streamed=streamed, seed=9), 2))  # warm up
        for number in clients:
            heard = asyncio.run(listen(server.url, bodies(count, voice, streamed=streamed, seed=1), number))
            runs[str(number)] = summary(*heard, streamed=streamed)
            print(
                f"{'streamed' if streamed else 'whole'}, {number} clients: {runs[str(number)]}",
                file=sys.stderr,
            )
        first, last = runs[str(clients[0])], runs[str(clients[-1])]
        gain = last["audio_per_second"] / first["audio_per_second"]
        found["streamed" if streamed else "whole"] = runs | {"gain": round(gain, 2)}
    return found


def full_queue(server: Running, voice: str, count: int, clients: int) -> dict[str, Any]:
    """Memory in MiB after every quarter."""
    asyncio.run(listen(server.url, bodies(16, voice, streamed=False, seed=3), 4))
    memory, heard, took = [server.memory()], [], 0.0
    before = server.worker()
    for quarter in range(4):
        asked = bodies(count // 4, voice, streamed=False, seed=10 + quarter)
        part, seconds = asyncio.run(listen(server.url, asked, clients))
        heard, took = heard + part, took + seconds
        memory.append(server.memory())
        print(f"{len(heard)} requests, memory {memory[-1]}", file=sys.stderr)
    growth = {name: round(memory[-1][name] - memory[0][name], 1) for name in memory[-1]}
    return summary(heard, took, streamed=False) | {
        "clients": clients,
        "only_200_429_503": all(one.status in (200, 429, 503) for one in heard),
        "same_worker": server.worker() == before,
        "memory_mib": [{name: round(value, 1) for name, value in one.items()} for one in memory],
        "growth_mib": growth,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bundle", type=Path, default=Path("engines/nano-fp32-onnxruntime"))
    parser.add_argument("--voice", default="slt")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--requests", type=int, default=48, help="of each throughput run")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8])
    parser.add_argument(
        "--full", type=int, default=2000, help="requests against the full queue; 0: leave it out"
    )
    parser.add_argument("--note", help="what else ran on the machine")
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    figures: dict[str, Any] = {"bundle": asked.bundle.name, "threads": asked.threads, "rows": asked.rows}
    with running([asked.bundle], asked.threads, engines={"rows": asked.rows, "queue": 64}, **WIDE) as server:
        figures |= throughput(server, asked.voice, asked.requests, asked.clients)
    if asked.note:
        figures["note"] = asked.note
    if asked.full:
        narrow = {"rows": 2, "queue": 2}
        with running([asked.bundle], asked.threads, engines=narrow, **WIDE) as server:
            figures["full_queue"] = full_queue(server, asked.voice, asked.full, 64)
    record(asked.out, ["scripts.server.load", *sys.argv[1:]], figures)


if __name__ == "__main__":
    main()
