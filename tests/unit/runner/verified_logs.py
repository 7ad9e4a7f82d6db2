"""Two modelled logs that are verified: leaders that serve them, and a task over them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kmigrate.cluster.network import Link
from kmigrate.errors import ClusterError
from kmigrate.kafka_types import (
    BrokerAddress,
    BrokerId,
    LeaderEpoch,
    Offset,
    Partition,
    Side,
    TopicId,
    TopicName,
    TopicPartition,
)
from kmigrate.offsets.classes import OffsetClass
from kmigrate.offsets.offset_map import Ends, OffsetMap
from kmigrate.runner.log_pieces import Pace
from kmigrate.runner.verify_partition import Mode, Outcome, Sides, Task, verify_partition
from kmigrate.runner.verify_worker import Told
from kmigrate.wire.calls import ClusterMetadata, PartitionMetadata, TopicMetadata
from kmigrate.wire.config_calls import Setting
from tests.simulation.batches import Record, make_batch
from tests.simulation.links import LogLink
from tests.simulation.log import PartitionLog, Served
from tests.simulation.readers import offset_at
from tests.simulation.wire import FetchPart

ONE = TopicPartition(TopicName("orders"), Partition(0))
SOURCE_ID, TARGET_ID = TopicId("ab" * 16), TopicId("cd" * 16)


def records(first: int, count: int, text: bytes = b"value", key: bytes | None = None) -> bytes:
    """A batch whose records carry their number."""
    return make_batch([Record(1_000 + number, key, text + b"%d" % number) for number in range(first, first + count)])


def keyed(*pairs: tuple[bytes | None, bytes | None]) -> bytes:
    """A batch of these keys and values."""
    return make_batch([Record(5, key, value) for key, value in pairs])


class HookedLink(LogLink):
    """Calls back before every request, and lets a test change what is served."""

    def __init__(self, leaders: LogLeaders) -> None:
        super().__init__({leaders.partition: leaders.log})
        self._leaders = leaders

    def before(self, what: str) -> None:
        self._leaders.requests += 1
        self._leaders.on_request(self._leaders.requests)

    def error(self, what: str, partition: TopicPartition) -> int:
        return self._leaders.code

    def served(self, partition: TopicPartition, part: FetchPart, served: Served) -> Served:
        return self._leaders.change(served)


@dataclass
class LogLeaders:
    """The leader of one log; `on_request` is called with the number of each fetch and may raise."""

    side: Side
    log: PartitionLog
    on_request: Callable[[int], None] = lambda number: None
    change: Callable[[Served], Served] = lambda served: served
    code: int = 0
    requests: int = 0
    dropped: int = 0
    free: list[Link] = field(default_factory=list)
    lent: int = 0
    failure: ClusterError | None = None
    partition: TopicPartition = ONE

    def link(self, partition: TopicPartition) -> Link:
        if self.failure is not None:
            raise self.failure
        self.lent += 1
        return self.free.pop() if self.free else HookedLink(self)

    def give_back(self, partition: TopicPartition, link: Link) -> None:
        self.free.append(link)

    def drop(self, partition: TopicPartition, link: Link | None) -> None:
        self.dropped += 1

    def log_start(self, partition: TopicPartition) -> Offset:
        return Offset(self.log.log_start)

    def offset_at(self, partition: TopicPartition, timestamp_ms: int) -> Offset | None:
        found = offset_at(self.log, timestamp_ms)
        return None if found < 0 else Offset(found)


class Both:
    """A source and a target, and a verification of what they hold."""

    def __init__(self) -> None:
        self.source = LogLeaders(Side.SOURCE, PartitionLog(SOURCE_ID))
        self.target = LogLeaders(Side.TARGET, PartitionLog(TARGET_ID))
        self.now = 0.0

    def write(self, *batches: bytes) -> None:
        """The same batches on both sides."""
        for batch in batches:
            self.source.log.write(batch)
            self.target.log.write(batch)

    def task(
        self,
        *,
        mode: Mode = Mode.RECORDS,
        start: int = 0,
        end: int | None = None,
        offset_class: OffsetClass = OffsetClass.IDENTICAL,
        runs: OffsetMap | None = None,
        ends: Ends | None = None,
        compacted: bool = False,
        target_cleans: bool = False,
        fold: bytes | None = None,
    ) -> Task:
        """All that the target holds, unless it is said otherwise."""
        target_end = Offset(self.target.log.end)
        ends = ends or Ends(target_end, target_end)
        return Task(
            partition=ONE,
            target=ONE,
            source_id=SOURCE_ID,
            target_id=TARGET_ID,
            mode=mode,
            offset_class=offset_class,
            runs=b"" if runs is None else runs.to_bytes(),
            ends=ends,
            start=start,
            end=ends.source if end is None else end,
            beyond=self.source.log.end,
            compacted=compacted,
            target_cleans=target_cleans,
            fold=fold,
        )

    def verify(self, task: Task | None = None) -> Outcome:
        """Verifies, on a clock of its own."""

        def sleep(seconds: float) -> None:
            self.now += seconds

        def now() -> float:
            self.now += 0.1
            return self.now

        pace = Pace(sleep=sleep, now=now)
        return verify_partition(task or self.task(), Sides(self.source, self.target), pace)


class FakeCluster:
    """A cluster with one broker, as a client sees it: topics, where their logs end, and how they are cleaned."""

    def __init__(self, cluster_id: str, logs: Mapping[TopicPartition, PartitionLog]) -> None:
        self.cluster_id = cluster_id
        self.logs = dict(logs)
        self.policies: dict[TopicName, str] = {}
        self.closed = 0

    def metadata(self, topics: object) -> ClusterMetadata:
        broker = BrokerAddress(BrokerId(1), "broker", 9092)
        found: dict[TopicName, dict[Partition, PartitionMetadata]] = {}
        ids = {}
        for tp, log in self.logs.items():
            ids[tp.topic] = TopicId(log.topic_id)
            found.setdefault(tp.topic, {})[tp.partition] = PartitionMetadata(
                error=0, leader=BrokerId(1), leader_epoch=LeaderEpoch(log.leader_epoch), replicas=(BrokerId(1),)
            )
        return ClusterMetadata(
            cluster_id=self.cluster_id,
            controller=BrokerId(1),
            brokers={BrokerId(1): broker},
            topics={
                name: TopicMetadata(error=0, topic_id=ids[name], is_internal=False, partitions=partitions)
                for name, partitions in found.items()
            },
        )

    def broker(self, broker: BrokerId, call: Any) -> Any:
        return LogLink(self.logs).call(call)

    def any(self, call: Any) -> Any:
        assert call.what == "DescribeConfigs", call.what
        return {
            name: (0, {"cleanup.policy": Setting(policy, is_override=True)}) for name, policy in self.policies.items()
        }

    def close(self) -> None:
        self.closed += 1


def work_on(source: FakeCluster, target: FakeCluster) -> Callable[[Sequence[Task]], Iterator[Told | Outcome]]:
    """Carries tasks out here, on the logs of both clusters."""

    def work(tasks: Sequence[Task]) -> Iterator[Told | Outcome]:
        for task in tasks:
            leaders = [
                LogLeaders(side, log, partition=tp)
                for side, tp, log in (
                    (Side.SOURCE, task.partition, source.logs[task.partition]),
                    (Side.TARGET, task.target, target.logs[task.target]),
                )
            ]
            outcome = verify_partition(task, Sides(*leaders))
            yield Told(task.partition, outcome.compared_to, outcome.amounts)
            yield outcome

    return work
