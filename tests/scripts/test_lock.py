"""requirements.lock holds what pyproject.toml asks for, exactly and without a machine's own addresses."""

from __future__ import annotations

import re
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from scripts.lock import EXTRAS, LOCK, PINNED, ROOT, pins

LINES = [line for line in LOCK.read_text().splitlines() if not line.startswith("#")]
LOCKED = dict(line.split("==") for line in LINES)


def wanted() -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = [*project["dependencies"], *PINNED]
    for extra in EXTRAS:
        lines += project["optional-dependencies"][extra]
    return [Requirement(line) for line in lines]


@pytest.mark.parametrize("requirement", wanted(), ids=str)
def test_every_dependency_is_locked_at_a_version_it_allows(requirement: Requirement) -> None:
    assert requirement.specifier.contains(LOCKED[canonicalize_name(requirement.name)])


def test_every_line_is_an_exact_version() -> None:
    assert [line for line in LINES if not re.fullmatch(r"[a-z0-9-]+==[0-9][0-9a-z.]*", line)] == []
    assert sorted(LINES) == LINES


def test_pins_leave_out_this_project_local_versions_and_the_cuda_build_of_torch() -> None:
    names = {
        "Torch": "2.13.0+cpu",
        "nvidia-cublas": "13.0",
        "triton": "3.5",
        "tts-trt": "0.1.0",
        "ruamel.yaml": "1",
    }
    report = [{"metadata": {"name": name, "version": version}} for name, version in names.items()]
    assert pins(report) == ["ruamel-yaml==1", "torch==2.13.0"]
