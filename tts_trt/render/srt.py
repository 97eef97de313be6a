"""SubRip subtitles: what is said from when to when.

    1
    00:00:01,000 --> 00:00:02,400
    The ferry leaves at nine.

Read as it is found in the wild: numbers may be missing, lines may be empty, tags and positions are left out, and cues may
overlap or be out of order. A time that is none, or that ends before it starts, is an error with its line.
"""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from tts_trt.errors import TextError

LATEST_MS = 24 * 3600 * 1000

_ARROW = "-->"
_TIME = r"(\d{1,4}):(\d{1,2}):(\d{1,2})(?:[,.:](\d{1,3}))?"
_TIMES = re.compile(rf"\s*{_TIME}\s*-->\s*{_TIME}(?:\s.*)?$")
_TAG = re.compile(r"</?[a-zA-Z][^<>]*>|\{[\\yY][^{}]*\}")
_DASH = re.compile(r"^[-–—]\s*")
_EXAMPLE = "00:00:01,000 --> 00:00:02,400"


@dataclass(frozen=True)
class Cue:
    number: int  # by order of start, from 1
    start_ms: int
    end_ms: int
    text: str
    line: int  # of the file, where its times are

    def __str__(self) -> str:
        return f"cue {self.number} (line {self.line}, {_clock(self.start_ms)} to {_clock(self.end_ms)})"


def parse_srt(text: str) -> tuple[Cue, ...]:
    """Cues by their start; those without words are left out. TextError for a time that cannot be read, a cue that ends before
    it starts or after 24 hours, or no cue at all."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").lstrip("\ufeff").split("\n")
    places = [i for i, line in enumerate(lines) if _ARROW in line]
    first = places[0] if places else 0
    odd = next((i for i, line in enumerate(lines[:first]) if not _number_or_empty(line)), None)
    if odd is not None:
        raise _no_times(odd, lines[odd])
    found: list[tuple[int, int, str, int]] = []
    for place, following in pairwise([*places, len(lines)]):
        start, end = _times(place, lines[place])
        words = _words(lines[place + 1 : following], last=following == len(lines))
        if words:
            found.append((start, end, words, place + 1))
    if not found:
        raise TextError("there is no cue with words in it", hint=f"a cue's time is a line such as {_EXAMPLE}")
    return tuple(Cue(i + 1, *cue) for i, cue in enumerate(sorted(found, key=lambda cue: cue[:2])))


def overlaps(cues: Sequence[Cue]) -> list[tuple[Cue, Cue]]:
    """Pairs of which the later one starts before an earlier one has ended."""
    found: list[tuple[Cue, Cue]] = []
    latest: Cue | None = None
    for cue in cues:
        if latest is not None and cue.start_ms < latest.end_ms:
            found.append((latest, cue))
        if latest is None or cue.end_ms > latest.end_ms:
            latest = cue
    return found


def _times(index: int, line: str) -> tuple[int, int]:
    match = _TIMES.match(line)
    if not match:
        raise _no_times(index, line)
    parts = match.groups()
    start, end = (_milliseconds(index, line, *parts[k : k + 4]) for k in (0, 4))
    if end <= start:
        raise TextError(f"line {index + 1}: a cue from {_clock(start)} to {_clock(end)} has no length")
    if end > LATEST_MS:
        raise TextError(f"line {index + 1}: a cue ends at {_clock(end)}, expected at most 24 hours")
    return start, end


def _milliseconds(index: int, line: str, hours: str, minutes: str, seconds: str, part: str | None) -> int:
    if int(minutes) > 59 or int(seconds) > 59:
        raise _no_times(index, line)
    return ((int(hours) * 60 + int(minutes)) * 60 + int(seconds)) * 1000 + int((part or "0").ljust(3, "0"))


def _words(lines: Sequence[str], *, last: bool) -> str:
    """Of a cue; the number of the next one, which stands before its times, is none of them."""
    kept = [line.strip() for line in lines]
    if not last:
        while kept and not kept[-1]:
            kept.pop()
        if kept and kept[-1].isdecimal() and (len(kept) == 1 or not kept[-2]):
            kept.pop()
    plain = (_DASH.sub("", html.unescape(_TAG.sub("", line)).strip()) for line in kept)
    joined = " ".join(line for line in plain if line)
    return joined if any(c.isalnum() for c in joined) else ""


def _number_or_empty(line: str) -> bool:
    return not line.strip() or line.strip().isdecimal()


def _no_times(index: int, line: str) -> TextError:
    return TextError(
        f"line {index + 1}: {line.strip()[:60]!r} is not a cue's time", hint=f"a line such as {_EXAMPLE}"
    )


def _clock(ms: int) -> str:
    return f"{ms // 3_600_000:02}:{ms // 60_000 % 60:02}:{ms // 1000 % 60:02},{ms % 1000:03}"
