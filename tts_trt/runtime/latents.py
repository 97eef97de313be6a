"""The latent of every code: the state that predicted it.

    one-pass   the decode-time states, which the slots keep
    exact      those of a second pass over the codes with contiguous positions, from the prompt's part of the cache

Legend: B rows, M codes of one row, S embedding rows, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

import numpy as np

from tts_trt.runtime.device import Tensor
from tts_trt.runtime.engine import Engine
from tts_trt.runtime.kv_cache import KvCache
from tts_trt.runtime.rows import Ids, RowState, padded

if TYPE_CHECKING:
    from tts_trt.runtime.decode import Decoder


class RowLatents:
    """Latents of one row while it is being decoded, and after. Exact models pass only what is new through a cache of
    their own, which is given back with ``close``."""

    def __init__(self, decoder: Decoder, state: RowState) -> None:
        self._decoder, self._state, self._held = decoder, state, ExitStack()
        self._second: SecondPass | None = None
        self._parts: list[Tensor] = []
        self._kept_MD: Tensor | None = None
        self.kept = 0
        """Codes whose latents no longer need the row's place."""

    def of(self, codes: int) -> Tensor:
        """(M,D) float32 of the first ``codes`` codes; not fewer than before."""
        if self._kept_MD is not None and codes <= len(self._kept_MD):
            return self._kept_MD[:codes]
        if self._decoder.dims.latents == "one-pass":
            return self._state.slots.states(self._state.place, codes)
        made = sum(map(len, self._parts))
        if codes > made:
            second = self._second = self._second or self._begin()
            self._parts += second.extend([self._state.codes_M[:codes]])
        return _joined(self._parts)

    def keep(self) -> None:
        """Of the codes so far: another thread may ask for them, and the row may go wherever it likes."""
        if self._decoder.dims.latents == "one-pass":
            self._kept_MD = self._state.slots.states(self._state.place, len(self._state.codes))
        else:
            self._second = self._second or self._begin()
        self.kept = len(self._state.codes)

    def close(self) -> None:
        self._held.close()

    def _begin(self) -> SecondPass:
        slots = self._held.enter_context(self._decoder.slots(1))
        state = self._state
        assert state.first_D is not None
        slots.cache.copy_row(0, state.slots.cache, state.place, state.prompt_length)
        slots.cache.pos_B[0] = state.prompt_length
        return SecondPass(self._decoder.engines["code_embedding"], slots.cache, [state.first_D])


class SecondPass:
    """Latents of exact models: codes with contiguous positions, after the prompt that is in the cache."""

    def __init__(self, embed: Engine, cache: KvCache, first: Sequence[Tensor]) -> None:
        """``first``: per row the state (D) after the prompt."""
        self._embed, self._cache, self._device = embed, cache, embed.device
        self._pending: list[Tensor | None] = list(first)
        self._fed_B = np.zeros(len(first), np.int64)

    def extend(self, codes: Sequence[Ids]) -> list[Tensor]:
        """All codes so far of each row -> the latents (new, D) since the last call."""
        wanted_B = np.array([len(c) - 1 for c in codes]) - self._fed_B  # the last code predicts nothing
        hidden_BSD = self._hidden(codes, wanted_B) if wanted_B.max() > 0 else None
        made = []
        for b, (pending, wanted) in enumerate(zip(self._pending, wanted_B.tolist(), strict=True)):
            first = int(pending is not None)
            rows = self._device.empty((first + wanted, self._width()), np.float32)
            if pending is not None:
                self._device.copy(rows[0], pending)
            if hidden_BSD is not None and wanted:
                self._device.copy(rows[first:], hidden_BSD[b, :wanted])
            made.append(rows)
        self._pending = [None] * len(codes)
        self._fed_B = self._fed_B + wanted_B
        return made

    def _hidden(self, codes: Sequence[Ids], wanted_B: Ids) -> Tensor:
        embeddings_BMD = self._embed.launch({"codes": padded(codes)})["embeddings"]
        batch, _, width = embeddings_BMD.shape
        chunk = self._device.zeros((batch, int(wanted_B.max()), width), embeddings_BMD.dtype)
        for b, (fed, wanted) in enumerate(zip(self._fed_B.tolist(), wanted_B.tolist(), strict=True)):
            self._device.copy(chunk[b, :wanted], embeddings_BMD[b, fed : fed + wanted])
        return self._cache.append(chunk, wanted_B)[1]

    def _width(self) -> int:
        return int(self._embed.spec.output("embeddings").shape[2])


def _joined(parts: Sequence[Tensor]) -> Tensor:
    device, rows = parts[0].device, sum(map(len, parts))
    whole = device.empty((rows, parts[0].shape[1]), np.float32)
    first = 0
    for part in parts:
        if len(part):
            device.copy(whole[first : first + len(part)], part)
        first += len(part)
    return whole
