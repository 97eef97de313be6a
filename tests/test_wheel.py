"""The wheel, installed into an environment of its own and used from outside the source tree."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")

pytestmark = pytest.mark.slow


def run(command: Sequence[str | Path], folder: Path) -> str:
    environment = {
        name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")
    }
    result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run((*PIP, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, ROOT), folder)
    (made,) = folder.glob("tts_trt-*.whl")
    return made


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """bin/ of a fresh environment that has the wheel and borrows its dependencies from the one of the tests."""
    folder = tmp_path_factory.mktemp("environment")
    run((sys.executable, "-m", "venv", "--without-pip", folder), folder)
    (site,) = folder.glob("lib/python*/site-packages")
    # A folder named in a .pth file is searched, but its own .pth files, and so an editable tts-trt, are not read.
    (site / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    run((*PIP, "--python", folder / "bin" / "python", "install", "--no-deps", "--no-index", wheel), folder)
    return folder / "bin"


def test_the_wheel_holds_every_module_and_asset_and_nothing_else(wheel: Path) -> None:
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    files = [f for f in (ROOT / "tts_trt").rglob("*") if f.is_file() and "__pycache__" not in f.parts]
    corpus = [ROOT / "calibration" / "corpus.toml", *(ROOT / "calibration" / "sentences").rglob("*.txt")]
    assert names == {f.relative_to(ROOT).as_posix() for f in files} | {
        f"tts_trt/_calibration/{f.relative_to(ROOT / 'calibration').as_posix()}" for f in corpus
    } | {"tts_trt/_report/sentences.txt"}
    assert "tts_trt/assets/nano/config.json" in names


def test_the_installed_package_is_the_one_of_the_wheel(installed: Path, tmp_path: Path) -> None:
    where = run((installed / "python", "-c", "import tts_trt; print(tts_trt.__file__)"), tmp_path)
    assert Path(where.strip()).is_relative_to(installed.parent)


def test_the_command_line_answers(installed: Path, tmp_path: Path) -> None:
    assert "doctor" in run((installed / "tts-trt", "--help"), tmp_path)


def test_the_doctor_prints_json(installed: Path, tmp_path: Path) -> None:
    out = run((installed / "tts-trt", "doctor", "--json"), tmp_path)
    diagnosis = json.loads(out[out.index("{") :])
    assert diagnosis["tts_trt"] in wheel_versions(installed)
    assert diagnosis["best_executor"]


def test_the_default_corpus_is_the_one_of_the_wheel(installed: Path, tmp_path: Path) -> None:
    figures = json.loads(run((installed / "tts-trt", "corpus", "stats", "--json"), tmp_path))
    assert Path(figures["corpus"]).parts[-3:] == ("tts_trt", "_calibration", "corpus.toml")
    assert Path(figures["corpus"]).is_relative_to(installed.parent)


def wheel_versions(installed: Path) -> set[str]:
    folders = installed.parent.glob("lib/python*/site-packages/tts_trt-*.dist-info")
    return {folder.name.removeprefix("tts_trt-").removesuffix(".dist-info") for folder in folders}
