"""Backs off when the target takes longer to answer than it may: fewer requests at a time, then pauses.  (pure)

Rule: what is measured is one request alone, so that our own queue is not taken for the target's slowness: while a
limit is set, one is under way at a time. Time comes in as a value.
"""

from __future__ import annotations

_WEIGHT = 0.3
"""Of the newest answer in the mean."""
_FIRST_PAUSE_SECONDS = 0.01
_LONGEST_PAUSE_SECONDS = 2.0
_GROWTH, _DECAY = 1.5, 0.7


class Brake:
    """The pauses of one pipeline."""

    def __init__(self) -> None:
        self._mean: float | None = None
        self._pause = 0.0
        self._until = 0.0

    def on_answer(self, took_seconds: float, now: float, limit_ms: int | None) -> None:
        """Takes how long a Produce took; without a limit everything is forgotten."""
        if limit_ms is None:
            self._mean, self._pause, self._until = None, 0.0, 0.0
            return
        before = took_seconds if self._mean is None else self._mean
        self._mean = before + _WEIGHT * (took_seconds - before)
        if self._mean * 1000 > limit_ms:
            self._pause = min(_LONGEST_PAUSE_SECONDS, max(_FIRST_PAUSE_SECONDS, self._pause * _GROWTH))
        else:
            self._pause = self._pause * _DECAY if self._pause > _FIRST_PAUSE_SECONDS / 2 else 0.0
        self._until = now + self._pause

    def delay_seconds(self, now: float) -> float:
        """How long the next Produce waits."""
        return max(0.0, self._until - now)
