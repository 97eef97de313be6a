"""How much speech one machine makes for many at once: one client against eight, in process.

python -m scripts.load --bundle engines/nano-fp32-onnxruntime --out benchmarks/...-load-nano.json

    alone      one caller of Synthesizer, engines of one thread and of as many as there are cores: the best that one client gets
    whole      N clients of a scheduler, each asking for its next sentence when it has the last one
    streamed   N listeners of a scheduler: each hears its sentence to the end before it asks for the next

Before that, requests that are served all at once are held against each alone: same codes, same wave, and how far a stream is
from the whole. Cases take turns, so that a busy machine slows all alike; medians over the rounds are reported. Processor seconds per second of audio
hold on a busy machine too. The last line on standard output is the path of the JSON.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from scripts.compare_speech import write_json
from tts_trt.errors import TtsTrtError
from tts_trt.frontend.features import log_mel
from tts_trt.quality.continuity import Continuity, Piece, continuity, percentile, summary
from tts_trt.quality.distance import log_spectral_distance_db, mel_distance_db
from tts_trt.report.environment import environment
from tts_trt.report.lines import default_texts, read_texts
from tts_trt.runtime.request import Request
from tts_trt.runtime.sampling import SamplingParams
from tts_trt.runtime.scheduler import Scheduler, SchedulerSettings, StreamOptions
from tts_trt.runtime.synthesizer import Synthesizer

WAVE_TOLERANCE = 1e-4
"""Rounding, where rows were padded to share a batch."""


FRAMES = 280
"""Of mel, prompt and sentence, when the cost of a row is measured."""

REPEATS = 6


@dataclass
class Taken:
    """What clients got."""

    latencies: list[float] = field(default_factory=list)
    audio_seconds: float = 0.0
    streams: list[Continuity] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, latency: float, seconds: float, stream: Continuity | None = None) -> None:
        with self.lock:
            self.latencies.append(latency)
            self.audio_seconds += seconds
            if stream is not None:
                self.streams.append(stream)


Client = Callable[[Iterator[Request], Taken], None]


def requests(tts: Synthesizer, count: int) -> list[Request]:
    """Sentences that training never saw, voices and seeds in turn."""
    texts, voices = read_texts(default_texts()), list(tts.voices)
    return [
        Request(texts[i % len(texts)], voices[i % len(voices)], sampling=SamplingParams.of(tts.dims, seed=i))
        for i in range(count)
    ]


class Shared:
    """An iterator that many threads draw from."""

    def __init__(self, items: list[Request]) -> None:
        self._items, self._lock = iter(items), threading.Lock()

    def __iter__(self) -> Iterator[Request]:
        return self

    def __next__(self) -> Request:
        with self._lock:
            return next(self._items)


def alone(tts: Synthesizer) -> Client:
    def client(todo: Iterator[Request], taken: Taken) -> None:
        for request in todo:
            began = time.perf_counter()
            result = tts.synthesize(request)
            taken.add(time.perf_counter() - began, result.seconds)

    return client


def whole(scheduler: Scheduler) -> Client:
    def client(todo: Iterator[Request], taken: Taken) -> None:
        for request in todo:
            began = time.perf_counter()
            result = scheduler.submit(request).result()
            taken.add(time.perf_counter() - began, result.seconds)

    return client


def streamed(scheduler: Scheduler, options: StreamOptions) -> Client:
    def client(todo: Iterator[Request], taken: Taken) -> None:
        for request in todo:
            began, pieces = time.perf_counter(), []
            for chunk in scheduler.submit(request, stream=options).chunks():
                pieces.append(
                    Piece(time.perf_counter() - began, len(chunk) / scheduler.tts.dims.audio.sample_rate)
                )
            found, seconds = continuity(pieces), sum(piece.seconds for piece in pieces)
            taken.add(pieces[-1].arrived, seconds, found)
            heard = began + found.first_audio + found.deficit + seconds
            time.sleep(max(0.0, heard - time.perf_counter()))

    return client


def measure(client: Client, clients: int, asked: list[Request]) -> dict[str, Any]:
    """All requests by so many clients."""
    taken, todo = Taken(), Shared(asked)
    threads = [threading.Thread(target=client, args=(todo, taken)) for _ in range(clients)]
    began, busy = time.perf_counter(), time.process_time()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds, busy = time.perf_counter() - began, time.process_time() - busy
    if len(taken.latencies) != len(asked):
        raise TtsTrtError(f"{len(taken.latencies)} of {len(asked)} requests were answered")
    return {
        "seconds": seconds,
        "audio_seconds": taken.audio_seconds,
        "audio_per_second": taken.audio_seconds / seconds,
        "processor_seconds_per_audio_second": busy / taken.audio_seconds,
        "latency_p50": percentile(taken.latencies, 50),
        "latency_p95": percentile(taken.latencies, 95),
        **(summary(taken.streams) if taken.streams else {}),
    }


def agreement(
    tts: Synthesizer, scheduler: Scheduler, asked: list[Request], options: StreamOptions
) -> dict[str, float]:
    """All at once, half of them streams, against each alone. TtsTrtError for other codes or another wave; how far a stream
    is from the whole."""
    audio, differences, mels, spectra = tts.dims.audio, [], [], []
    tickets = [(scheduler.submit(r), scheduler.submit(r, stream=options)) for r in asked]
    for request, (whole_ticket, stream_ticket) in zip(asked, tickets, strict=True):
        alone, whole, stream = tts.synthesize(request), whole_ticket.result(), stream_ticket.result()
        codes = [[c.tolist() for c in one.codes] for one in (alone, whole, stream)]
        if codes[0] != codes[1] or codes[0] != codes[2]:
            raise TtsTrtError(f"other codes for {request.text!r} than alone")
        differences.append(float(np.abs(alone.wave - whole.wave).max()))
        mels.append(mel_distance_db(log_mel(alone.wave, audio), log_mel(stream.wave, audio), audio))
        spectra.append(log_spectral_distance_db(alone.wave, stream.wave, audio.sample_rate))
    if max(differences) > WAVE_TOLERANCE:
        raise TtsTrtError(f"waves differ by up to {max(differences):.1e} from those made alone")
    return {
        "requests": len(asked),
        "largest_wave_difference": max(differences),
        "stream_mel_l1_db_mean": float(np.mean(mels)),
        "stream_mel_l1_db_max": max(mels),
        "stream_lsd_db_mean": float(np.mean(spectra)),
    }


def row_costs(tts: Synthesizer) -> dict[str, dict[int, float]]:
    """Processor ms a row of one step of the transformer, one Euler step and one vocoder call, by rows of a batch; the least
    of several. What batching saves here, apart from what else the machine does."""
    found: dict[str, dict[int, float]] = {"gpt step": {}, "flow step": {}, "vocoder": {}}
    lengths = {
        "flow_step": {"lengths": FRAMES, "prompt_lengths": FRAMES // 2},
        "vocoder": {"lengths": FRAMES // 2},
    }
    for rows in (1, 2, 4, 8):
        with tts.decode_slots(rows) as slots:
            found["gpt step"][rows] = least_ms(lambda s=slots: s.step_at(200)) / rows
        for name, label in (("flow_step", "flow step"), ("vocoder", "vocoder")):
            engine = tts.engines[name]
            axes = {"B": rows, "T": lengths[name]["lengths"]}
            inputs = {t.name: engine.allocate(t.name, axes) for t in engine.spec.inputs}
            for tensor, length in lengths[name].items():
                engine.device.write(inputs[tensor], np.full(rows, length, np.int64))
            found[label][rows] = least_ms(lambda e=engine, i=inputs: e.launch(i)) / rows
    return found


def least_ms(work: Callable[[], object]) -> float:
    times = []
    for _ in range(REPEATS):
        began = time.process_time()
        work()
        times.append(1e3 * (time.process_time() - began))
    return min(times)


def over_rounds(found: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians, and the throughput of every round."""
    medians = {name: statistics.median(one[name] for one in found) for name in found[0]}
    return medians | {"rounds": [one["audio_per_second"] for one in found]}


