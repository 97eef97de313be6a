"""The baseline speaks; a candidate, and the baseline with one part of the candidate in it, say the same codes with the same
noise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from tts_trt.errors import SynthesisError, UsageError
from tts_trt.quality.forced import Borrowed, Pass, Remembering, Teacher
from tts_trt.report.distances import Pair, Rendered
from tts_trt.report.lines import Line
from tts_trt.report.swap import PARTS, mixed
from tts_trt.runtime.bundle import OpenBundle
from tts_trt.runtime.engine import Engine
from tts_trt.spec import graph_specs

REMEMBERED = ("mel_condition", "flow_step", "vocoder")


class OneLine(Remembering):
    """Remembers for as long as one line is said."""

    def forget(self) -> None:
        self._known.clear()


class Baseline:
    """What the baseline says of a line, once for all candidates."""

    def __init__(self, bundle: OpenBundle) -> None:
        self.bundle = bundle
        self.known: dict[str, OneLine] = {name: OneLine(bundle.engines[name]) for name in REMEMBERED}
        self._teacher = Teacher(_with(bundle, self.known))
        self._said: tuple[Line, Pass | str] | None = None

    def says(self, line: Line) -> Pass | str:
        """The last line said is kept. In words why it cannot be compared: no sound, or several segments."""
        if self._said is None or self._said[0] != line:
            for engine in self.known.values():
                engine.forget()
            self._said = (line, _said(lambda: self._teacher.free(line.request(self.bundle.dims))))
        return self._said[1]


class Candidate:
    """Teachers for the whole candidate and for each of its parts in the baseline."""

    def __init__(self, baseline: Baseline, bundle: OpenBundle) -> None:
        self._baseline = baseline
        self._whole = Teacher(bundle)
        self._parts = {part: Teacher(mixed(baseline.bundle, bundle, part, baseline.known)) for part in PARTS}

    def pair(self, line: Line) -> Pair | dict[str, Any]:
        """What ``distances.measure`` takes, or an item that says why there is nothing to measure."""
        base = self._baseline.says(line)
        if isinstance(base, str):
            return {"skipped": base}
        dims = self._baseline.bundle.dims
        request = line.request(dims)
        whole = _said(lambda: self._whole.force(request, base.codes_M))
        if isinstance(whole, str):
            return {"failed": whole}
        parts = {}
        for part, teacher in self._parts.items():
            made = _said(lambda teacher=teacher: teacher.force(request, base.codes_M))  # type: ignore[misc]
            if not isinstance(made, str):  # one alone may be silent where the whole is not
                parts[part] = Rendered(made.mel_mT, made.wave_S)
        return Pair(dims.audio, base, whole, parts)


def _said(speak: Callable[[], Pass]) -> Pass | str:
    try:
        return speak()
    except (SynthesisError, UsageError) as error:
        return str(error)


def _with(bundle: OpenBundle, known: dict[str, OneLine]) -> OpenBundle:
    names = graph_specs(bundle.dims, bundle.limits)
    engines: dict[str, Engine] = {name: known.get(name) or bundle.engines[name] for name in names}
    return replace(bundle, engines=Borrowed(engines))
