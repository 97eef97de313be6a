"""The engines' work, stage by stage, in pieces that a worker takes one at a time.

    prefill -> decode (one batch) -> open a chunk -> flow (batches by length) -> vocoder (batches by length)

A stage ``offer``s its most urgent piece of work; who takes it calls ``claim``, then ``run`` without the lock, then ``settle``. Offers,
claims and settlements happen under the scheduler's lock, so that a piece is taken once; ``run`` touches nothing but what was
claimed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from tts_trt.errors import SynthesisError
from tts_trt.runtime.acoustic import Acoustic, Rows
from tts_trt.runtime.decode import DecodeBatch, Decoder
from tts_trt.runtime.flow import EulerBatch, FlowRow, bucket
from tts_trt.runtime.rows import RowState
from tts_trt.runtime.speaking import Run


@dataclass
class Counts:
    """Since the start."""

    prefills: int = 0
    steps: int = 0
    step_rows: int = 0
    flow_calls: int = 0
    flow_rows: int = 0
    vocoder_calls: int = 0
    vocoder_rows: int = 0


class Work(Protocol):
    due: float
    runs: Sequence[Run]
    """Those that fail with it."""

    def claim(self) -> None: ...

    def run(self) -> dict[Run, Exception]:
        """-> the runs that cannot go on."""

    def settle(self, *, failed: bool) -> None: ...


class DecodeStage:
    """The running rows: they share steps, join after their prefill and leave when they end.

    On a host a step over few places costs less, so the batch has as few as hold its rows; elsewhere it has all of them,
    recorded once.
    """

    def __init__(self, decoder: Decoder, places: int, prefills: int, counts: Counts) -> None:
        self._decoder, self._prefills, self._counts = decoder, prefills, counts
        self.places = places
        doubling = [1 << n for n in range(places.bit_length()) if 1 << n < places]
        self._sizes = [*doubling, places] if decoder.device.host else [places]
        self._batch: DecodeBatch | None = None
        self.waiting: list[Run] = []
        """For their prefill."""
        self.ready: list[Run] = []
        """For the next step."""
        self.rows: dict[RowState, Run] = {}
        self._prefilling, self._joining, self._since_step, self._stepping = 0, 0, 0, False

    @property
    def used(self) -> int:
        return len(self.waiting) + self._prefilling + len(self.ready) + self._joining + len(self.rows)

    def offer(self) -> list[Work]:
        found: list[Work] = []
        going = [*self.ready, *self.rows.values()]
        if self.waiting and (self._since_step < self._prefills or not going):
            run = min(self.waiting, key=lambda run: run.due)
            found.append(Prefill(self, run))
        if going and not self._stepping:
            found.append(Step(self, min(0.0 if run.over else run.decode_due for run in going)))
        return found


class Prefill:
    def __init__(self, stage: DecodeStage, run: Run) -> None:
        self._stage, self.due = stage, run.due
        self.runs: Sequence[Run] = [run]

    def claim(self) -> None:
        self._stage.waiting.remove(self.runs[0])
        self._stage._prefilling += 1
        self._stage._since_step += 1

    def run(self) -> dict[Run, Exception]:
        self.runs[0].begin()
        return {}

    def settle(self, *, failed: bool) -> None:
        self._stage._prefilling -= 1
        self._stage._counts.prefills += 1
        if not failed:
            self._stage.ready.append(self.runs[0])


class Step:
    def __init__(self, stage: DecodeStage, due: float) -> None:
        self._stage, self.due = stage, due
        self.runs: Sequence[Run] = []
        self._joining: list[Run] = []
        self._rows: dict[RowState, Run] = {}

    def claim(self) -> None:
        stage = self._stage
        stage._stepping, stage._since_step = True, 0
        self._joining, stage.ready = stage.ready, []
        stage._joining = len(self._joining)
        self._rows = stage.rows
        self.runs = [*self._joining, *self._rows.values()]

    def run(self) -> dict[Run, Exception]:
        rows = dict(self._rows)
        self._leave([state for state, run in rows.items() if run.over], rows)
        joining = [run for run in self._joining if not run.over]
        failed: dict[Run, Exception] = {}
        if rows or joining:
            failed = self._step(self._fitting(len(rows) + len(joining)), joining, rows)
        if not rows and self._stage._batch is not None:
            self._stage._batch.close()
            self._stage._batch = None
        self._rows = rows
        return failed

    def _step(
        self, batch: DecodeBatch, joining: Sequence[Run], rows: dict[RowState, Run]
    ) -> dict[Run, Exception]:
        for run in joining:
            assert run.solo is not None
            assert run.state is not None
            batch.adopt(run.solo)
            run.solo.close()
            run.solo, rows[run.state] = None, run
        self._stage._counts.steps += 1
        self._stage._counts.step_rows += len(rows)
        broken = {state: error for state, error in batch.tick().items() if state in rows}
        failed: dict[Run, Exception] = {rows[state]: error for state, error in broken.items()}
        for run in rows.values():
            run.keep()
        self._leave([state for state in rows if state.finish is not None or state in broken], rows)
        if broken:  # its places may hold values that are not numbers
            self._move(batch, batch.places, failed=True)
        return failed

    def settle(self, *, failed: bool) -> None:
        stage = self._stage
        stage._stepping, stage._joining, stage.rows = False, 0, self._rows
        for run in self.runs:
            run.progress()
        if failed:
            stage.rows = {}
            if stage._batch is not None:
                stage._batch.close(failed=True)
                stage._batch = None

    def _leave(self, states: Sequence[RowState], rows: dict[RowState, Run]) -> None:
        for state in states:
            if self._stage._batch is not None:
                self._stage._batch.release(state)
            del rows[state]

    def _fitting(self, rows: int) -> DecodeBatch:
        stage = self._stage
        places = next(size for size in stage._sizes if size >= max(1, rows))
        if stage._batch is None:
            stage._batch = stage._decoder.open(places)
        elif stage._batch.places != places:
            self._move(stage._batch, places)
        return stage._batch

    def _move(self, old: DecodeBatch, places: int, *, failed: bool = False) -> None:
        self._stage._batch = new = self._stage._decoder.open(places)
        new.adopt(old)
        old.close(failed=failed)


@dataclass(eq=False)
class Chunk:
    """Of one run, between its codes and its samples."""

    run: Run
    row: FlowRow | None = None
    mel_mT: Rows | None = None
    busy: bool = False


@dataclass
class AcousticStage:
    """Chunks that are being opened, stepped or made a wave of; ``most`` of one bucket of lengths in one call."""

    acoustic: Acoustic
    most: int
    counts: Counts
    chunks: list[Chunk] = field(default_factory=list)
    batches: list[EulerBatch] = field(default_factory=list)

    def offer(self, runs: Sequence[Run]) -> list[Work]:
        """``runs``: all in flight."""
        self.chunks = [chunk for chunk in self.chunks if chunk.busy or not chunk.run.over]
        found: list[Work] = [Open(self, run) for run in runs if not run.over and run.chunk() is not None]
        free = [chunk for chunk in self.chunks if not chunk.busy]
        if flowing := self._alike([chunk for chunk in free if chunk.row and not chunk.row.done]):
            found.append(Flow(self, flowing))
        if voiced := self._alike([chunk for chunk in free if chunk.row and chunk.row.done]):
            found.append(Vocode(self, voiced))
        return found

    def _alike(self, chunks: Sequence[Chunk]) -> list[Chunk]:
        """The most urgent and others of its bucket."""
        ordered = sorted(chunks, key=lambda chunk: chunk.run.due)
        return [c for c in ordered if self._bucket(c) == self._bucket(ordered[0])][: self.most]

    def _bucket(self, chunk: Chunk) -> int:
        assert chunk.row is not None
        return bucket(chunk.row.job.frames)


class Open:
    """From codes to a row of the flow before its first step."""

    def __init__(self, stage: AcousticStage, run: Run) -> None:
        self._stage, self.due = stage, run.due
        self.runs: Sequence[Run] = [run]
        self._chunk = Chunk(run, busy=True)
        self._codes, self._last = 0, False

    def claim(self) -> None:
        run = self.runs[0]
        found = run.chunk()
        assert found is not None
        self._codes, self._last = found
        run.take(self._codes, last=self._last)
        self._stage.chunks.append(self._chunk)

    def run(self) -> dict[Run, Exception]:
        run, codes = self.runs[0], self._codes
        assert run.state is not None
        assert run.latents is not None
        assert run.wave is not None
        speech = run.speaking.speech
        frames = speech.frames(run.segment, codes, last=self._last)
        job = run.wave.job(run.state.codes_M[:codes], run.latents.of(codes), frames, run.steps())
        width = bucket(job.frames) if self._stage.most > 1 else 0
        self._chunk.row = self._stage.acoustic.row(job, width)
        return {}

    def settle(self, *, failed: bool) -> None:
        self._chunk.busy = False
        if failed:
            self._stage.chunks.remove(self._chunk)


class Flow:
    """One Euler step of rows of like length."""

    def __init__(self, stage: AcousticStage, chunks: Sequence[Chunk]) -> None:
        self._stage, self._chunks = stage, chunks
        self.runs: Sequence[Run] = [chunk.run for chunk in chunks]
        self.due = chunks[0].run.due
        self._rows = [chunk.row for chunk in chunks if chunk.row is not None]
        self._batch: EulerBatch | None = None

    def claim(self) -> None:
        for chunk in self._chunks:
            chunk.busy = True
        batches, mine = self._stage.batches, set(map(id, self._rows))
        self._batch = next((batch for batch in batches if batch.rows == self._rows), None)
        # another batch of one of these rows is out of date from now on
        self._stage.batches = [batch for batch in batches if not mine & set(map(id, batch.rows))]

    def run(self) -> dict[Run, Exception]:
        self._batch = self._batch or self._stage.acoustic.together(self._rows)
        self._batch.step()
        return {}

    def settle(self, *, failed: bool) -> None:
        stage = self._stage
        stage.counts.flow_calls += 1
        stage.counts.flow_rows += len(self._chunks)
        for chunk in self._chunks:
            chunk.busy = False
            if failed:
                stage.chunks.remove(chunk)
        if self._batch is not None and not failed and not any(row.done for row in self._rows):
            alive = {id(chunk.row) for chunk in stage.chunks}
            kept = [b for b in (*stage.batches, self._batch) if alive >= set(map(id, b.rows))]
            stage.batches = kept


class Vocode:
    """Mels of like length to their samples."""

    def __init__(self, stage: AcousticStage, chunks: Sequence[Chunk]) -> None:
        self._stage, self._chunks = stage, chunks
        self.runs: Sequence[Run] = [chunk.run for chunk in chunks]
        self.due = chunks[0].run.due

    def claim(self) -> None:
        for chunk in self._chunks:
            chunk.busy = True

    def run(self) -> dict[Run, Exception]:
        mels = []
        for chunk in self._chunks:
            assert chunk.row is not None
            assert chunk.run.wave is not None
            mels.append(chunk.run.wave.mel(chunk.row.mel_mT))
        failed: dict[Run, Exception] = {}
        for chunk, wave_S in zip(self._chunks, self._stage.acoustic.waves(mels), strict=True):
            try:
                chunk.run.put(wave_S)
            except SynthesisError as error:
                failed[chunk.run] = error
        return failed

    def settle(self, *, failed: bool) -> None:
        self._stage.counts.vocoder_calls += 1
        self._stage.counts.vocoder_rows += len(self._chunks)
        for chunk in self._chunks:
            chunk.run.in_acoustics = False
            self._stage.chunks.remove(chunk)
