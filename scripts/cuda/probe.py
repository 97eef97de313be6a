"""Does a small FP16 graph build, load and run here, and is its answer right? A refusal is an answer, in the library's words.

x (B,256) -> MatMul -> Gelu -> y (B,512), half.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from scripts.cuda.runtime import ONNXRUNTIME, counted, counters, open_device
from scripts.cuda.settings import NO_CUDA, Report, Settings, has_cuda
from tts_trt.errors import BuildError
from tts_trt.runtime.device import Tensor, contiguous_strides
from tts_trt.trt import Backend, load_backend

ROWS, WIDE, OUT = 8, 256, 512
DEVICE = "device"
RIGHT = 5e-3
"""Relative RMS error in half."""


def run(part: str, settings: Settings, report: Report) -> dict[str, Any]:
    """``part``: an executor, or device."""
    if part == DEVICE:
        return _device()
    if part == ONNXRUNTIME:
        return _onnxruntime()
    backend = load_backend(part)
    found: dict[str, Any] = {"version": backend.version, "targets": list(backend.targets), "runs": False}
    for form in ("portable", "current"):
        found[form] = answer = _plan(backend, current=form == "current")
        found["runs"] = found["runs"] or answer.get("right", False)
        report(found)
    if not found["runs"]:
        found["refusal"] = next((f"{form}: {a['refusal']}" for form in ("portable", "current") if (a := found[form]).get("refusal")), "")  # fmt: skip
    if not has_cuda():
        found["refusal"] = NO_CUDA
    return found


def weights() -> np.ndarray:
    return (np.random.default_rng(0).standard_normal((WIDE, OUT)) * 0.05).astype(np.float16)


def model() -> bytes:
    half = TensorProto.FLOAT16
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("Gelu", ["h"], ["y"])],
        "probe",
        [helper.make_tensor_value_info("x", half, ["B", WIDE])],
        [helper.make_tensor_value_info("y", half, ["B", OUT])],
        [numpy_helper.from_array(weights(), "w")],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(made)
    return bytes(made.SerializeToString())


def rows() -> np.ndarray:
    return np.random.default_rng(1).standard_normal((ROWS, WIDE)).astype(np.float16)


def wrong(y: np.ndarray) -> float:
    """Relative, from double precision."""
    h = rows().astype(np.float64) @ weights().astype(np.float64)
    expected = 0.5 * h * (1 + np.vectorize(math.erf)(h / math.sqrt(2)))
    return float(np.linalg.norm(y - expected) / np.linalg.norm(expected))


def _plan(backend: Backend, *, current: bool) -> dict[str, Any]:
    """Built for the library's own choice of GPUs, or for this one alone."""
    found: dict[str, Any] = {"built": False, "loaded": False, "right": False}
    with backend.listening() as messages:
        try:
            plan = _built(backend, current=current)
        except (BuildError, RuntimeError, TypeError) as error:
            return found | {"refusal": f"{error} {messages.reason('')}".strip()}
        if plan is None:
            return found | {"refusal": messages.reason("it does not build, no reason given")}
        found |= {"built": True, "bytes": plan.nbytes}
        if not has_cuda():
            return found | {"refusal": NO_CUDA}
        engine = backend.trt.Runtime(backend.logger).deserialize_cuda_engine(plan)
        if engine is None:
            return found | {"refusal": messages.reason("it does not load, no reason given")}
        found["loaded"] = True
        y = _executed(engine)
        if y is None:
            return found | {"refusal": messages.reason("it does not run, no reason given")}
    return found | {"error": (off := wrong(y)), "right": off < RIGHT}


def _built(backend: Backend, *, current: bool) -> Any:
    trt = backend.trt
    builder = backend.create_builder()
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, backend.logger)
    if not parser.parse(model()):
        raise BuildError("\n".join(str(parser.get_error(i)) for i in range(parser.num_errors)))
    options = builder.create_builder_config()
    if current:
        if not hasattr(trt, "ComputeCapability"):
            raise BuildError(f"{backend.name} builds for the GPU of this machine alone")
        options.num_compute_capabilities = 1
        options.set_compute_capability(trt.ComputeCapability.CURRENT, 0)
    profile = builder.create_optimization_profile()
    profile.set_shape("x", (1, WIDE), (ROWS, WIDE), (64, WIDE))
    options.add_optimization_profile(profile)
    return builder.build_serialized_network(network, options)


