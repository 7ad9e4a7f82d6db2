"""Whether the target's disks hold what comes: before the copy, and while it runs.  (pure)

Under hold nothing is deleted or compacted, so everything that arrives stays until the cutover.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kmigrate.kafka_types import BrokerId
from kmigrate.preflight.findings import Finding, found
from kmigrate.preflight.registry import FindingId, Level

FREE_AGAIN_ABOVE = 0.05
"""A full disk counts as full until so much more of it is free than has to be."""
HELD_AT_LEAST_SECONDS = 86_400.0
"""How long what arrives is counted at least: nobody cuts over the moment a copy is done."""
FILLER_BYTES = 1.5
MARKER_BYTES = 78
"""On disk, of one offset of filler and of one marker."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Disks:
    """All disks of one broker together."""

    total_bytes: int
    usable_bytes: int

    @property
    def free_share(self) -> float:
        return self.usable_bytes / self.total_bytes if self.total_bytes > 0 else 1.0

    def spare_bytes(self, left_free: float) -> int:
        """What may be written before only this share is left free."""
        return int(self.usable_bytes - self.total_bytes * left_free)


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """What comes to the target, of all topics, each times its replicas; `copies` is 1 for a single copy."""

    history_bytes: float
    ingress_bytes_per_second: float
    filler: int
    markers: int

    def bytes_within(self, seconds: float) -> float:
        """All of it, with what arrives in that time."""
        arriving = self.ingress_bytes_per_second * seconds
        return self.history_bytes + arriving + self.filler * FILLER_BYTES + self.markers * MARKER_BYTES


def judge_room(
    disks: Mapping[BrokerId, Disks],
    declared_bytes: int | None,
    brokers: Sequence[BrokerId],
    demand: Demand,
    *,
    copy_seconds: float,
    left_free: float,
) -> list[Finding]:
    """A finding for each broker that has not enough, or one that all have; what brokers do not tell may be declared."""
    seconds = max(copy_seconds, HELD_AT_LEAST_SECONDS)
    needed = demand.bytes_within(seconds) / max(1, len(brokers))
    sums = (
        f"{show_bytes(demand.history_bytes)} of history, {show_bytes(demand.ingress_bytes_per_second * seconds)} that"
        f" arrive in {seconds / 86_400:.1f} days, over {len(brokers)} brokers, replicas included"
    )
    findings, silent = [], []
    for broker in brokers:
        told = disks.get(broker)
        if told is None and declared_bytes is None:
            silent.append(broker)
            continue
        spare = told.spare_bytes(left_free) if told is not None else declared_bytes or 0
        if needed > spare:
            free = show_bytes(max(0, spare))
            findings.append(
                found(FindingId.DISK_TOO_SMALL, broker=broker, free=free, needed=show_bytes(needed), sum=sums)
            )
    if silent:
        findings.append(
            found(
                FindingId.DISK_ROOM,
                level=Level.UNKNOWN,
                reason=f"{len(silent)} of {len(brokers)} brokers of the target tell no room on their disks; about"
                f" {show_bytes(needed)} are needed on each: {sums}",
                remedy="grant DESCRIBE on the cluster (3.3 or newer tells), or declare spec.sizes.targetFreeBytes",
            )
        )
    enough = f"every broker of the target has room for about {show_bytes(needed)}: {sums}"
    return findings or [found(FindingId.DISK_ROOM, reason=enough, remedy="")]


def decide_full(full: bool, shares: Mapping[BrokerId, float], *, left_free: float) -> BrokerId | None:
    """The broker that stands in the way: below the limit, or not yet well above it again."""
    limit = left_free + FREE_AGAIN_ABOVE if full else left_free
    low = [broker for broker, share in shares.items() if share < limit]
    return min(low, key=lambda broker: shares[broker], default=None)


def show_bytes(number: float) -> str:
    """12.3 GB."""
    for size, unit in ((1e15, "PB"), (1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return f"{number:.0f} B"
