"""Where a pipeline's time goes: its own work, or waiting, and for whom.  (pure)

Rule: every second is booked once. What is neither waiting for an answer nor its own CPU is time in which bytes go
through a socket, or in which the machine runs something else.
"""

from __future__ import annotations

import enum
from typing import NamedTuple


class Cause(enum.Enum):
    """What a pipeline's time is spent on."""

    OWN = "OWN"
    SOURCE = "SOURCE"
    TARGET = "TARGET"
    NETWORK = "NETWORK"
    LIMIT = "LIMIT"
    LATENCY = "LATENCY"
    SOURCE_QUOTA = "SOURCE_QUOTA"
    TARGET_QUOTA = "TARGET_QUOTA"
    GAPS = "GAPS"
    LEASE = "LEASE"
    NOTHING = "NOTHING"


CAUSES: dict[Cause, str] = {
    Cause.OWN: "kmigrate's own CPU",
    Cause.SOURCE: "waiting for the source",
    Cause.TARGET: "waiting for the target",
    Cause.NETWORK: "the network, or a busy machine",
    Cause.LIMIT: "a limit",
    Cause.LATENCY: "the limit of the target's latency",
    Cause.SOURCE_QUOTA: "a quota of the source",
    Cause.TARGET_QUOTA: "a quota of the target",
    Cause.GAPS: "gap work",
    Cause.LEASE: "waiting for the lease",
    Cause.NOTHING: "nothing to copy",
}
"""Cause → how it is told. Docs and `status` read this table."""
HELD_UP = (Cause.LIMIT, Cause.LATENCY, Cause.SOURCE_QUOTA, Cause.TARGET_QUOTA)
"""What keeps a pipeline from going on, though it could: limits, its own and the clusters'."""


class Spent(NamedTuple):
    """Seconds by cause since the pipeline began; the fields are those of `Cause`, in lower case."""

    own: float = 0.0
    source: float = 0.0
    target: float = 0.0
    network: float = 0.0
    limit: float = 0.0
    latency: float = 0.0
    source_quota: float = 0.0
    target_quota: float = 0.0
    gaps: float = 0.0
    lease: float = 0.0
    nothing: float = 0.0

    def of(self, cause: Cause) -> float:
        """The seconds of one cause."""
        return self[_INDEX[cause]]

    def plus(self, more: Spent) -> Spent:
        """Both together."""
        return Spent(*(mine + other for mine, other in zip(self, more, strict=True)))

    def since(self, earlier: Spent) -> Spent:
        """What was spent after an earlier word of the same pipeline; one that is more began anew."""
        if any(now < before for now, before in zip(self, earlier, strict=True)):
            return self
        return Spent(*(now - before for now, before in zip(self, earlier, strict=True)))

    @property
    def seconds(self) -> float:
        """All of it."""
        return sum(self)

    @property
    def busy(self) -> float:
        """What was spent while something was to be copied."""
        return self.seconds - self.nothing

    @property
    def held_up(self) -> float:
        """What limits and quotas took."""
        return sum(self.of(cause) for cause in HELD_UP)


NOTHING_SPENT = Spent()
_INDEX = {cause: Spent._fields.index(cause.name.lower()) for cause in Cause}


class Spending:
    """The book of one pipeline; clocks come in as values: monotonic seconds and CPU seconds of its thread."""

    __slots__ = ("_at", "_booked", "_cpu", "_seconds")

    def __init__(self) -> None:
        self._seconds = [0.0] * len(Spent._fields)
        self._at: float | None = None
        self._cpu = 0.0
        self._booked = 0.0

    def wait(self, cause: Cause, seconds: float) -> None:
        """So long an answer was waited for."""
        self._seconds[_INDEX[cause]] += seconds
        self._booked += seconds

    def turn(self, now: float, cpu: float) -> None:
        """Ends a turn: the CPU since the last one is its own, and what is left over went through a socket."""
        if self._at is not None:
            own = max(0.0, cpu - self._cpu)
            self._seconds[_INDEX[Cause.OWN]] += own
            self._seconds[_INDEX[Cause.NETWORK]] += max(0.0, now - self._at - own - self._booked)
        self._at, self._cpu, self._booked = now, cpu, 0.0

    @property
    def spent(self) -> Spent:
        """What is booked so far."""
        return Spent(*self._seconds)
