from __future__ import annotations

import sys

import pytest

from tts_trt import trt
from tts_trt.errors import BuildError


def test_an_unknown_builder_is_refused_with_the_known_ones() -> None:
    with pytest.raises(BuildError, match="no such builder 'onnx'; there are tensorrt, tensorrt-rtx"):
        trt.load_backend("onnx")


@pytest.mark.parametrize(
    ("name", "module", "extra"),
    [("tensorrt", "tensorrt", "[tensorrt11]"), ("tensorrt-rtx", "tensorrt_rtx", "[rtx]")],
)
def test_a_missing_library_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, name: str, module: str, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(BuildError, match=f"{name} cannot be loaded") as caught:
        trt.load_backend.__wrapped__(name)
    assert f"pip install 'tts-trt{extra}'" in str(caught.value)


def test_one_logger_serves_nested_listeners() -> None:
    rtx = pytest.importorskip("tensorrt_rtx")
    backend = trt.load_backend("tensorrt-rtx")
    assert trt.load_backend("tensorrt-rtx").logger is backend.logger
    with backend.listening() as outer:
        with backend.listening() as inner:
            backend.logger.log(rtx.ILogger.WARNING, "w")
        backend.logger.log(rtx.ILogger.ERROR, "e")
        backend.logger.log(rtx.ILogger.INFO, "i")
    backend.logger.log(rtx.ILogger.ERROR, "nobody listens")
    assert (inner.warnings, inner.errors) == (["w"], [])
    assert (outer.warnings, outer.errors) == (["w"], ["e"])


def test_rtx_is_known_by_what_it_has() -> None:
    pytest.importorskip("tensorrt_rtx")
    backend = trt.load_backend("tensorrt-rtx")
    assert backend.targets[:5] == (75, 80, 86, 89, 120)
    assert not backend.timing_cache


def test_a_builder_that_does_not_start_says_why() -> None:
    """Without a CUDA driver full TensorRT gives no builder, which its bindings report as a TypeError."""
    rtx = pytest.importorskip("tensorrt_rtx")

    class Library:
        @staticmethod
        def Builder(logger: trt.Messages) -> None:
            logger.log(rtx.ILogger.ERROR, "CUDA initialization failure with error: 35")
            raise TypeError("pybind11::init(): factory function returned nullptr")

    backend = trt.load_backend("tensorrt-rtx")
    broken = trt.Backend("tensorrt", "11", Library, backend.logger, (), True)
    with pytest.raises(
        BuildError, match="(?s)cannot start a builder: CUDA initialization failure.*--executor"
    ):
        broken.create_builder()
