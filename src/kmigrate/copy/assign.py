"""Which pipeline copies which partition, and when a partition may change hands.

`assign` spreads partitions over pipelines: a partition keeps its pipeline while its leaders and the pipeline stay, a
new one goes where there are fewest. `Handover` is the rule that no partition ever has two holders: what was ordered to
one pipeline is ordered to another only after the first reported it released, or its worker died.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from kmigrate.copy.orders import PipelineKey
from kmigrate.kafka_types import BrokerId, TopicPartition


class Leaders(NamedTuple):
    """The leaders of one partition on both clusters; None where it has none now."""

    source: BrokerId | None
    target: BrokerId | None


def assign(
    partitions: Mapping[TopicPartition, Leaders],
    previous: Mapping[TopicPartition, PipelineKey],
    *,
    workers: int,
    lanes: int,
) -> dict[TopicPartition, PipelineKey]:
    """A pipeline for every partition whose leaders are both known; `previous` is the last answer."""
    assigned: dict[TopicPartition, PipelineKey] = {}
    homeless: list[tuple[TopicPartition, BrokerId, BrokerId]] = []
    for partition, (source, target) in partitions.items():
        if source is None or target is None:
            continue
        key = previous.get(partition)
        if (
            key is not None
            and (key.source, key.target) == (source, target)
            and key.worker < workers
            and key.lane < lanes
        ):
            assigned[partition] = key
        else:
            homeless.append((partition, source, target))

    in_pipeline = Counter(assigned.values())
    in_worker = Counter(key.worker for key in assigned.values())
    for partition, source, target in sorted(homeless):
        key = min(
            (PipelineKey(worker, source, target, lane) for worker in range(workers) for lane in range(lanes)),
            key=lambda key: (in_pipeline[key], in_worker[key.worker], key),
        )
        in_pipeline[key] += 1
        in_worker[key.worker] += 1
        assigned[partition] = key
    return assigned


class _Given(NamedTuple):
    """A partition ordered to a pipeline; `withdrawn` is the number of the first Orders without it."""

    key: PipelineKey
    given: int
    withdrawn: int | None


class Handover:
    """Who may hold which partition: all that was ordered and neither released nor buried with its worker.

    A partition that was withdrawn is ordered to nobody, not even to the same pipeline, until its release is
    reported: a release then belongs to exactly one order.
    """

    def __init__(self) -> None:
        self._given: dict[TopicPartition, _Given] = {}
        self._first: dict[TopicPartition, int] = {}

    def decide(self, desired: Mapping[TopicPartition, PipelineKey], number: int) -> dict[TopicPartition, PipelineKey]:
        """What the Orders with this number may contain; what they leave out is withdrawn from now on."""
        for partition, (key, given, withdrawn) in self._given.items():
            if withdrawn is None and desired.get(partition) != key:
                self._given[partition] = _Given(key, given, number)
        for partition, key in desired.items():
            if partition not in self._given:
                self._given[partition] = _Given(key, number, None)
                self._first.setdefault(partition, number)
        return {partition: key for partition, (key, _, withdrawn) in self._given.items() if withdrawn is None}

    def on_released(self, key: PipelineKey, number: int, partitions: Iterable[TopicPartition]) -> bool:
        """Notes what a pipeline gave up under the Orders with this number; True if anything became free."""
        freed = False
        for partition in partitions:
            given = self._given.get(partition)
            if given is None or given.key != key or given.withdrawn is None or number < given.withdrawn:
                continue  # an earlier order's release, or one nobody asked for: it may still be held
            del self._given[partition]
            freed = True
        return freed

    def on_worker_died(self, worker: int) -> None:
        """Frees everything that the worker may have held."""
        self._given = {partition: given for partition, given in self._given.items() if given.key.worker != worker}

    def holder(self, partition: TopicPartition) -> PipelineKey | None:
        """The pipeline that may hold the partition now."""
        given = self._given.get(partition)
        return None if given is None else given.key

    def given_at(self, partition: TopicPartition) -> int:
        """The number of the Orders that gave the partition to its present holder; -1 if it has none."""
        given = self._given.get(partition)
        return -1 if given is None else given.given

    def is_first(self, partition: TopicPartition) -> bool:
        """Whether its present holder is the first that ever had it: nobody else can have sent anything."""
        return partition in self._given and self._given[partition].given == self._first[partition]
