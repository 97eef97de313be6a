"""What `tts-trt doctor --model DIR` finds: every missing, cut or foreign file, and the commands that bring it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.random_checkpoint import TINY, write_checkpoint
from tests.official.test_walk import run
from tts_trt.errors import UsageError
from tts_trt.models import OfficialFolder, find_model
from tts_trt.official.layout import BY_NAME, PARTS
from tts_trt.official.survey import survey


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "model"
    write_checkpoint(folder, TINY)
    return folder


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "model"))


def state_of(folder: Path, name: str) -> str:
    return next(row.state for row in survey(folder).rows if row.name == name)


def test_a_whole_directory_is_whole(whole: Path) -> None:
    seen = survey(whole)
    assert seen.whole and seen.problem is None and seen.commands == []
    assert {row.state for row in seen.rows} == {"ok", "absent"}
    assert json.loads(json.dumps(seen.to_json()))["whole"] is True


def test_every_part_is_missed_by_name_and_by_the_command_that_brings_it(whole: Path, tmp_path: Path) -> None:
    for part in PARTS:
        if not part.needed:
            continue
        copy = Path(shutil.copytree(whole, tmp_path / part.name))
        (copy / part.path).unlink()
        seen = survey(copy)
        assert not seen.whole
        assert [row.name for row in seen.rows if row.state == "missing"] == [part.name]
        assert (
            len(seen.commands) == 1
            and part.repository in seen.commands[0]
            and part.remote in seen.commands[0]
        )
        with pytest.raises(UsageError, match=Path(part.path).name):
            model = find_model(str(copy))
            assert isinstance(model, OfficialFolder)
            model.dims()


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("gpt", None, "is cut short"),
        ("codec", None, "its header says"),
        ("vocoder", b"", "is empty"),
        ("s2mel", b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
        ("w2v", b"<!DOCTYPE html>", "is a web page"),
        ("w2v", b"\xff" * 80, "no readable header"),
    ],
)
def test_damage_is_told_without_opening_a_checkpoint(
    folder: Path, name: str, content: bytes | None, words: str
) -> None:
    path = folder / BY_NAME[name].path
    raw = path.read_bytes()
    path.write_bytes(raw[: len(raw) * 2 // 3] if content is None else content)
    assert words in state_of(folder, name)
    assert not survey(folder).whole


def test_a_configuration_of_another_model_is_a_finding(folder: Path) -> None:
    config = folder / "config.yaml"
    config.write_text(config.read_text().replace("version: 2.0", "version: 1.5"))
    assert "version 1.5" in str(survey(folder).problem)
    config.write_text("a: [")
    assert "not YAML" in str(survey(folder).problem)


def test_encoders_are_found_where_the_upstream_program_keeps_them(folder: Path) -> None:
    for name in ("w2v", "w2v_config", "vocoder", "vocoder_config", "codec", "style"):
        part = BY_NAME[name]
        cache = (
            folder / "hf_cache" / f"models--{part.repository.replace('/', '--')}" / "snapshots" / "0ff1c1a1"
        )
        target = cache / part.remote
        target.parent.mkdir(parents=True, exist_ok=True)
        (folder / part.path).rename(target)
    assert survey(folder).whole
    model = find_model(str(folder))
    assert model.dims() == TINY and "hf_cache" in str(model.official.file("w2v"))  # type: ignore[attr-defined]


def test_a_directory_that_is_no_download_is_told_so(tmp_path: Path) -> None:
    assert "does not look like" in str(survey(tmp_path).problem)
    with pytest.raises(UsageError, match="is not a folder"):
        survey(tmp_path / "nowhere")


def test_the_command_ends_with_1_where_something_is_missing(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("doctor", "--model", str(folder), "--json") == 0
    (folder / "s2mel.pth").unlink()
    assert run("doctor", "--model", str(folder)) == 1
    shown = capsys.readouterr().out
    assert "s2mel.pth" in shown and "hf download IndexTeam/IndexTTS-2 s2mel.pth" in " ".join(shown.split())
    assert run("export", "--model", str(folder), "--out", str(folder / "out")) == 2
    assert not (folder / "out").exists()


def test_the_survey_opens_no_checkpoint_and_imports_no_torch(whole: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from tts_trt.official.survey import survey; "
        f"assert survey(Path({str(whole)!r})).whole; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
