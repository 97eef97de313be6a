"""Files and directories that appear whole or not at all, whatever ends the process.

A file or directory is made under a hidden sibling name, flushed to disk and moved into place in one step.
While it is being made its descriptor is held with flock, which the kernel drops however the process ends; so
leftovers of a killed process are told from a neighbour's work in progress, and the next write removes them.
POSIX only.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import glob
import os
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

Chunk = bytes | bytearray | memoryview

DISK_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO})
"""Errors of the disk itself, as opposed to wrong paths or permissions."""

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


def write_atomic(path: Path, chunks: Iterable[Chunk]) -> int:
    """Replaces ``path`` with the concatenated chunks; returns the bytes written. On any exception (OSError of
    a full disk included) the old file stays and nothing else is left."""
    with _partial(path, _open_new_file) as (partial, fd):
        written = 0
        for chunk in chunks:
            view = memoryview(chunk).cast("B")
            while view:
                count = os.write(fd, view)
                view, written = view[count:], written + count
        os.fsync(fd)
        os.replace(partial, path)
        _fsync_path(path.parent)
    return written


@contextmanager
def atomic_directory(path: Path) -> Iterator[Path]:
    """Yields an empty directory that takes the place of ``path`` when the block ends without an exception."""
    with _partial(path, _open_new_directory) as (partial, _):
        yield partial
        for folder, _, files in os.walk(partial):
            for name in files:
                _fsync_path(Path(folder, name))
            _fsync_path(Path(folder))
        _move_directory(partial, path)
        _fsync_path(path.parent)


def _fsync_path(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@contextmanager
def _partial(path: Path, open_new: Callable[[Path], int]) -> Iterator[tuple[Path, int]]:
    path.parent.mkdir(parents=True, exist_ok=True)
    _sweep(path)
    fd = None
    while fd is None:
        partial = path.parent / f".{path.name}.{uuid.uuid4().hex[:12]}.partial"
        fd = _locked(partial, open_new)
    try:
        yield partial, fd
    finally:
        _remove(partial)
        os.close(fd)


def _locked(partial: Path, open_new: Callable[[Path], int]) -> int | None:
    """None when a neighbour's sweep took the new name in the instant before it was locked."""
    try:
        fd = open_new(partial)
    except FileNotFoundError:
        return None
    fcntl.flock(fd, fcntl.LOCK_EX)
    if partial.exists():
        return fd
    os.close(fd)
    return None


def _open_new_file(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)


def _open_new_directory(path: Path) -> int:
    path.mkdir()
    return os.open(path, os.O_RDONLY)


def _sweep(path: Path) -> None:
    """Removes what killed writers of ``path`` left, and puts back a directory that was set aside in a
    swap."""
    aside = _aside(path)
    if aside.exists():
        with _alone(path.parent):
            if aside.exists() and not path.exists():
                os.rename(aside, path)
            _remove(aside)
    for leftover in path.parent.glob(f".{glob.escape(path.name)}.*.partial"):
        try:
            fd = os.open(leftover, os.O_RDONLY)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _remove(leftover)
        except BlockingIOError:
            continue
        finally:
            os.close(fd)


def _aside(path: Path) -> Path:
    return path.parent / f".{path.name}.previous"


def _move_directory(new: Path, path: Path) -> None:
    """After an exchange ``new`` names the old directory, which the caller removes.

    Between the look and the move a neighbour may put a directory at ``path`` or take the one there away; then we
    look again. One of the neighbours always gets through.
    """
    while True:
        try:
            if not path.exists():
                os.rename(new, path)
            elif not _exchange(new, path):
                _replace_in_two_steps(new, path)
            return
        except FileNotFoundError:
            if not new.exists():
                raise
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise


def _replace_in_two_steps(new: Path, path: Path) -> None:
    """Where the file system cannot exchange. A kill between the steps is mended by the next sweep."""
    with _alone(path.parent):
        _remove(_aside(path))
        os.rename(path, _aside(path))
        os.rename(new, path)
        _remove(_aside(path))


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Nobody else swaps in ``folder`` meanwhile. A partial directory is its writer's, who holds its lock already."""
    if folder.name.endswith(".partial"):
        yield
        return
    fd = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _exchange(a: Path, b: Path) -> bool:
    """renameat2(RENAME_EXCHANGE), Linux; False where kernel, libc or file system lack it."""
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "renameat2"):
        return False
    result: int = libc.renameat2(_AT_FDCWD, os.fsencode(a), _AT_FDCWD, os.fsencode(b), _RENAME_EXCHANGE)
    if result == 0:
        return True
    code = ctypes.get_errno()
    if code in (errno.ENOSYS, errno.EINVAL):
        return False
    raise OSError(code, os.strerror(code), str(b))


def _remove(path: Path) -> None:
    # A sweep and a finished exchange may both be removing the same old directory.
    with contextlib.suppress(FileNotFoundError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
