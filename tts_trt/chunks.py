"""Where the chunks of a stream end: at the same codes, whatever else runs.

    codes    first | chunk | chunk | rest          rest: at least a quarter of a chunk

Every chunk costs a flow over what was said before it, too. So a chunk waits a few codes longer, and takes what little
follows along when the segment turns out to end there: steps of the code model are cheap.
"""

from __future__ import annotations

LEAST_SHARE = 4


def least_rest(chunk_codes: int) -> int:
    """Codes that a segment's last chunk has at least; its first may be all of it."""
    return max(1, chunk_codes // LEAST_SHARE)


def longest_chunk(first_codes: int, chunk_codes: int) -> int:
    """Codes of the longest chunk there can be."""
    return max(first_codes, chunk_codes) + least_rest(chunk_codes) - 1


def chunk_end(drawn: int, *, over: bool, boundary: int, least: int) -> tuple[int, bool] | None:
    """At how many of the codes ``drawn`` so far the next chunk ends, and whether it is the last; None while that is not known.
    ``over``: no more will come. ``boundary``: where it is meant to end, 0 for nowhere; ``least``: ``least_rest``."""
    if boundary and drawn - boundary >= least:
        return boundary, False
    return (drawn, True) if over else None
