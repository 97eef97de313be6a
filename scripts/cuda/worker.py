"""The process of one part: ``python -m scripts.cuda.worker JOB``.

JOB/job.json       module, part and settings
JOB/result.json    what was found so far, written whole each time
JOB/ended.json     how it ended, if it did
"""

from __future__ import annotations

import importlib
import json
import math
import sys
from pathlib import Path
from typing import Any

from scripts.cuda.document import DONE, FAILED, SKIPPED
from scripts.cuda.settings import NotHere, Settings
from tts_trt.atomic import write_atomic
from tts_trt.errors import TtsTrtError


def work(job: Path) -> None:
    asked = json.loads((job / "job.json").read_bytes())
    settings = Settings(**asked["settings"] | {"bundles": tuple(asked["settings"]["bundles"])})

    def write(name: str, value: dict[str, Any]) -> None:
        write_atomic(job / name, [json.dumps(plain(value), allow_nan=False).encode()])

    def report(result: dict[str, Any]) -> None:
        write("result.json", result)

    try:
        report(importlib.import_module(asked["module"]).run(asked["part"], settings, report))
        ended: dict[str, Any] = {"status": DONE}
    except NotHere as error:
        ended = {"status": SKIPPED, "reason": str(error)}
    except TtsTrtError as error:
        ended = {"status": FAILED, "kind": "refused", "reason": str(error)}
    write("ended.json", ended)


def plain(value: Any) -> Any:
    """As JSON can say it: what is no number becomes its name."""
    if isinstance(value, dict):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


if __name__ == "__main__":
    work(Path(sys.argv[1]))
