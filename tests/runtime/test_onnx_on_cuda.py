"""ONNX Runtime on a CUDA device: what it is told, and that its results are read only when they are there.

The CUDA provider needs a GPU. Here the sessions of the CPU provider stand in for its kernels: what is bound "on the GPU" is
read and written at fake device addresses when the stream comes to it, as the provider does with a stream of the user's and
without synchronising.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from tests.model.tiny import TINY
from tests.runtime.fake_driver import FakeDriver
from tests.runtime.test_pipeline_on_cuda import rows
from tts_trt.errors import EngineError
from tts_trt.frontend.tokenizer import PhoneTokenizer
from tts_trt.runtime import onnx_engine
from tts_trt.runtime.bundle import OpenBundle
from tts_trt.runtime.cuda import CudaDevice
from tts_trt.runtime.decode import Decoder
from tts_trt.runtime.engine import Engines
from tts_trt.runtime.onnx_engine import CPU, CUDA, OrtEngine
from tts_trt.runtime.request import Request
from tts_trt.runtime.sampling import SamplingParams
from tts_trt.runtime.synthesizer import Synthesizer
from tts_trt.spec import Limits, graph_specs

SPECS = graph_specs(TINY)
DTYPES = {"tensor(float)": np.float32, "tensor(int64)": np.int64, "tensor(bool)": np.bool_}

Place = tuple[tuple[int, ...], int, Any]


class CudaProvider:
    """The module onnxruntime with a CUDA provider. ``uncapturable``: graphs that have a node without a CUDA kernel."""

    RunOptions, SessionOptions = onnxruntime.RunOptions, onnxruntime.SessionOptions

    def __init__(self, driver: FakeDriver) -> None:
        self.driver, self.uncapturable = driver, set[str]()
        self.told: dict[str, dict[str, str]] = {}
        self.runs: list[tuple[str, str, str]] = []  # graph, graph id, whether it is left unsynchronised

    def get_available_providers(self) -> list[str]:
        return [CUDA, CPU]

    def InferenceSession(self, path: str, options: Any, providers: list[Any]) -> Session:
        (name, told), fallback = providers
        assert (name, fallback) == (CUDA, CPU)
        graph = Path(path).stem
        if graph in self.uncapturable and told["enable_cuda_graph"] == "1":
            raise RuntimeError("This session cannot use the graph capture feature")
        self.told[graph] = told
        return Session(self, graph, onnxruntime.InferenceSession(path, options, providers=[CPU]), told)


class Session:
    def __init__(self, module: CudaProvider, graph: str, inner: Any, told: dict[str, str]) -> None:
        self.module, self.graph, self.inner = module, graph, inner
        self.stream = int(told["user_compute_stream"])
        self.get_inputs, self.get_outputs = inner.get_inputs, inner.get_outputs

    def io_binding(self) -> Binding:
        return Binding()

    def run_with_iobinding(self, binding: Binding, options: Any) -> None:
        keys = ("gpu_graph_id", "disable_synchronize_execution_providers")
        self.module.runs.append((self.graph, *(options.get_run_config_entry(key) for key in keys)))
        shapes = {name: place[0] for name, place in binding.inputs.items()}
        outputs = {
            name: self._own(name, shapes) if place is None else place
            for name, place in binding.outputs.items()
        }
        inputs = dict(binding.inputs)
        binding.made = [Value(shape, address) for shape, address, _ in outputs.values()]
        self.module.driver.enqueue(self.stream, lambda: self._kernel(inputs, outputs))

    def _own(self, name: str, shapes: dict[str, tuple[int, ...]]) -> Place:
        """Memory of the provider's arena; the shape is found by running the graph on nothing much."""
        fed = {i.name: np.zeros(shapes[i.name], DTYPES[i.type]) for i in self.inner.get_inputs()}
        for length in (n for n in fed if n.endswith("lengths")):
            fed[length] += 1
        (made,) = self.inner.run([name], fed)
        return made.shape, int(self.module.driver.mem_alloc(max(made.nbytes, 1))), made.dtype

    def _kernel(self, inputs: dict[str, Place], outputs: dict[str, Place]) -> None:
        fed = {name: self._view(place).copy() for name, place in inputs.items()}
        for place, array in zip(outputs.values(), self.inner.run(list(outputs), fed), strict=True):
            self._view(place)[...] = array

    def _view(self, place: Place) -> np.ndarray:
        shape, address, dtype = place
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        return self.module.driver.view(address, size).view(dtype).reshape(shape)


