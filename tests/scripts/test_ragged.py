"""What is computed from a corpus is kept by the shard: mapped back as it was written, made anew only where something is newer."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("pyworld")

import torch
from hypothesis import given
from hypothesis import strategies as st

from scripts.nano import ragged
from scripts.nano.data import (
    FRAMES,
    cached_features,
    feature_stems,
    features_of,
    load_corpus,
    shards_of,
    utterances_of,
)
from scripts.nano.encoded import cached_encoding, encode, load_teacher
from scripts.nano.loop import nano_dims
from scripts.nano.train_codec import Teacher
from tests.scripts.shards import render

DIMS = nano_dims()


@given(st.lists(st.integers(0, 5), min_size=1, max_size=8), st.sampled_from(["f2", "i2", "f4"]))
def test_arrays_come_back_as_they_were(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], dtype: str
) -> None:
    stem = tmp_path_factory.mktemp("ragged") / "shard-0000.mel"
    arrays = [np.arange(3 * size).reshape(size, 3).astype(dtype) for size in sizes]
    ragged.write(stem, arrays)
    again = ragged.read(stem)
    assert len(again) == len(arrays)
    for made, found in zip(arrays, again, strict=True):
        np.testing.assert_array_equal(found, made)
        assert found.dtype == made.dtype and not found.flags.writeable
    assert {path.suffix for path in stem.parent.iterdir()} == {".npy"}


def test_rows_that_do_not_fit_their_ends_are_refused(tmp_path: Path) -> None:
    ragged.write(tmp_path / "a", [np.zeros(3)])
    np.save(tmp_path / "a.npy", np.zeros(2))
    with pytest.raises(SystemExit, match=r"a\.npy has 2 rows, expected 3"):
        ragged.read(tmp_path / "a")


def ages(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}


def later(path: Path) -> None:
    """As if written after everything else."""
    now = max(p.stat().st_mtime_ns for p in path.parents[1].rglob("*")) + 1_000_000_000
    os.utime(path, ns=(now, now))


def test_utterances_and_features_keep_the_order_of_the_shards(tmp_path: Path) -> None:
    render(tmp_path / "corpus", 1, 2), render(tmp_path / "corpus", 0, 3)
    shards = shards_of(tmp_path)
    utterances = utterances_of(shards)
    assert [u.text for u in utterances] == ["0 0", "0 1", "0 2", "1 0", "1 1"]
    assert [u.text for u in load_corpus(tmp_path / "corpus", 4)] == ["0 0", "0 1", "0 2", "1 0"]
    assert shards_of(tmp_path, smoke=True) == shards[:1]
    kept, fresh = vars(cached_features(tmp_path, shards, DIMS)), vars(features_of(utterances, DIMS))
    for name, arrays in fresh.items():
        for found, made in zip(kept[name], arrays, strict=True):
            np.testing.assert_array_equal(found, made)
    for semantic, mel, pitch in zip(*(kept[k] for k in ("semantic", "mel", "pitch")), strict=True):
        assert mel.shape == (DIMS.audio.n_mels, FRAMES * len(semantic)) and pitch.shape == mel.shape[1:]


def test_only_a_shard_without_features_or_rendered_anew_gets_them(tmp_path: Path) -> None:
    first = render(tmp_path / "corpus", 0, 2)
    cached_features(tmp_path, shards_of(tmp_path), DIMS)
    before = ages(tmp_path / "features")
    render(tmp_path / "corpus", 1, 2)
    assert len(cached_features(tmp_path, shards_of(tmp_path), DIMS).mel) == 4
    after = ages(tmp_path / "features")
    assert len(after) == 2 * len(before) and before.items() <= after.items()
    later(ragged.rows_of(first))
    cached_features(tmp_path, shards_of(tmp_path), DIMS)
    changed = {name for name, age in ages(tmp_path / "features").items() if age != after[name]}
    assert changed == set(before)


def test_a_trained_codec_encodes_everything_anew(tmp_path: Path) -> None:
    torch.manual_seed(0)
    teacher = Teacher(DIMS, 3).eval()
    torch.save({"model": teacher.state_dict()}, tmp_path / "codec.pt")
    render(tmp_path / "corpus", 0, 2)
    render(tmp_path / "corpus", 1, 1)
    shards = shards_of(tmp_path)
    features = cached_features(tmp_path, shards, DIMS)
    made = cached_encoding(tmp_path, load_teacher(tmp_path, DIMS), shards, DIMS)
    assert made.style.shape == (3, DIMS.style.embedding)
    whole = encode(teacher, features)
    for found, expected in zip(made.codes, whole.codes, strict=True):
        np.testing.assert_array_equal(found, expected)
    np.testing.assert_allclose(made.style, whole.style, atol=1e-5)
    before = ages(tmp_path / "encoded")
    cached_encoding(tmp_path, teacher, shards, DIMS)
    assert ages(tmp_path / "encoded") == before
    stem = feature_stems(tmp_path, shards[1])["style"]
    later(ragged.rows_of(stem))
    cached_encoding(tmp_path, teacher, shards, DIMS)
    kept = ages(tmp_path / "encoded")
    assert {name for name in kept if kept[name] != before[name]} == {
        n for n in kept if n.startswith("shard-0001")
    }
