"""Which open transaction holds a partition of the source back: who is asked about, and what the answers mean.  (pure)

A transaction that was begun on the source and not ended holds the last stable offset (LSO) at its first record, and
the copy with it. Rule: what stands still for a moment only is not asked about; a busy partition has open transactions
all the time, but its LSO moves. Whoever may not see a transactional id cannot tell it from one that nobody knows, so
`hanging` is said only of what a coordinator denies.

References: KIP-664; ProducerStateManager.firstUnstableOffset; TransactionsCommand.FindHangingTransactionsCommand.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from kmigrate.copy.progress import PartitionProgress
from kmigrate.kafka_types import Offset, ProducerId, TopicPartition
from kmigrate.runner.status import OpenTransaction
from kmigrate.wire.calls import ProducerState
from kmigrate.wire.transaction_calls import DescribedTransaction

HELD_SECONDS = 10.0
"""How long a readable end must stand still below the high watermark before it is asked why."""
TOGETHER = 50
"""Partitions in one round of questions: each answer lists all producers that a leader remembers."""
NOT_READABLE = "not readable: "
NOT_NAMED = "no coordinator names it: it hangs, or its transactional id may not be read here (DESCRIBE)"


class Known(NamedTuple):
    """What a coordinator tells of a producer id. `described` is None if it does not, and `unreadable` says why."""

    transactional_id: str
    state: str
    described: DescribedTransaction | None
    unreadable: str = ""


class Coordinators(NamedTuple):
    """What all coordinators together tell; `unreadable` says why that may not be everything."""

    known: Mapping[ProducerId, Known]
    unreadable: str = ""


def find_holder(producers: Iterable[ProducerState], readable_end: Offset) -> ProducerState | None:
    """The producer whose open transaction holds the readable end: the one that begins first, and not behind it.

    None if it has ended meanwhile. It may begin before the end, where the source has deleted its first records.
    """
    begun = [each for each in producers if 0 <= each.current_txn_start_offset <= readable_end]
    return min(begun, key=lambda each: each.current_txn_start_offset, default=None)


def describe_holder(partition: TopicPartition, holder: ProducerState, coordinators: Coordinators) -> OpenTransaction:
    """All that is known of the transaction that holds a partition back."""
    found = OpenTransaction(
        producer_id=holder.producer_id,
        producer_epoch=holder.producer_epoch,
        first_offset=holder.current_txn_start_offset,
    )
    known = coordinators.known.get(holder.producer_id)
    if known is None:
        unreadable = coordinators.unreadable
        return replace(found, note=NOT_READABLE + unreadable if unreadable else NOT_NAMED)
    found = replace(found, transactional_id=known.transactional_id, state=known.state)
    described = known.described
    if described is None:
        return replace(found, note=NOT_READABLE + known.unreadable)
    if described.producer_id != holder.producer_id or partition not in described.partitions:
        return replace(found, state=described.state, hanging=True)
    return replace(
        found,
        state=described.state,
        since=described.start_ms if described.start_ms >= 0 else None,
        timeout_ms=described.timeout_ms,
        hanging=False,
    )


@dataclass(slots=True)
class _Held:
    """A readable end that stands still below the high watermark, and what is known of the transaction behind it."""

    end: Offset
    since_seconds: float
    asked_at_seconds: float = -math.inf
    transaction: OpenTransaction | None = None


class HeldBack:
    """The partitions that are held back now; what is known of one is forgotten when its readable end moves."""

    def __init__(self) -> None:
        self._held: dict[TopicPartition, _Held] = {}

    def look(self, latest: Mapping[TopicPartition, PartitionProgress], now: float) -> None:
        """Takes the last word on every partition; stopped ones are not looked at by their copiers."""
        before = self._held
        self._held = {}
        for partition, progress in latest.items():
            if progress.held_back > 0 and progress.stop is None:
                held = before.get(partition)
                if held is None or held.end != progress.source_end:
                    held = _Held(progress.source_end, now)
                self._held[partition] = held

    def take_due(self, now: float) -> dict[TopicPartition, Offset]:
        """The partitions to ask about now, and their readable ends: those not asked for longest, longest held first."""
        due = [each for each in self._held.items() if now - each[1].since_seconds >= HELD_SECONDS]
        due.sort(key=lambda each: (each[1].asked_at_seconds, each[1].since_seconds))
        for _, held in due[:TOGETHER]:
            held.asked_at_seconds = now
        return {partition: held.end for partition, held in due[:TOGETHER]}

    def adopt(
        self, asked: Mapping[TopicPartition, Offset], answers: Mapping[TopicPartition, OpenTransaction | None]
    ) -> None:
        """Takes answers, None for a transaction that has ended; what was asked at an end that has moved counts not."""
        for partition, transaction in answers.items():
            held = self._held.get(partition)
            if held is not None and held.end == asked[partition]:
                held.transaction = transaction

    @property
    def transactions(self) -> dict[TopicPartition, OpenTransaction]:
        """What is known to hold partitions back."""
        return {partition: held.transaction for partition, held in self._held.items() if held.transaction is not None}
