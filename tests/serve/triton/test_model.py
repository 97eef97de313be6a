"""The model inside Triton: its responses are a scheduler's chunks. Triton itself is a stand-in here."""

from __future__ import annotations

import runpy
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.serve.triton import stand_in
from tests.serve.triton.stand_in import Request, TritonError, TritonModelException
from tts_trt import Bundle, SamplingParams
from tts_trt import Request as Spoken

TEXT = "See me. No cat to see me."


@pytest.fixture(scope="module")
def config(repository: Path, parse: Callable[[Path], Any]) -> dict[str, Any]:
    """As Triton hands it to the model: the parsed file in JSON."""
    from google.protobuf.json_format import MessageToDict

    whole = MessageToDict(parse(repository / "tiny-fp32" / "config.pbtxt"), preserving_proto_field_name=True)
    assert isinstance(whole, dict)
    return whole


@pytest.fixture(scope="module")
def model(repository: Path, config: dict[str, Any]) -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch:
        stand_in.install(patch)
        folder = repository / "tiny-fp32"
        model = runpy.run_path(str(folder / "1" / "model.py"))["TritonPythonModel"]()
        model.initialize(stand_in.arguments(folder, config))
        yield model
        model.finalize()


@pytest.fixture(scope="module")
def ask(model: Any, config: dict[str, Any]) -> Callable[..., tuple[list[np.ndarray], TritonError | None]]:
    def ask(timeout: int = 0, **inputs: Any) -> tuple[list[np.ndarray], TritonError | None]:
        request = Request(config, timeout, **inputs)
        assert model.execute([request]) is None
        return received(request)

    return ask


def received(request: Request) -> tuple[list[np.ndarray], TritonError | None]:
    chunks = []
    for response in request.sender.received():
        if response.error() is not None:
            return chunks, response.error()
        tensors = {tensor.name(): tensor.as_numpy() for tensor in response.output_tensors()}
        assert tensors["sample_rate"] == [16000]
        chunks.append(tensors["audio"])
    return chunks, None


def test_a_stream_is_the_synthesizers(model: Any, ask: Any, bundle: Path) -> None:
    chunks, error = ask(text=TEXT.encode(), voice=b"anna", seed=3)
    assert error is None and len(chunks) > 1
    with Bundle.load(bundle).synthesizer(threads=1) as tts:
        wanted = tts.stream(Spoken(TEXT, "anna", sampling=SamplingParams.of(tts.dims, seed=3)))
        np.testing.assert_allclose(np.concatenate(chunks), np.concatenate(list(wanted)), atol=1e-4)


def test_without_a_stream_all_comes_in_one_response_of_the_asked_length(ask: Any) -> None:
    chunks, error = ask(text=TEXT.encode(), duration=2.5, stream=False)
    assert error is None
    assert [len(chunk) for chunk in chunks] == [40000]


def test_emotions_and_recordings_are_heard(ask: Any, bundle: Path) -> None:
    recording = (bundle / "assets" / "voices" / "anna.wav").read_bytes()
    plain, _ = ask(text=TEXT.encode(), stream=False)
    happy, error = ask(
        text=TEXT.encode(), stream=False, emotion=[1.0] + [0.0] * 7, emotion_alpha=0.5, rate=1.25
    )
    assert error is None and not np.array_equal(plain[0], happy[0])
    cloned, error = ask(
        text=TEXT.encode(), stream=False, reference=recording, emotion_reference=recording, steps=2
    )
    assert error is None and len(cloned) == 1


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({"text": b""}, "text"),
        ({"text": b"\xff"}, "text is not UTF-8"),
        ({"text": b"no " * 2000}, "at most 4096 are read"),
        ({"text": b"See me.", "voice": b"/etc/passwd.wav"}, "there is no voice '/etc/passwd.wav', only anna"),
        ({"text": b"See me.", "reference": b"not audio"}, ""),
        ({"text": b"See me.", "reference": bytes(11 << 20)}, "reference has 11534336 bytes"),
        ({"text": b"See me.", "emotion": [0.9] * 8}, "1.2"),
        ({"text": b"See me.", "rate": 9.0}, "rate"),
        ({"text": b"See me.", "rate": float("nan")}, "rate"),
        ({"text": b"See me.", "seed": -1}, "seed"),
    ],
)
def test_what_a_client_does_wrong_is_an_invalid_argument(
    ask: Any, inputs: dict[str, Any], words: str
) -> None:
    chunks, error = ask(**inputs)
    assert chunks == [] and error is not None
    assert error.code() == TritonError.INVALID_ARG, error.message()
    assert words in error.message()


def test_many_requests_at_once_each_get_their_own(model: Any, config: dict[str, Any]) -> None:
    requests = [Request(config, text=TEXT.encode(), seed=i % 3) for i in range(6)]
    model.execute(requests)
    waves = [np.concatenate(received(request)[0]) for request in requests]
    for i in range(3):
        np.testing.assert_allclose(waves[i], waves[i + 3], atol=1e-4)
    assert waves[0].shape != waves[1].shape or not np.allclose(waves[0], waves[1])


def test_a_client_that_leaves_ends_its_work(model: Any, config: dict[str, Any]) -> None:
    request = Request(config, text=(TEXT * 20).encode())
    request.sender.gone = True
    model.execute([request])
    chunks, error = received(request)
    assert chunks == [] and error is not None
    assert error.code() == TritonError.CANCELLED


def test_a_time_limit_is_kept(ask: Any) -> None:
    _, error = ask(timeout=1, text=(TEXT * 20).encode())
    assert error is not None and error.code() == TritonError.UNAVAILABLE


def test_a_bundle_that_changed_is_not_opened(
    repository: Path, config: dict[str, Any], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(repository / "tiny-fp32", tmp_path / "tiny-fp32"))
    graph = folder / "1" / "bundle" / "graphs" / "gpt.onnx"
    graph.write_bytes(graph.read_bytes()[:-1])
    with pytest.MonkeyPatch.context() as patch:
        stand_in.install(patch)
        model = runpy.run_path(str(folder / "1" / "model.py"))["TritonPythonModel"]()
        with pytest.raises(TritonModelException, match=r"gpt\.onnx: \d+ bytes, expected"):
            model.initialize(stand_in.arguments(folder, config))
