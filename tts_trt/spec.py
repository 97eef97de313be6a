"""The graph contracts: every tensor name, dtype, axis and range, and nowhere else.

Export names its inputs from here, the builder makes optimisation profiles from here, the runtime binds from here.

Axes: B rows | L text ids | S embedding rows of one GPT call | C cache slots (static) | M codes |
F reference feature rows | E emotion feature rows | K fbank frames | T mel frames | W samples.
Every row of a batch is right-padded and carries its own length; a row's result never depends on the others.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from tts_trt.dims import EMOTIONS, ModelDims

Range = tuple[int, int, int]  # min, opt, max of one axis

SAMPLER_TOP = 128
"""Most candidates the sampler keeps: the upper limit of top_k."""

FLOAT_TYPES = {"fp32": "float32", "fp16": "float16"}


@dataclass(frozen=True)
class TensorSpec:
    """``dtype`` is a numpy name, or "float": the float type of the bundle (float32 or float16)."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]
    doc: str

    def resolved(self, float_type: str) -> str:
        return float_type if self.dtype == "float" else self.dtype


@dataclass(frozen=True)
class GraphSpec:
    name: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    profiles: tuple[Mapping[str, Range], ...]
    aliases: Mapping[str, str]  # output -> the input whose memory it shares
    doc: str

    def input(self, name: str) -> TensorSpec:
        return _named(self.inputs, name)

    def output(self, name: str) -> TensorSpec:
        return _named(self.outputs, name)

    @property
    def dynamic_axes(self) -> dict[str, dict[int, str]]:
        """Tensor name -> {axis index: symbol}."""
        return {
            t.name: {i: axis for i, axis in enumerate(t.shape) if isinstance(axis, str)} for t in self.inputs
        }


def _named(tensors: tuple[TensorSpec, ...], name: str) -> TensorSpec:
    for tensor in tensors:
        if tensor.name == name:
            return tensor
    raise KeyError(f"no tensor {name!r}; there are {', '.join(t.name for t in tensors)}")


@dataclass(frozen=True)
class Limits:
    """What one bundle can serve at most; a build constant."""

    batch: int = 8
    text: int = 0  # 0: the model's own maximum
    codes: int = 0

    def text_of(self, dims: ModelDims) -> int:
        return min(self.text or dims.gpt.max_text, dims.gpt.max_text)

    def codes_of(self, dims: ModelDims) -> int:
        return min(self.codes or dims.gpt.max_codes, dims.gpt.max_codes)


def cache_slots(dims: ModelDims, limits: Limits) -> int:
    """S_max: prompt, codes and the stop code, rounded up to a multiple of 64."""
    prompt = dims.gpt.max_prompt - dims.gpt.max_text + limits.text_of(dims)
    return math.ceil((prompt + limits.codes_of(dims) + 1) / 64) * 64


def cache_names(layers: int) -> list[str]:
    return [f"{kind}_{i}" for i in range(layers) for kind in ("k", "v")]


def graph_specs(dims: ModelDims, limits: Limits | None = None) -> dict[str, GraphSpec]:
    """All graphs of a model in pipeline order."""
    limits = limits or Limits()
    graphs = [
        _semantic_encoder(dims, limits),
        _semantic_codec(dims, limits),
        _style_encoder(dims, limits),
        _conditioner(dims, limits),
        _prompt(dims, limits),
        _gpt(dims, limits),
        _sampler(dims, limits),
        _mel_condition(dims, limits),
        _flow_step(dims, limits),
        _vocoder(dims, limits),
    ]
    if dims.latents == "exact":
        graphs.insert(7, _code_embedding(dims, limits))
    return {g.name: g for g in graphs}


def _tensor(name: str, dtype: str, shape: str, doc: str, **sizes: int) -> TensorSpec:
    """``shape`` is a comma-separated list of symbols and numbers; lower-case symbols are looked up in ``sizes``."""
    axes = tuple(int(a) if a.isdigit() else sizes.get(a, a) for a in shape.split(","))
    return TensorSpec(name, dtype, axes, doc)


