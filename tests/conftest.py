"""Every test runs on a CPU without a network; one thread keeps small tensors from waiting for each other."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
