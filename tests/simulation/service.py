"""A simulated service on two clusters: logs, writers, readers, and an application that does both.

Rule: it knows nothing of kmigrate. It counts for itself what was acknowledged and what every group has read, in which
order, so that the judgement does not rest on what is judged.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

from kmigrate.kafka_types import Partition, Side, TopicName, TopicPartition

SOURCE, TARGET = Side.SOURCE, Side.TARGET
LONGEST_RETRY_SECONDS = 250.0
"""How much later than the record before it a record may arrive that a client goes on trying to write."""


class Record(NamedTuple):
    """One record: who wrote it, and its number among those of this writer in this partition, from 0 on."""

    writer: str
    number: int


class Origin(Enum):
    """How an entry came into a log."""

    APPLICATION = "application"
    COPY = "copy"
    LATE = "late"
    REVERSE = "reverse"


class Entry(NamedTuple):
    """A record in a log; `twin` is its offset on the other side, -1 if it was written here."""

    record: Record
    origin: Origin
    twin: int = -1


Log = list[Entry]


class Retry(NamedTuple):
    """A record on its way to the source, whatever has become of its writer: it arrives then, or is refused."""

    at: float
    record: Record
    partition: TopicPartition


@dataclass
class Writer:
    """An instance that writes to some partitions, at most on one side."""

    name: str
    move: str
    topics: tuple[TopicName, ...]
    side: Side | None = SOURCE


@dataclass
class Group:
    """A group of readers; `resets`: where its last session on a side began without a commit.

    `writes` is what it writes for every record that it reads, if it is an application.
    """

    name: str
    move: str
    reads: tuple[TopicPartition, ...]
    writes: tuple[TopicPartition, ...] = ()
    resets_to_end: bool = False
    on: set[Side] = field(default_factory=lambda: {SOURCE})
    committed: dict[Side, dict[TopicPartition, int]] = field(default_factory=lambda: {SOURCE: {}, TARGET: {}})
    resets: dict[Side, bool] = field(default_factory=lambda: {SOURCE: False, TARGET: False})
    position: dict[Side, dict[TopicPartition, int]] = field(default_factory=lambda: {SOURCE: {}, TARGET: {}})
    read: dict[TopicPartition, list[Record]] = field(default_factory=dict)


class Service:
    """Both clusters and everything that uses them."""

    def __init__(self, chance: random.Random, topics: dict[TopicName, int]) -> None:
        self.chance = chance
        self.partitions = [TopicPartition(t, Partition(p)) for t, count in topics.items() for p in range(count)]
        self.logs: dict[Side, dict[TopicPartition, Log]] = {
            side: {tp: [] for tp in self.partitions} for side in (SOURCE, TARGET)
        }
        self.fenced: dict[Side, set[TopicName]] = {SOURCE: set(), TARGET: set()}
        self.grown_at: dict[Side, dict[TopicPartition, float]] = {
            side: dict.fromkeys(self.partitions, 0.0) for side in (SOURCE, TARGET)
        }
        self.application_end = {side: dict.fromkeys(self.partitions, 0) for side in (SOURCE, TARGET)}
        """The offset behind the last record that an application wrote there."""
        self.application_records = {side: dict.fromkeys(self.partitions, 0) for side in (SOURCE, TARGET)}
        self.writers: list[Writer] = []
        self.groups: dict[str, Group] = {}
        self.acknowledged: dict[TopicPartition, list[Record]] = {tp: [] for tp in self.partitions}
        self.written_by: Counter[tuple[str, TopicPartition]] = Counter()
        self.handed_over: frozenset[TopicName] = frozenset()
        """The topics that applications may write to on the target, and what they have written to others there."""
        self.foreign: set[tuple[TopicPartition, Record]] = set()
        self.retries: list[Retry] = []
        """A client that was slow once may write a little later, even though a newer instance has begun elsewhere."""
        self.retries_share = chance.choice((0.0, 0.05, 0.2))
        self.readers_pace = chance.choice((0.02, 0.2, 0.7))
        self.now = 1_000_000.0

    def write(self, name: str, partition: TopicPartition, side: Side) -> bool:
        """A writer appends a record, if no fence keeps it out."""
        if partition.topic in self.fenced[side]:
            return False
        record = Record(name, self.written_by[name, partition])
        self.written_by[name, partition] += 1
        self._append(record, partition, side)
        return True

    def _append(self, record: Record, partition: TopicPartition, side: Side) -> None:
        self.logs[side][partition].append(Entry(record, Origin.APPLICATION))
        self.acknowledged[partition].append(record)
        if side is TARGET and partition.topic not in self.handed_over:
            self.foreign.add((partition, record))
        self.grown_at[side][partition] = self.now
        self.application_end[side][partition] = len(self.logs[side][partition])
        self.application_records[side][partition] += 1

    def writers_write(self) -> None:
        """Some writers write a few records, each on its side, and what was tried before arrives."""
        self._retry()
        for writer in self.writers:
            if writer.side is None or self.chance.random() < 0.4:
                continue
            for partition in self.partitions:
                if partition.topic in writer.topics and self.chance.random() < 0.3:
                    if writer.side is SOURCE and self._is_trying(writer.name, partition):
                        continue  # in order: what comes later waits for it
                    if self.write(writer.name, partition, writer.side) and writer.side is SOURCE:
                        self._begin_retry(writer.name, partition)

    def _begin_retry(self, name: str, partition: TopicPartition) -> None:
        """The next record of this writer is on its way for a while, now and then."""
        if self.chance.random() < self.retries_share:
            record = Record(name, self.written_by[name, partition])
            self.written_by[name, partition] += 1
            self.retries.append(Retry(self.now + self.chance.uniform(1.0, LONGEST_RETRY_SECONDS), record, partition))

    def _retry(self) -> None:
        for each in [retry for retry in self.retries if retry.at <= self.now]:
            self.retries.remove(each)
            if each.partition.topic not in self.fenced[SOURCE]:
                self._append(each.record, each.partition, SOURCE)

    def _is_trying(self, name: str, partition: TopicPartition) -> bool:
        return any(each.record.writer == name and each.partition == partition for each in self.retries)

    def start(self, group: Group, side: Side) -> None:
        """Members join on a side: positions are the commits, or what the reset policy says."""
        if side in group.on:
            return
        group.on.add(side)
        group.position[side] = {tp: self._beginning(group, side, tp) for tp in group.reads}
        group.resets[side] = any(tp not in group.committed[side] for tp in group.reads)

    def _beginning(self, group: Group, side: Side, partition: TopicPartition) -> int:
        committed = group.committed[side].get(partition)
        if committed is not None:
            return committed
        return len(self.logs[side][partition]) if group.resets_to_end else 0

    def stop(self, group: Group, side: Side) -> None:
        """Members leave; what they have read is committed."""
        group.on.discard(side)

    def read(self, group: Group, side: Side, most: int = 4) -> bool:
        """A group reads some records on a side and commits them; whether there were any."""
        progress = False
        for partition in group.reads:
            log, at = self.logs[side][partition], group.position[side][partition]
            for entry in log[at : at + most]:
                if not self._process(group, side, entry.record):
                    break
                group.read.setdefault(partition, []).append(entry.record)
                at += 1
                progress = True
            group.position[side][partition] = at
            group.committed[side][partition] = at
        return progress

    def _process(self, group: Group, side: Side, record: Record) -> bool:
        """An application writes a record for each that it reads; it does not go on if it cannot."""
        if any(partition.topic in self.fenced[side] for partition in group.writes):
            return False
        for partition in group.writes:
            self.write(group.name, partition, side)
        return True

    def readers_read(self) -> None:
        for group in self.groups.values():
            for side in (SOURCE, TARGET):
                if side in group.on and self.chance.random() < self.readers_pace:
                    self.read(group, side)

    # -- judgement

    def lost(self, group: Group, excused: set[tuple[TopicPartition, Record]]) -> list[str]:
        """Acknowledged records that a group never read."""
        return [
            f"{group.name} never read {record} of {partition}"
            for partition in group.reads
            for record in set(self.acknowledged[partition]) - set(group.read.get(partition, ()))
            if (partition, record) not in excused
        ]

    def repeated(self, group: Group) -> int:
        """How many records a group has read more than once."""
        return sum(len(read) - len(set(read)) for read in group.read.values())

    def out_of_order(self, group: Group) -> int:
        """How many records a group has read after a later one of the same writer and partition."""
        count = 0
        for read in group.read.values():
            newest: dict[str, int] = {}
            for writer, number in dict.fromkeys(read):
                count += number < newest.get(writer, -1)
                newest[writer] = max(number, newest.get(writer, -1))
        return count
