"""`tts-trt serve` as a process for measurements: where it listens, which process is the worker, what both hold in memory."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from tts_trt.atomic import write_atomic

VERSIONS = ("fastapi", "numpy", "onnxruntime", "starlette", "uvicorn")


@dataclass
class Running:
    url: str
    process: psutil.Process
    log: list[str] = field(default_factory=list)

    def worker(self) -> psutil.Process | None:
        """None while there is none."""
        for child in self.process.children():
            try:
                if "spawn_main" in " ".join(child.cmdline()):
                    return child
            except psutil.Error:
                continue
        return None

    def memory(self) -> dict[str, float]:
        """MiB of resident memory."""
        worker = self.worker()
        found = {"server": self.process.memory_info().rss / 2**20}
        return found | ({"worker": worker.memory_info().rss / 2**20} if worker else {})

    def kill_worker(self) -> bool:
        worker = self.worker()
        try:
            if worker:
                worker.kill()
            return worker is not None
        except psutil.Error:
            return False


@contextmanager
def running(bundles: Sequence[Path], threads: int = 1, **sections: Mapping[str, Any]) -> Iterator[Running]:
    """A server on a free port, told to end afterwards; RuntimeError unless it then ends with 0."""
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder, "serve.toml")
        config.write_text("\n".join(_toml(sections)))
        command = [sys.executable, "-m", "tts_trt", "serve", "--port", "0", "--config", str(config)]
        command += ["--threads", str(threads), *(f"--bundle={bundle}" for bundle in bundles)]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        log: list[str] = []
        reader = threading.Thread(target=_read, args=(process, log), daemon=True)
        reader.start()
        try:
            yield Running(_address(process, log), psutil.Process(process.pid), log)
        finally:
            process.terminate()
            code = process.wait(60)
            reader.join(5)
        if code:
            raise RuntimeError(f"the server ended with {code}:\n" + "".join(log[-20:]))


def record(out: Path | None, command: Sequence[str], figures: Mapping[str, Any]) -> None:
    """The figures with date, machine and versions: last on stdout, and in a file."""
    whole = {
        "command": " ".join(["python", "-m", *command]),
        "date": date.today().isoformat(),
        "machine": {"platform": platform.platform(), "cores": os.cpu_count()},
        "load": [round(x, 2) for x in os.getloadavg()],
        "versions": {name: version(name) for name in VERSIONS} | {"python": platform.python_version()},
        **figures,
    }
    if out:
        write_atomic(out, [json.dumps(whole, indent=1).encode(), b"\n"])
    print(json.dumps(whole))


def percentile(values: Sequence[float], share: float) -> float | None:
    """None of nothing."""
    if not values:
        return None
    ordered = sorted(values)
    return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 4)


def _read(process: subprocess.Popen[str], log: list[str]) -> None:
    assert process.stderr
    for line in process.stderr:
        log.append(line)
        del log[:-2000]


def _address(process: subprocess.Popen[str], log: list[str]) -> str:
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and process.poll() is None:
        for line in list(log):
            if found := re.search(r"tts_trt\.serve: listening on (\S+)", line):
                return found[1]
        time.sleep(0.05)
    raise RuntimeError("the server did not start:\n" + "".join(log))


def _toml(sections: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    for name, section in sections.items():
        yield f"[{name}]"
        yield from (f"{key} = {json.dumps(value)}" for key, value in section.items())
