"""Flite in this process: text in, 16 kHz samples and the spoken segments with their words out.

The shared libraries are used through ctypes because the program prints phones or words, never which phone
belongs to which word, and a process per sentence would cost as much as the synthesis.
"""

from __future__ import annotations

import ctypes as c
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

SAMPLE_RATE = 16_000
VOICES = ("slt", "rms", "awb", "kal16")
PAUSE = "pau"


class _Voice(c.Structure):
    _fields_ = [("name", c.c_char_p), ("features", c.c_void_p)]


class _Wave(c.Structure):
    _fields_ = [
        ("type", c.c_char_p),
        ("sample_rate", c.c_int),
        ("num_samples", c.c_int),
        ("num_channels", c.c_int),
        ("samples", c.POINTER(c.c_short)),
    ]


@dataclass(frozen=True)
class Segment:
    """One spoken phone (or ``pau``): its end in seconds and the index of its word, -1 for pauses."""

    phone: str
    end_s: float
    word: int


@dataclass(frozen=True)
class Spoken:
    audio: np.ndarray  # (samples,) int16 at SAMPLE_RATE
    segments: list[Segment]
    words: list[str]  # as flite split them: "cat", "'s"


class Flite:
    """The four voices, registered once. Not safe for threads; use one instance in each process."""

    def __init__(self) -> None:
        self._lib = c.CDLL("libflite.so.1", mode=c.RTLD_GLOBAL)
        for name in ("usenglish", "cmulex"):
            c.CDLL(f"libflite_{name}.so.1", mode=c.RTLD_GLOBAL)
        self._lib.flite_init()
        self._declare()
        self._voices = {name: self._register(name) for name in VOICES}
        # Flite keeps the pointer to a feature's name, so the bytes must outlive the voice.
        self._names: dict[str, bytes] = {}

    def _declare(self) -> None:
        item = c.c_void_p
        signatures = {
            "flite_synth_text": (c.c_void_p, [c.c_char_p, c.POINTER(_Voice)]),
            "utt_wave": (c.POINTER(_Wave), [c.c_void_p]),
            "delete_utterance": (None, [c.c_void_p]),
            "utt_relation": (c.c_void_p, [c.c_void_p, c.c_char_p]),
            "relation_head": (item, [c.c_void_p]),
            "item_next": (item, [item]),
            "item_daughter": (item, [item]),
            "ffeature_string": (c.c_char_p, [item, c.c_char_p]),
            "ffeature_float": (c.c_float, [item, c.c_char_p]),
            "feat_set_float": (c.c_int, [c.c_void_p, c.c_char_p, c.c_float]),
            "feat_remove": (c.c_int, [c.c_void_p, c.c_char_p]),
        }
        for name, (result, arguments) in signatures.items():
            function = getattr(self._lib, name)
            function.restype, function.argtypes = result, arguments

    def _register(self, name: str) -> c._Pointer[_Voice]:
        register = getattr(c.CDLL(f"libflite_cmu_us_{name}.so.1"), f"register_cmu_us_{name}")
        register.restype, register.argtypes = c.POINTER(_Voice), [c.c_char_p]
        return register(None)

    def speak(self, text: str, voice: str, **features: float) -> Spoken:
        """One sentence as one utterance; ``features`` (duration_stretch, f0_shift) hold for this call."""
        pointer = self._voices[voice]
        keys = [self._names.setdefault(name, name.encode()) for name in features]
        for key, value in zip(keys, features.values(), strict=True):
            self._lib.feat_set_float(pointer.contents.features, key, value)
        utterance = self._lib.flite_synth_text(text.encode("ascii"), pointer)
        wave = self._lib.utt_wave(utterance).contents
        audio = np.ctypeslib.as_array(wave.samples, (wave.num_samples,)).copy()
        segments, words = self._segments(utterance)
        self._lib.delete_utterance(utterance)
        for key in keys:
            self._lib.feat_remove(pointer.contents.features, key)
        return Spoken(audio, segments, words)

    def _segments(self, utterance: int) -> tuple[list[Segment], list[str]]:
        words: list[str] = []
        owners: list[int] = []
        for index, word in enumerate(self._items(self._head(utterance, b"SylStructure"))):
            words.append(self._lib.ffeature_string(word, b"name").decode())
            for syllable in self._items(self._lib.item_daughter(word)):
                owners += [index] * sum(1 for _ in self._items(self._lib.item_daughter(syllable)))
        segments: list[Segment] = []
        owner = iter(owners)
        for item in self._items(self._head(utterance, b"Segment")):
            phone = self._lib.ffeature_string(item, b"name").decode()
            end_s = float(self._lib.ffeature_float(item, b"end"))
            segments.append(Segment(phone, end_s, -1 if phone == PAUSE else next(owner)))
        return segments, words

    def _head(self, utterance: int, relation: bytes) -> int | None:
        return self._lib.relation_head(self._lib.utt_relation(utterance, relation))

    def _items(self, item: int | None) -> Iterator[int]:
        while item:
            yield item
            item = self._lib.item_next(item)
