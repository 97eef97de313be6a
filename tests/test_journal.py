"""A journal keeps what was finished through any end of the process, for one process at a time."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from tts_trt.errors import TtsTrtError, UsageError
from tts_trt.journal import FILE, Journal, key_of


def test_what_was_added_is_there_again(tmp_path: Path) -> None:
    with Journal(tmp_path / "work", "render") as journal:
        journal.add("a", {"x": (1, 2)})
        assert journal["a"] == {"x": [1, 2]}, "as it will be read"
    with Journal(tmp_path / "work", "render") as journal:
        assert "a" in journal and "b" not in journal
        assert journal["a"] == {"x": [1, 2]}


@pytest.mark.parametrize("tail", [b'{"key": "b", "val', b'{"key": "b"}\n', b"\x00\x00\n", b"[]\n"])
def test_a_line_that_was_being_written_is_cut_off(tmp_path: Path, tail: bytes) -> None:
    with Journal(tmp_path, "render") as journal:
        journal.add("a", 1)
    with (tmp_path / FILE).open("ab") as file:
        file.write(tail)
    with Journal(tmp_path, "render") as journal:
        assert "a" in journal and "b" not in journal
        journal.add("c", 3)
    with Journal(tmp_path, "render") as journal:
        assert journal["c"] == 3


def test_two_processes_do_not_share_a_folder(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from tts_trt.journal import Journal\n"
        "with Journal(Path(sys.argv[1]), 'render'): print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout and other.stdout.readline() == "held\n"
        with pytest.raises(UsageError, match="another render is working in"):
            Journal(tmp_path, "render")
        other.kill()
    Journal(tmp_path, "render").__exit__(None, None, None)


def test_a_full_disk_is_an_error_and_loses_nothing(tmp_path: Path) -> None:
    """A limit on the size of files stands in for the disk: writes go through up to it, then fail."""
    with Journal(tmp_path, "render") as journal:
        journal.add("a", "x" * 100)
        size = (tmp_path / FILE).stat().st_size
        child = os.fork()
        if child == 0:
            import signal

            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (size + 20, size + 20))
            try:
                journal.add("b", "y" * 100)
            except TtsTrtError as error:
                os._exit(0 if "cannot write" in str(error) else 1)
            os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert (tmp_path / FILE).stat().st_size == size
        journal.add("c", 3)
    with Journal(tmp_path, "render") as journal:
        assert journal["c"] == 3 and "b" not in journal


def test_keys_depend_on_everything() -> None:
    assert key_of("take", text="a", seed=1) == key_of("take", seed=1, text="a")
    assert len({key_of("take", text="a"), key_of("take", text="b"), key_of("wave", text="a")}) == 3
