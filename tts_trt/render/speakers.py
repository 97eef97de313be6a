"""Who speaks: bundles of one model that share one voice.

    narrator --+                                     conditioner, encoders
               +-- the same conditioning rows <------------- anchor, the bundle in high precision
    key -------+

The voice is encoded once, by the anchor; its engines condition every bundle on voice and emotion. So timbre and emotion do not
move with the precision of what is said.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Protocol

from tts_trt.choice import Offer
from tts_trt.errors import UsageError
from tts_trt.quality.forced import Borrowed
from tts_trt.runtime.executors import AUTO
from tts_trt.runtime.request import Request, Result
from tts_trt.runtime.synthesizer import Synthesizer
from tts_trt.spec import graph_specs

ANCHOR = ("semantic_encoder", "semantic_codec", "style_encoder", "conditioner")
"""Graphs between a recording and the conditioning rows; what they exchange passes through the host."""


class Speaks(Protocol):
    def synthesize(self, request: Request) -> Result:
        """As ``Synthesizer.synthesize``."""


@dataclass(frozen=True)
class Speaker:
    offer: Offer
    speaks: Speaks


@contextmanager
def opened(
    offers: Sequence[Offer], *, threads: int = 0, device: str = AUTO
) -> Iterator[dict[str, Synthesizer]]:
    """Synthesizers by the hash of their manifest, the first being the anchor of all. UsageError for bundles of several models,
    errors of ``Synthesizer.from_bundle``."""
    first = offers[0]
    if other := next((one for one in offers if one.weights_sha256 != first.weights_sha256), None):
        raise UsageError(
            f"{other.name} is of other weights than {first.name}: they have not one voice",
            hint="build both bundles from one model",
        )
    with ExitStack() as stack:
        made: dict[str, Synthesizer] = {}
        anchor: Synthesizer | None = None
        for one in offers:
            if one.manifest_sha256 in made:
                continue
            own = stack.enter_context(Synthesizer.from_bundle(one.path, threads=threads, device=device))
            anchor = anchor or own
            made[one.manifest_sha256] = own if own is anchor else anchored(own, anchor)
        yield made


def anchored(own: Synthesizer, anchor: Synthesizer) -> Synthesizer:
    """``own`` with voices and emotions encoded by ``anchor``; whoever holds the two closes them."""
    if own.dims != anchor.dims:
        raise UsageError("two bundles differ in their dimensions, expected one model")
    names = graph_specs(own.dims, own.limits)
    engines = {name: (anchor if name in ANCHOR else own).engines[name] for name in names}
    return Synthesizer(replace(own.bundle, engines=Borrowed(engines)))
