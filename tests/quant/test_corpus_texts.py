"""The shipped calibration texts: enough of each type, speakable, and no part of any test."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from scripts.nano.sentences import is_held_out
from tts_trt.frontend.text import normalise
from tts_trt.models import ASSETS
from tts_trt.quant.corpus_config import default_corpus, load_corpus_config

FILES = sorted((default_corpus().parent / "sentences").rglob("*.txt"))
VOCABULARY = set((ASSETS / "nano" / "vocabulary.txt").read_text().split())
HAN = re.compile(r"[\u4e00-\u9fff]")


def lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


def words(text: str) -> list[str]:
    return re.findall(r"[a-z']+", normalise(text).lower())


def files(language: str) -> list[Path]:
    return [path for path in FILES if path.parent.name == language]


def test_every_language_has_every_type() -> None:
    config = load_corpus_config(default_corpus())
    found = {(path.parent.name, path.stem) for path in FILES}
    assert found == {(name, level) for name in config.texts for level in config.sentence.levels}


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_there_are_enough_different_texts_of_the_type(path: Path) -> None:
    texts = lines(path)
    assert len(set(texts)) == len(texts) >= 25
    assert all(text == text.strip() and text for text in texts)
    endings = {"question": "?？", "exclamation": "!！", "short": ".?!。？！"}.get(path.stem, ".?。？")
    assert all(text[-1] in endings for text in texts)
    if path.stem == "list":
        assert all(len(re.findall(r"[,，、;；：:]", text)) >= 2 or text.count(" and ") for text in texts)


@pytest.mark.parametrize("path", files("nano"), ids=lambda path: path.stem)
def test_nano_texts_use_only_its_vocabulary_and_no_test_sentence(path: Path) -> None:
    for text in lines(path):
        assert not set(words(text)) - VOCABULARY, text
        assert not is_held_out(text) and not is_held_out(normalise(text)), text


def test_long_is_long_and_short_is_short() -> None:
    for language, most in (("nano", 45), ("en", 55)):
        folder = default_corpus().parent / "sentences" / language
        assert all(30 <= len(words(text)) <= most for text in lines(folder / "long.txt"))
        assert all(1 <= len(words(text)) <= 2 for text in lines(folder / "short.txt"))
    folder = default_corpus().parent / "sentences" / "zh"
    assert all(len(HAN.findall(text)) >= 50 for text in lines(folder / "long.txt"))
    assert all(1 <= len(HAN.findall(text)) <= 6 for text in lines(folder / "short.txt"))


def test_chinese_texts_are_chinese() -> None:
    assert all(HAN.search(text) for path in files("zh") for text in lines(path))
