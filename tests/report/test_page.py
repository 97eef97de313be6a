"""The page holds everything itself and says texts as texts."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.report.fakes import bundle, collected, hiss, plan, subject
from tts_trt.report.assemble import assemble
from tts_trt.report.gate import Rule, check
from tts_trt.report.page import page
from tts_trt.report.schema import Report

pytest.importorskip("pyworld")
pytest.importorskip("jiwer")
pytest.importorskip("pyloudnorm")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Report, Path]:
    folder = tmp_path_factory.mktemp("page")
    pair = [
        subject("clean", bundle(folder)),
        subject("<script>alert(1)</script>", bundle(folder, "vocoder", "wave", hiss(0.01))),
    ]
    evidence = collected(folder / "out", pair, plan(sentences=7))
    settings = {"sentences": 7, "lines": 7, "same_codes_lines": 5}
    found = assemble(
        evidence, command="tts-trt report --texts '<i>'", environment={"cpu": "<b>"}, settings=settings
    )
    gate = check([Rule("wer", "worse_than", 0.03)], found.candidates)
    return found.model_copy(update={"gate": gate}), folder / "out" / "work"


class Seen(HTMLParser):
    """Tags that are open, what is loaded, and what is left open."""

    VOID = ("meta", "br", "image", "line", "circle", "rect", "polyline", "polygon")

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.loaded: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loaded += [
            value or "" for name, value in attrs if name in ("src", "href", "srcset", "data", "action")
        ]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, (tag, self.open[-3:])
        self.open.pop()


def test_it_loads_nothing_and_is_well_formed(made: tuple[Report, Path]) -> None:
    html = page(*made)
    seen = Seen()
    seen.feed(html)
    assert not seen.open
    assert {"audio", "svg", "table", "style"} <= set(seen.tags)
    assert not {"script", "link", "iframe", "img", "object"} & set(seen.tags)
    assert seen.loaded and all(
        re.match(r"data:(audio/flac|image/png);base64,", source) for source in seen.loaded
    )
    assert "http://" not in html and "https://" not in html and "@import" not in html and "url(" not in html
    assert "default-src 'none'" in html


def test_texts_and_names_are_escaped(made: tuple[Report, Path]) -> None:
    html = page(*made)
    assert "<b>" not in html and "to be &lt;b&gt;now" in html
    assert "<script" not in html and "&lt;script&gt;" in html
    assert "--texts &#x27;&lt;i&gt;&#x27;" in html


def test_sounds_that_are_gone_are_left_out(made: tuple[Report, Path], tmp_path: Path) -> None:
    html = page(made[0], tmp_path)
    assert "not kept" in html and "<audio" not in html


def test_the_gate_is_shown(made: tuple[Report, Path]) -> None:
    assert "wer.worse_than = 0.03" in page(*made)
