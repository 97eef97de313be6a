"""The command line's manners: help is fast, errors are one message without a traceback, exit codes tell them apart."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tts_trt.commands.synth import Asked, parse_emotion, read_text
from tts_trt.dims import EMOTIONS
from tts_trt.errors import TextError, UsageError


def run(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tts_trt", *arguments], capture_output=True, text=True, timeout=120, cwd=cwd
    )


def test_help_names_every_stage_and_loads_no_heavy_package() -> None:
    done = run("--help")
    assert done.returncode == 0
    for command in (
        "doctor",
        "export",
        "build",
        "verify",
        "inspect",
        "synth",
        "bench",
        "engines",
        "calibrate",
    ):
        assert command in done.stdout
    code = (
        "import sys, tts_trt.cli; "
        "heavy = {'torch', 'onnx', 'onnxruntime', 'scipy', 'tensorrt_rtx'} & set(sys.modules); "
        "assert not heavy, heavy"
    )
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    assert time.perf_counter() - began < 20


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("synth", "--text", "hi", "--bundle", "nowhere"), 1, "not a bundle"),
        (("verify", "nowhere"), 1, "not a bundle"),
        (("inspect", "nowhere"), 1, "not a bundle"),
        (("build", "--model", "nobody"), 2, "no model 'nobody'"),
        (("build", "--precision", "fp7"), 2, "fp7"),
        (("synth", "--bogus"), 2, "No such option"),
        (("synth", "--bundle", "x"), 2, "expected one of --text and --text-file"),
        (("synth", "--text", "a", "--text-file", "b"), 2, "expected one of"),
        (("bench", "--bundle", "nowhere"), 1, "not a bundle"),
        (("build", "--precision", "none.toml"), 2, "none.toml cannot be read"),
        (("build", "--calibration-cache", "gpt"), 2, "is not GRAPH=FILE"),
        (("calibrate", "--corpus", "nowhere.toml"), 2, "nowhere.toml"),
        (("calibrate", "--tensorrt", "flow_step"), 1, "tensorrt cannot be loaded"),
        (("corpus", "stats", "--corpus", "nowhere.toml"), 2, "nowhere.toml"),
    ],
)
def test_errors_are_words_and_exit_codes(
    arguments: tuple[str, ...], code: int, words: str, tmp_path: Path
) -> None:
    done = run(*arguments, cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert words in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


def test_doctor_prints_json_last() -> None:
    done = run("doctor", "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout.splitlines()[-1])["best_executor"]


def test_emotions_by_name_and_by_number() -> None:
    assert parse_emotion(None) is None
    assert parse_emotion("sad:0.5, calm:0.25") == tuple(
        {"sad": 0.5, "calm": 0.25}.get(n, 0.0) for n in EMOTIONS
    )
    assert parse_emotion("0,0,1,0,0,0,0,0") == (0, 0, 1, 0, 0, 0, 0, 0)
    for wrong in ("jolly:0.5", "sad:much", "sad:0.1,sad:0.2", "sad", ""):
        with pytest.raises(UsageError):
            parse_emotion(wrong)


def test_text_files_must_be_short_utf8(tmp_path: Path) -> None:
    def read(path: Path) -> str:
        return read_text(Asked(None, path, None, None, None, 1.0, None, 0, False))

    good = tmp_path / "good.txt"
    good.write_text("Good morning.")
    assert read(good) == "Good morning."
    (tmp_path / "bad.txt").write_bytes(b"caf\xe9")
    with pytest.raises(TextError, match=r"byte 3 is 0xe9"):
        read(tmp_path / "bad.txt")
    (tmp_path / "long.txt").write_bytes(b"a" * 1_000_001)
    with pytest.raises(TextError, match="1000001 bytes"):
        read(tmp_path / "long.txt")
    with pytest.raises(UsageError):
        read(tmp_path / "none.txt")
