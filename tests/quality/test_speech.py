"""Word errors by hand, text made comparable, recognisers by name."""

from __future__ import annotations

import builtins
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import tts_trt
from tts_trt.errors import UsageError
from tts_trt.quality.speech import Recogniser, WordErrors, resampled, total, word_errors, words_of


@pytest.mark.parametrize(
    ("reference", "heard", "counts"),
    [
        ("The cat sat.", "the cat sat", (0, 0, 0, 3)),
        ("The cat sat.", "the bat sat", (1, 0, 0, 3)),
        ("The cat sat.", "the sat", (0, 1, 0, 3)),
        ("The cat sat.", "the cat has sat", (0, 0, 1, 3)),
        ("The cat sat.", "", (0, 3, 0, 3)),
        ("Go!", "do you go there", (0, 0, 3, 1)),
        ("It's ten to five, isn't it?", "its ten two five is it", (3, 0, 0, 6)),
    ],
)
def test_word_errors(reference: str, heard: str, counts: tuple[int, int, int, int]) -> None:
    pytest.importorskip("jiwer")
    assert word_errors(reference, heard) == WordErrors(*counts)


def test_what_sounds_the_same_is_written_the_same() -> None:
    assert words_of("It’s 21 °C — OK?") == "it's twenty one degrees c okay"
    assert words_of("HELLO,   World!") == "hello world"
    assert words_of("A grey dog travelled.") == words_of("a gray dog traveled")
    assert words_of("") == words_of("...") == ""


def test_the_corpus_rate_counts_words_not_sentences() -> None:
    corpus = total([WordErrors(1, 0, 0, 1), WordErrors(0, 1, 2, 9)])
    assert corpus == WordErrors(1, 1, 2, 10) and corpus.errors == 4
    assert corpus.rate == pytest.approx(0.4)
    assert np.isnan(total([]).rate)


def test_a_reference_without_words_is_refused() -> None:
    with pytest.raises(UsageError, match="no words"):
        word_errors("?!", "hello")


def test_resampling_keeps_the_tone() -> None:
    tone = np.sin(2 * np.pi * 440 * np.arange(24_000) / 24_000).astype(np.float32)
    made = resampled(tone, 24_000, 16_000)
    assert made.dtype == np.float32 and len(made) == 16_000
    assert np.argmax(np.abs(np.fft.rfft(made))) == 440
    assert resampled(tone, 24_000, 24_000) is tone


def shout(wave: np.ndarray, rate: int) -> str:
    return f"{len(wave)} samples at {rate}"


def test_any_function_can_listen() -> None:
    own = Recogniser.named(f"{__name__}:shout")
    assert own.hear(np.zeros(5, np.float32), 8_000) == "5 samples at 8000"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("whatever", "no recogniser"),
        (":shout", "no recogniser"),
        ("no_such_module:hear", "cannot be imported"),
        (f"{__name__}:absent", "no function 'absent'"),
        (f"{__name__}:__doc__", "no function '__doc__'"),
    ],
)
def test_a_recogniser_that_is_not_one_is_refused(name: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Recogniser.named(name)


@pytest.mark.parametrize(
    ("package", "use"),
    [("pocketsphinx", lambda: Recogniser.named()), ("jiwer", lambda: word_errors("a", "a"))],
)
def test_missing_packages_name_their_extra(
    package: str, use: Callable[[], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name == package:
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UsageError, match=r"tts-trt\[quality\]"):
        use()


def test_pocketsphinx_hears_words_and_forgets_what_it_heard_before() -> None:
    pytest.importorskip("pocketsphinx")
    hear = Recogniser.named().hear
    assert hear(np.zeros(0, np.float32), 16_000) == ""
    recording = Path(tts_trt.__file__).parent / "assets" / "nano" / "voices" / "slt.wav"
    speech, rate = soundfile.read(recording, dtype="float32", frames=40_000)
    first = hear(speech, rate)
    assert len(first.split()) > 2
    for hertz in (1270, 300):
        hear((0.9 * np.sin(2 * np.pi * hertz * np.arange(8_000) / rate)).astype(np.float32), rate)
        assert hear(speech, rate) == first
