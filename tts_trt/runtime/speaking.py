"""Requests and segments that are in flight, and when each is wanted.

    Speaking    one request: its plan, voice, and segments in order
    Run         one segment of it: row -> codes -> chunks -> samples

A run's chunks end at the same codes whatever else runs. ``due`` (monotonic seconds) orders the work of all: a stream's next chunk
is wanted when its listener has heard what there is, all else a while after it was let in.
"""

from __future__ import annotations

import time

import numpy as np
from numpy.typing import NDArray

from tts_trt.chunks import chunk_end, least_rest
from tts_trt.runtime.decode import DecodeBatch
from tts_trt.runtime.latents import RowLatents
from tts_trt.runtime.plan import Plan, Segment
from tts_trt.runtime.rows import Finish, RowState
from tts_trt.runtime.speech import Speech, Spoken, StreamedSegment
from tts_trt.runtime.stream import ChunkedWave
from tts_trt.runtime.ticket import Ticket
from tts_trt.runtime.voice import Voice

FloatArray = NDArray[np.float32]

PATIENCE_SECONDS = 2.0
"""After a segment that nobody listens to yet was let in: what a new stream's first chunk is put before."""

STREAM_AHEAD = 2
"""Segments of one stream in flight: the one that is heard and the one after it."""


class Speaking:
    def __init__(self, ticket: Ticket, plan: Plan, speech: Speech) -> None:
        self.ticket, self.plan, self.speech = ticket, plan, speech
        self.voice: Voice | None = None
        self.conditioning_ND: FloatArray | None = None
        self.runs: list[Run] = []
        """In flight, in the order of their segments."""
        self._started, self._emitted = 0, 0
        self._spoken: list[Spoken] = []
        self._waves: list[FloatArray] = []

    @property
    def seconds(self) -> float:
        """Of audio given out."""
        return self._emitted / self.speech.dims.audio.sample_rate

    @property
    def prepared(self) -> bool:
        return self.conditioning_ND is not None

    @property
    def startable(self) -> bool:
        """Whether another segment may be let in."""
        ahead = STREAM_AHEAD if self.ticket.stream else len(self.plan.segments)
        most = ahead if self.prepared else 1  # the first one prepares for all
        return self._started < len(self.plan.segments) and len(self.runs) < most

    @property
    def due(self) -> float:
        """Of a request that waits, and of the chunk of a stream that is heard next."""
        ticket = self.ticket
        if ticket.stream is None:
            return ticket.submitted + PATIENCE_SECONDS
        if ticket.first_audio_seconds is None:
            return ticket.submitted
        return ticket.submitted + ticket.first_audio_seconds + self.seconds

    def prepare(self) -> None:
        """Voice and conditioning, by the engines where they are not known yet."""
        self.voice = self.speech.voice(self.ticket.request.voice)
        self.conditioning_ND = self.speech.conditioning(self.ticket.request, self.voice)

    def start(self) -> Run:
        run = Run(self, self.plan.segments[self._started])
        self._started += 1
        self.runs.append(run)
        self.ticket.began()
        return run

    def advance(self) -> bool:
        """Give out what is ready, in the order of the text. -> whether all is."""
        while self.runs:
            run = self.runs[0]
            for chunk_S in run.ready:
                self._emit(chunk_S)
            run.ready.clear()
            if run.spoken is None:
                return False
            self._spoken.append(run.spoken)
            self._waves += run.wave_parts
            self.runs.pop(0)
            if self.ticket.stream and self.plan.silence and len(self._spoken) < len(self.plan.segments):
                self._emit(np.zeros(self.plan.silence, np.float32))
        return len(self._spoken) == len(self.plan.segments)

    def finish(self) -> bool:
        """The result. SynthesisError for a silent segment; False for a ticket that is done already."""
        timings = {
            "queued": self.ticket.queued_seconds or 0.0,
            "total": time.monotonic() - self.ticket.submitted,
        }
        if self.ticket.stream:
            result = self.speech.result(self.plan, self._spoken, self.ticket.joined(), timings)
        else:
            result = self.speech.whole(self.plan, self._spoken, self._waves, timings)
            self._emit(result.wave)
        return self.ticket.finish(result)

    def _emit(self, chunk_S: FloatArray) -> None:
        self._emitted += len(chunk_S)
        self.ticket.emit(chunk_S)


