"""The file that is to be spoken may be anything."""

from __future__ import annotations

from pathlib import Path

import pytest

from tts_trt.errors import TextError, UsageError
from tts_trt.render.script import LONGEST_BYTES, read_script


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"one\r\ntwo\rthree\n", "one\ntwo\nthree\n"),
        (b"\xef\xbb\xbfone", "one"),
        ("caf\u00e9".encode("utf-16"), "café"),
        ("one\u2028two".encode(), "one\ntwo"),
    ],
)
def test_encodings_and_line_ends(tmp_path: Path, raw: bytes, text: str) -> None:
    (tmp_path / "a.txt").write_bytes(raw)
    assert read_script(tmp_path / "a.txt") == text


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "is empty"),
        (b" \n\t\n", "is empty"),
        (b"one\ntwo\x00", "line 2 holds the control character U\\+0000"),
        (b"\x7fELF\x02\x01", "control character U\\+007F"),
        (b"caf\xe9", "not UTF-8: byte 3 is 0xe9"),
        (b"\xff\xfea", "not UTF-16"),
        (b"a" * (LONGEST_BYTES + 1), "more than 20000000 bytes"),
    ],
)
def test_what_is_no_text_is_refused(tmp_path: Path, raw: bytes, message: str) -> None:
    (tmp_path / "a.txt").write_bytes(raw)
    with pytest.raises(TextError, match=message):
        read_script(tmp_path / "a.txt")


@pytest.mark.parametrize("path", [".", "absent.txt", "a\x00b"])
def test_what_is_no_file_is_refused(path: str) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        read_script(Path(path))
