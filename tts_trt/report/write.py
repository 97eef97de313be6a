"""A report as three files: JSON for programs, Markdown for a review, one HTML page to read and listen."""

from __future__ import annotations

from pathlib import Path

from tts_trt.atomic import write_atomic
from tts_trt.report.markdown import markdown
from tts_trt.report.page import page
from tts_trt.report.schema import Report

FILES = ("report.json", "report.md", "report.html")


def write_report(made: Report, out: Path, work: Path) -> None:
    """Each file appears whole or not at all. ``work`` holds the waves and pictures that the page embeds."""
    bodies = (made.to_bytes(), markdown(made).encode(), page(made, work).encode())
    for name, body in zip(FILES, bodies, strict=True):
        write_atomic(out / name, [body])
