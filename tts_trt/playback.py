"""What a player of a stream does: it starts with the first piece and waits where the next one is late."""

from __future__ import annotations

from dataclasses import dataclass

NOTICED_SECONDS = 0.1
"""A shorter gap passes for one between words."""


@dataclass
class Playback:
    """Seconds, on any one clock."""

    began: float | None = None  # when the first piece came
    sent: float = 0.0  # of audio, so far
    deficit: float = 0.0  # the most that a piece came late: silence before the first spares every wait

    def add(self, now: float, seconds: float) -> None:
        """A piece has come, ``seconds`` long."""
        if self.began is None:
            self.began = now
        self.deficit = max(self.deficit, now - self.began - self.sent)
        self.sent += seconds
