"""The application that commands register with, and how a command talks: log and progress on stderr, one JSON document on stdout."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer
from rich.console import Console

app = typer.Typer(
    name="tts-trt",
    help="Zero-shot text-to-speech as verified engines: export, build, verify, speak, measure, serve.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
corpus_app = typer.Typer(help="What is spoken to calibrate INT8 scales.", no_args_is_help=True)
app.add_typer(corpus_app, name="corpus")
log = Console(stderr=True)


def print_json(value: Any) -> None:
    sys.stdout.write(json.dumps(value, default=str) + "\n")
    sys.stdout.flush()


@contextmanager
def progress(title: str) -> Iterator[Any]:
    """A bar on a terminal; a line per step elsewhere."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description:40.40}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=log, transient=True, disable=not log.is_terminal) as bar:
        task = bar.add_task(title)

        def report(phase: str, done: int, total: int) -> None:
            bar.update(task, description=f"{title}: {phase}", completed=done, total=max(total, 1))
            if not log.is_terminal:
                log.print(f"{title}: {phase} ({done}/{total})", highlight=False)

        yield report
