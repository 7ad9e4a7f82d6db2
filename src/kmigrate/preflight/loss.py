"""When the source deletes records, against when they are copied.  (pure)

All partitions are copied side by side with equal shares, so one with fewer bytes is done earlier. A partition whose
copy takes T, from its log start on, keeps ahead of a retention of R if and only if T < R: that holds however old its
first record is, as both move through the log from its beginning. Retention by size counts as the time in which as many
bytes arrive.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from kmigrate.kafka_types import TopicName, TopicPartition
from kmigrate.preflight.findings import Finding, found
from kmigrate.preflight.registry import FindingId, Level

CLOSE = 0.5
"""From this share of the retention on, the copy is said to be too long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyRate:
    """Bytes a second that are counted with, and what that rests on; `is_set`: a limit, not an assumption."""

    bytes_per_second: float
    basis: str
    is_set: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What of a partition is to be copied, and what arrives meanwhile; None: not known."""

    size_bytes: int | None
    ingress_bytes_per_second: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """How long a topic keeps records; None: for ever, as far as that limit goes."""

    ms: int | None
    bytes: int | None


def copy_seconds(loads: Mapping[TopicPartition, Load], rate: CopyRate) -> dict[TopicPartition, float]:
    """When each partition whose size is known is copied; those of unknown size count for nothing."""
    sizes = {tp: load.size_bytes for tp, load in loads.items() if load.size_bytes is not None}
    ordered = sorted(sizes, key=lambda tp: sizes[tp])
    done: dict[TopicPartition, float] = {}
    smaller = 0
    for number, tp in enumerate(ordered):
        done[tp] = (smaller + sizes[tp] * (len(ordered) - number)) / rate.bytes_per_second
        smaller += sizes[tp]
    return done


def loss_seconds(retention: Retention, load: Load) -> float | None:
    """How long a record that arrives now stays; None: it stays, or it is not known how long."""
    limits = []
    if retention.ms is not None:
        limits.append(retention.ms / 1000)
    if retention.bytes is not None and load.ingress_bytes_per_second:
        limits.append(retention.bytes / load.ingress_bytes_per_second)
    return min(limits, default=None)


def judge_retention(
    retentions: Mapping[TopicName, Retention],
    loads: Mapping[TopicPartition, Load],
    rate: CopyRate,
) -> list[Finding]:
    """A finding for each topic that loses data before it is copied, with its worst partition."""
    seconds = copy_seconds(loads, rate)
    unsized = sorted({tp.topic for tp, load in loads.items() if load.size_bytes is None})
    findings = []
    for topic in sorted({tp.topic for tp in seconds}):
        retention = retentions.get(topic)
        if retention is None:
            continue
        worst = _worst(retention, ((seconds[tp], loads[tp]) for tp in seconds if tp.topic == topic))
        if worst is None:
            continue
        copy, loss = worst
        level = Level.BLOCK if rate.is_set and copy >= loss else Level.WARN
        findings.append(
            found(
                FindingId.RETENTION_TOO_SHORT,
                level=level,
                topic=topic,
                loss=show_seconds(loss),
                copy=show_seconds(copy),
                basis=rate.basis,
            )
        )
    untold = sorted({tp.topic for tp in loads} - retentions.keys())
    if unsized or untold:
        reason = "sizes" if unsized else "retention"
        names = unsized or untold
        text = f"the {reason} of {len(names)} topics, {names[0]} among them, are not known: no forecast of losses"
        findings.append(found(FindingId.RETENTION, level=Level.UNKNOWN, reason=text))
    longest = max(seconds.values(), default=0.0)
    text = f"every topic keeps its records well beyond the copy, which takes {show_seconds(longest)} ({rate.basis})"
    return findings or [found(FindingId.RETENTION, reason=text)]


def _worst(retention: Retention, copies: Iterable[tuple[float, Load]]) -> tuple[float, float] | None:
    close = [
        (copy, loss)
        for copy, load in copies
        if (loss := loss_seconds(retention, load)) is not None and copy >= loss * CLOSE
    ]
    return max(close, key=lambda pair: pair[0] / max(pair[1], 1e-9), default=None)


def show_seconds(seconds: float) -> str:
    """In the unit that matters: 4 s, 12 min, 3.5 h, 9 d."""
    for size, unit in ((86_400 * 2, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            amount = seconds / (86_400 if unit == "d" else size)
            return f"{amount:.1f}".removesuffix(".0") + f" {unit}"
    return f"{seconds:.0f} s"
