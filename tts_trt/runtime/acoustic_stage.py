"""Codes to samples: chunks of like length share Euler steps, each at its own time, and vocoder calls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from tts_trt.errors import SynthesisError
from tts_trt.runtime.acoustic import Acoustic
from tts_trt.runtime.flow import EulerBatch, FlowRow, bucket
from tts_trt.runtime.speaking import Run
from tts_trt.runtime.work import Counts, Work


@dataclass(eq=False)
class Chunk:
    """Of one run, between its codes and its samples."""

    run: Run
    row: FlowRow | None = None
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
        later: list[Work] = []
        if flowing := self._alike([chunk for chunk in free if chunk.row and not chunk.row.done]):
            later.append(Flow(self, flowing))
        if voiced := self._alike([chunk for chunk in free if chunk.row and chunk.row.done]):
            later.append(Vocode(self, voiced))
        # alone, who is done may go; else the vocoder waits for those who are nearly as far
        return [*found, *(later if self.most > 1 else reversed(later))]

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