def _executed(engine: Any) -> np.ndarray | None:
    """On torch's memory and a stream of its own."""
    context = engine.create_execution_context()
    if context is None:
        return None
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        x = torch.from_numpy(rows()).cuda()
        y = torch.empty(ROWS, OUT, dtype=torch.float16, device="cuda")
        context.set_input_shape("x", tuple(x.shape))
        context.set_tensor_address("x", x.data_ptr())
        context.set_tensor_address("y", y.data_ptr())
        ran = context.execute_async_v3(stream.cuda_stream)
        stream.synchronize()
    return y.cpu().numpy() if ran else None


def _onnxruntime() -> dict[str, Any]:
    """On its CUDA provider, the CPU forbidden; and whether that provider has the cache's two operators."""
    import onnxruntime

    available = onnxruntime.get_available_providers()
    found: dict[str, Any] = {"version": onnxruntime.__version__, "providers": available, "runs": False}
    if "CUDAExecutionProvider" not in available:
        return found | {"refusal": f"no CUDAExecutionProvider, only {', '.join(available)}"}
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    for name, graph in {"matmul": model(), "cache": cache_model()}.items():
        try:
            session = onnxruntime.InferenceSession(graph, options, providers=["CUDAExecutionProvider"])
            y = session.run(None, _feed(session))[0]
            found[name] = {"error": wrong(y)} if name == "matmul" else {"finite": bool(np.isfinite(y).all())}
        except Exception as refused:  # noqa: BLE001  its exceptions have no common base
            found[name] = {"refusal": str(refused)[:1000]}
    found["runs"] = found["matmul"].get("error", 1.0) < RIGHT
    return found


def cache_model() -> bytes:
    """TensorScatter and Attention with a mask, as the code model has them."""
    half, shape, slots = TensorProto.FLOAT16, [1, 2, 1, 64], 16
    cache = [1, 2, slots, 64]
    graph = helper.make_graph(
        [
            helper.make_node("TensorScatter", ["k", "q", "pos"], ["k_out"], axis=2, mode="linear"),
            helper.make_node("Attention", ["q", "k_out", "k_out", "mask"], ["y"]),
        ],
        "cache",
        [
            helper.make_tensor_value_info("q", half, shape),
            helper.make_tensor_value_info("k", half, cache),
            helper.make_tensor_value_info("pos", TensorProto.INT64, [1]),
            helper.make_tensor_value_info("mask", TensorProto.BOOL, [1, 1, 1, slots]),
        ],
        [
            helper.make_tensor_value_info("y", half, shape),
            helper.make_tensor_value_info("k_out", half, cache),
        ],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 24)], ir_version=11)
    onnx.checker.check_model(made)
    return bytes(made.SerializeToString())


def _feed(session: Any) -> dict[str, np.ndarray]:
    types = {"tensor(float16)": np.float16, "tensor(int64)": np.int64, "tensor(bool)": np.bool_}
    if len(session.get_inputs()) == 1:
        return {"x": rows()}
    return {i.name: np.ones(i.shape, types[i.type]) for i in session.get_inputs()}


def _device() -> dict[str, Any]:
    """Our device: copies there and back, a recording replayed, torch's memory seen in the same context."""
    values = np.random.default_rng(2).standard_normal((64, 33)).astype(np.float32)
    with open_device() as device:
        before = counters(device)
        source, target = device.upload(values), device.zeros(values.shape, values.dtype)
        found: dict[str, Any] = {"name": device.name, "there_and_back": _same(source.numpy(), values)}
        replay = device.record(lambda: device.copy(target, source))
        replay()
        found["recorded"] = _same(target.numpy(), values)
        device.write(source, values + 1)
        replay()
        reading = device.read(target[:, :5])
        found["replayed"] = _same(reading.value(), values[:, :5] + 1)
        theirs = torch.from_numpy(values).cuda()
        torch.cuda.synchronize()
        strides = contiguous_strides(values.shape, values.dtype)
        seen = Tensor(device, theirs.data_ptr(), values.shape, strides, values.dtype, theirs)
        found["sees_torch"] = _same(seen.numpy(), values)
        found["counted"] = counted(before, counters(device))
    return found


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    return bool(np.array_equal(a, b))
