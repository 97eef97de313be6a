"""Tensors and the host device: views, copies, lifetimes. Numpy is the judge."""

from __future__ import annotations

import gc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tts_trt.errors import EngineError
from tts_trt.runtime.device import HOST, Index, contiguous_strides

SHAPES = st.lists(st.integers(0, 4), min_size=1, max_size=4).map(tuple)


@st.composite
def views(draw: st.DrawFn) -> tuple[tuple[int, ...], tuple[Index, ...]]:
    """A shape and what to index it with."""
    shape = draw(SHAPES)
    indices: list[Index] = []
    for size in shape[: draw(st.integers(0, len(shape)))]:
        if size and draw(st.booleans()):
            indices.append(draw(st.integers(-size, size - 1)))
        else:
            edges = st.none() | st.integers(-6, 6)
            indices.append(slice(draw(edges), draw(edges)))
    return shape, tuple(indices)


def counted(shape: tuple[int, ...]) -> np.ndarray:
    return np.arange(np.prod(shape), dtype=np.int64).reshape(shape)


@given(views())
def test_views_are_numpys(case: tuple[tuple[int, ...], tuple[Index, ...]]) -> None:
    shape, indices = case
    array = counted(shape)
    view, expected = HOST.upload(array)[indices], array[indices]
    assert view.shape == expected.shape and view.nbytes == expected.nbytes and view.ndim == expected.ndim
    np.testing.assert_array_equal(view.numpy(), expected)
    if expected.size:  # numpy calls an empty array contiguous whatever its strides are
        assert view.contiguous == expected.flags.c_contiguous


@given(SHAPES, st.randoms())
def test_axes_are_put_in_another_order(shape: tuple[int, ...], random: object) -> None:
    axes = list(range(len(shape)))
    random.shuffle(axes)  # type: ignore[attr-defined]
    array = counted(shape)
    np.testing.assert_array_equal(HOST.upload(array).transpose(*axes).numpy(), array.transpose(axes))


@given(SHAPES)
def test_strides_of_a_new_tensor_are_numpys(shape: tuple[int, ...]) -> None:
    array = np.empty(shape, np.float32)
    if array.size:
        assert contiguous_strides(shape, array.dtype) == array.strides
    assert HOST.empty(shape, np.float32).contiguous or not array.size


def test_an_index_that_is_not_there_is_refused() -> None:
    tensor = HOST.upload(counted((2, 3)))
    with pytest.raises(IndexError, match="index 2 is out of range for an axis of 2"):
        tensor[2]
    with pytest.raises(IndexError, match="a step of 2, expected 1"):
        tensor[::2]


def test_a_view_writes_into_its_tensor_and_nothing_else() -> None:
    tensor = HOST.zeros((3, 4), np.float32)
    HOST.write(tensor[1:, 1:3], np.ones((2, 2), np.float32))
    HOST.copy(tensor[0, :2], tensor[1, 1:3])
    np.testing.assert_array_equal(tensor.numpy(), [[1, 1, 0, 0], [0, 1, 1, 0], [0, 1, 1, 0]])
    HOST.zero(tensor)
    assert not tensor.numpy().any()


def test_shape_and_dtype_have_to_fit() -> None:
    tensor = HOST.zeros((3, 4), np.float32)
    for wrong in (np.zeros((3, 1), np.float32), np.zeros((3, 4), np.float64)):
        with pytest.raises(EngineError, match=r"expected the same"):
            HOST.write(tensor, wrong)
        with pytest.raises(EngineError, match=r"expected the same"):
            HOST.put(tensor, HOST.upload(wrong))


def test_what_was_uploaded_is_a_copy_and_what_is_lent_is_not() -> None:
    array = counted((4,))
    copy, lent = HOST.upload(array), HOST.lend(array)
    array[0] = 9
    assert (copy.numpy()[0], lent.numpy()[0]) == (0, 9)
    assert HOST.lend(counted((4, 4)).T).contiguous


def test_a_reading_keeps_what_was_there() -> None:
    tensor = HOST.upload(counted((4,)))
    reading = HOST.read(tensor)
    HOST.zero(tensor)
    assert reading.value().tolist() == [0, 1, 2, 3]


def test_memory_lives_as_long_as_a_view_of_it() -> None:
    row = HOST.upload(counted((1000, 1000)))[999].numpy()
    gc.collect()
    HOST.empty((1000, 1000), np.int64).numpy()[...] = -1
    assert row[0] == 999_000
