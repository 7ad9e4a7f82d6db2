"""What is remembered of every partition, in two places: the store, and the lease group's commits on the target.

Both are hints and floors, never positions. Rule: the topic ids of a memory never change; a progress that was made
under other ids is not remembered, so that a topic which was created anew is noticed even after a restart.

A commit's offset is what was appended; its metadata is JSON: v 1, id and tid (topic ids of source and target), epoch
(of the source), class, phase, term, and where the copy begins: start (the first source offset that is wanted) and
filler (what the partition has of padBudgetTotal); own (from which target offset on the log is the copy's, if not from
its beginning); even and retention where they are known (`kmigrate.copy.tombstones`).
Those that older versions wrote begin at 0.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, KeysView, Mapping
from typing import NamedTuple

from kmigrate.copy.orders import UNKNOWN_TIME_MS, Remembered
from kmigrate.copy.progress import PartitionProgress
from kmigrate.kafka_types import LeaderEpoch, Offset, Term, TopicId, TopicName, TopicPartition
from kmigrate.offsets.beginning import Beginning
from kmigrate.offsets.classes import OffsetClass

_VERSION = 1


class Commit(NamedTuple):
    """A memory as it lies on the target, with the term of who wrote it."""

    memory: Remembered
    term: Term
    offset_class: OffsetClass = OffsetClass.IDENTICAL
    start: Offset = Offset(0)
    filler: int = 0
    own_from: Offset | None = None

    @property
    def beginning(self) -> Beginning:
        """Where the copy of it begins."""
        return Beginning(self.memory.source_topic_id, self.start, self.filler, self.own_from)


def serialize_commit(
    memory: Remembered, term: Term, offset_class: OffsetClass, beginning: Beginning | None = None
) -> tuple[int, str]:
    """(offset, metadata) for the lease group."""
    metadata = {
        "v": _VERSION,
        "id": memory.source_topic_id,
        "tid": memory.target_topic_id,
        "epoch": memory.source_epoch,
        "class": offset_class.value,
        "phase": "copy",
        "term": term,
    }
    if beginning is not None and beginning.source_topic_id == memory.source_topic_id:
        metadata |= {"start": beginning.start or 0, "filler": beginning.filler or 0}
        if beginning.own_from is not None:
            metadata["own"] = beginning.own_from
    if memory.even_ms != UNKNOWN_TIME_MS:
        metadata |= {"even": memory.even_ms, "retention": memory.retention_ms}
    return memory.appended, json.dumps(metadata, separators=(",", ":"))


def parse_commit(offset: int, metadata: str) -> Commit | None:
    """The commit; None if it is not one of ours."""
    try:
        said = json.loads(metadata)
        if said["v"] != _VERSION:
            return None
        retention_ms = said.get("retention")
        memory = Remembered(
            TopicId(str(said["id"])),
            TopicId(str(said["tid"])),
            LeaderEpoch(int(said["epoch"])),
            Offset(offset),
            int(said.get("even", UNKNOWN_TIME_MS)),
            None if retention_ms is None else int(retention_ms),
        )
        start, filler = Offset(int(said.get("start", 0))), int(said.get("filler", 0))
        own_from = Offset(int(said["own"])) if "own" in said else None
        return Commit(memory, Term(int(said["term"])), OffsetClass(said["class"]), start, filler, own_from)
    except (ValueError, TypeError, KeyError):
        return None


def merge_memories(
    stored: Mapping[TopicPartition, Remembered],
    committed: Mapping[TopicPartition, Commit],
    stored_term: Term,
) -> dict[TopicPartition, Remembered]:
    """What to start with: the later of both, where they are about the same topics; else that of the later term.

    Each says truly as of when nothing was missing on the same topic: the later of these times counts too.
    """
    merged = dict(stored)
    for partition, commit in committed.items():
        mine = stored.get(partition)
        same = mine is not None and mine[:2] == commit.memory[:2]
        if mine is None or commit.term > stored_term or (same and commit.memory.appended > mine.appended):
            merged[partition] = commit.memory
        if mine is not None and same:
            even = max(mine, commit.memory, key=lambda memory: memory.even_ms)
            merged[partition] = merged[partition]._replace(even_ms=even.even_ms, retention_ms=even.retention_ms)
    return merged


class _Ids(NamedTuple):
    """The topic ids that a partition was ordered under, since the Orders with this number."""

    source: TopicId | None
    target: TopicId | None
    number: int


class Positions:
    """The memories of one migration, and which of them the store and the target have not got yet."""

    def __init__(self, memories: Mapping[TopicPartition, Remembered]) -> None:
        self._memories = dict(memories)
        self._ids: dict[TopicPartition, _Ids] = {}
        self._unsaved: dict[TopicPartition, Remembered] = dict(memories)
        self._uncommitted: set[TopicPartition] = set(memories)
        self._never_committed: set[TopicPartition] = set(memories)
        self._by_topic: dict[TopicName, set[TopicPartition]] = {}
        for partition in memories:
            self._by_topic.setdefault(partition.topic, set()).add(partition)

    def adopt(self, memories: Mapping[TopicPartition, Remembered]) -> None:
        """Remembers these too; the store has them already."""
        self._never_committed |= memories.keys() - self._memories.keys()
        self._memories |= memories
        self._uncommitted |= memories.keys()
        for partition in memories:
            self._by_topic.setdefault(partition.topic, set()).add(partition)

    def get(self, partition: TopicPartition) -> Remembered | None:
        return self._memories.get(partition)

    @property
    def is_new(self) -> bool:
        """Whether something is remembered of a partition of which the target has not been told anything."""
        return bool(self._never_committed)

    @property
    def topics(self) -> KeysView[TopicName]:
        """Topics of which something is remembered: this migration has adopted them."""
        return self._by_topic.keys()

    def partitions_of(self, topic: TopicName) -> Collection[TopicPartition]:
        """The partitions of a topic of which something is remembered."""
        return self._by_topic.get(topic, ())

    def on_ordered(
        self, partition: TopicPartition, source: TopicId | None, target: TopicId | None, number: int
    ) -> None:
        """Notes the ids that Orders with this number carry."""
        known = self._ids.get(partition)
        if known is None or (known.source, known.target) != (source, target):
            self._ids[partition] = _Ids(source, target, number)

    def on_progress(self, progress: PartitionProgress, orders: int) -> None:
        """Remembers what was appended, unless the partition is stopped or the ids are not what they were."""
        partition = progress.partition
        ids = self._ids.get(partition)
        if ids is None or orders < ids.number or ids.source is None or ids.target is None:
            return
        if progress.stop is not None or progress.target_end < 0:
            return
        memory = Remembered(
            ids.source,
            ids.target,
            progress.source_epoch,
            progress.target_end,
            progress.even_ms,
            progress.retention_ms,
        )
        known = self._memories.get(partition)
        if memory == known or (known is not None and known[:2] != memory[:2]):
            return
        if known is None:
            self._never_committed.add(partition)
        self._memories[partition] = self._unsaved[partition] = memory
        self._uncommitted.add(partition)
        self._by_topic.setdefault(partition.topic, set()).add(partition)

    def forget(self, topic: TopicName) -> None:
        """Drops everything about a topic that is created anew."""
        for known in (self._memories, self._ids, self._unsaved):
            for partition in [partition for partition in known if partition.topic == topic]:
                del known[partition]
        self._uncommitted = {partition for partition in self._uncommitted if partition.topic != topic}
        self._never_committed &= self._uncommitted
        self._by_topic.pop(topic, None)

    def take_unsaved(self) -> dict[TopicPartition, Remembered]:
        """What the store has not got yet; the caller saves it."""
        unsaved, self._unsaved = self._unsaved, {}
        return unsaved

    def take_uncommitted(
        self,
        limit: int,
        term: Term,
        class_of: Callable[[TopicPartition], OffsetClass | None],
        beginning_of: Callable[[TopicPartition], Beginning | None] = lambda _: None,
    ) -> dict[TopicPartition, tuple[int, str]]:
        """Up to `limit` commits that the target has not got yet, of new partitions first.

        What fails is given back with `give_back`.
        """
        taken = sorted(self._uncommitted, key=lambda partition: (partition not in self._never_committed, partition))
        del taken[limit:]
        self._uncommitted.difference_update(taken)
        self._never_committed.difference_update(taken)
        return {
            partition: serialize_commit(
                self._memories[partition],
                term,
                class_of(partition) or OffsetClass.IDENTICAL,
                beginning_of(partition),
            )
            for partition in taken
        }

    def give_back(self, partitions: Mapping[TopicPartition, object]) -> None:
        """These were not committed: once more next time, if they are still known."""
        self._uncommitted.update(partition for partition in partitions if partition in self._memories)
