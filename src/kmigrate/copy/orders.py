"""What the owner tells its workers: immutable values that travel down.

`Orders` says what to copy, `LeaseGrant` until when writing is allowed. Both are adopted at the start of a turn.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from kmigrate.cluster.settings import ConnectionSettings
from kmigrate.copy.rates import UNLIMITED, Rates
from kmigrate.kafka_types import (
    BrokerAddress,
    BrokerId,
    LeaderEpoch,
    Offset,
    ProducerId,
    Side,
    Term,
    TopicId,
    TopicPartition,
)
from kmigrate.offsets.classes import OffsetClass
from kmigrate.offsets.offset_map import Run

UNKNOWN_TIME_MS = -1


class PipelineKey(NamedTuple):
    """Which pipeline: one thread for a pair of brokers and a lane, in one worker."""

    worker: int
    source: BrokerId
    target: BrokerId
    lane: int


class Remembered(NamedTuple):
    """What an earlier run or another store remembers of a partition: a hint, never a position.

    `appended` is a floor: the target acknowledged everything below it. As of `even_ms` (-1: not known) nothing that the
    source held was missing there, and `retention_ms` is the shortest time since that it kept tombstones (None: for
    ever; `kmigrate.copy.tombstones`).
    """

    source_topic_id: TopicId
    target_topic_id: TopicId
    source_epoch: LeaderEpoch
    appended: Offset
    even_ms: int = UNKNOWN_TIME_MS
    retention_ms: int | None = None


DEFAULT_BATCH_BYTES = 1_048_588
"""Kafka's own default of max.message.bytes, where the source does not tell."""


class Limit(NamedTuple):
    """What became of raising the target topic's max.message.bytes: done up to so many bytes, refused from so many on.

    0 where nothing was, `why` says the reason of a refusal.
    """

    raised_bytes: int = 0
    refused_bytes: int = 0
    why: str = ""


class PartitionOrder(NamedTuple):
    """Copy this partition.

    `source_topic_id` and `target_topic_id` are those of now (None: the topic or partition is gone).
    `fresh` says that no other copier can have anything under way for it. `revision` rises when the operator answers a
    stop: the copier then looks again. `pad_budget` bounds the filler below the log start, `gap_budget` the
    markers in what lay on the source when copying began. `runs` is the end of the
    offset map, beyond what the target is known to hold; a partition of class *identical* needs none. `life` is
    another one each time a pipeline gets the partition: entries of the map are numbered from its beginning. Source
    offsets below `start` are not wanted: to the copy the source's log starts there, if it does not start later.
    `delete_retention_ms` is how long the source keeps tombstones (None: it is not compacted, or does not tell). Before
    `even_from_ms` nothing can be missing that counts: nothing was copied before, or an operator accepted what may have
    been lost. At `free_from_ms` the source was not compacted: what was there then was not removed before, unless it was
    compacted earlier. `limit` says what was done about batches that are too large (None: nobody will).
    No batch is made larger than the `batch_bytes` that the source's topic allows. From the target offset `own_from` on
    the log is ours: what lies below was written by others, agrees with the source, and is never touched, nor is the
    log's start (None: all of the log is ours, and so is its beginning).
    """

    partition: TopicPartition
    source_topic_id: TopicId | None
    source_epoch: LeaderEpoch
    target_topic_id: TopicId | None
    target_epoch: LeaderEpoch
    remembered: Remembered | None
    fresh: bool
    revision: int
    pad_budget: int = 2_000_000_000
    gap_budget: int = 1_000_000
    offset_class: OffsetClass = OffsetClass.IDENTICAL
    runs: tuple[Run, ...] = ()
    life: int = 0
    start: Offset = Offset(0)
    delete_retention_ms: int | None = None
    even_from_ms: int = UNKNOWN_TIME_MS
    free_from_ms: int = UNKNOWN_TIME_MS
    limit: Limit | None = None
    batch_bytes: int = DEFAULT_BATCH_BYTES
    own_from: Offset | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineOrder:
    """One pipeline and the partitions it owns."""

    key: PipelineKey
    source: BrokerAddress
    target: BrokerAddress
    partitions: tuple[PartitionOrder, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Orders:
    """Everything one worker is to do; a later number replaces an earlier one whole.

    `rates` are those of all workers together.
    """

    number: int
    paused: bool
    pipelines: tuple[PipelineOrder, ...]
    rates: Rates = UNLIMITED


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseGrant:
    """The right to write under `term`, until the clock (`cluster.clock`) shows `deadline_seconds`."""

    term: Term
    deadline_seconds: float


class Saved(NamedTuple):
    """So many entries of a partition's offset map are saved, of those made in this life.

    `start` is where the target's log should start, by the whole map, which only the owner has.
    """

    life: int
    entries: int
    start: Offset = Offset(0)


SavedMaps = Mapping[TopicPartition, Saved]


@dataclass(frozen=True, slots=True, kw_only=True)
class MapsSaved:
    """What is saved of offset maps; later ones add to earlier ones."""

    saved: SavedMaps


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSettings:
    """What a worker is told once, at its start; `rates_fd` is where all workers count what they send."""

    worker: int
    links: Mapping[Side, ConnectionSettings]
    producer_id: ProducerId
    memory_bytes: int
    expiration_ms: int
    rates_fd: int | None = None
