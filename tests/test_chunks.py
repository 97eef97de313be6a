"""Chunks of a stream end where the codes say, and the last one is worth its flow."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tts_trt.chunks import chunk_end, least_rest, longest_chunk

COUNTS = st.integers(1, 90)


def ends(total: int, first: int, chunk: int, ahead: int) -> list[int]:
    """Of all chunks, looked for whenever ``ahead`` more codes were drawn."""
    made: list[int] = []
    drawn, boundary = 0, first
    while True:
        drawn = min(drawn + ahead, total)
        while found := chunk_end(drawn, over=drawn == total, boundary=boundary, least=least_rest(chunk)):
            made.append(found[0])
            if found[1]:
                return made
            boundary = found[0] + chunk


@given(total=st.integers(1, 400), first=COUNTS, chunk=COUNTS, ahead=st.integers(1, 50))
def test_chunks_end_at_the_same_codes_however_they_are_looked_for(
    total: int, first: int, chunk: int, ahead: int
) -> None:
    found = ends(total, first, chunk, ahead)
    assert found == ends(total, first, chunk, 1) and found[-1] == total
    sizes = np.diff(found, prepend=0)
    assert sizes.max() <= longest_chunk(first, chunk)
    if len(sizes) > 1:
        assert sizes[0] == first and set(sizes[1:-1]) <= {chunk}
        assert sizes[-1] >= least_rest(chunk)


def test_without_a_boundary_the_segment_is_one_chunk() -> None:
    assert chunk_end(50, over=False, boundary=0, least=0) is None
    assert chunk_end(50, over=True, boundary=0, least=0) == (50, True)
