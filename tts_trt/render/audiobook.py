"""A book to passages that are spoken, checked and kept: the long part of an audiobook, which may be stopped at any time.

    WORK/journal.jsonl        one line per finished passage: its takes, which of them was kept
    WORK/waves/<key>.flac     the sound that was kept, 24 bits

A passage's key is the hash of everything its sound depends on. A second run over the same folder speaks what is new or has
changed; what it finds it does not speak again, so the book comes out the same, to the byte, however often it was stopped.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from tts_trt import __version__
from tts_trt.artifacts import sha256_file
from tts_trt.atomic import write_atomic
from tts_trt.errors import TextError, TtsTrtError
from tts_trt.journal import Journal, key_of
from tts_trt.policy import Audiobook, Pauses
from tts_trt.render.book import Book
from tts_trt.render.gains import Heard, heard
from tts_trt.render.speakers import Speaker
from tts_trt.render.takes import Inspector, Kept, Take, best_take, seed_of, seeded
from tts_trt.runtime.plan import Planner
from tts_trt.runtime.request import Request

FORMAT = 1
"""Raised when a passage's record means something else than before."""

WAVES = "waves"
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Segment:
    """What is spoken in one go. ``key`` says why it is a key passage; ``pause`` are seconds after it."""

    chapter: int
    text: str
    key: str
    pause: float


@dataclass(frozen=True)
class Rendered:
    takes: tuple[Take, ...]
    chosen: int
    samples: int
    heard: Heard
    wave: Path

    @property
    def flagged(self) -> bool:
        return not self.take.passed

    @property
    def take(self) -> Take:
        return self.takes[self.chosen]

    def load(self) -> NDArray[np.float32]:
        wave_S: NDArray[np.float32] = soundfile.read(self.wave, dtype="float32")[0]
        return wave_S


def plan_segments(book: Book, planner: Planner, pauses: Pauses) -> list[Segment]:
    """Every passage as one or more segments the model can hold. TextError names the passage that cannot be spoken."""
    made: list[Segment] = []
    for number, chapter in enumerate(book.chapters):
        for passage in chapter.passages:
            try:
                texts = [s.text for s in planner.plan(Request(passage.text, "")).segments]
            except TextError as error:
                place = chapter.title or f"chapter {number + 1}"
                raise TextError(
                    f"{place}: {passage.text[:40]!r}: {error.args[0]}", hint=error.hint
                ) from error
            for text in texts[:-1]:  # a sentence in parts, or what only looked like one
                pause = pauses.sentence if text.endswith((".", "?", "!")) else pauses.clause
                made.append(Segment(number, text, passage.key, pause))
            made.append(Segment(number, texts[-1], passage.key, getattr(pauses, passage.ending)))
    return made


@dataclass(frozen=True)
class Cast:
    """Who speaks what, and how often it is tried."""

    narrator: Speaker
    key: Speaker
    narration_takes: int
    key_takes: int
    seed: int

    @classmethod
    def of(cls, policy: Audiobook, narrator: Speaker, key: Speaker, seed: int) -> Cast:
        return cls(narrator, key, policy.narration_takes, policy.key_takes, seed)

    def ladder(self, segment: Segment) -> list[tuple[Speaker, int]]:
        """Narration: other seeds first, then the high precision."""
        first = 0 if segment.key else self.narration_takes
        speakers = [self.narrator] * first + [self.key] * self.key_takes
        return [(speaker, seed_of(self.seed, segment.text, i)) for i, speaker in enumerate(speakers)]


class Studio:
    """Speaks segments, or finds them in the journal. ``asked`` is what all of them have in common, ``depends`` what of it
    their sound depends on, as JSON."""

    def __init__(
        self, journal: Journal, cast: Cast, asked: Request, inspector: Inspector, depends: Mapping[str, Any]
    ) -> None:
        self._journal, self._cast, self._asked, self._inspector = journal, cast, asked, inspector
        self._depends = dict(depends)

    def render(self, segments: Sequence[Segment], progress: Progress) -> list[Rendered]:
        """TtsTrtError when the disk refuses or a segment cannot be spoken at all; what was finished is kept."""
        made = []
        for i, segment in enumerate(segments):
            progress("found" if self.finds(segment) else "speaking", i, len(segments))
            made.append(self.one(segment))
        progress("spoken", len(segments), len(segments))
        return made

    def finds(self, segment: Segment) -> bool:
        """Whether it was finished before, and its sound is as it was written."""
        key = self._key(segment)
        wave = self._wave(key)
        return (
            key in self._journal and wave.is_file() and sha256_file(wave) == self._journal[key]["wave_sha256"]
        )

    def one(self, segment: Segment) -> Rendered:
        key = self._key(segment)
        if not self.finds(segment):
            asked = replace(self._asked, text=segment.text)
            ladder = [(speaker, seeded(asked, seed)) for speaker, seed in self._cast.ladder(segment)]
            kept = best_take(ladder, self._inspector)
            self._journal.add(key, self._record(key, kept))
        found = self._journal[key]
        return Rendered(
            tuple(Take(**take | {"faults": tuple(take["faults"])}) for take in found["takes"]),
            found["chosen"],
            found["samples"],
            Heard(**found["heard"]),
            self._wave(key),
        )

    def _record(self, key: str, kept: Kept) -> dict[str, Any]:
        """What is measured is what was written."""
        content = io.BytesIO()
        soundfile.write(content, kept.result.wave, kept.result.sample_rate, format="FLAC", subtype="PCM_24")
        try:
            write_atomic(self._wave(key), [content.getvalue()])
        except OSError as error:
            raise TtsTrtError(
                f"cannot write {self._wave(key)}: {error.strerror}",
                hint="free some space; what is finished is kept",
            ) from error
        content.seek(0)
        wave_S, rate = soundfile.read(content, dtype="float32")
        return {
            "takes": [asdict(take) for take in kept.takes],
            "chosen": kept.chosen,
            "samples": len(wave_S),
            "heard": asdict(heard(wave_S, rate)),
            "wave_sha256": hashlib.sha256(content.getvalue()).hexdigest(),
        }

    def _key(self, segment: Segment) -> str:
        ladder = [[speaker.offer.manifest_sha256, str(seed)] for speaker, seed in self._cast.ladder(segment)]
        return key_of(
            "segment",
            format=FORMAT,
            version=__version__,
            text=segment.text,
            ladder=ladder,
            style=self._inspector.style,
            limits=self._inspector.identity,
            **self._depends,
        )

    def _wave(self, key: str) -> Path:
        return self._journal.folder / WAVES / f"{key}.flac"
