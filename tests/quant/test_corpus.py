"""The calibration corpus: balanced, repeatable, and refused when a stratum is empty or lopsided."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tts_trt.dims import EMOTIONS, ModelDims
from tts_trt.errors import ConfigError, ReferenceAudioError, TextError
from tts_trt.frontend.tokenizer import PhoneTokenizer
from tts_trt.models import find_model
from tts_trt.quant.corpus import Corpus, Utterance, draw, read_corpus, speech_seconds
from tts_trt.quant.corpus_config import AXES, default_corpus, load_corpus_config, restrict
from tts_trt.quant.coverage import coverage

NANO = find_model("nano")
DIMS = NANO.dims()

SMALL = """
utterances = 12
seed = 3
[rate.levels]
slow = [0.7, 0.85]
fast = [1.2, 1.4]
[emotion]
levels = ["happy", "afraid", "calm"]
strength = [0.5, 1.0]
[timbre]
voices = "voices"
[sentence]
levels = ["long", "short"]
[texts]
nano = "texts"
"""

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """A corpus folder with two voices and four texts a type; ``edit`` (old, new) changes its corpus.toml."""
    (tmp_path / "texts").mkdir()
    for level in ("long", "short"):
        (tmp_path / "texts" / f"{level}.txt").write_text("\n".join(f"{level} {n}" for n in range(4)))
    (tmp_path / "voices").mkdir()
    for hertz, name in ((150, "low.wav"), (300, "high.flac")):
        wave = 0.3 * np.sin(2 * np.pi * hertz * np.arange(16000) / 16000)
        soundfile.write(tmp_path / "voices" / name, wave, 16000)

    def make(*edits: tuple[str, str]) -> Path:
        text = SMALL
        for old, new in edits:
            assert old in text
            text = text.replace(old, new)
        (tmp_path / "corpus.toml").write_text(text)
        return tmp_path / "corpus.toml"

    return make


def read(path: Path) -> Corpus:
    return read_corpus(path, NANO, DIMS)


def counts(utterances: Sequence[Utterance], *axes: str) -> Counter[tuple[str, ...]]:
    return Counter(tuple(utterance.levels[axis] for axis in axes) for utterance in utterances)


@pytest.fixture(scope="module")
def shipped() -> tuple[Utterance, ...]:
    return read(default_corpus()).draw()


def test_every_level_comes_equally_often(shipped: tuple[Utterance, ...]) -> None:
    assert len(shipped) == 48
    levels = {axis: counts(shipped, axis) for axis in AXES}
    assert {axis: len(found) for axis, found in levels.items()} == {
        "rate": 3, "emotion": 8, "timbre": len(NANO.voices), "sentence": 6
    }  # fmt: skip
    assert all(max(found.values()) - min(found.values()) <= 1 for found in levels.values())
    assert {emotion for (emotion,) in levels["emotion"]} == set(EMOTIONS)


def test_every_pair_of_levels_meets_as_evenly_as_can_be(shipped: tuple[Utterance, ...]) -> None:
    for one, two in combinations(AXES, 2):
        met = counts(shipped, one, two)
        cells = len(counts(shipped, one)) * len(counts(shipped, two))
        assert len(met) == cells and max(met.values()) == -(-48 // cells)


def test_rates_seeds_and_texts_vary(shipped: tuple[Utterance, ...]) -> None:
    ranges = load_corpus_config(default_corpus()).rate.levels
    for level, (low, high) in ranges.items():
        rates = sorted(u.rate for u in shipped if u.rate_level == level)
        parts = [int((rate - low) / (high - low) * len(rates) - 1e-2) for rate in rates]
        assert all(low <= rate <= high for rate in rates)
        assert len(set(parts)) >= len(rates) - 2  # one from each part, up to rounding
    assert len({u.seed for u in shipped}) == len({u.text for u in shipped}) == 48
    assert min(u.strength for u in shipped) < 0.65 and max(u.strength for u in shipped) > 0.95


def test_the_seed_decides_everything_and_the_order_of_texts_nothing(write: Write, tmp_path: Path) -> None:
    first = read(write())
    assert first.draw() == first.draw()
    lines = (tmp_path / "texts" / "long.txt").read_text().splitlines()
    (tmp_path / "texts" / "long.txt").write_text("# reversed\n\n" + "\n".join(reversed(lines)) + "\n")
    assert read(write()).draw() == first.draw()
    other = read(write(("seed = 3", "seed = 4")))
    assert other.draw() != first.draw() and other.sha256() != first.sha256()


def test_the_hash_is_of_content_not_of_places(write: Write, tmp_path: Path) -> None:
    first = read(write())
    moved = tmp_path / "moved"
    shutil.copytree(tmp_path / "texts", moved / "words")
    shutil.copytree(tmp_path / "voices", moved / "speakers")
    text = SMALL.replace('"texts"', '"words"').replace('"voices"', '"speakers"')
    (moved / "corpus.toml").write_text(text)
    assert read(moved / "corpus.toml").sha256() == first.sha256()
    assert read(moved / "corpus.toml").draw() == first.draw()
    for edit in (
        ("0.85", "0.8"),
        ("strength = [0.5", "strength = [0.6"),
        ("strength", "weights = {calm = 1.01}\nstrength"),
    ):
        assert read(write(edit)).sha256() != first.sha256()
    (tmp_path / "texts" / "short.txt").write_text("a\nb\nc\nd")
    assert read(write()).sha256() != first.sha256()
    soundfile.write(moved / "speakers" / "low.wav", 0.1 * np.sin(np.arange(16000)), 16000)
    assert read(moved / "corpus.toml").sha256() != first.sha256()


def test_emotions_the_voice_cannot_act_are_kept_or_skipped(write: Write) -> None:
    assert "afraid" not in DIMS.acted
    assert ("afraid",) in counts(read(write()).draw(), "emotion")
    skipping = read(write(("strength", 'unacted = "skip"\nstrength')))
    assert set(counts(skipping.draw(), "emotion")) == {("happy",), ("calm",)}
    with pytest.raises(ConfigError, match="none of which is an emotion of the corpus"):
        draw(skipping.config, skipping.voices, ("sad",), skipping.texts)


def test_a_corpus_can_be_restricted_to_one_stratum_of_the_same_size(write: Write) -> None:
    corpus = read(write())
    only = {"rate": "slow", "emotion": "calm", "timbre": "low", "sentence": "short"}
    config = restrict(corpus.config, only).model_copy(update={"repeats": 3})
    utterances = draw(config, corpus.voices, corpus.acted, corpus.texts)
    assert len(utterances) == 12 and all(utterance.levels == only for utterance in utterances)
    assert max(counts(utterances, "rate").values()) == 12
    assert max(Counter(u.text for u in utterances).values()) == 3
    for axis, level in (("speed", "slow"), ("rate", "crawling"), ("emotion", "sad")):
        with pytest.raises(ConfigError, match="there are"):
            restrict(corpus.config, {axis: level})
    with pytest.raises(ConfigError, match="no voice nobody"):
        draw(restrict(corpus.config, {"timbre": "nobody"}), corpus.voices, corpus.acted, corpus.texts)


def test_weights_make_a_level_more_frequent(write: Write) -> None:
    heavy = read(write(("[emotion]", "[rate.weights]\nfast = 3\n[emotion]")))
    assert counts(heavy.draw(), "rate") == {("slow",): 3, ("fast",): 9}
    slow = restrict(heavy.config, {"rate": "slow"})  # the weight of a level that is left out is no error
    assert counts(draw(slow, heavy.voices, heavy.acted, heavy.texts), "rate") == {("slow",): 12}


def test_a_request_carries_the_emotion_the_rate_and_the_seed(shipped: tuple[Utterance, ...]) -> None:
    for utterance in shipped[:8]:
        request = utterance.request(DIMS)
        assert request.emotion is not None and request.sampling is not None
        assert request.emotion[EMOTIONS.index(utterance.emotion)] == utterance.strength
        assert sum(weight > 0 for weight in request.emotion) == 1
        assert (request.rate, request.text) == (utterance.rate, utterance.text)
        assert request.voice == NANO.voices[utterance.voice]
        assert (request.sampling.seed, request.sampling.top_k) == (utterance.seed, DIMS.top_k)


def test_models_read_their_own_texts_or_those_of_their_languages() -> None:
    own = read(default_corpus())
    other = read_corpus(default_corpus(), NANO, ModelDims())
    assert "Yes." in own.texts["short"] and "Yes." not in other.texts["short"]
    assert "Amen." in other.texts["short"] and "天哪！" in other.texts["short"]
    chinese = Utterance("天哪！", "awb", "calm", 1.0, 1.0, "normal", "short", 0, Path())
    with pytest.raises(TextError, match=r"天哪！.*short"):
        speech_seconds([chinese], PhoneTokenizer.from_dir(NANO.path))


def test_coverage_counts_levels_and_finds_the_extreme_pairs(write: Write) -> None:
    utterances = read(write()).draw()
    covered = coverage(utterances)
    assert covered.axes["sentence"] == {"long": 6, "short": 6}
    assert len(covered.pairs) == 2 * 3 + 2 * 2 + 2 * 2 + 3 * 2 + 3 * 2 + 2 * 2
    assert {m.expected for m in covered.pairs if m.axes == ("rate", "emotion")} == {2.0}
    kept = [u for u in utterances if (u.rate_level, u.voice) != ("slow", "low")]
    lopsided = coverage(kept)
    empty = [meeting.levels for meeting in lopsided.pairs if meeting.utterances == 0]
    assert ("slow", "low") in empty and ("slow", "high") not in empty
    assert lopsided.sparsest and lopsided.sparsest.utterances == 0
    assert lopsided.densest and lopsided.densest.density > 1
    assert coverage([]).sparsest is None


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("seed = 3", "sede = 3", "sede: unknown key; known: utterances, seed"),
        ("strength", "power", "emotion.power: unknown key; known: weights, levels, strength"),
        ("slow = [0.7, 0.85]", "slow = [0.7, 0.85]\nslow = [0.6, 0.7]", "(?i)overwrite"),
        ('"happy", "afraid"', '"happy", "calm", "afraid"', "emotion: calm is named twice"),
        ('["long", "short"]', '["long", "long"]', "sentence: long is named twice"),
        ('["long", "short"]', "[]", "at least one level"),
        ("strength", "weights = {calm = 0}\nstrength", "emotion.weights.calm: .*greater than 0, found 0"),
        ("strength", "weights = {calm = -1.5}\nstrength", "greater than 0, found -1.5"),
        ("strength", "weights = {calm = nan}\nstrength", "finite"),
        ("strength", "weights = {angry = 2}\nstrength", "angry, which are no levels"),
        ('"afraid"', '"scared"', "no emotion scared; there are happy"),
        ("[0.7, 0.85]", "[0.2, 0.85]", "0.2, 0.85.*within 0.5 to 2"),
        ("[0.7, 0.85]", "[0.7, 1.3]", "slow and fast overlap"),
        ("utterances = 12", 'utterances = "12"', "utterances: .*found '12'"),
        ("utterances = 12", "utterances = 0", "utterances: .*found 0"),
        ("utterances = 12", "utterances = 5", "5 utterances, .* off its fair share(.|\n)*utterances = 6"),
        ("utterances = 12", "utterances = 18", "9 utterances of .* repeat its 4 texts(.|\n)*add 1 texts"),
        ('"long", "short"', '"long", "tiny"', "tiny.txt"),
        ('voices = "voices"', 'voices = "texts"', "has no voices"),
        ('voices = "voices"', 'voices = "nowhere"', "is not a folder"),
        ('voices = "voices"', 'voices = "voices"\nlevels = ["bass"]', "no voice bass; there are high, low"),
        ('nano = "texts"', 'en = "texts"', "nothing for the model 'nano'"),
    ],
)
def test_a_wrong_corpus_is_refused_before_any_work(write: Write, old: str, new: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        read(write((old, new)))


def test_wrong_texts_and_recordings_are_refused(write: Write, tmp_path: Path) -> None:
    texts, voices = tmp_path / "texts" / "short.txt", tmp_path / "voices"
    texts.write_text("\n# nothing\n")
    with pytest.raises(ConfigError, match=r"short.txt has no texts"):
        read(write())
    texts.write_text("one\ntwo\none")
    with pytest.raises(ConfigError, match="'one' twice"):
        read(write())
    texts.write_bytes(b"caf\xe9")
    with pytest.raises(ConfigError, match="cannot be read"):
        read(write())
    texts.write_text("a\nb\nc")
    shutil.copy(voices / "low.wav", voices / "high.wav")
    with pytest.raises(ConfigError, match="name the same voice"):
        read(write())
    (voices / "high.wav").unlink()
    soundfile.write(voices / "silent.wav", np.zeros(16000), 16000)
    with pytest.raises(ReferenceAudioError, match="silent"):
        read(write())
    with pytest.raises(ConfigError, match="cannot be read"):
        load_corpus_config(tmp_path / "none.toml")


def test_the_command_line_prints_figures_and_errors(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tts_trt", "corpus", "stats"]
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, timeout=120)
    figures = json.loads(done.stdout.splitlines()[-1])
    assert figures["utterances"] == 48 and 100 < figures["seconds"] < 400
    assert figures["axes"]["rate"] == {"fast": 16, "normal": 16, "slow": 16}
    assert set(figures["mapped"]) == set(EMOTIONS) - set(DIMS.acted)
    (tmp_path / "corpus.toml").write_text("speed = 1")
    wrong = [*command, "--corpus", str(tmp_path / "corpus.toml")]
    done = subprocess.run(wrong, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2 and "Traceback" not in done.stderr
