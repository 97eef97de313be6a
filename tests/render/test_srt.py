"""Subtitles as they are found in the wild, and times that are none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tts_trt.errors import TextError
from tts_trt.render.srt import Cue, overlaps, parse_srt

WILD = "\ufeff\r\n1\r\n00:00:01,000 --> 00:00:02,500 X1:10 X2:20\r\n<i>Hello</i> &amp; {\\an8}welcome.\r\n- Come in!\r\n\r\n\r\n" \
    "00:00:02.500-->00:00:04\r\nNo number.\r\n\r\nAfter an empty line.\r\n2\r\n\r\n" \
    "3\r\n0:00:05,5 --> 0:00:06,25\r\n2001\r\n\r\n4\r\n00:00:07,000 --> 00:00:08,000\r\n<b></b>\r\n\r\n"  # fmt: skip


def test_what_the_wild_has() -> None:
    cues = parse_srt(WILD)
    assert [(c.start_ms, c.end_ms, c.text) for c in cues] == [
        (1000, 2500, "Hello & welcome. Come in!"),
        (2500, 4000, "No number. After an empty line. 2"),
        (5500, 6250, "2001"),
    ]
    assert str(cues[0]) == "cue 1 (line 3, 00:00:01,000 to 00:00:02,500)"


def test_cues_come_in_order_and_overlaps_are_told() -> None:
    cues = parse_srt(
        "00:00:05,000 --> 00:00:06,000\nlast\n\n00:00:01,000 --> 00:00:04,000\nlong\n\n"
        "00:00:02,000 --> 00:00:03,000\nin it\n\n00:00:03,500 --> 00:00:05,000\nacross"
    )
    assert [c.text for c in cues] == ["long", "in it", "across", "last"]
    assert [c.number for c in cues] == [1, 2, 3, 4]
    assert [(a.text, b.text) for a, b in overlaps(cues)] == [("long", "in it"), ("long", "across")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no cue with words"),
        ("just prose", "no cue with words"),
        ("1\n00:00:01,000 --> 00:00:02,000\n\n", "no cue with words"),
        ("hello\n00:00:01,000 --> 00:00:02,000\nx", "line 1: 'hello' is not a cue's time"),
        (
            "1\n00:00:01 -> 00:00:02\nx\n\n2\n00:00:03,000 --> 00:00:04,000\ny",
            "line 2: '00:00:01 -> 00:00:02'",
        ),
        ("1\n00:00:01,000 --> 00:00:xx\nx", "line 2: .* is not a cue's time"),
        ("1\n00:61:01,000 --> 00:62:00,000\nx", "line 2: .* is not a cue's time"),
        ("1\n-1:00:01,000 --> 00:00:02,000\nx", "line 2: .* is not a cue's time"),
        (
            "1\n00:00:02,000 --> 00:00:02,000\nx",
            "line 2: a cue from 00:00:02,000 to 00:00:02,000 has no length",
        ),
        ("1\n00:00:03,000 --> 00:00:02,000\nx", "has no length"),
        ("1\n00:00:03,000 --> 9999:00:02,000\nx", "at most 24 hours"),
    ],
)
def test_what_cannot_be_read_is_named_with_its_line(text: str, message: str) -> None:
    with pytest.raises(TextError, match=message):
        parse_srt(text)


WORDS = st.lists(st.sampled_from(["ferry", "leaves", "at", "9", "Run!"]), min_size=1, max_size=5).map(
    " ".join
)
TIMES = st.tuples(st.integers(0, 10**7), st.integers(1, 10**5)).map(lambda t: (t[0], t[0] + t[1]))


@given(st.lists(st.tuples(TIMES, WORDS), min_size=1, max_size=8), st.sampled_from(["\n", "\r\n", "\r"]))
def test_what_is_written_is_read(cues: list[tuple[tuple[int, int], str]], newline: str) -> None:
    def clock(ms: int) -> str:
        return f"{ms // 3600000:02}:{ms // 60000 % 60:02}:{ms // 1000 % 60:02},{ms % 1000:03}"

    text = "\n\n".join(
        f"{i}\n{clock(a)} --> {clock(b)}\n<i>{words}</i>" for i, ((a, b), words) in enumerate(cues, 1)
    )
    found = parse_srt(text.replace("\n", newline))
    assert [(c.start_ms, c.end_ms, c.text) for c in found] == sorted(
        ((a, b, words) for (a, b), words in cues), key=lambda cue: cue[:2]
    )


PIECES = st.sampled_from(
    ["1", "\n", "\n\n", "00:00:01,000", " --> ", "00:00:02,500", "-->", "word", "<i>", "{\\an8}", "\ufeff"]
)


@given(st.lists(PIECES, max_size=25).map("".join) | st.text(max_size=60))
def test_any_text_gives_cues_or_one_error(text: str) -> None:
    try:
        cues = parse_srt(text)
    except TextError:
        return
    assert cues and all(isinstance(c, Cue) and c.end_ms > c.start_ms and c.text for c in cues)
