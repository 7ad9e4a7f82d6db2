"""How far a cluster's clock is from this machine's, by the only evidence that it gives to who reads.  (pure)

Topics with LogAppendTime carry the broker's clock. A record that was appended between two looks of ours was stamped
between them, so the difference lies between its stamp minus the second look and its stamp minus the first. The active
controller of a KRaft cluster tells its own time when it describes the quorum: between our request and its answer.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from kmigrate.kafka_types import Side
from kmigrate.preflight.findings import Finding, found
from kmigrate.preflight.registry import FindingId, Level

TOLERATED_SECONDS = 10.0


class Stamp(NamedTuple):
    """What happened between two moments, in milliseconds of our clock, with the cluster's time."""

    before_ms: int
    after_ms: int
    stamp_ms: int


def judge_clock(side: Side, stamps: Iterable[Stamp], why_none: str, *, whose: str = "its clock") -> Finding:
    """The difference that all stamps allow; unknown without any, and `why_none` says why. `whose`: the clock's name."""
    bounds = [(each.stamp_ms - each.after_ms, each.stamp_ms - each.before_ms) for each in stamps]
    if not bounds:
        reason = f"its clock is not known: {why_none}"
        remedy = "compare the clocks of the brokers with this machine's by other means"
        return found(FindingId.CLOCK_DIFFERENCE, level=Level.UNKNOWN, side=side, reason=reason, remedy=remedy)
    low, high = max(low for low, _ in bounds) / 1000, min(high for _, high in bounds) / 1000
    low, high = min(low, high), max(low, high)  # of several brokers whose clocks differ among themselves
    if low <= TOLERATED_SECONDS and high >= -TOLERATED_SECONDS:
        reason = f"{whose} is between {low:.1f} and {high:.1f} s ahead of this machine's"
        return found(FindingId.CLOCK_DIFFERENCE, level=Level.PASS, side=side, reason=reason, remedy="")
    least, word = (low, "ahead of") if low > 0 else (-high, "behind")
    reason = f"{whose} is at least {least:.0f} s {word} this machine's"
    remedy = "set the clocks (NTP) before a cutover"
    return found(FindingId.CLOCK_DIFFERENCE, level=Level.WARN, side=side, reason=reason, remedy=remedy)
