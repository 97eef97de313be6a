from __future__ import annotations

import errno
import os
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

from tts_trt import atomic
from tts_trt.atomic import atomic_directory, write_atomic


def entries(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def kill_in_the_middle(folder: Path, body: str) -> None:
    """Runs ``body`` in a process that ends by SIGKILL at ``die()``."""
    program = textwrap.dedent(f"""
        import os, signal
        from pathlib import Path
        from tts_trt import atomic
        folder = Path({str(folder)!r})
        def die(): os.kill(os.getpid(), signal.SIGKILL)
    """)
    result = subprocess.run([sys.executable, "-c", program + textwrap.dedent(body)], timeout=60, check=False)
    assert result.returncode == -9


def test_file_is_replaced_and_counted(tmp_path: Path) -> None:
    target = tmp_path / "plan"
    target.write_bytes(b"old")
    assert write_atomic(target, [b"ab", memoryview(b"cde")]) == 5
    assert target.read_bytes() == b"abcde"
    assert entries(tmp_path) == ["plan"]


def test_a_short_write_is_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    monkeypatch.setattr(atomic.os, "write", lambda fd, data: real(fd, bytes(data[:3])))
    assert write_atomic(tmp_path / "plan", [bytes(range(100))]) == 100
    assert (tmp_path / "plan").read_bytes() == bytes(range(100))


@pytest.mark.parametrize("call", ["write", "fsync", "replace"])
def test_a_full_disk_leaves_the_old_file_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    (tmp_path / "plan").write_bytes(b"old")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(atomic.os, call, full)
    with pytest.raises(OSError, match="No space left"):
        write_atomic(tmp_path / "plan", [b"new"])
    assert entries(tmp_path) == ["plan"]
    assert (tmp_path / "plan").read_bytes() == b"old"


def test_a_killed_file_write_is_invisible_and_swept_by_the_next(tmp_path: Path) -> None:
    (tmp_path / "plan").write_bytes(b"old")
    kill_in_the_middle(
        tmp_path,
        """
        def chunks():
            yield b"half"
            die()
        atomic.write_atomic(folder / "plan", chunks())
        """,
    )
    assert (tmp_path / "plan").read_bytes() == b"old"
    assert len(entries(tmp_path)) == 2
    write_atomic(tmp_path / "plan", [b"new"])
    assert entries(tmp_path) == ["plan"]
    assert (tmp_path / "plan").read_bytes() == b"new"


def test_a_living_neighbours_work_is_not_swept(tmp_path: Path) -> None:
    with atomic_directory(tmp_path / "b") as first:
        (first / "who").write_text("first")
        with atomic_directory(tmp_path / "b") as second:
            (second / "who").write_text("second")
            assert first.is_dir()
    assert (tmp_path / "b" / "who").read_text() == "first"
    assert entries(tmp_path) == ["b"]


def test_files_can_be_written_atomically_inside_a_directory_being_made(tmp_path: Path) -> None:
    with atomic_directory(tmp_path / "b") as folder:
        write_atomic(folder / "plan", [b"x"])
    assert entries(tmp_path / "b") == ["plan"]


@pytest.mark.parametrize("exchange", [True, False])
def test_a_directory_is_replaced_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exchange: bool
) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "old").touch()
    if not exchange:
        monkeypatch.setattr(atomic, "_exchange", lambda a, b: False)
    with atomic_directory(tmp_path / "b") as folder:
        (folder / "new").touch()
        assert entries(tmp_path / "b") == ["old"]
    assert entries(tmp_path / "b") == ["new"]
    assert entries(tmp_path) == ["b"]


def test_a_kill_between_the_two_renames_is_mended(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "old").touch()
    kill_in_the_middle(
        tmp_path,
        """
        atomic._exchange = lambda a, b: False
        rename = os.rename
        def once(a, b):
            rename(a, b)
            die()
        with atomic.atomic_directory(folder / "b"):
            os.rename = once
        """,
    )
    assert not (tmp_path / "b").exists()
    with pytest.raises(KeyError), atomic_directory(tmp_path / "b"):
        assert entries(tmp_path / "b") == ["old"]
        raise KeyError
    assert entries(tmp_path) == ["b"]


def test_names_with_glob_characters_sweep_only_their_own(tmp_path: Path) -> None:
    stranger = tmp_path / ".ab.0.partial"
    stranger.touch()
    write_atomic(tmp_path / "a[b]*", [b"x"])
    assert stranger.exists()


@pytest.mark.parametrize("exchange", [True, False])
def test_many_writers_of_one_directory_leave_one_whole_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exchange: bool
) -> None:
    """Every round starts without the directory: two writers once both saw it missing, and the second's rename failed."""
    if not exchange:
        monkeypatch.setattr(atomic, "_exchange", lambda a, b: False)
    failures: list[Exception] = []

    def write(who: int, gate: threading.Barrier, path: Path) -> None:
        try:
            with atomic_directory(path) as folder:
                for part in range(3):
                    (folder / str(part)).write_text(str(who))
                gate.wait()
        except Exception as error:  # noqa: BLE001  a thread's failure must reach the test
            failures.append(error)

    for turn in range(40):
        path, gate = tmp_path / f"b{turn}", threading.Barrier(4)
        threads = [threading.Thread(target=write, args=(i, gate, path)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failures
        assert len({p.read_text() for p in path.iterdir()}) == 1
    assert [n for n in entries(tmp_path) if n.startswith(".")] == []
