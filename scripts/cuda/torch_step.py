"""The same decode step in torch, as baselines: eager, one CUDA graph, and torch.compile.

All are greedy, read nothing back and never stop: less than a served step has to do. B rows, D width, C cache slots.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from scripts.cuda.measure import Meter, device_bytes
from scripts.cuda.prepare import reference
from scripts.cuda.settings import NO_CUDA, NotHere, Report, Settings, Sizes, has_cuda
from scripts.random_graphs import random_model
from tts_trt.model.code_model import CodeModel
from tts_trt.spec import cache_slots

WARM_UP = 3
LEAST_SECONDS = 4.0
MODES = {"compile": "default", "compile-reduce-overhead": "reduce-overhead"}


class Decode(nn.Module):
    """One row more for each of B rows, as ``Case`` of gpt_step has them. All state is in buffers that stay where they are,
    so that a step takes and gives nothing and can be recorded."""

    row: torch.Tensor
    pos: torch.Tensor
    drawn: torch.Tensor
    logits: torch.Tensor
    slot: torch.Tensor

    def __init__(self, model: CodeModel, batch: int, slots: int) -> None:
        super().__init__()
        weight, g = model.mel_head.weight, model.dims.gpt
        new: dict[str, Any] = {"device": weight.device, "dtype": weight.dtype}
        self.model, self.blocks = model, tuple[Any, ...](model.gpt.h)
        for name in self._caches():
            self.register_buffer(name, torch.zeros(batch, g.heads, slots, g.head_dim, **new))
        self.register_buffer("row", torch.zeros(batch, 1, g.dim, **new))
        self.register_buffer("logits", torch.zeros(batch, g.codes, **new))
        self.register_buffer("slot", torch.arange(slots, device=weight.device))
        for name in ("pos", "drawn"):
            self.register_buffer(name, torch.zeros(1, dtype=torch.int64, device=weight.device))

    def _caches(self) -> list[str]:
        return [f"{kind}_{i}" for i in range(len(self.blocks)) for kind in "kv"]

    def prefill(self, rows_BSD: torch.Tensor) -> None:
        size = rows_BSD.shape[1]
        mask = torch.ones(size, size, dtype=torch.bool, device=rows_BSD.device).tril()[None, None]
        x = rows_BSD
        for i, block in enumerate(self.blocks):
            x, k, v = block(x, mask)
            self.get_buffer(f"k_{i}")[:, :, :size] = k
            self.get_buffer(f"v_{i}")[:, :, :size] = v
        self.pos.fill_(size)
        self.drawn.zero_()
        self._draw(x)

    def forward(self) -> None:
        """The static form: every slot is read, those not filled are masked."""
        mask = (self.slot <= self.pos)[None, None, None]
        x = self.row
        for i, block in enumerate(self.blocks):
            q, k, v = block.attn.project(block.ln_1(x))
            keys, values = self.get_buffer(f"k_{i}"), self.get_buffer(f"v_{i}")
            keys.index_copy_(2, self.pos, k)
            values.index_copy_(2, self.pos, v)
            x = x + block.attn.attend(q, keys, values, mask)
            x = x + block.mlp(block.ln_2(x))
        self.pos.add_(1)
        self._draw(x)

    def sliced(self, position: int) -> None:
        """The form that eager torch does best: only filled slots are read, without a mask."""
        x = self.row
        for i, block in enumerate(self.blocks):
            q, k, v = block.attn.project(block.ln_1(x))
            keys, values = self.get_buffer(f"k_{i}"), self.get_buffer(f"v_{i}")
            keys[:, :, position], values[:, :, position] = k[:, :, 0], v[:, :, 0]
            seen = slice(position + 1)
            x = x + block.attn.attend(q, keys[:, :, seen], values[:, :, seen], None)
            x = x + block.mlp(block.ln_2(x))
        self._draw(x)

    def _draw(self, x: torch.Tensor) -> None:
        self.logits.copy_(self.model.mel_head(self.model.final_norm(self.model.gpt.ln_f(x))[:, -1]))
        code_B = self.logits.argmax(-1)
        self.row.copy_(self.model.next_row(code_B, self.drawn.expand(len(code_B))))
        self.drawn.add_(1)


def run(part: str, settings: Settings, report: Report) -> dict[str, Any]:
    """``part``: torch (eager and graph), torch-compile or torch-compile-reduce-overhead. Without a GPU the small size runs on
    the CPU."""
    cuda, sizes = has_cuda(), settings.sizes
    if not (cuda or settings.small):
        raise NotHere(NO_CUDA)
    place = torch.device("cuda" if cuda else "cpu")
    torch.set_num_threads(torch.get_num_threads() if cuda else 1)
    model = random_model(sizes.dims, "gpt").gpt.half().to(place)
    rows, logits = (torch.from_numpy(one).to(place).half() for one in reference(settings))
    meter = Meter(torch.cuda.current_stream().cuda_stream if cuda else None)
    found: dict[str, Any] = {"device": str(place), "torch": torch.__version__, "cases": []}
    forms = (
        ["eager", "static", *(["graph"] if cuda else [])]
        if part == "torch"
        else [part.removeprefix("torch-")]
    )
    with torch.inference_mode():
        found["difference"] = _difference(model, sizes, rows, logits)
        for batch in sizes.batches:
            for form in forms:
                if settings.left() < LEAST_SECONDS:
                    return found | {"cut": "no time was left for more"}
                found["cases"].append(
                    {"form": form, "batch": batch} | _case(form, model, sizes, batch, meter)
                )
                report(found)
    return found


def _difference(model: CodeModel, sizes: Sizes, rows: torch.Tensor, logits: torch.Tensor) -> float:
    decode = Decode(model, 1, cache_slots(sizes.dims, sizes.limits))
    decode.prefill(rows)
    gap = (decode.logits - logits).float()
    return float((gap.square().mean() / logits.float().square().mean()).sqrt())


def _case(form: str, model: CodeModel, sizes: Sizes, batch: int, meter: Meter) -> dict[str, Any]:
    before = device_bytes()
    try:
        decode = Decode(model, batch, cache_slots(sizes.dims, sizes.limits))
        generator = torch.Generator().manual_seed(1)
        rows = torch.randn(batch, sizes.position, sizes.dims.gpt.dim, generator=generator)
        decode.prefill(rows.to(decode.row))
        began = time.perf_counter()
        step = _step(form, decode, sizes.position)
        for _ in range(WARM_UP):
            step()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        prepared = time.perf_counter() - began
        return {
            "step_ms": meter.ms(step, sizes.steps // 10, 10),
            "first_seconds": prepared,  # warm-up; what capture or compiling takes is in it
            "more_bytes": device_bytes() - before,
        }
    except torch.cuda.OutOfMemoryError as error:
        return {"refusal": str(error)}


def _step(form: str, decode: Decode, position: int) -> Callable[[], object]:
    if form == "static":
        return decode
    if form == "graph":
        return _captured(decode)
    if form in MODES:
        compiled = torch.compile(decode, mode=MODES[form], fullgraph=True, dynamic=False)

        def marked() -> None:
            torch.compiler.cudagraph_mark_step_begin()
            compiled()

        return marked
    slots = iter(range(position, decode.slot.shape[0]))
    return lambda: decode.sliced(next(slots))


def _captured(decode: Decode) -> Callable[[], object]:
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(WARM_UP):
            decode()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        decode()
    return graph.replay
