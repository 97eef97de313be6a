"""Parts of one bundle inside another, across devices too."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.model.tiny import TINY
from tests.report.fakes import bundle, hiss
from tts_trt.errors import UsageError
from tts_trt.quality.forced import Borrowed, Teacher
from tts_trt.report.lines import Line
from tts_trt.report.swap import PARTS, check_same_model, mixed
from tts_trt.runtime.bundle import OpenBundle
from tts_trt.runtime.device import HostDevice
from tts_trt.spec import graph_specs

LINE = Line("see me", "anna", "calm", 1.0, 3)


def moved(made: OpenBundle) -> OpenBundle:
    """The same bundle on a device of its own."""
    device, engines = HostDevice(), {name: made.engines[name] for name in graph_specs(TINY)}
    for engine in engines.values():
        engine.device = device
    return replace(made, engines=Borrowed(engines))


def test_every_graph_belongs_to_one_part() -> None:
    named = [graph for graphs in PARTS.values() for graph in graphs]
    assert len(set(named)) == len(named)
    assert set(graph_specs(TINY)) | set(graph_specs(replace(TINY, latents="exact"))) == set(named)


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("elsewhere", [False, True])
def test_only_the_part_asked_for_is_the_candidates(tmp_path: Path, part: str, elsewhere: bool) -> None:
    base, other = bundle(tmp_path), bundle(tmp_path, "vocoder", "wave", hiss(0.01))
    if elsewhere:
        other = moved(other)
    said = Teacher(base).free(LINE.request(TINY))
    found = Teacher(mixed(base, other, part)).force(LINE.request(TINY), said.codes_M)
    np.testing.assert_allclose(found.mel_mT, said.mel_mT, atol=1e-6)
    assert np.allclose(found.wave_S, said.wave_S, atol=1e-6) == (part != "vocoder")


def test_models_of_other_dimensions_cannot_be_paired(tmp_path: Path) -> None:
    base = bundle(tmp_path)
    other = replace(base, dims=replace(TINY, frames_per_code=3.0))
    check_same_model(base, base, ("a", "b"))
    with pytest.raises(UsageError, match="b is of another model than a"):
        check_same_model(base, other, ("a", "b"))
