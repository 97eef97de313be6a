from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.model.tiny import TINY
from tests.runtime.tiny_graphs import EXACT, tiny_graphs
from tts_trt.dims import ModelDims
from tts_trt.frontend.tokenizer import PhoneTokenizer
from tts_trt.runtime.bundle import OpenBundle
from tts_trt.runtime.engine import Engines
from tts_trt.runtime.fake import fake_engines
from tts_trt.runtime.onnx_engine import OrtEngine
from tts_trt.runtime.synthesizer import Synthesizer
from tts_trt.spec import graph_specs

SYMBOLS = ("<s>", "</s>", "_", ",", ".", "?", "!", "aa", "b", "d", "iy", "k", "m", "n", "ow", "s", "t")
LEXICON = {
    "bad": ["b", "aa", "d"],
    "cat": ["k", "aa", "t"],
    "no": ["n", "ow"],
    "see": ["s", "iy"],
    "me": ["m", "iy"],
    "to": ["t", "ow"],
}


@pytest.fixture(scope="session")
def graphs() -> Path:
    torch.set_num_threads(1)
    return tiny_graphs()


def open_tiny(folder: Path, dims: ModelDims) -> Engines:
    own = folder / "exact" if dims.latents == "exact" else folder
    return Engines(
        {
            name: OrtEngine(
                (own if (own / f"{name}.onnx").exists() else folder) / f"{name}.onnx", spec, threads=1
            )
            for name, spec in graph_specs(dims).items()
        }
    )


@pytest.fixture(scope="session")
def one_pass(graphs: Path) -> Iterator[Engines]:
    with open_tiny(graphs, TINY) as engines:
        yield engines


@pytest.fixture(scope="session")
def exact(graphs: Path) -> Iterator[Engines]:
    with open_tiny(graphs, EXACT) as engines:
        yield engines


@pytest.fixture(scope="session")
def tokenizer() -> PhoneTokenizer:
    durations = {"lead": 0.05} | dict.fromkeys(SYMBOLS, 0.08)
    return PhoneTokenizer({s: i for i, s in enumerate(SYMBOLS)}, LEXICON, durations)


@pytest.fixture(scope="session")
def recording() -> np.ndarray:
    """Two seconds of a vowel-like buzz at 16 kHz with a moving pitch."""
    time = np.arange(32000) / 16000
    phase = 2 * np.pi * np.cumsum(120 + 40 * np.sin(2 * np.pi * 1.5 * time)) / 16000
    buzz = sum(np.sin(k * phase) / k for k in range(1, 12))
    return (0.2 * buzz * (0.6 + 0.4 * np.sin(2 * np.pi * 3 * time))).astype(np.float32)


@pytest.fixture(scope="session")
def tts(one_pass: Engines, tokenizer: PhoneTokenizer) -> Synthesizer:
    return Synthesizer(OpenBundle(one_pass, TINY, tokenizer))


@pytest.fixture(scope="session")
def exact_tts(exact: Engines, tokenizer: PhoneTokenizer) -> Synthesizer:
    return Synthesizer(OpenBundle(exact, EXACT, tokenizer))


@pytest.fixture
def fakes() -> Engines:
    return fake_engines(TINY)


@pytest.fixture
def fake_tts(fakes: Engines, tokenizer: PhoneTokenizer) -> Synthesizer:
    return Synthesizer(OpenBundle(fakes, TINY, tokenizer))
