"""Calibration speaks through the real pipeline; what it records depends on the utterances alone."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from tests.model.tiny import TINY
from tts_trt.errors import QuantError
from tts_trt.models import ModelFolder
from tts_trt.quant.collect import KEPT_BATCHES, Collected, Watch, collect, watched
from tts_trt.quant.corpus import Utterance
from tts_trt.quant.layers import layers_of
from tts_trt.runtime.synthesizer import Synthesizer
from tts_trt.spec import Limits


@pytest.fixture(scope="module")
def collected(
    tiny_folder: ModelFolder, fp32_graphs: Mapping[str, Path], utterances: list[Utterance]
) -> Collected:
    return collect(tiny_folder, fp32_graphs, utterances, threads=1)


def test_every_layer_of_every_graph_is_seen(collected: Collected) -> None:
    for graph, layers in collected.layers.items():
        for layer in layers:
            stats = collected.stats[graph][layer.activation]
            assert stats.histogram.total > 0
            assert stats.channel_max is not None
            assert len(stats.channel_max) == layer.shape[layer.input_axis]
    assert len(collected.layers["gpt"]) == 4 * TINY.gpt.layers + 1
    assert collected.seconds > 0


def test_decode_steps_are_among_what_is_seen(collected: Collected) -> None:
    """The prompt alone would give far fewer rows than prompt and codes."""
    gpt = collected.stats["gpt"]
    head = next(layer for layer in collected.layers["gpt"] if layer.name.endswith("mel_head"))
    rows = gpt[head.activation].histogram.total / TINY.gpt.dim
    assert rows > 3 * len(collected.batches["prompt"])
    assert any(batch["embeddings"].shape[1] == 1 for batch in collected.batches["gpt"])


def test_the_order_of_utterances_does_not_matter(
    collected: Collected,
    tiny_folder: ModelFolder,
    fp32_graphs: Mapping[str, Path],
    utterances: list[Utterance],
) -> None:
    again = collect(tiny_folder, fp32_graphs, utterances[::-1], threads=1)
    for graph, tensors in collected.stats.items():
        for name, stats in tensors.items():
            other = again.stats[graph][name]
            assert np.array_equal(stats.histogram.counts, other.histogram.counts), (graph, name)
            assert stats.histogram.maximum == other.histogram.maximum
            assert np.array_equal(stats.rows, other.rows)


def test_watching_changes_nothing(
    tiny_folder: ModelFolder, fp32_graphs: Mapping[str, Path], utterances: list[Utterance]
) -> None:
    layers = layers_of(fp32_graphs)
    blind = {name: [] for name in layers}
    waves = []
    for watched_layers in (layers, blind):
        with (
            tempfile.TemporaryDirectory() as scratch,
            watched(tiny_folder, fp32_graphs, watched_layers, Limits(), Path(scratch), 1) as (bundle, _),
        ):
            waves.append(Synthesizer(bundle).synthesize(utterances[1].request(TINY)).wave)
    assert np.allclose(waves[0], waves[1], atol=1e-5)


def test_a_corpus_that_never_reaches_a_graph_is_refused(
    tiny_folder: ModelFolder, fp32_graphs: Mapping[str, Path]
) -> None:
    with pytest.raises(QuantError, match="never reaches"):
        collect(tiny_folder, fp32_graphs, [], threads=1)


def test_kept_batches_are_bounded_and_spread() -> None:
    watch = Watch()
    for run in range(1000):
        watch.keep("gpt", {"pos": np.array([run])})
    kept = [int(batch["pos"][0]) for batch in watch.batches["gpt"]]
    assert len(kept) <= KEPT_BATCHES
    assert kept == list(range(0, 1000, kept[1])) and kept[-1] > 900
