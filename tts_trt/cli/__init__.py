"""The command line: one subcommand per stage. Exit 0 on success, 2 on wrong use, 1 on failure.

With ``--json`` the last line on stdout is one JSON document; everything else goes to stderr. Importing a module of commands
registers them; what a command needs is imported when it runs.
"""

from __future__ import annotations

import sys

from tts_trt.cli import building, judging, speaking
from tts_trt.cli.app import app, log
from tts_trt.errors import TtsTrtError

__all__ = ["app", "building", "judging", "main", "speaking"]


def main(arguments: list[str] | None = None) -> None:
    """Entry point. Deliberate errors are printed without a traceback and decide the exit code."""
    try:
        app(arguments, standalone_mode=True)
    except TtsTrtError as error:
        log.print(f"[red]error:[/red] {_escaped(str(error))}", highlight=False, soft_wrap=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        log.print("stopped; nothing half-written is left")
        sys.exit(130)


def _escaped(text: str) -> str:
    from rich.markup import escape

    return escape(text)
