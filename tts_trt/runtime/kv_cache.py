"""The cache of the code model.

    per layer   k_i, v_i   (B, H, C, W)      B rows | H heads | C slots | W head width
    slots       [0 ........ prompt ........ pos) filled, [pos .. C) stale and masked
    layers      k_0 v_0 k_1 v_1 ...          one buffer each, bound as input and as output

Allocated once. A run writes its rows at slots pos.. of the same memory; nothing is copied from step to step.
Rows are right-padded: a row's padding lies beyond its ``pos`` and is overwritten by its next rows.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tts_trt.errors import EngineError
from tts_trt.runtime.engine import Array, Buffer, Engine


class KvCache:
    def __init__(self, engine: Engine, rows: int) -> None:
        self._aliases = engine.spec.aliases
        self.buffers: dict[str, Buffer] = {
            name: engine.allocate(name, {"B": rows}) for name in self._aliases.values()
        }
        self.slots = next(iter(self.buffers.values())).shape[2]
        self.pos_B: NDArray[np.int64] = np.zeros(rows, np.int64)
        self._start_B = np.zeros(rows, np.int64)
        self._dtype = engine.dtype(engine.spec.input("embeddings"))
        outputs = {out: self.buffers[name] for out, name in self._aliases.items()}
        self._runner = engine.bind(self.buffers, outputs)

    @property
    def rows(self) -> int:
        return len(self.pos_B)

    @property
    def bytes(self) -> int:
        return sum(buffer.numpy().nbytes for buffer in self.buffers.values())

    def reset(self) -> None:
        """Forget everything; the memory stays as it is, since no row sees a slot beyond its position."""
        self.pos_B[:] = 0

    def append(self, embeddings_BSD: Array, lengths_B: NDArray[np.int64]) -> tuple[Array, Array]:
        """Run the transformer over new rows -> logits (B,V) float32 after each row's last, hidden (B,S,D) float32.

        Row b adds ``lengths_B[b]`` of the S rows. EngineError when a row would run over its slots.
        """
        most = int(self.pos_B.max()) + embeddings_BSD.shape[1]
        if most > self.slots:
            raise EngineError(f"the cache has {self.slots} slots a row, {most} are needed")
        out = self._runner.run(
            {
                "embeddings": embeddings_BSD.astype(self._dtype, copy=False),
                "lengths": lengths_B,
                "pos": self.pos_B,
                "start": self._start_B,
            }
        )
        self.pos_B = self.pos_B + lengths_B
        return out["logits"], out["hidden"]

    def rewind(self, pos_B: NDArray[np.int64]) -> None:
        """Drop the slots from ``pos_B`` on."""
        self.pos_B = np.minimum(self.pos_B, pos_B)
