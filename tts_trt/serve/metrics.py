"""Figures for Prometheus, named in the manner of Triton and vLLM; docs/serving.md explains each.

What a request experienced is counted here, where its client is; what the engines did comes with the worker's beats.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from tts_trt.playback import NOTICED_SECONDS, Playback

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 20.0, 40.0, 80.0)
FACTORS = (0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 1.5, 2.0, 5.0)
GAPS = (0.0, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)

Stats = Mapping[str, Mapping[str, float]]


@dataclass
class Experience:
    """One speech request; seconds."""

    model: str
    began: float
    streamed: bool
    playback: Playback = field(default_factory=Playback)
    queued: float | None = None

    def heard(self, now: float, seconds: float) -> None:
        self.playback.add(now, seconds)

    @property
    def first_audio(self) -> float | None:
        return None if self.playback.began is None else self.playback.began - self.began


class Metrics:
    def __init__(
        self, stats: Callable[[], Stats], waiting: Callable[[], int], restarts: Callable[[], int]
    ) -> None:
        self.registry = CollectorRegistry()
        self._success = self._counter("request_success", "requests answered with sound", "model")
        self._failure = self._counter("request_failure", "requests that were not", "reason")
        self._audio = self._counter("audio_seconds", "seconds of sound sent", "model")
        self._first = self._histogram("time_to_first_audio_seconds", "request to first sound", SECONDS)
        self._total = self._histogram("e2e_request_latency_seconds", "request to last sound", SECONDS)
        self._queue = self._histogram("request_queue_time_seconds", "wait for a row of the batch", SECONDS)
        self._rtf = self._histogram("real_time_factor", "seconds spent per second of sound", FACTORS)
        self._underrun = self._histogram("stream_underrun_seconds", "worst gap in playback of a stream", GAPS)
        self._skipped = self._counter("streams_with_gap", "streams with a gap over 100 ms", "model")
        self._uploads = self._counter("voice_uploads", "recordings sent as voices", "outcome")
        Gauge(
            "tts_trt_requests_in_worker", "requests handed to the worker", registry=self.registry
        ).set_function(waiting)
        self.registry.register(_Engines(stats, restarts))

    def answered(self, one: Experience, now: float) -> None:
        seconds, took = one.playback.sent, now - one.began
        self._success.labels(one.model).inc()
        self._audio.labels(one.model).inc(seconds)
        self._total.labels(one.model).observe(took)
        if one.first_audio is not None:
            self._first.labels(one.model).observe(one.first_audio)
        if one.queued is not None:
            self._queue.labels(one.model).observe(one.queued)
        if seconds:
            self._rtf.labels(one.model).observe(took / seconds)
        if one.streamed:
            self._underrun.labels(one.model).observe(one.playback.deficit)
            if one.playback.deficit >= NOTICED_SECONDS:
                self._skipped.labels(one.model).inc()

    def failed(self, reason: str) -> None:
        self._failure.labels(reason).inc()

    def uploaded(self, outcome: str) -> None:
        self._uploads.labels(outcome).inc()

    def text(self) -> bytes:
        return generate_latest(self.registry)

    def _counter(self, name: str, words: str, label: str) -> Counter:
        return Counter(f"tts_trt_{name}", words, [label], registry=self.registry)

    def _histogram(self, name: str, words: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(f"tts_trt_{name}", words, ["model"], buckets=buckets, registry=self.registry)


GAUGES = {
    "waiting": ("num_requests_waiting", "requests in the queue"),
    "running": ("num_requests_running", "requests in the batch"),
    "cache_slots_used": ("cache_slots_used", "rows of the KV cache in use"),
    "cache_slots": ("cache_slots", "rows of the KV cache"),
}
COUNTERS = {
    "steps": ("decode_steps", "decode steps"),
    "step_rows": ("decode_rows", "rows of all decode steps; per step: the mean batch size"),
    "flow_calls": ("flow_calls", "calls of the flow step"),
    "flow_rows": ("flow_rows", "rows of all flow calls"),
    "finished": ("worker_requests_finished", "requests the scheduler finished"),
    "failed": ("worker_requests_failed", "requests the scheduler failed"),
    "cancelled": ("worker_requests_cancelled", "requests that were cancelled"),
}
"""Of ``SchedulerStats``; counters start anew with a new worker, as Prometheus expects of a restart."""


class _Engines(Collector):
    def __init__(self, stats: Callable[[], Stats], restarts: Callable[[], int]) -> None:
        self._stats, self._restarts = stats, restarts

    def collect(self) -> Iterable[Metric]:
        stats = self._stats()
        for name, (metric, words) in GAUGES.items():
            gauge = GaugeMetricFamily(f"tts_trt_{metric}", words, labels=["model"])
            for model, figures in stats.items():
                gauge.add_metric([model], figures[name])
            yield gauge
        for name, (metric, words) in COUNTERS.items():
            counter = CounterMetricFamily(f"tts_trt_{metric}", words, labels=["model"])
            for model, figures in stats.items():
                counter.add_metric([model], figures[name])
            yield counter
        size = GaugeMetricFamily("tts_trt_batch_size", "mean rows of a decode step so far", labels=["model"])
        for model, figures in stats.items():
            size.add_metric([model], figures["step_rows"] / max(figures["steps"], 1))
        yield size
        yield CounterMetricFamily("tts_trt_worker_restarts", "workers that died", value=self._restarts())
