"""Sections that end in every way a section can."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from scripts.cuda.settings import NotHere, Report, Settings
from tts_trt.errors import EngineError


def run(part: str, settings: Settings, report: Report) -> dict[str, Any]:
    report({"part": part, "so_far": [1, 2]})
    with Path(settings.folder, part).open("a") as log:
        log.write("x")
    if part == "raises":
        raise RuntimeError("no such luck")
    if part == "refused":
        raise EngineError("this GPU is too old", hint="another one")
    if part == "lacks":
        raise NotHere("no pycuda here")
    if part == "exits":
        print("before the end")
        os._exit(3)
    if part == "crashes":
        os.kill(os.getpid(), signal.SIGSEGV)
    if part == "hangs":
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        Path(settings.folder, "child").write_text(str(child.pid))
        time.sleep(600)
    return {"part": part, "value": float("nan"), "left": settings.left()}