def run(args: argparse.Namespace) -> dict[str, Any]:
    cores = os.cpu_count() or 1
    with (
        Synthesizer.from_bundle(args.bundle, threads=1, device=args.device) as single,
        Synthesizer.from_bundle(args.bundle, threads=cores, device=args.device) as multi,
        Synthesizer.from_bundle(args.bundle, threads=args.threads, device=args.device) as tts,
        Scheduler(tts, SchedulerSettings(workers=args.workers)) as scheduler,
    ):
        asked = requests(tts, args.requests)
        options = StreamOptions(first_steps=args.first_steps)
        cases: dict[str, tuple[Client, int]] = {
            "alone, engines of 1 thread": (alone(single), 1),
            f"alone, engines of {cores} threads": (alone(multi), 1),
            **{f"whole, {n} clients": (whole(scheduler), n) for n in args.clients},
            **{f"streamed, {n} listeners": (streamed(scheduler, options), n) for n in args.clients},
        }
        costs = row_costs(single)
        agreed = agreement(tts, scheduler, asked[:8], StreamOptions())
        for client, clients in cases.values():  # voices, memory
            measure(client, clients, asked[: 2 * clients])
        rounds: dict[str, list[dict[str, Any]]] = {name: [] for name in cases}
        for number in range(args.rounds):
            for name, (client, clients) in cases.items():
                rounds[name].append(measure(client, clients, asked))
                print(
                    f"round {number + 1}: {name}: {rounds[name][-1]['audio_per_second']:.2f}", file=sys.stderr
                )
        stats = scheduler.stats()
        place = tts.engines.device.name
    found = {name: over_rounds(one) for name, one in rounds.items()}
    rate = {name: one["audio_per_second"] for name, one in found.items()}
    least, most = (rate[f"whole, {n} clients"] for n in (min(args.clients), max(args.clients)))
    best = max(value for name, value in rate.items() if name.startswith("alone"))
    return {
        "date": time.strftime("%Y-%m-%d"),
        "command": "python -m scripts.load " + " ".join(sys.argv[1:]),
        "environment": environment(place, args.threads),
        "bundle": args.bundle.name,
        "workers": args.workers or cores,
        "load_average_at_the_end": os.getloadavg()[0],
        "against_each_alone": agreed,
        "processor_ms_a_row": costs,
        "cases": found,
        "gain_over_one_client_of_the_scheduler": most / least,
        "gain_over_the_best_alone": most / best,
        "mean_rows_a_step": stats.step_rows / max(1, stats.steps),
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--requests", type=int, default=24, help="of every case in every round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1, help="of each engine under the scheduler")
    parser.add_argument("--workers", type=int, default=0, help="of the scheduler; 0: one per core")
    parser.add_argument("--first-steps", type=int, default=None, help="Euler steps of a stream's first chunk")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    try:
        write_json(args.out, run(args))
    except TtsTrtError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(args.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
