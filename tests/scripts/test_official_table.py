"""The page of builds at official size shows what was measured."""

from __future__ import annotations

from scripts.official_table import END, PAGE, START, newest, replaced, table


def test_the_page_is_current() -> None:
    page = PAGE.read_text()
    assert START in page and END in page
    assert page == replaced(page, table(newest())), "python -m scripts.official_table --write"


def test_memory_stays_below_the_limit() -> None:
    report = newest()
    failed = [
        f"{graph} {step}"
        for graph, steps in report["graphs"].items()
        for step, record in steps.items()
        if record and not record.get("done")
    ]
    assert not failed
    assert report["peak_rss_gib"] < 20
