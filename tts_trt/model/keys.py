"""Keys of checkpoints: those that may be absent, and how offending ones are told."""

from __future__ import annotations

from collections.abc import Sequence

DERIVED = ("pos_enc.pe", "input_pos", ".freqs", "num_batches_tracked", "lowpass.filter", "upsample.filter")
"""Endings of buffers that follow from the dimensions: checkpoints may carry them or not."""

UNUSED = ("semantic_codec.decoder.", "gpt.text_head.")
"""Modules that only training needs: a checkpoint may leave them out."""

SHOWN = 8  # offending keys an error names before it counts the rest


def listed(**found: Sequence[str]) -> list[str]:
    """``2 missing: a, b`` for each kind that has any."""
    return [
        f"{len(keys)} {what}: {', '.join(keys[:SHOWN])}{' ...' if len(keys) > SHOWN else ''}"
        for what, keys in found.items()
        if keys
    ]
