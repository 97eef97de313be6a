"""Frame alignment in float32 and the solver's grid."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from tts_trt.errors import UsageError
from tts_trt.frontend.timing import nearest_index, time_grid


@given(st.integers(1, 2000), st.integers(1, 3000))
def test_index_is_torch_nearest_interpolation(source_len: int, target_len: int) -> None:
    frames = torch.arange(source_len, dtype=torch.float32)[None, None]
    expected = F.interpolate(frames, size=target_len, mode="nearest")[0, 0]
    index = nearest_index(source_len, target_len)
    assert index.dtype == np.int64
    assert index.tolist() == expected.long().tolist()


def test_index_rounds_in_float32() -> None:
    exact = [int(Fraction(i * 26, 44)) for i in range(44)]
    assert nearest_index(26, 44).tolist() != exact


@pytest.mark.parametrize(("source", "target"), [(0, 5), (5, 0)])
def test_index_refuses_nothing_to_stretch(source: int, target: int) -> None:
    with pytest.raises(UsageError, match="at least 1"):
        nearest_index(source, target)


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 10, 25, 32, 100])
def test_grid_is_a_float32_linspace(steps: int) -> None:
    t, dt = time_grid(steps)
    assert t.dtype == dt.dtype == np.float32 and len(t) == len(dt) == steps
    np.testing.assert_allclose(dt, torch.linspace(0, 1, steps + 1).diff().numpy(), rtol=0, atol=1.2e-7)
    assert t[0] == 0
    running = np.float32(0)
    for time, step in zip(t, dt, strict=True):
        assert time == running
        running += step
    assert running == pytest.approx(1.0, abs=1e-5)


def test_official_grid_is_exact() -> None:
    _, dt = time_grid(25)
    assert dt.tolist() == torch.linspace(0, 1, 26).diff().tolist()


def test_grid_needs_a_step() -> None:
    with pytest.raises(UsageError, match="0 solver steps"):
        time_grid(0)
