"""How fast a group consumes, and when it will have drained the source: from what it had committed when.  (pure)"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

WINDOW_SECONDS = 30.0
SAMPLE_SECONDS = 2.0


class Pace(NamedTuple):
    """Records a second, and seconds until nothing is left; None is not known, or never at this rate."""

    records_per_second: float | None
    eta_seconds: float | None


class _Sample(NamedTuple):
    at: float
    committed: int
    lag: int


class PaceMeter:
    """One group's last half minute."""

    def __init__(self) -> None:
        self._samples: deque[_Sample] = deque()

    def note(self, at: float, committed: int, lag: int) -> None:
        """The sum of all committed offsets, and of what is left to be read."""
        samples = self._samples
        if samples and at - samples[-1].at < SAMPLE_SECONDS:
            return
        samples.append(_Sample(at, committed, lag))
        while len(samples) > 2 and samples[1].at < at - WINDOW_SECONDS:
            samples.popleft()

    def pace(self) -> Pace:
        """What the samples say; the ETA counts what is produced meanwhile."""
        if len(self._samples) < 2:
            return Pace(None, None)
        first, last = self._samples[0], self._samples[-1]
        seconds = last.at - first.at
        rate = max(0.0, (last.committed - first.committed) / seconds)
        if last.lag == 0:
            return Pace(rate, 0.0)
        shrinks = (first.lag - last.lag) / seconds
        return Pace(rate, last.lag / shrinks if shrinks > 0 else None)
