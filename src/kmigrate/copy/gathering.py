"""A moment's patience, so that what comes up for many partitions goes out in one request.  (pure)

Where every answer brings one partition to its next step, and each step were a request, a broker would be asked for
every partition alone. A moment later most of them are there. It is never longer: with a target that answers slowly,
waiting for company would cost more than it saves.
"""

from __future__ import annotations

GATHER_SECONDS = 0.005
"""How long gaps and wishes wait for those of other partitions, while answers are to come that may bring them."""


class Gathering:
    """Begins when something could go out and more is expected; is over when nothing more is, or the time is."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._until: float | None = None

    def is_over(self, now: float, *, more_expected: bool) -> bool:
        """Whether what could go out should go now; the next gathering begins anew."""
        if self._until is None and more_expected:
            self._until = now + self._seconds
        if self._until is not None and more_expected and now < self._until:
            return False
        self._until = None
        return True

    def left_seconds(self, now: float) -> float:
        """How long it still lasts; infinity where nothing is waited for."""
        return float("inf") if self._until is None else max(0.0, self._until - now)
