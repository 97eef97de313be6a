"""The whole command over real engines: three policies end to end, a kill in the middle, and what it says to bad input."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from tests.model.tiny import TINY
from tests.render.test_sound import flac_comments
from tts_trt.commands.render import Asked, run
from tts_trt.errors import TextError, TtsTrtError, UsageError
from tts_trt.policy import Audiobook, shipped
from tts_trt.render.ledger import Ledger

pytest.importorskip("pyloudnorm")

RATE = TINY.audio.sample_rate
BOOK = "# See me\n\nNo cat. See me, no bad cat. No **bad** cat! No cat to see. See me.\n\n## To me\n\n> See.\n\nNo cat. No."
SRT = """1
00:00:00,251 --> 00:00:01,850
See me, no bad cat.

2
00:00:01,850 --> 00:00:02,801
<i>No cat to see.</i>

3
00:00:03,000 --> 00:00:04,601
See me. No bad cat.
"""


def asked(tmp_path: Path, bundles: tuple[Path, ...], script: str, policy: str, **changes: Any) -> Asked:
    path = tmp_path / changes.pop("name", "script.txt")
    path.write_text(script)
    return Asked(path, policy, tmp_path / changes.pop("out", "out.flac"), bundles, threads=1, **changes)


def silent(phase: str, done: int, total: int) -> None: ...


def test_a_book_has_chapters_a_ledger_and_one_voice(tmp_path: Path, bundles: tuple[Path, Path]) -> None:
    made = run(asked(tmp_path, bundles, BOOK, "audiobook", emotion="happy:0.4", seed=3), silent)
    wave, rate = soundfile.read(tmp_path / "out.flac", dtype="float32")
    assert rate == RATE and len(wave) == made["samples"]
    ledger = Ledger.model_validate_json((tmp_path / "out.ledger.json").read_bytes())
    assert [(s.text, s.precision, s.key) for s in ledger.segments[:5]] == [
        ("See me", "fp32", "title"),
        ("No cat.", "fp32", "first sentence"),
        ("See me,", "int8", ""),  # a sentence longer than the model holds
        ("no bad cat.", "int8", ""),
        ("No bad cat!", "fp32", "marked"),
    ]
    assert ledger.roles["key"].precision == "fp32" and ledger.roles["narration"].precision == "int8"
    assert ledger.anchor == "tiny-fp32" and "no limits of quality control for tiny" in ledger.warnings[0]
    assert ledger.cost.spent.keys() == {"tiny-fp32", "tiny-int8"} and ledger.cost.all_high_seconds > 0
    chapters = json.loads((tmp_path / "out.chapters.json").read_text())["chapters"]
    assert [c["title"] for c in chapters] == ["See me", "To me"]
    assert chapters[0]["end"] == chapters[1]["start"] and chapters[1]["end"] == pytest.approx(
        len(wave) / RATE
    )
    assert "CHAPTER002NAME=To me" in flac_comments((tmp_path / "out.flac").read_bytes())
    first, second = ledger.segments[0], ledger.segments[1]
    pause = wave[round((first.start + first.seconds) * RATE) : round(second.start * RATE)]
    assert len(pause) == pytest.approx(shipped(Audiobook).pauses.title * RATE, abs=1) and not pause.any()
    assert np.abs(wave).max() <= 10 ** (-3 / 20) + 1e-4


def test_a_book_that_was_killed_comes_out_the_same_to_the_byte(
    tmp_path: Path, bundles: tuple[Path, Path]
) -> None:
    book = "No cat. See me. No bad cat! No."
    whole = run(asked(tmp_path, bundles, book, "audiobook", out="whole.wav"), silent)
    command = [
        sys.executable, "-m", "tts_trt", "render", str(tmp_path / "script.txt"), "--policy", "audiobook", "--threads", "1",
        "--out", str(tmp_path / "killed.wav"), *(word for b in bundles for word in ("--bundle", str(b))),
    ]  # fmt: skip
    journal = tmp_path / "killed.wav.work" / "journal.jsonl"
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 60
        while not (journal.exists() and journal.read_bytes().count(b"\n") >= 2):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL and not (tmp_path / "killed.wav").exists()
    done = journal.read_bytes().count(b"\n")
    run(asked(tmp_path, bundles, book, "audiobook", out="killed.wav"), silent)
    assert 2 <= done < journal.read_bytes().count(b"\n")
    assert (tmp_path / "killed.wav").read_bytes() == (tmp_path / "whole.wav").read_bytes()
    assert whole["counts"]["segments"] == len(
        json.loads((tmp_path / "killed.ledger.json").read_text())["segments"]
    )


def test_subtitles_are_right_to_the_sample(tmp_path: Path, bundles: tuple[Path, Path]) -> None:
    made = run(
        asked(tmp_path, bundles, SRT, "dubbing", name="film.srt", out="film.wav", cues=tmp_path / "cues"),
        silent,
    )
    wave, _ = soundfile.read(tmp_path / "film.wav", dtype="float32")
    edges = [(round(a * RATE), round(b * RATE)) for a, b in ((0.251, 1.85), (1.85, 2.801), (3.0, 4.601))]
    assert [(c["start"], c["end"]) for c in made["cues"]] == edges
    assert made["precision"] == "fp32" and len(wave) == edges[-1][1] == made["samples"]
    for i, (start, end) in enumerate(edges, 1):
        one, _ = soundfile.read(tmp_path / "cues" / f"cue-{i:04}.wav", dtype="float32")
        assert len(one) == end - start
        np.testing.assert_allclose(wave[start:end], one, atol=1e-4)
        assert np.abs(one).max() > 1e-3
    silence = np.ones(len(wave), bool)
    for start, end in edges:
        silence[start:end] = False
    assert not wave[silence].any()


def test_a_text_fills_its_duration(tmp_path: Path, bundles: tuple[Path, Path]) -> None:
    for seconds in (1.3, 1.623457):
        made = run(asked(tmp_path, bundles, "See me, no bad cat.", "dubbing", duration=seconds), silent)
        assert made["samples"] == soundfile.info(tmp_path / "out.flac").frames == round(seconds * RATE)


def test_overlaps_are_mixed_where_the_policy_says_so(tmp_path: Path, bundles: tuple[Path, Path]) -> None:
    (tmp_path / "mix.toml").write_text('scenario = "dubbing"\noverlaps = "mix"\ndrawn_takes = 1\n')
    over = SRT.replace("00:00:01,850 --> 00:00:02,801", "00:00:01,000 --> 00:00:01,951")
    with pytest.raises(UsageError, match="cue 2 .* in cue 1"):
        run(asked(tmp_path, bundles, over, "dubbing", name="film.srt"), silent)
    run(
        asked(tmp_path, bundles, over, str(tmp_path / "mix.toml"), name="film.srt", cues=tmp_path / "cues"),
        silent,
    )
    wave = soundfile.read(tmp_path / "out.flac", dtype="float32")[0]
    one, two = (soundfile.read(tmp_path / "cues" / f"cue-000{i}.flac", dtype="float32")[0] for i in (1, 2))
    first, start = round(0.251 * RATE), round(1.0 * RATE)
    both = one[start - first :] + two[: len(one) - (start - first)]
    gain = wave[first : first + 2000].std() / one[:2000].std()
    np.testing.assert_allclose(wave[start : start + len(both)], both * gain, atol=2e-3)


def test_live_lines_are_timed(tmp_path: Path, bundles: tuple[Path, Path]) -> None:
    (tmp_path / "live.toml").write_text(
        'scenario = "live"\nfirst_codes = 4\nchunk_codes = [6]\n[budget_ms]\ndecode = 60000\nsound = 60000\nfirst_audio = 60000\n'
    )
    made = run(asked(tmp_path, bundles, "See me.\n\nNo bad cat!\n", str(tmp_path / "live.toml")), silent)
    assert made["precision"] == "fp32" and "no report was given" in made["why"]
    assert [line["text"] for line in made["lines"]] == ["See me.", "No bad cat!"]
    assert all(line["first_audio_ms"] > 0 and line["chunks"] >= 1 for line in made["lines"])
    assert set(made["first_chunk_ms"]) == {"plan", "decode", "sound", "voice"}
    pause = 0.15 * RATE
    assert (
        soundfile.info(tmp_path / "out.flac").frames == sum(line["samples"] for line in made["lines"]) + pause
    )


@pytest.mark.parametrize(
    ("script", "policy", "changes", "error", "message"),
    [
        ("# \n\n---\n", "audiobook", {}, TextError, "nothing that can be spoken"),
        ("No\x00cat", "audiobook", {}, TextError, "U\\+0000"),
        ("1\n00:00:01 --> x\nNo.", "dubbing", {"name": "a.srt"}, TextError, "line 2"),
        ("no cues", "dubbing", {"name": "a.srt"}, TextError, "no cue with words"),
        ("1\n00:00:01,000 --> 00:00:01,010\nNo cat.", "dubbing", {"name": "a.srt"}, UsageError, "rate of"),
        ("No cat.", "dubbing", {}, UsageError, "dubbing needs a time"),
        ("No cat.", "dubbing", {"duration": 9.0}, UsageError, "would need a rate of 0.0"),
        (SRT, "dubbing", {"name": "a.srt", "duration": 1.0}, UsageError, "have their own times"),
        ("No cat.", "audiobook", {"duration": 1.0}, UsageError, "only dubbing keeps"),
        ("No cat.", "audiobook", {"emotion": "jolly:1"}, UsageError, "no emotion 'jolly'"),
        ("No cat.", "audiobook", {"emotion_audio": Path("none.wav")}, UsageError, "none.wav cannot be read"),
        ("No cat.", "audiobook", {"voice": "nobody"}, UsageError, "no voice 'nobody', only anna"),
        ("No cat.", "live", {"report": Path("none.json")}, UsageError, "none.json cannot be read"),
        ("No cat.", "audiobook", {"qc": Path("none.json")}, UsageError, "none.json cannot be read"),
        ("No cat.", "audiobook", {"out": "out.ogg"}, UsageError, "neither"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_one_error_and_writes_no_sound(
    tmp_path: Path,
    bundles: tuple[Path, Path],
    script: str,
    policy: str,
    changes: dict[str, Any],
    error: type[TtsTrtError],
    message: str,
) -> None:
    with pytest.raises(error, match=message):
        run(asked(tmp_path, bundles, script, policy, **changes), silent)
    assert not [path for path in tmp_path.rglob("*") if path.suffix in (".flac", ".wav")]


def test_two_runs_do_not_share_a_folder(tmp_path: Path, bundles: tuple[Path, Path]) -> None:
    import fcntl

    work = tmp_path / "out.flac.work"
    work.mkdir()
    with (work / "journal.jsonl").open("a+b") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(UsageError, match="another render is working"):
            run(asked(tmp_path, bundles, BOOK, "audiobook"), silent)


def test_dubbing_wants_a_high_precision(tmp_path: Path, bundles: tuple[Path, Path]) -> None:
    with pytest.raises(UsageError, match="no bundle of fp32 or fp16 among tiny-int8"):
        run(asked(tmp_path, bundles[1:], SRT, "dubbing", name="a.srt"), silent)


def test_the_command_line_gives_codes_and_json(tmp_path: Path, bundles: tuple[Path, Path]) -> None:
    (tmp_path / "a.txt").write_text("See me, no bad cat.")
    command = [
        sys.executable,
        "-m",
        "tts_trt",
        "render",
        "a.txt",
        "--policy",
        "dubbing",
        "--bundle",
        str(bundles[0]),
    ]
    good = subprocess.run(
        [*command, "--duration", "1.5", "--json", "--threads", "1"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert good.returncode == 0, good.stderr
    assert json.loads(good.stdout.splitlines()[-1])["samples"] == 1.5 * RATE
    bad = subprocess.run([*command, "--duration", "9"], cwd=tmp_path, capture_output=True, text=True)
    assert bad.returncode == 2 and "do not fit their time" in bad.stderr and "Traceback" not in bad.stderr
    assert sorted(os.listdir(tmp_path)) == ["a.txt", "out.flac"]
