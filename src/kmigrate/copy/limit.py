"""What becomes of a batch that the target calls too large: raise its topic's limit, then split.  (pure)

The owner raises `max.message.bytes`, and its orders say how that went. Brokers apply a new setting a moment later, so a
batch that should fit is sent again a few times before the target's answer is final. Of a size that was final once,
larger ones are too, until an operator answers.
"""

from __future__ import annotations

import enum

from kmigrate.copy.orders import Limit

MOST_TRIES = 10
"""How often a batch that should fit is sent again; with the growing pauses of a doubt that takes 5 s."""


class TooLarge(enum.Enum):
    """What to do with a batch that was refused."""

    WAIT = "wait"
    """Until the owner has raised the limit, or could not."""
    AGAIN = "again"
    """It should fit now."""
    FINAL = "final"
    """It will not fit: it is split, or the partition stops."""


class LimitWish:
    """What one partition wants its topic's limit to be."""

    def __init__(self) -> None:
        self._wish_bytes = 0
        self._final_bytes = 0
        self._base = -1
        self._tries = 0

    def on_too_large(self, base: int, size: int, limit: Limit | None) -> TooLarge:
        """The target refused a batch of so many bytes. Without a limit nobody raises anything."""
        if limit is None or 0 < self._final_bytes <= size or 0 < limit.refused_bytes <= size:
            return TooLarge.FINAL
        if size > limit.raised_bytes:
            self._wish_bytes = size
            return TooLarge.WAIT
        if base != self._base:
            self._base, self._tries = base, 0
        self._tries += 1
        if self._tries <= MOST_TRIES:
            return TooLarge.AGAIN
        self._final_bytes = size
        return TooLarge.FINAL

    def open_bytes(self, limit: Limit | None) -> int:
        """What is still wished for; 0 if nothing is, or the owner has said how it went."""
        wish = self._wish_bytes
        if limit is None or wish <= limit.raised_bytes or 0 < limit.refused_bytes <= wish:
            return 0
        return wish

    def on_limit(self, limit: Limit | None) -> None:
        """The owner's orders say something new: a wish that was answered is over."""
        if not self.open_bytes(limit):
            self._wish_bytes = 0

    def forget(self) -> None:
        """An operator answered: everything is tried again."""
        self._wish_bytes = self._final_bytes = 0
        self._base = -1