class Binding:
    def __init__(self) -> None:
        self.inputs: dict[str, Place] = {}
        self.outputs: dict[str, Place | None] = {}
        self.made: list[Value] = []

    def bind_input(self, name: str, kind: str, index: int, dtype: Any, shape: Any, address: int) -> None:
        assert (kind, index) == ("cuda", 0)
        self.inputs[name] = (tuple(shape), address, dtype)

    def bind_output(
        self, name: str, kind: str, index: int, dtype: Any = None, shape: Any = None, address: int = 0
    ) -> None:
        assert (kind, index) == ("cuda", 0)
        self.outputs[name] = (tuple(shape), address, dtype) if address else None

    def get_outputs(self) -> list[Value]:
        return self.made


class Value:
    def __init__(self, shape: tuple[int, ...], address: int) -> None:
        self._shape, self._address = shape, address

    def shape(self) -> list[int]:
        return list(self._shape)

    def data_ptr(self) -> int:
        return self._address


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> CudaProvider:
    module = CudaProvider(FakeDriver())
    monkeypatch.setattr(onnx_engine, "_onnxruntime", lambda: module)
    return module


@pytest.fixture
def device(provider: CudaProvider) -> Iterator[CudaDevice]:
    with CudaDevice(driver=provider.driver, runtime=provider.driver.runtime) as opened:
        yield opened


def on_cuda(graphs: Path, device: CudaDevice, *names: str) -> Engines:
    return Engines(
        {
            name: OrtEngine(graphs / f"{name}.onnx", SPECS[name], threads=1, device=device, graphs=True)
            for name in names or SPECS
        }
    )


def test_sessions_share_the_devices_stream_and_are_not_waited_for(
    graphs: Path, one_pass: Engines, provider: CudaProvider, device: CudaDevice
) -> None:
    engines = on_cuda(graphs, device, "prompt", "gpt", "sampler")
    assert provider.told["gpt"] == {
        "device_id": "0",
        "user_compute_stream": str(device.stream_handle),
        "enable_cuda_graph": "1",
    }
    batch = rows(2)
    there = Decoder(engines, TINY, Limits()).run(batch)
    for ours, theirs in zip(Decoder(one_pass, TINY, Limits()).run(batch), there, strict=True):
        assert ours.codes_M.tolist() == theirs.codes_M.tolist()
        np.testing.assert_allclose(ours.latents_MD.numpy(), theirs.latents_MD.numpy(), atol=1e-5)
    assert {unsynchronised for _, _, unsynchronised in provider.runs} == {"1"}
    ids = {graph: [i for g, i, _ in provider.runs if g == graph] for graph in ("prompt", "gpt")}
    assert set(ids["prompt"]) == {"-1"} and ids["gpt"][0] == "-1", "prefill has other shapes each time"
    steps = ids["gpt"][1:]
    assert len(set(steps)) == 1 and int(steps[0]) > 0, "a step is one graph, replayed"


def test_a_graph_that_cannot_be_captured_runs_without(
    graphs: Path, provider: CudaProvider, device: CudaDevice
) -> None:
    provider.uncapturable = {"sampler"}
    engines = on_cuda(graphs, device, "prompt", "gpt", "sampler")
    asked = {graph: told["enable_cuda_graph"] for graph, told in provider.told.items()}
    assert (asked["sampler"], asked["gpt"]) == ("0", "1")
    Decoder(engines, TINY, Limits()).run(rows(1))
    assert {i for g, i, _ in provider.runs if g == "sampler"} == {"-1"}


def test_speech_is_the_hosts(
    graphs: Path,
    tts: Synthesizer,
    tokenizer: PhoneTokenizer,
    recording: np.ndarray,
    provider: CudaProvider,
    device: CudaDevice,
) -> None:
    there = Synthesizer(OpenBundle(on_cuda(graphs, device), TINY, tokenizer))
    sampling = SamplingParams.of(TINY, max_codes=12, repetition_penalty=1.0)
    request = Request("See me.", recording, sampling=sampling, steps=3)
    np.testing.assert_allclose(there.synthesize(request).wave, tts.synthesize(request).wave, atol=1e-4)


def test_tensors_of_another_device_are_refused(
    graphs: Path, provider: CudaProvider, device: CudaDevice
) -> None:
    engine = on_cuda(graphs, device, "vocoder")["vocoder"]
    with CudaDevice(driver=(other := FakeDriver()), runtime=other.runtime) as elsewhere:
        mel = elsewhere.zeros((1, 80, 6), np.float32)
        with pytest.raises(EngineError, match="NVIDIA Fake"):
            engine.launch({"mel": mel, "lengths": np.array([6])})