def _graph(
    name: str,
    inputs: list[TensorSpec],
    outputs: list[TensorSpec],
    profiles: list[dict[str, Range]],
    doc: str,
    aliases: dict[str, str] | None = None,
) -> GraphSpec:
    return GraphSpec(name, tuple(inputs), tuple(outputs), tuple(profiles), aliases or {}, doc)


def _batch(limits: Limits) -> Range:
    return (1, min(4, limits.batch), limits.batch)


def _reference_rows(dims: ModelDims) -> Range:
    rows = math.ceil(dims.audio.reference_seconds * 100 / dims.semantic_encoder.stride)
    return (8, rows // 2, rows)


def _frames(dims: ModelDims, limits: Limits, *, before: int = 0) -> Range:
    """``before``: frames of a reference that come first."""
    most = before + math.ceil(limits.codes_of(dims) * dims.frames_per_code) + 1
    return (4, most // 4, most)


def _semantic_encoder(dims: ModelDims, limits: Limits) -> GraphSpec:
    enc = dims.semantic_encoder
    return _graph(
        "semantic_encoder",
        [
            _tensor("features", "float32", "B,F,x", "stacked Seamless fbank rows", x=enc.features),
            _tensor("mask", "bool", "B,F", "true where the row is real"),
        ],
        [_tensor("semantic", "float32", "B,F,c", "normalised semantic features", c=enc.hidden)],
        [{"B": _batch(limits), "F": _reference_rows(dims)}],
        "w2v-BERT up to the layer in use, statistics-normalised",
    )


def _semantic_codec(dims: ModelDims, limits: Limits) -> GraphSpec:
    c = dims.semantic_encoder.hidden
    return _graph(
        "semantic_codec",
        [
            _tensor("semantic", "float32", "B,F,c", "semantic features", c=c),
            _tensor("lengths", "int64", "B", "real rows"),
        ],
        [
            _tensor("codes", "int64", "B,F", "code per row"),
            _tensor("embeddings", "float32", "B,F,c", "embedding of each code", c=c),
        ],
        [{"B": _batch(limits), "F": _reference_rows(dims)}],
        "quantises semantic features",
    )


def _style_encoder(dims: ModelDims, limits: Limits) -> GraphSpec:
    frames = math.ceil(dims.audio.reference_seconds * 100)
    return _graph(
        "style_encoder",
        [
            _tensor("fbank", "float32", "B,K,80", "mean-subtracted Kaldi fbank"),
            _tensor("lengths", "int64", "B", "real frames"),
        ],
        [_tensor("style", "float32", "B,e", "timbre", e=dims.style.embedding)],
        [{"B": _batch(limits), "K": (16, frames // 2, frames)}],
        "CAMPPlus",
    )


def _conditioner(dims: ModelDims, limits: Limits) -> GraphSpec:
    c, d = dims.semantic_encoder.hidden, dims.gpt.dim
    rows = _reference_rows(dims)
    return _graph(
        "conditioner",
        [
            _tensor("speaker", "float32", "B,F,c", "semantic features of the timbre reference", c=c),
            _tensor("speaker_lengths", "int64", "B", "real rows"),
            _tensor("emotion", "float32", "B,E,c", "semantic features of the emotion reference", c=c),
            _tensor("emotion_lengths", "int64", "B", "real rows"),
            _tensor(
                "alpha", "float32", "B", "0: the timbre reference's own emotion .. 1: the emotion reference's"
            ),
            _tensor(
                "style",
                "float32",
                "B,e",
                "timbre, picks the rows of the emotion matrices",
                e=dims.style.embedding,
            ),
            _tensor(
                "emotion_vector", "float32", f"B,{len(EMOTIONS)}", "weight per emotion; zeros: audio only"
            ),
        ],
        [
            _tensor(
                "conditioning",
                "float32",
                "B,n,d",
                "conditioning rows, emotion row added",
                n=dims.gpt.latents,
                d=d,
            ),
            _tensor("emotion_row", "float32", "B,d", "the emotion row alone", d=d),
        ],
        [{"B": _batch(limits), "F": rows, "E": rows}],
        "speaker and emotion conformer + perceiver, once per voice and emotion",
    )


def _prompt(dims: ModelDims, limits: Limits) -> GraphSpec:
    d, most = dims.gpt.dim, limits.text_of(dims)
    return _graph(
        "prompt",
        [
            _tensor("conditioning", "float32", "B,n,d", "conditioning rows", n=dims.gpt.latents, d=d),
            _tensor("text", "int64", "B,L", "text ids without start and stop"),
            _tensor("text_lengths", "int64", "B", "real ids"),
            _tensor("rate", "float32", "B", "speaking rate, 1 is natural"),
        ],
        [
            _tensor("embeddings", "float", "B,S,d", "prompt rows up to and with the start code", d=d),
            _tensor("lengths", "int64", "B", "real prompt rows"),
        ],
        [{"B": _batch(limits), "L": (1, most // 4, most)}],
        "latents, speed rows, text, start code; position embeddings included",
    )


def _gpt(dims: ModelDims, limits: Limits) -> GraphSpec:
    g, slots = dims.gpt, cache_slots(dims, limits)
    caches = [
        _tensor(name, "float", f"B,h,{slots},w", "cache, written in place", h=g.heads, w=g.head_dim)
        for name in cache_names(g.layers)
    ]
    caches_out = [TensorSpec(f"{c.name}_out", c.dtype, c.shape, "same memory as the input") for c in caches]
    longest = g.max_prompt - g.max_text + limits.text_of(dims)
    chunk = longest if dims.latents == "one-pass" else max(longest, limits.codes_of(dims))
    return _graph(
        "gpt",
        [
            _tensor("embeddings", "float", "B,S,d", "rows to append", d=g.dim),
            _tensor("lengths", "int64", "B", "real rows among S"),
            _tensor("pos", "int64", "B", "cache slot of the first row"),
            _tensor("start", "int64", "B", "first valid cache slot: 0, or the left padding"),
            *caches,
        ],
        [
            _tensor("logits", "float32", "B,v", "scores after each row's last real row", v=g.codes),
            _tensor("hidden", "float32", "B,S,d", "final states: the latents in one-pass models", d=g.dim),
            *caches_out,
        ],
        [
            {"B": _batch(limits), "S": (2, longest // 2, chunk)},
            {"B": _batch(limits), "S": (1, 1, 1)},
        ],
        "the transformer over new rows and the cache; profile 0 prefill, profile 1 decode step",
        {o.name: i.name for o, i in zip(caches_out, caches, strict=True)},
    )


def _sampler(dims: ModelDims, limits: Limits) -> GraphSpec:
    v, d = dims.gpt.codes, dims.gpt.dim
    return _graph(
        "sampler",
        [
            _tensor("logits", "float32", "B,v", "scores", v=v),
            _tensor("seen", "bool", "B,v", "codes the repetition penalty applies to", v=v),
            _tensor("noise", "float32", "B,v", "uniform draws in (0,1), one per code", v=v),
            _tensor("temperature", "float32", "B", "0: greedy"),
            _tensor("top_k", "int64", "B", f"1..{SAMPLER_TOP}"),
            _tensor("top_p", "float32", "B", "probability mass kept"),
            _tensor("penalty", "float32", "B", "repetition penalty, 1: none"),
            _tensor("min_codes", "int64", "B", "no stop before this many codes"),
            _tensor("max_codes", "int64", "B", "stop after this many codes"),
            _tensor("prompt_lengths", "int64", "B", "cache slots the prompt fills"),
            _tensor("step", "int64", "B", "codes drawn so far"),
            _tensor("done", "bool", "B", "row has stopped"),
        ],
        [
            _tensor("code", "int64", "B", "next code"),
            _tensor("next_embedding", "float", "B,1,d", "its embedding, position included", d=d),
            _tensor("next_pos", "int64", "B", "cache slot to write it to"),
            _tensor("seen_out", "bool", "B,v", "state", v=v),
            _tensor("step_out", "int64", "B", "state"),
            _tensor("done_out", "bool", "B", "state"),
        ],
        [{"B": _batch(limits)}],
        "penalty, temperature, top-k, top-p, Gumbel draw, stop rules; no host round trip",
    )


def _code_embedding(dims: ModelDims, limits: Limits) -> GraphSpec:
    most = limits.codes_of(dims)
    return _graph(
        "code_embedding",
        [_tensor("codes", "int64", "B,M", "codes from the first on")],
        [_tensor("embeddings", "float", "B,M,d", "with contiguous positions from 1", d=dims.gpt.dim)],
        [{"B": _batch(limits), "M": (1, most // 4, most)}],
        "rows of the second GPT pass of exact models",
    )


def _mel_condition(dims: ModelDims, limits: Limits) -> GraphSpec:
    reference = math.ceil(dims.audio.reference_seconds * 100 / dims.semantic_encoder.stride)
    most = max(limits.codes_of(dims), reference)
    frames = _frames(dims, limits, before=dims.audio.frames(dims.audio.reference_seconds))
    return _graph(
        "mel_condition",
        [
            _tensor("codes", "int64", "B,M", "codes"),
            _tensor("latents", "float32", "B,M,d", "GPT latent per code", d=dims.gpt.dim),
            _tensor("latent_scale", "float32", "B", "1, or 0 for a reference's own codes"),
            _tensor("source_index", "int64", "B,T", "code each mel frame is taken from"),
            _tensor("target_lengths", "int64", "B", "real mel frames"),
        ],
        [_tensor("condition", "float32", "B,T,c", "condition per mel frame", c=dims.regulator.channels)],
        [{"B": _batch(limits), "M": (1, most // 4, most), "T": frames}],
        "code embedding + latent projection, stretched to mel frames",
    )


def _flow_step(dims: ModelDims, limits: Limits) -> GraphSpec:
    m = dims.audio.n_mels
    return _graph(
        "flow_step",
        [
            _tensor("x", "float32", "B,m,T", "Euler state", m=m),
            _tensor("t", "float32", "B", "time of each row, 0..1"),
            _tensor("dt", "float32", "B", "Euler step of each row; 0 leaves it"),
            _tensor("condition", "float32", "B,T,c", "condition per frame", c=dims.regulator.channels),
            _tensor("prompt", "float32", "B,m,T", "reference mel, zero beyond it", m=m),
            _tensor("style", "float32", "B,e", "timbre", e=dims.style.embedding),
            _tensor("lengths", "int64", "B", "real frames"),
            _tensor("prompt_lengths", "int64", "B", "frames of the reference"),
            _tensor("guidance", "float32", "B", "classifier-free guidance rate"),
        ],
        [
            _tensor("velocity", "float32", "B,m,T", "guided velocity", m=m),
            _tensor("x_out", "float32", "B,m,T", "x + dt * velocity, reference frames zeroed", m=m),
        ],
        [{"B": _batch(limits), "T": _frames(dims, limits, before=dims.prompt_frames)}],
        "one Euler step; conditional and null branch as one batch of 2B",
    )


def _vocoder(dims: ModelDims, limits: Limits) -> GraphSpec:
    return _graph(
        "vocoder",
        [
            _tensor("mel", "float32", "B,m,T", "log-mel", m=dims.audio.n_mels),
            _tensor("lengths", "int64", "B", "real frames"),
        ],
        [_tensor("wave", "float32", "B,W", f"{dims.audio.hop} samples a frame, -1..1")],
        [{"B": _batch(limits), "T": _frames(dims, limits)}],
        "BigVGAN",
    )
