"""From what should be copied to the Orders of every worker.

Rule: Orders are sent only when they differ from the last ones, and a partition is in them only as `Handover`
allows. What a partition's order says of the past (`remembered`, `fresh`) is fixed when a pipeline gets it: later the
pipeline knows better itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

from kmigrate.copy.assign import Handover, Leaders, assign
from kmigrate.copy.orders import (
    DEFAULT_BATCH_BYTES,
    UNKNOWN_TIME_MS,
    Limit,
    Orders,
    PartitionOrder,
    PipelineKey,
    PipelineOrder,
    Remembered,
)
from kmigrate.copy.progress import PipelineProgress
from kmigrate.copy.rates import RateLimits, Slots
from kmigrate.kafka_types import BrokerAddress, BrokerId, LeaderEpoch, Offset, Side, TopicId, TopicPartition
from kmigrate.offsets.classes import OffsetClass
from kmigrate.offsets.offset_map import Run


class End(NamedTuple):
    """One side of a partition now. `topic_id` None: it is gone, and `leader` is any broker that can be asked."""

    topic_id: TopicId | None
    leader: BrokerId
    epoch: LeaderEpoch


class Wanted(NamedTuple):
    """A partition that is to be copied, or whose stop is to be kept.

    Source offsets below `start` are not; `pad_budget` bounds the filler that this takes.
    """

    source: End
    target: End
    revision: int
    offset_class: OffsetClass = OffsetClass.IDENTICAL
    start: Offset = Offset(0)
    pad_budget: int = 2_000_000_000
    delete_retention_ms: int | None = None
    batch_bytes: int = DEFAULT_BATCH_BYTES
    even_from_ms: int = UNKNOWN_TIME_MS
    free_from_ms: int = UNKNOWN_TIME_MS
    limit: Limit | None = None
    own_from: Offset | None = None


class Past(NamedTuple):
    """What is known of a partition's past when a pipeline gets it; `runs` is the end of its offset map.

    `even_from_ms` is a time before which nothing was copied into it.
    """

    remembered: Remembered | None
    fresh: bool
    runs: tuple[Run, ...] = ()
    even_from_ms: int = UNKNOWN_TIME_MS


class Workers(Protocol):
    """Where Orders go (`kmigrate.copy.engine.Engine`)."""

    @property
    def settled(self) -> bool:
        """Whether every worker that lives has got its last Orders."""

    def order(self, worker: int, orders: Orders) -> bool:
        """Sends Orders; False if the worker is not there."""


class Dispatcher:
    """Keeps who has what, and what every worker was told last."""

    def __init__(
        self,
        *,
        workers: int,
        lanes: int,
        past: Callable[[TopicPartition, bool], Past],
        gap_budget: int = 1_000_000,
    ) -> None:
        """`gap_budget` bounds the markers in the backlog of one partition.

        `past` is asked when a pipeline gets a partition, and told whether it is the first that ever does.

        It is asked again when the partition's class changes.
        """
        self._gap_budget = gap_budget
        self._workers = workers
        self._lanes = lanes
        self._past = past
        self._handover = Handover()
        self._slots = Slots()
        self._assigned: dict[TopicPartition, PipelineKey] = {}
        self._pasts: dict[TopicPartition, tuple[int, OffsetClass, Past]] = {}
        self._lives = 0
        self._life: dict[TopicPartition, int] = {}
        self._told: dict[int, Orders] = {}
        self._number = 0

    def scale(self, workers: int, lanes: int, moves: Mapping[TopicPartition, PipelineKey]) -> None:
        """From now on so many workers and lanes; `moves` says which pipelines partitions are to change to."""
        self._workers, self._lanes = workers, lanes
        self._assigned.update((partition, key) for partition, key in moves.items() if partition in self._assigned)

    @property
    def number(self) -> int:
        """The number of the last Orders."""
        return self._number

    def holder(self, partition: TopicPartition) -> PipelineKey | None:
        """The pipeline that may hold the partition."""
        return self._handover.holder(partition)

    def dispatch(
        self,
        engine: Workers,
        wanted: Mapping[TopicPartition, Wanted],
        sources: Mapping[BrokerId, BrokerAddress],
        targets: Mapping[BrokerId, BrokerAddress],
        *,
        paused: bool,
        limits: RateLimits,
    ) -> bool:
        """Tells every worker what is new to it; False if that must wait for a worker to take its last Orders."""
        if not engine.settled:
            return False
        self._number += 1
        leaders = {
            partition: Leaders(
                each.source.leader if each.source.leader in sources else None,
                each.target.leader if each.target.leader in targets else None,
            )
            for partition, each in wanted.items()
        }
        self._assigned = assign(leaders, self._assigned, workers=self._workers, lanes=self._lanes)
        ordered = self._handover.decide(self._assigned, self._number)
        by_pipeline: dict[PipelineKey, list[PartitionOrder]] = {}
        for partition in sorted(ordered):
            by_pipeline.setdefault(ordered[partition], []).append(self._order(partition, wanted[partition]))
        rates = self._slots.rates(
            limits, frozenset({(Side.SOURCE, each) for each in sources} | {(Side.TARGET, each) for each in targets})
        )
        for worker in range(self._workers):
            orders = Orders(
                number=self._number,
                paused=paused,
                rates=rates,
                pipelines=tuple(
                    PipelineOrder(
                        key=key,
                        source=sources[key.source],
                        target=targets[key.target],
                        partitions=tuple(by_pipeline[key]),
                    )
                    for key in sorted(by_pipeline)
                    if key.worker == worker
                ),
            )
            told = self._told.get(worker)
            if (told is None or not _same(told, orders)) and engine.order(worker, orders):
                self._told[worker] = orders
        return True

    def _order(self, partition: TopicPartition, wanted: Wanted) -> PartitionOrder:
        given_at = self._handover.given_at(partition)
        known = self._pasts.get(partition)
        if known is None or known[:2] != (given_at, wanted.offset_class):
            known = given_at, wanted.offset_class, self._past(partition, self._handover.is_first(partition))
            self._pasts[partition] = known
            self._lives += 1
            self._life[partition] = self._lives
        source, target, past = wanted.source, wanted.target, known[2]
        return PartitionOrder(
            partition=partition,
            source_topic_id=source.topic_id,
            source_epoch=source.epoch,
            target_topic_id=target.topic_id,
            target_epoch=target.epoch,
            remembered=past.remembered,
            fresh=past.fresh,
            revision=wanted.revision,
            pad_budget=wanted.pad_budget,
            gap_budget=self._gap_budget,
            offset_class=wanted.offset_class,
            runs=past.runs,
            life=self._life[partition],
            start=wanted.start,
            delete_retention_ms=wanted.delete_retention_ms,
            batch_bytes=wanted.batch_bytes,
            even_from_ms=max(wanted.even_from_ms, past.even_from_ms),
            free_from_ms=wanted.free_from_ms,
            limit=wanted.limit,
            own_from=wanted.own_from,
        )

    def on_progress(self, progress: PipelineProgress) -> bool:
        """Notes what was released; True if something became free."""
        return self._handover.on_released(progress.key, progress.orders, progress.released)

    def on_worker_changed(self, worker: int) -> None:
        """A worker died or is new: it holds nothing, and knows no Orders."""
        self._handover.on_worker_died(worker)
        self._told.pop(worker, None)


def _same(told: Orders, orders: Orders) -> bool:
    return (told.paused, told.rates, told.pipelines) == (orders.paused, orders.rates, orders.pipelines)
