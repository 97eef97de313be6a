"""Long sounds in files: every sample where it should be, marks that a reader finds, a full disk that loses nothing."""

from __future__ import annotations

import hashlib
import os
import resource
import signal
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from tts_trt.errors import TtsTrtError, UsageError
from tts_trt.render import sound, timeline
from tts_trt.render.sound import Mark, check_format, write_sound
from tts_trt.render.timeline import Part, blocks

RATE = 16_000
WAVE = (0.2 * np.random.default_rng(0).standard_normal(70_001)).astype(np.float32).clip(-1, 1)
MARKS = [Mark(0, "One"), Mark(40_000, "Zwei – 二")]


def in_blocks() -> Iterator[np.ndarray]:
    return (WAVE[i : i + 30_000] for i in range(0, len(WAVE), 30_000))


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".WAV"])
def test_every_sample_is_in_the_file(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    digest = write_sound(path, in_blocks, len(WAVE), RATE, MARKS)
    assert digest == hashlib.sha256(path.read_bytes()).hexdigest()
    read, rate = soundfile.read(path, dtype="int16")
    assert rate == RATE
    np.testing.assert_array_equal(read, np.rint(WAVE * 32767))
    assert os.listdir(tmp_path) == [path.name]
    assert write_sound(path, in_blocks, len(WAVE), RATE, MARKS) == digest, "the same bytes again"


def test_marks_of_a_wav_are_cue_points_with_labels(tmp_path: Path) -> None:
    write_sound(tmp_path / "a.wav", in_blocks, len(WAVE), RATE, MARKS)
    told = soundfile.info(tmp_path / "a.wav", verbose=True).extra_info
    assert "Pos : 40000" in told and "labl : 1 : One" in told and "labl : 2 : Zwei – 二" in told
    raw = (tmp_path / "a.wav").read_bytes()
    assert struct.unpack("<I", raw[4:8])[0] == len(raw) - 8


def test_marks_of_a_flac_are_chapter_comments(tmp_path: Path) -> None:
    write_sound(tmp_path / "a.flac", in_blocks, len(WAVE), RATE, MARKS)
    comments = flac_comments((tmp_path / "a.flac").read_bytes())
    assert comments == [
        "CHAPTER001=00:00:00.000",
        "CHAPTER001NAME=One",
        "CHAPTER002=00:00:02.500",
        "CHAPTER002NAME=Zwei – 二",
    ]


def flac_comments(raw: bytes) -> list[str]:
    """As RFC 9639 lays them out."""
    place, last = 4, False
    while not last:
        last, kind = bool(raw[place] & 0x80), raw[place] & 0x7F
        size = int.from_bytes(raw[place + 1 : place + 4], "big")
        if kind == 4:
            block = raw[place + 4 : place + 4 + size]
            break
        place += 4 + size
    (vendor,) = struct.unpack_from("<I", block)
    at, found = 4 + vendor, []
    (count,) = struct.unpack_from("<I", block, at)
    at += 4
    for _ in range(count):
        (size,) = struct.unpack_from("<I", block, at)
        found.append(block[at + 4 : at + 4 + size].decode())
        at += 4 + size
    assert at == len(block)
    return found


@pytest.mark.parametrize("suffix", [".wav", ".flac"])
def test_a_full_disk_is_one_error_and_the_old_file_stays(tmp_path: Path, suffix: str) -> None:
    """A limit on the size of files stands in for the disk."""
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"what was there")
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
        try:
            write_sound(path, in_blocks, len(WAVE), RATE, [])
        except TtsTrtError as error:
            os._exit(0 if f"cannot write {path}" in str(error) else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert path.read_bytes() == b"what was there"
    assert os.listdir(tmp_path) == [path.name]


def test_a_flac_that_lost_samples_on_its_way_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = soundfile.blocks
    monkeypatch.setattr(
        soundfile, "blocks", lambda *args, **options: (one[:-1] for one in whole(*args, **options))
    )
    with pytest.raises(TtsTrtError, match="not all are on the disk"):
        write_sound(tmp_path / "a.flac", in_blocks, len(WAVE), RATE, [])
    assert not os.listdir(tmp_path)


def test_a_wav_has_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sound, "LARGEST_WAV", 140_000)
    with pytest.raises(UsageError, match="do not fit into a WAV"):
        write_sound(tmp_path / "a.wav", in_blocks, len(WAVE), RATE, [])
    assert not os.listdir(tmp_path)


def test_names_are_checked_before_anything_is_spoken(tmp_path: Path) -> None:
    for name, message in (("a.mp3", "neither"), ("no/a.wav", "not a folder"), ("d.wav", "is a folder")):
        (tmp_path / "d.wav").mkdir(exist_ok=True)
        with pytest.raises(UsageError, match=message):
            check_format(tmp_path / name)


@settings(max_examples=50)
@given(
    st.lists(st.tuples(st.integers(0, 500), st.integers(0, 300)), max_size=8),
    st.integers(1, 900),
    st.integers(1, 200),
)
def test_blocks_are_the_sum_of_the_parts(places: list[tuple[int, int]], total: int, size: int) -> None:
    before = timeline.BLOCK
    timeline.BLOCK = size
    try:
        rng = np.random.default_rng(0)
        waves = [rng.standard_normal(n).astype(np.float32) for _, n in places]
        whole = np.zeros(2000, np.float32)
        for (start, n), wave_S in zip(places, waves, strict=True):
            whole[start : start + n] += wave_S
        parts = [Part(s, n, lambda w=w: w) for (s, n), w in zip(places, waves, strict=True)]
        made = list(blocks(parts, total))
    finally:
        timeline.BLOCK = before
    assert all(len(block_S) == size for block_S in made[:-1])
    np.testing.assert_allclose(np.concatenate(made), whole[:total], atol=1e-5)
