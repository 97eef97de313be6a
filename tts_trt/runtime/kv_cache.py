"""The cache of the code model.

    per layer   k_i, v_i   (B, H, C, W)      B rows | H heads | C slots | W head width
    slots       [0 ........ prompt ........ pos) filled, [pos .. C) stale and masked
    layers      k_0 v_0 k_1 v_1 ...          one tensor each, input and output at once

Allocated once, on the engine's device, where it stays. A run writes its rows at slots pos.. of the same memory; nothing is
copied from step to step. Rows are right-padded: a row's padding lies beyond its ``pos`` and is overwritten by its next rows.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tts_trt.errors import EngineError
from tts_trt.runtime.device import Array, Tensor
from tts_trt.runtime.engine import Engine


class KvCache:
    def __init__(self, engine: Engine, rows: int) -> None:
        self._engine = engine
        self.tensors = {name: engine.allocate(name, {"B": rows}) for name in engine.spec.aliases.values()}
        self.slots = next(iter(self.tensors.values())).shape[2]
        self.pos_B: NDArray[np.int64] = np.zeros(rows, np.int64)
        self._start_B = np.zeros(rows, np.int64)
        self._dtype = engine.dtype(engine.spec.input("embeddings"))

    @property
    def rows(self) -> int:
        return len(self.pos_B)

    @property
    def bytes(self) -> int:
        return sum(tensor.nbytes for tensor in self.tensors.values())

    def reset(self) -> None:
        """Forget everything; the memory stays as it is, since no row sees a slot beyond its position."""
        self.pos_B = np.zeros_like(self.pos_B)

    def append(self, embeddings_BSD: Array | Tensor, lengths_B: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Run the transformer over new rows -> logits (B,V) float32 after each row's last, hidden (B,S,D) float32.

        Row b adds ``lengths_B[b]`` of the S rows. EngineError when a row would run over its slots.
        """
        most = int(self.pos_B.max()) + embeddings_BSD.shape[1]
        if most > self.slots:
            raise EngineError(f"the cache has {self.slots} slots a row, {most} are needed")
        if not isinstance(embeddings_BSD, Tensor):
            embeddings_BSD = embeddings_BSD.astype(self._dtype, copy=False)
        out = self._engine.launch(
            {
                "embeddings": embeddings_BSD,
                "lengths": lengths_B,
                "pos": self.pos_B,
                "start": self._start_B,
                **self.tensors,
            }
        )
        self.pos_B = self.pos_B + lengths_B
        return out["logits"], out["hidden"]

    def rewind(self, pos_B: NDArray[np.int64]) -> None:
        """Drop the slots from ``pos_B`` on."""
        self.pos_B = np.minimum(self.pos_B, pos_B)

    def copy_row(self, row: int, source: KvCache, source_row: int, filled: int) -> None:
        """The first ``filled`` slots of a row of another cache of the same engine."""
        for name, tensor in self.tensors.items():
            tensor.device.copy(tensor[row, :, :filled], source.tensors[name][source_row, :, :filled])
