"""A meter turns growing amounts into rates over the last 30 seconds, and what is left into an ETA.  (pure)

Rule: time comes in as a value. A rate is amount over time, never over the number of reports, so an amount
that no longer grows fades to 0 by itself.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from kmigrate.runner.status import EtaBasis

WINDOW_MS = 30_000
SAMPLE_MS = 1_000
_FIRST_RATE_MS = 2_000


class Amounts(NamedTuple):
    """What grows: records and bytes appended, offsets that the copy and the source's end advanced.

    Beside them offsets of gaps that were filled, and records that were re-encoded or converted.
    """

    records: int = 0
    bytes: int = 0
    advanced: int = 0
    produced: int = 0
    markers: int = 0
    reencoded: int = 0
    converted: int = 0

    def plus(self, more: Amounts) -> Amounts:
        return Amounts(*(mine + other for mine, other in zip(self, more, strict=True)))


class Rates(NamedTuple):
    """Amounts in a second."""

    records: float = 0.0
    bytes: float = 0.0
    advanced: float = 0.0
    produced: float = 0.0
    markers: float = 0.0
    reencoded: float = 0.0
    converted: float = 0.0


class Meter:
    """The amounts as they were at times in the last window; one sample of each second in which they grew."""

    __slots__ = ("_newest", "_samples")

    def __init__(self) -> None:
        self._samples: deque[tuple[int, Amounts]] = deque()
        self._newest: tuple[int, Amounts] | None = None

    def observe(self, now_ms: int, amounts: Amounts) -> None:
        """Takes the amounts as they are now."""
        if self._newest is None:
            self._samples.append((now_ms, amounts))
        elif amounts == self._newest[1]:
            return
        elif self._newest[0] - self._samples[-1][0] >= SAMPLE_MS:
            self._samples.append(self._newest)
        self._newest = (now_ms, amounts)
        while len(self._samples) > 1 and self._samples[1][0] <= now_ms - WINDOW_MS:
            self._samples.popleft()

    def rates(self, now_ms: int) -> Rates:
        """The rates of the last window, or of the time since the first sample if that is shorter."""
        if self._newest is None:
            return Rates()
        newest_ms, newest = self._newest
        if newest_ms <= now_ms - WINDOW_MS:
            return Rates()
        begin_ms, begin = self._samples[0]
        for sample_ms, amounts in self._samples:
            if sample_ms > now_ms - WINDOW_MS:
                break
            begin_ms, begin = sample_ms, amounts
        elapsed_ms = now_ms - max(begin_ms, now_ms - WINDOW_MS)
        if elapsed_ms < _FIRST_RATE_MS:
            return Rates()
        return Rates(*((new - old) * 1000 / elapsed_ms for new, old in zip(newest, begin, strict=True)))


class Left(NamedTuple):
    """What is left: records of partitions that move; and how many partitions are held, or not known yet."""

    records: int = 0
    stopped: int = 0
    paused: int = 0
    unknown: int = 0


def decide_eta(left: Left, rates: Rates) -> tuple[float | None, EtaBasis]:
    """How long until nothing is left, in seconds, and what that rests on."""
    if left.records == 0:
        if left.unknown:
            return None, EtaBasis.UNKNOWN
        if left.paused:
            return None, EtaBasis.PAUSED
        return (None, EtaBasis.STOPPED) if left.stopped else (0.0, EtaBasis.DONE)
    closing = rates.advanced - rates.produced
    if closing > 0:
        return left.records / closing, EtaBasis.RATE
    return None, EtaBasis.OUTPACED if rates.advanced > 0 else EtaBasis.UNKNOWN
