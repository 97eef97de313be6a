"""Codes: rows are prefilled one by one, share the steps of one batch, and leave it when they end."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tts_trt.runtime.decode import DecodeBatch, Decoder
from tts_trt.runtime.rows import RowState
from tts_trt.runtime.speaking import Run
from tts_trt.runtime.work import Counts, Work


class DecodeStage:
    """The running rows: they share steps, join after their prefill and leave when they end."""

    def __init__(self, decoder: Decoder, places: int, prefills: int, counts: Counts) -> None:
        self._decoder, self._prefills, self._counts = decoder, prefills, counts
        self.places = places
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
        due = min((0.0 if run.over else run.decode_due for run in going), default=math.inf)
        if self.waiting and (self._since_step < self._prefills or not going):
            run = min(self.waiting, key=lambda run: run.due)
            found.append(Prefill(self, run, min(run.due, due)))  # before a step, which then is for one more
        if going and not self._stepping:
            found.append(Step(self, due))
        return found


class Prefill:
    def __init__(self, stage: DecodeStage, run: Run, due: float) -> None:
        self._stage, self.due = stage, due
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
            failed = self._step(joining, rows)
        if not rows and self._stage._batch is not None:
            self._stage._batch.close()
            self._stage._batch = None
        self._rows = rows
        return failed

    def _step(self, joining: Sequence[Run], rows: dict[RowState, Run]) -> dict[Run, Exception]:
        stage = self._stage
        batch = stage._batch = stage._batch or stage._decoder.open(stage.places)
        for run in joining:
            assert run.solo is not None
            assert run.state is not None
            batch.adopt(run.solo)
            run.solo.close()
            run.solo, rows[run.state] = None, run
        stage._counts.steps += 1
        stage._counts.step_rows += len(rows)
        broken = {state: error for state, error in batch.tick().items() if state in rows}
        failed: dict[Run, Exception] = {rows[state]: error for state, error in broken.items()}
        for run in rows.values():
            run.keep()
        self._leave([state for state in rows if state.finish is not None or state in broken], rows)
        if broken:  # its places may hold values that are not numbers
            stage._batch = stage._decoder.open(stage.places)
            stage._batch.adopt(batch)
            batch.close(failed=True)
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
