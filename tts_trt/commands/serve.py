"""What `tts-trt serve` does: settings from a file and options to a running server, or a new API key."""

from __future__ import annotations

import importlib.util
import logging
import sys
from pathlib import Path
from typing import Any

from tts_trt.errors import LibraryError, UsageError

NEEDED = ("fastapi", "uvicorn", "prometheus_client", "python_multipart")


def serve(config: Path | None, **options: dict[str, Any]) -> None:
    """Until a signal. TtsTrtError for what keeps the server from starting."""
    _require()
    from tts_trt.serve.run import run
    from tts_trt.serve.settings import read_settings

    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    log = logging.getLogger("tts_trt.serve")
    run(read_settings(config, **options), started=lambda address: log.info("listening on %s", address))


def new_key(config: Path | None, keys: Path | None, name: str) -> str:
    """The key, which is kept as a hash only. UsageError where no file of keys is named."""
    _require()
    from tts_trt.serve.auth import make_key
    from tts_trt.serve.settings import read_settings

    path = keys or read_settings(config).server.keys
    if path is None:
        raise UsageError("no file of keys is named", hint=f"tts-trt serve --keys keys.json --make-key {name}")
    return make_key(path, name)


def _require() -> None:
    if missing := [name for name in NEEDED if importlib.util.find_spec(name) is None]:
        raise LibraryError(f"serving needs {', '.join(missing)}", hint="pip install 'tts-trt[serve]'")
