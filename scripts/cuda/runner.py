"""Parts in processes of their own: one that raises, exits, crashes, hangs or eats the memory is an entry like any other."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from scripts.cuda.document import DONE, FAILED, SKIPPED, Document, Entry, result_of
from scripts.cuda.settings import NO_CUDA, Settings, has_cuda

ROOT = Path(__file__).resolve().parents[2]
TAIL = 3000  # characters of a failed part's output that are kept
KILL_SECONDS = 10.0  # a process in the driver may not die at once
POLL_SECONDS = 0.02
LEAST_SHARE = 20.0  # seconds, while there are any: less is gone before CUDA has started


@dataclass(frozen=True)
class Part:
    """``module`` has run(part, settings, report) -> result. ``weight``: of its share of the time that is left, which a part
    that needs less leaves to the later ones; ``cap``: most seconds of it."""

    section: str
    name: str
    module: str
    weight: float = 1.0
    cap: float = 1e9
    packages: tuple[str, ...] = ()  # without one of these it is skipped at once
    cuda: bool = False  # so it is without a GPU
    executor: str = ""  # and where the probe found that this one does not run on the GPU
    after: tuple[str, ...] = ()  # parts of "prepare" it needs
    beside: bool = False  # may run while others do, where there are cores enough

    @property
    def label(self) -> str:
        return f"{self.section}/{self.name}"


@dataclass
class Running:
    part: Part
    process: subprocess.Popen[bytes]
    folder: tempfile.TemporaryDirectory[str]
    began: float
    share: float
    beside: list[str]


@dataclass
class Runner:
    document: Document
    settings: Settings
    seconds: float  # for all parts together
    many_cores: bool
    tell: Callable[[str], None]

    def run(self, parts: Sequence[Part]) -> None:
        """Every part once. Those that may run beside others are started first."""
        ends = time.monotonic() + self.seconds
        waiting, running = list(parts), list[Running]()
        if self.many_cores:
            for part in [p for p in waiting if p.beside and not lacking(p, self.document)]:
                waiting.remove(part)
                running.append(self._start(part, ends - time.monotonic(), running))
        while waiting:
            part = waiting.pop(0)
            self._collect(running, [r for r in running if r.part.name in part.after])
            if reason := lacking(part, self.document):
                self._put(part, {"status": SKIPPED, "seconds": 0.0, "reason": reason})
                continue
            left, weights = max(0.0, ends - time.monotonic()), part.weight + sum(p.weight for p in waiting)
            share = min(part.cap, left, max(LEAST_SHARE, left * part.weight / weights))
            one = self._start(part, share, running)
            self._put(part, finish(one))
        self._collect(running, list(running))

    def _start(self, part: Part, share: float, running: Sequence[Running]) -> Running:
        self.tell(f"{part.label}: {share:.0f} s at most")
        return start(part, self.settings, share, [r.part.label for r in running])

    def _collect(self, running: list[Running], done: Sequence[Running]) -> None:
        for one in done:
            running.remove(one)
            self._put(one.part, finish(one))

    def _put(self, part: Part, entry: Entry) -> None:
        entry["date"] = time.strftime("%Y-%m-%dT%H:%M:%S%z")
        self.tell(f"{part.label}: {entry['status']} {entry.get('reason', '')}".splitlines()[0][:200])
        self.document.put(part.section, part.name, entry)


def lacking(part: Part, document: Document) -> str | None:
    """Why a part need not be started."""
    for name in part.packages:
        if importlib.util.find_spec(name) is None:
            return f"{name} is not installed"
    if part.cuda and not has_cuda():
        return NO_CUDA
    refusal = result_of(document.sections, "probe", part.executor).get("refusal")
    return f"the probe could not run {part.executor}: {refusal}" if refusal and has_cuda() else None


def start(part: Part, settings: Settings, share: float, beside: list[str]) -> Running:
    folder = tempfile.TemporaryDirectory(prefix="tts-trt-check-")
    job = Path(folder.name)
    told = replace(settings, deadline=time.time() + share).to_json()
    (job / "job.json").write_text(json.dumps({"module": part.module, "part": part.name, "settings": told}))
    paths = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    with (job / "output").open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-X", "faulthandler", "-m", "scripts.cuda.worker", folder.name],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=os.environ | {"PYTHONPATH": paths, "PYTHONUNBUFFERED": "1"},
            start_new_session=True,  # so that what it starts goes with it
        )
    return Running(part, process, folder, time.monotonic(), share, beside)


def finish(running: Running) -> Entry:
    """Waits for the part, no longer than its share."""
    late = not _ended(running.process, running.began + running.share)
    gone = _end(running.process)
    entry = _outcome(running, late)
    if not gone:
        entry["reason"] += "; its process cannot be ended"
    entry |= {"seconds": round(time.monotonic() - running.began, 2), "share": round(running.share, 2)}
    if running.beside:
        entry["beside"] = running.beside
    running.folder.cleanup()
    return entry


def _ended(process: subprocess.Popen[bytes], until: float) -> bool:
    """Without taking its exit status: until that is taken its number, and so its group's, is nobody else's."""
    while not os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG):
        if time.monotonic() >= until:
            return False
        time.sleep(POLL_SECONDS)
    return True


def _end(process: subprocess.Popen[bytes]) -> bool:
    """The whole session of the part, leftovers of one that ended by itself included."""
    os.killpg(process.pid, signal.SIGKILL)
    try:
        process.wait(KILL_SECONDS)
    except subprocess.TimeoutExpired:
        return False
    return True


def _outcome(running: Running, late: bool) -> Entry:
    job, code = Path(running.folder.name), running.process.returncode
    said = (job / "output").read_text(errors="replace").strip()
    result = _read(job / "result.json")
    partial = {} if result is None else {"result": result}
    if late:
        reason = f"stopped after its {running.share:.0f} s"
        return {"status": FAILED, "kind": "time", "reason": reason, **partial, "output": said[-TAIL:]}
    ended = _read(job / "ended.json")
    if ended is not None and code == 0:
        return {**ended, **(partial if ended["status"] != SKIPPED else {})}
    last = said.splitlines()[-1] if said else "it said nothing"
    if code is not None and code < 0:
        kind, reason = "signal", f"killed by {signal.Signals(-code).name}: {last}"
    elif "Traceback (most recent call last)" in said:
        kind, reason = "error", last
    else:
        kind, reason = "exit", f"exit status {code}: {last}"
    return {"status": FAILED, "kind": kind, "reason": reason, **partial, "output": said[-TAIL:]}


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None


def is_finished(entry: Entry | None) -> bool:
    """Whether a later run keeps it. What was skipped is asked again: that takes no time."""
    return entry is not None and entry["status"] == DONE
