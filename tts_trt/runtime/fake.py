"""Engines without a network in them: numpy functions that keep every contract of ``spec.py``.

For tests of whatever sits on top of engines (decode loop, scheduler, server) at small dimensions: they start at once, need
no files, and are deterministic. Their sound is a hum. What the pipeline relies on holds for them too: rows do not
see each other or their padding, the code model sees its past only through the cache, and sampling is the real rule.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tts_trt.dims import ModelDims
from tts_trt.runtime.device import HOST, Array, Device, Tensor
from tts_trt.runtime.engine import Arrays, Engine, Engines, Feed, Tensors
from tts_trt.spec import GraphSpec, Limits, graph_specs

Compute = Callable[[Arrays], dict[str, Array]]
"""All inputs -> all outputs but the aliased ones, which it writes in place."""


class FakeEngine(Engine):
    """On the host: what it computes is there when ``launch`` returns."""

    def __init__(self, spec: GraphSpec, compute: Compute, float_type: str = "float32") -> None:
        self.spec, self.float_type, self.compute = spec, float_type, compute
        self.device: Device = HOST
        self.runs = 0

    def launch(self, inputs: Feed, outputs: Tensors | None = None) -> dict[str, Tensor]:
        placed = self.given(outputs, fed := self.fed(inputs))
        self.runs += 1
        made = self.compute({name: tensor.numpy() for name, tensor in fed.items()})
        for tensor in self.spec.outputs:
            if tensor.name in self.spec.aliases:
                continue
            array = made[tensor.name].astype(self.dtype(tensor), copy=False)
            if tensor.name in placed:
                self.device.write(placed[tensor.name], array)
            else:
                placed[tensor.name] = self.device.upload(array)
        return placed

    def bind(self, inputs: Tensors, outputs: Tensors) -> _FakeBound:
        return _FakeBound(self, *self.bindings(inputs, outputs))

    def close(self) -> None:
        """There is nothing to give back."""


@dataclass(frozen=True)
class _FakeBound:
    engine: FakeEngine
    inputs: Tensors
    outputs: Tensors
    recordable = True

    def launch(self) -> None:
        self.engine.launch(self.inputs, self.outputs)


def fake_engines(dims: ModelDims, limits: Limits | None = None) -> Engines:
    """Every graph of the model as a fake."""
    functions = _Functions(dims)
    return Engines(
        {name: FakeEngine(spec, getattr(functions, name)) for name, spec in graph_specs(dims, limits).items()}
    )


class _Functions:
    """One method per graph. B rows, the other letters as in ``spec.py``."""

    def __init__(self, dims: ModelDims) -> None:
        self._dims = dims
        d, c = dims.gpt.dim, dims.semantic_encoder.hidden
        self._text = _table("text", dims.gpt.text_tokens + 1, d)
        self._codes = _table("codes", dims.gpt.codes, d)
        self._positions = _table("positions", dims.gpt.code_positions, d)
        self._head = _table("head", d, dims.gpt.codes)
        self._semantic = _table("semantic", dims.semantic_encoder.features, c)
        self._latents = _table("latents", c, d)

    def semantic_encoder(self, x: Arrays) -> dict[str, Array]:
        return {"semantic": np.tanh(x["features"] * x["mask"][..., None] @ self._semantic)}

    def semantic_codec(self, x: Arrays) -> dict[str, Array]:
        size = self._dims.codec.codebook_size
        codes = (np.abs(x["semantic"]).sum(-1) * 1000).astype(np.int64) % size
        return {"codes": codes, "embeddings": x["semantic"]}

    def style_encoder(self, x: Arrays) -> dict[str, Array]:
        return {"style": np.tanh(_mean(x["fbank"], x["lengths"])[:, : self._dims.style.embedding])}

    def conditioner(self, x: Arrays) -> dict[str, Array]:
        own = _mean(x["speaker"], x["speaker_lengths"])
        other = _mean(x["emotion"], x["emotion_lengths"])
        row = (own + x["alpha"][:, None] * (other - own)) @ self._latents
        row = row + x["emotion_vector"].sum(1, keepdims=True)
        return {"conditioning": np.repeat(row[:, None], self._dims.gpt.latents, 1), "emotion_row": row}

    def prompt(self, x: Arrays) -> dict[str, Array]:
        g = self._dims.gpt
        batch, width = x["text"].shape
        rows = np.zeros((batch, g.latents + 2 + width + 3, g.dim), np.float32)
        for b, length in enumerate(x["text_lengths"]):
            ids = [g.start_text, *x["text"][b, :length], g.stop_text]
            body = [np.full((2, g.dim), x["rate"][b]), self._text[ids], self._codes[[g.start_code]]]
            parts = np.concatenate([x["conditioning"][b], *body])
            rows[b, : len(parts)] = parts
        return {"embeddings": rows, "lengths": x["text_lengths"] + g.latents + 5}

    def gpt(self, x: Arrays) -> dict[str, Array]:
        batch, rows, width = x["embeddings"].shape
        cache_BHCW = x["k_0"]
        hidden = np.zeros((batch, rows, width), np.float32)
        for b in range(batch):
            first = int(x["pos"][b])
            cache_BHCW[b, :, first : first + rows] = _heads(x["embeddings"][b], cache_BHCW.shape[1])
            seen = cache_BHCW[b].transpose(1, 0, 2).reshape(-1, width)
            for s in range(rows):
                past = seen[x["start"][b] : first + s + 1]
                hidden[b, s] = np.tanh(past.mean(0) + past[-1])
        last = hidden[np.arange(batch), x["lengths"] - 1]
        return {"logits": (last @ self._head).astype(np.float32), "hidden": hidden}

    def sampler(self, x: Arrays) -> dict[str, Array]:
        g = self._dims.gpt
        stop = g.stop_code
        code = np.array([_draw(x, b, g.start_code, stop) for b in range(len(x["step"]))], np.int64)
        code = np.where(x["done"] | (x["step"] >= x["max_codes"]), stop, code)
        first = 2 if self._dims.latents == "exact" else 1
        positions = self._positions[np.minimum(x["step"] + first, g.code_positions - 1)]
        return {
            "code": code,
            "next_embedding": (self._codes[code] + positions)[:, None],
            "next_pos": x["prompt_lengths"] + x["step"],
            "seen_out": x["seen"] | (np.arange(g.codes) == code[:, None]),
            "step_out": x["step"] + 1,
            "done_out": x["done"] | (code == stop),
        }

    def code_embedding(self, x: Arrays) -> dict[str, Array]:
        return {"embeddings": self._codes[x["codes"]] + self._positions[1 : x["codes"].shape[1] + 1]}

    def mel_condition(self, x: Arrays) -> dict[str, Array]:
        rows = self._codes[x["codes"]] + x["latent_scale"][:, None, None] * x["latents"]
        frames = np.take_along_axis(rows, x["source_index"][..., None], 1)
        inside = np.arange(frames.shape[1]) < x["target_lengths"][:, None]
        level = (frames * inside[..., None]).mean(-1, keepdims=True)
        return {"condition": np.repeat(level, self._dims.regulator.channels, axis=2)}

    def flow_step(self, x: Arrays) -> dict[str, Array]:
        velocity = x["condition"].mean(-1)[:, None] - x["x"]
        inside = np.arange(x["x"].shape[2]) >= x["prompt_lengths"][:, None]
        moved = x["x"] + x["dt"][:, None, None] * velocity
        return {"velocity": velocity, "x_out": moved * inside[:, None]}

    def vocoder(self, x: Arrays) -> dict[str, Array]:
        hop, (batch, _, frames) = self._dims.audio.hop, x["mel"].shape
        loudness = np.repeat(0.3 + 0.1 * np.tanh(x["mel"].mean(1)), hop, axis=1)
        hum = np.sin(2 * np.pi * 8 * np.arange(frames * hop) / hop)
        inside = np.arange(frames * hop) < x["lengths"][:, None] * hop
        return {"wave": (loudness * hum * inside).astype(np.float32).reshape(batch, -1)}


def _draw(x: Arrays, b: int, start: int, stop: int) -> int:
    """The ``sampler`` graph's rule for one row."""
    scores = x["logits"][b].astype(np.float64)
    penalty = np.where(scores < 0, x["penalty"][b], 1 / x["penalty"][b])
    scores = np.where(x["seen"][b], scores * penalty, scores)
    scores[start] = -np.inf
    if x["step"][b] < x["min_codes"][b]:
        scores[stop] = -np.inf
    if x["temperature"][b] <= 0:
        return int(scores.argmax())
    order = np.argsort(-scores, kind="stable")[: x["top_k"][b]]
    best = scores[order] / x["temperature"][b]
    mass = np.exp(best - best.max()) / np.exp(best - best.max()).sum()
    best[np.cumsum(mass) - mass >= x["top_p"][b]] = -np.inf
    uniform = np.clip(x["noise"][b][order].astype(np.float64), 1e-7, 1 - 1e-7)
    return int(order[(best - np.log(-np.log(uniform))).argmax()])


def _heads(rows_SD: Array, heads: int) -> Array:
    return rows_SD.reshape(len(rows_SD), heads, -1).transpose(1, 0, 2)


def _mean(rows_BTC: Array, lengths_B: NDArray[np.int64]) -> Array:
    inside = np.arange(rows_BTC.shape[1]) < lengths_B[:, None]
    return np.asarray((rows_BTC * inside[..., None]).sum(1) / np.maximum(lengths_B, 1)[:, None], np.float32)


def _table(name: str, *shape: int) -> NDArray[np.float32]:
    """Fixed normal numbers, other ones for each name."""
    seed = list(name.encode())
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)
