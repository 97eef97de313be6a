"""The pages name things that exist, and their table of graphs is the one of spec.py."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.graph_table import END, PAGE, START, replaced, table

ROOT = Path(__file__).parents[1]
FOLDERS = [ROOT, ROOT / "calibration", ROOT / "engines"]
PAGES = [*(folder / "README.md" for folder in FOLDERS), *sorted((ROOT / "docs").glob("*.md"))]
IDS = [str(page.relative_to(ROOT)) for page in PAGES]


def code_of(page: Path) -> str:
    """Code blocks and inline code."""
    text = page.read_text()
    blocks = re.findall(r"^```.*?^```|^(?: {4}).*$", text, flags=re.MULTILINE | re.DOTALL)
    return "\n".join([*blocks, *re.findall(r"`([^`\n]+)`", text)])


def test_the_graph_table_is_current() -> None:
    page = PAGE.read_text()
    assert START in page and END in page
    assert page == replaced(page, table()), "python -m scripts.graph_table --write"


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text())
    broken = [target for target in targets if "://" not in target and not (page.parent / target).exists()]
    assert not broken


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_make_targets_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z][a-z-]*)", code_of(page))) <= targets


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_commands_exist(page: Path) -> None:
    named = set(re.findall(r"(?:^|[\s`])tts-trt ([a-z]+)", code_of(page), flags=re.MULTILINE))
    if not named:
        return
    run = [sys.executable, "-m", "tts_trt", "--help"]
    help_page = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert named <= set(re.findall(r"[a-z]+", help_page))


def test_the_tree_of_the_readme_is_the_tree() -> None:
    block = re.search(r"```\n(tts_trt/.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    assert block
    named = [re.match(r"( *)(\S+)", line) for line in block[1].splitlines()]
    parent, paths = "", set()
    for match in named:
        assert match
        indent, name = match.groups()
        parent = name if not indent else parent
        paths.add(name if not indent else parent + name)
    assert not [path for path in paths if not (ROOT / path).exists()]
    packages = {f"tts_trt/{f.parent.name}/" for f in (ROOT / "tts_trt").glob("*/__init__.py")}
    assert packages <= paths


def test_make_help_lists_every_target() -> None:
    listed = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    assert phony
    assert set(phony[1].split()) == set(re.findall(r"make ([a-z-]+)", listed))
