"""What a plan rests on: immutable values of what was seen on both clusters.  (pure)"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from kmigrate.kafka_types import Offset, TopicName, TopicPartition
from kmigrate.offsets.beginning import EARLIEST
from kmigrate.records.census import Census
from kmigrate.wire.acl_calls import AclOperation
from kmigrate.wire.survey_calls import Operations

CLEANUP_POLICY = "cleanup.policy"
DELETE_RETENTION_MS = "delete.retention.ms"
_ZERO = Offset(0)


class Right(enum.Enum):
    """Whether the target lets us do something."""

    GRANTED = "granted"
    DENIED = "denied"
    UNKNOWN = "unknown"
    """Not told; taken as granted, and said so. The copy finds out, and stops if it is not."""


def right_to_write_markers(cluster: Operations) -> Right:
    """WriteTxnMarkers needs CLUSTER_ACTION on the cluster, or, from Kafka 3.8 on, ALTER.

    An empty answer only says that the cluster may not be described, which CLUSTER_ACTION does not include.
    """
    if not cluster:
        return Right.UNKNOWN
    return Right.GRANTED if cluster & {AclOperation.CLUSTER_ACTION, AclOperation.ALTER} else Right.DENIED


def right_to_delete_records(topic: Operations) -> Right:
    """DeleteRecords needs DELETE on the topic; of one that does not exist yet nothing is told."""
    if topic is None:
        return Right.UNKNOWN
    return Right.GRANTED if AclOperation.DELETE in topic else Right.DENIED


class TargetContent(enum.Enum):
    """What a target partition holds."""

    ABSENT = "absent"
    EMPTY = "empty"
    OURS = "ours"
    """This migration has begun to copy it."""
    FILLER = "filler"
    """This migration is on the way to where copying begins."""
    FOREIGN = "foreign"
    UNSEEN = "unseen"


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetFacts:
    """One partition on the target; `may_delete` is the right to move its log start."""

    content: TargetContent
    start: Offset = _ZERO
    end: Offset = _ZERO
    may_delete: Right = Right.UNKNOWN


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicFacts:
    """Settings of a source topic; None where they were not told."""

    cleanup_policy: str | None = None
    delete_retention_ms: int | None = None

    @classmethod
    def of(cls, settings: Mapping[str, str]) -> TopicFacts:
        """What settings in force tell, by their names."""
        kept_ms = settings.get(DELETE_RETENTION_MS)
        return cls(
            cleanup_policy=settings.get(CLEANUP_POLICY),
            delete_retention_ms=None if kept_ms is None else int(kept_ms),
        )

    @property
    def compacted(self) -> bool:
        return self.cleanup_policy is not None and "compact" in self.cleanup_policy


def tombstones_kept_ms(topics: Mapping[TopicName, TopicFacts]) -> dict[TopicName, int]:
    """How long compacted topics keep tombstones, as far as they tell."""
    return {
        name: each.delete_retention_ms
        for name, each in topics.items()
        if each.compacted and each.delete_retention_ms is not None
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionFacts:
    """One partition of the source, and the target's of the same name.

    `end` is the true log end. Offsets below `wanted_start` are not to be copied, whatever the log holds. `unseen` says
    why nothing of the source is known (then all offsets are 0). `size_bytes` is what the source keeps on disk, `census`
    what samples of the backlog showed; None if there are none.
    """

    partition: TopicPartition
    target: TargetFacts
    start: Offset = _ZERO
    end: Offset = _ZERO
    high_watermark: Offset = _ZERO
    last_stable: Offset = _ZERO
    wanted_start: Offset = _ZERO
    size_bytes: int | None = None
    census: Census | None = None
    unseen: str = ""

    @property
    def unknown(self) -> str:
        """Why no class can be decided; empty if one can."""
        match self.target.content:
            case TargetContent.FOREIGN:
                return self.unseen or "the target holds what is not this migration's"
            case TargetContent.UNSEEN:
                return self.unseen or "the target's partition could not be looked at"
            case _:
                return self.unseen

    @property
    def head(self) -> Offset:
        """Where the copied part of the source begins: at its log start, or above it where the operator says so."""
        return max(self.start, self.wanted_start)

    @property
    def begin(self) -> Offset:
        """The first offset that is still to be copied."""
        copied = self.target.end if self.target.content is TargetContent.OURS else 0
        return Offset(max(self.head, copied))

    @property
    def backlog(self) -> int:
        """Decided offsets that are to be copied."""
        return max(0, self.last_stable - self.begin)

    @property
    def filler(self) -> int:
        """Offsets below the head that the target's log would have to pass."""
        match self.target.content:
            case TargetContent.OURS | TargetContent.FOREIGN | TargetContent.UNSEEN:
                return 0
            case TargetContent.FILLER:
                return max(0, self.head - self.target.end)
            case TargetContent.ABSENT | TargetContent.EMPTY:
                return self.head


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How thinly was looked: places for each partition, what the budget left out, and what failed, with the reason."""

    places: int = 0
    partitions_skipped: int = 0
    places_left_out: int = 0
    failures: Mapping[TopicPartition, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Everything that was seen. `partitions` are those of all selected topics, in order.

    `start` is the manifest's; of the partitions in `start_open` only the state folder tells whether it counts for them.
    """

    source_cluster_id: str
    target_cluster_id: str
    target_brokers: int
    may_write_markers: Right
    topics: Mapping[TopicName, TopicFacts]
    partitions: tuple[PartitionFacts, ...]
    left_out: Mapping[TopicName, str]
    sampling: Sampling
    start: str = EARLIEST
    start_open: frozenset[TopicPartition] = frozenset()

    def topic_of(self, partition: PartitionFacts) -> TopicFacts:
        return self.topics.get(partition.partition.topic, TopicFacts())
