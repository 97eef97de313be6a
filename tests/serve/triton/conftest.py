from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.runtime.conftest import graphs, recording  # noqa: F401
from tests.runtime.test_bundle import write_bundle
from tts_trt import Bundle
from tts_trt.serve.triton.repository import export


@pytest.fixture(scope="session")
def model_config() -> Any:
    """ModelConfig of NVIDIA's own schema, from the client's package without its gRPC."""
    pytest.importorskip("google.protobuf", reason="needs protobuf: pip install 'tts-trt[export]'")
    client = importlib.util.find_spec("tritonclient")
    if client is None or not client.submodule_search_locations:
        pytest.skip("tritonclient is not installed: pip install 'tts-trt[dev]'")
    file = Path(client.submodule_search_locations[0]) / "grpc" / "model_config_pb2.py"
    spec = importlib.util.spec_from_file_location("triton_model_config_pb2", file)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.ModelConfig


@pytest.fixture(scope="session")
def parse(model_config: Any) -> Callable[[Path], Any]:
    """A config.pbtxt by NVIDIA's schema; unknown fields and wrong types are errors."""
    from google.protobuf import text_format

    return lambda file: text_format.Parse(file.read_text(), model_config())


@pytest.fixture(scope="session")
def bundle(graphs: Path, recording: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:  # noqa: F811
    return write_bundle(tmp_path_factory.mktemp("bundles") / "tiny-fp32", graphs, recording)


@pytest.fixture(scope="session")
def repository(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("triton") / "repository"
    export([Bundle.load(bundle)], folder, threads=1)
    return folder