class Run:
    def __init__(self, speaking: Speaking, segment: Segment) -> None:
        self.speaking, self.segment, self.admitted = speaking, segment, time.monotonic()
        self.solo: DecodeBatch | None = None
        """After its prefill, until it joins the running rows."""
        self.state: RowState | None = None
        self.latents: RowLatents | None = None
        self.wave: ChunkedWave | None = None
        self.in_acoustics = False
        """A chunk is between codes and samples."""
        self.ready: list[FloatArray] = []
        """Chunks of a stream that were not given out."""
        self.wave_parts: list[FloatArray] = []
        self.spoken: Spoken | None = None
        """When all is said."""
        stream, rate = speaking.ticket.stream, speaking.speech.dims.audio.sample_rate
        self._boundary = stream.first_codes if stream else 0
        self._least = least_rest(stream.chunk_codes) if stream else 0
        self._streamed = StreamedSegment(segment, rate) if stream else None
        self._given, self._last, self._samples = 0, False, 0
        self._drawn = 0
        self._finish: Finish | None = None
        self.claims = 0
        """Pieces of work that are being done on it."""

    @property
    def over(self) -> bool:
        """Nobody waits for it any more."""
        return self.speaking.ticket.done

    @property
    def due(self) -> float:
        if self.speaking.ticket.stream is None:
            return self.admitted + PATIENCE_SECONDS
        return self.speaking.due + self.segment.index - self.speaking.runs[0].segment.index

    @property
    def decode_due(self) -> float:
        """Of further codes: those of a chunk in the acoustics are there."""
        seconds = 0.0
        if self._boundary and (self.in_acoustics or self.chunk() is not None):
            seconds = (self._boundary - self._given) / self.speaking.speech.dims.codes_per_second
        return self.due + seconds

    def begin(self) -> None:
        """Prefill and the first draw."""
        speaking = self.speaking
        if not speaking.prepared:
            speaking.prepare()
        assert speaking.voice is not None
        assert speaking.conditioning_ND is not None
        speech = speaking.speech
        self.wave = speech.wave(speaking.ticket.request, self.segment, speaking.voice)
        self.solo = speech.decoder.begin(speech.row(self.segment, speaking.conditioning_ND))
        self.state = self.solo.rows[0]
        assert self.state is not None
        self.latents = RowLatents(speech.decoder, self.state)

    def keep(self) -> None:
        """After a step, by who made it: latents that a chunk will want, before the row moves on."""
        if self.state is None or self.latents is None:
            return
        drawn = len(self.state.codes)
        if self.state.finish is not None or (self._boundary and self.latents.kept < self._boundary <= drawn):
            self.latents.keep()

    def progress(self) -> None:
        """After a step, under the lock: what the others may see of it."""
        if self.state is not None:
            self._drawn, self._finish = len(self.state.codes), self.state.finish

    def chunk(self) -> tuple[int, bool] | None:
        """The next chunk, if its codes are there: how many codes it ends at, and whether it is the last."""
        if self.in_acoustics or self._last or self.latents is None:
            return None
        found = chunk_end(
            self._drawn, over=self._finish is not None, boundary=self._boundary, least=self._least
        )
        return found if found and self.latents.kept >= found[0] else None

    def take(self, codes: int, *, last: bool) -> None:
        """The chunk is on its way."""
        stream = self.speaking.ticket.stream
        self.in_acoustics, self._given, self._last = True, codes, last
        if stream:
            self._boundary = codes + stream.chunk_codes

    def steps(self) -> int | None:
        """Euler steps of this chunk, None for the request's own."""
        stream = self.speaking.ticket.stream
        first = self.segment.index == 0 and stream is not None and self._given == stream.first_codes
        return stream.first_steps if stream and first else None

    def put(self, wave_S: FloatArray) -> None:
        """The vocoder's wave of the chunk. SynthesisError for one that is not finite or silent."""
        assert self.wave is not None
        samples_S = self.wave.samples(wave_S, last=self._last)
        if self._streamed is not None:
            heard_S = self._streamed.add(samples_S, last=self._last)
            self._samples = self._streamed.samples
            if len(heard_S):
                self.ready.append(heard_S)
        else:
            self.wave_parts = [samples_S[: self.segment.samples]]
            self._samples = len(self.wave_parts[0])
        if self._last:
            assert self.state is not None
            self.spoken = Spoken(self.state.codes_M, self.state.finish or "stop", self._samples)

    def close(self) -> None:
        """What it holds goes back."""
        if self.latents is not None:
            self.latents.close()
        if self.solo is not None:
            self.solo.close()
            self.solo = None
