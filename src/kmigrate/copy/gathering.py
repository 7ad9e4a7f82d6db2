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
        self._put_off = False

    def is_over(self, now: float, *, more_expected: bool) -> bool:
        """Whether what could go out should go now; the next gathering begins anew."""
        if self._until is None and more_expected:
            self._until = now + self._seconds
        self._put_off = self._until is not None and more_expected and now < self._until
        if not self._put_off:
            self._until = None
        return not self._put_off

    def take_wait_seconds(self, now: float) -> float:
        """How long to wait for what was put off since this was last called; infinity where nothing was.

        Told once: what is not looked at again, because something else keeps it back, wakes nobody up.
        """
        put_off, self._put_off = self._put_off, False
        return max(0.0, self._until - now) if put_off and self._until is not None else float("inf")
