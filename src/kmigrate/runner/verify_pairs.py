"""Verifies copies that another tool made: the pairs of topics that a manifest names, without any state of a copy.

Rule: the target is looked at first, then the source, so that what comes meanwhile is not called a difference. It reads
only, asks no owner, and holds no lease.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from kmigrate.cluster.client import ClusterClient
from kmigrate.errors import UsageError
from kmigrate.kafka_types import Partition, Side, TopicName, TopicPartition
from kmigrate.manifest import Manifest
from kmigrate.preflight import guard_cluster, guard_clusters
from kmigrate.preflight.bounds import Bounds, Unseen, read_bounds
from kmigrate.runner.reach import Reach, first_metadata
from kmigrate.runner.verification import PartitionVerification, VerificationDocument
from kmigrate.runner.verify import Progress, Report, Scope, cleanup_policies, log_ends
from kmigrate.runner.verify_pair import PairOutcome, PairTask
from kmigrate.runner.verify_pair_rows import PairSight, complete_pair, decide_pair
from kmigrate.runner.verify_partition import Mode, Outcome
from kmigrate.runner.verify_processes import PairWork, choose_processes, work_in_processes
from kmigrate.runner.verify_rows import Wish, unknown
from kmigrate.runner.verify_worker import Settings, Told
from kmigrate.verify.walk import NOTHING_YET
from kmigrate.wire.calls import ClusterMetadata

Keep = Callable[[Sequence[PartitionVerification]], None]


def _keep_nothing(_rows: Sequence[PartitionVerification]) -> None:
    """Where there is no folder of a migration."""


@dataclass(slots=True, kw_only=True)
class PairVerifier:
    """Verifies the pairs of one manifest; `keep` is given each row that was found. For tests, `work` carries tasks out,
    and `clients` reach the clusters."""

    manifest: Manifest
    report: Report
    keep: Keep = _keep_nothing
    processes: int | None = None
    work: PairWork | None = None
    clients: Callable[[Reach], ClusterClient] = Reach.client
    wall_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000
    _rows: dict[TopicPartition, PartitionVerification] = field(default_factory=dict)
    _tasks: dict[TopicPartition, PairTask] = field(default_factory=dict)

    def run(self, scope: Scope, wish: Wish) -> VerificationDocument:
        """Looks, reads, keeps what it finds; raises UsageError if there is no such partition, Blocked or Refused where
        a cluster is not there or is not the right one."""
        started = self.wall_ms()
        pairs = {TopicName(one): TopicName(other) for one, other in self.manifest.pairs.items()}
        wanted = {one: other for one, other in pairs.items() if scope.topic in (None, one)}
        if not wanted:
            raise UsageError(
                f"spec.pairs names no topic {scope.topic!r} of the source",
                hint=f"it names {', '.join(list(pairs)[:10])}",
            )
        reach = {
            Side.SOURCE: Reach.of(Side.SOURCE, self.manifest.source, self.manifest.name),
            Side.TARGET: Reach.of(Side.TARGET, self.manifest.target, self.manifest.name),
        }
        self._look(reach, wanted, scope, wish.mode)
        self._read(reach, wish)
        rows = tuple(self._rows[tp] for tp in sorted(self._rows))
        return VerificationDocument(
            name=self.manifest.name, mode=wish.mode, started_at=started, finished_at=self.wall_ms(), partitions=rows
        )

    # -- looking

    def _look(
        self, reach: Mapping[Side, Reach], pairs: Mapping[TopicName, TopicName], scope: Scope, mode: Mode
    ) -> None:
        with contextlib.ExitStack() as stack:
            source, target = (
                stack.enter_context(contextlib.closing(self.clients(reach[side])))
                for side in (Side.SOURCE, Side.TARGET)
            )
            on_source = first_metadata(source, sorted(pairs))
            on_target = first_metadata(target, sorted({*pairs.values()}))
            self._guard(on_source, on_target, pairs)
            numbers = _numbers(on_source, on_target, pairs, scope)
            here = [tp for tp in numbers if tp.partition in _there(on_source, tp.topic)]
            copies = {tp: TopicPartition(pairs[tp.topic], tp.partition) for tp in numbers}
            there = [copy for copy in copies.values() if copy.partition in _there(on_target, copy.topic)]
            target_bounds = read_bounds(target, on_target, there)
            source_bounds = read_bounds(source, on_source, here)
            policies = {
                Side.SOURCE: cleanup_policies(source, sorted({tp.topic for tp in here})),
                Side.TARGET: cleanup_policies(target, sorted({copy.topic for copy in there})),
            }
        for tp, copy in copies.items():
            source_ends, target_ends = source_bounds.get(tp), target_bounds.get(copy)
            if not isinstance(source_ends, Bounds):
                self._rows[tp] = _unseen(tp, copy, mode, Side.SOURCE, tp, source_ends)
            elif not isinstance(target_ends, Bounds):
                self._rows[tp] = _unseen(tp, copy, mode, Side.TARGET, copy, target_ends)
            else:
                sight = PairSight(
                    partition=tp,
                    target=copy,
                    source_id=on_source.topics[tp.topic].topic_id,
                    target_id=on_target.topics[copy.topic].topic_id,
                    source_ends=log_ends(source_ends),
                    target_ends=log_ends(target_ends),
                    compacted="compact" in policies[Side.SOURCE].get(tp.topic, "")
                    or "compact" in policies[Side.TARGET].get(copy.topic, ""),
                )
                self._rows[tp], task = decide_pair(sight, mode)
                if task is not None:
                    self._tasks[tp] = task

    def _guard(
        self, on_source: ClusterMetadata, on_target: ClusterMetadata, pairs: Mapping[TopicName, TopicName]
    ) -> None:
        for side, found, wanted in (
            (Side.SOURCE, on_source.cluster_id, self.manifest.source.cluster_id),
            (Side.TARGET, on_target.cluster_id, self.manifest.target.cluster_id),
        ):
            guard_cluster(side, found, wanted=wanted, remembered=None)
        if any(one == other for one, other in pairs.items()):  # a topic and a copy of it may be in the same cluster
            guard_clusters(source=on_source.cluster_id, target=on_target.cluster_id)

    # -- reading

    def _read(self, reach: Mapping[Side, Reach], wish: Wish) -> None:
        now = self.wall_ms()
        progress = Progress(partitions=len(self._rows), done=len(self._rows) - len(self._tasks))
        for tp, row in self._rows.items():
            if tp not in self._tasks and row.end is not None:
                self._rows[tp] = replace(row, verified_at=now)
                self.keep([self._rows[tp].to_keep])
        self.report(progress)
        under_way: dict[TopicPartition, Told] = {}
        finished = NOTHING_YET
        for message in self._worked(reach) if self._tasks else ():
            if isinstance(message, Told):
                under_way[message.partition] = message
            else:
                under_way.pop(message.partition, None)
                finished += self._finish(message, wish).amounts
                progress.done += 1
            amounts = sum((each.amounts for each in under_way.values()), finished)
            progress.records, progress.source_bytes = amounts.records, amounts.source_bytes
            progress.different = sum(bool(row.differences) for row in self._rows.values())
            self.report(progress)

    def _worked(self, reach: Mapping[Side, Reach]) -> Iterator[Told | Outcome | PairOutcome]:
        tasks = list(self._tasks.values())
        if self.work is not None:
            return self.work(tasks)
        processes = choose_processes(self.processes, os.cpu_count() or 1, tasks)
        limit = self.manifest.limits.bytes_per_second
        settings = Settings(
            source=reach[Side.SOURCE],
            target=reach[Side.TARGET],
            bytes_per_second=None if limit is None else limit / processes,
        )
        return work_in_processes(settings, processes, tasks)

    def _finish(self, found: Outcome | PairOutcome, wish: Wish) -> PairOutcome:
        tp = found.partition
        task = self._tasks[tp]
        if isinstance(found, Outcome):  # its process died
            found = PairOutcome(
                partition=tp,
                compared_to=task.start,
                target_compared_to=task.target_start,
                failure=found.failure,
                hint=found.hint,
            )
        self._rows[tp] = complete_pair(
            self._rows[tp], task, found, show_contents=wish.show_contents, now_ms=self.wall_ms()
        )
        self.keep([self._rows[tp].to_keep])
        return found


def _there(metadata: ClusterMetadata, topic: TopicName) -> set[Partition]:
    described = metadata.topics.get(topic)
    return set() if described is None else set(described.partitions)


def _numbers(
    on_source: ClusterMetadata, on_target: ClusterMetadata, pairs: Mapping[TopicName, TopicName], scope: Scope
) -> list[TopicPartition]:
    """Every partition that either side has, by its name on the source; raises UsageError where there is none."""
    found: list[TopicPartition] = []
    for one, other in pairs.items():
        numbers = _there(on_source, one) | _there(on_target, other)
        if not _there(on_source, one):
            raise UsageError(
                f"topic {one!r} of spec.pairs is not on the source, or this user may not see it",
                hint="compare the name; DESCRIBE on the topic is needed",
            )
        if scope.partition is not None and scope.partition not in numbers:
            raise UsageError(f"topic {one!r} has no partition {scope.partition}", hint=f"it has {len(numbers)}")
        found += [TopicPartition(one, each) for each in numbers if scope.partition in (None, each)]
    return sorted(found)


def _unseen(
    partition: TopicPartition,
    copy: TopicPartition,
    mode: Mode,
    side: Side,
    missing: TopicPartition,
    seen: Unseen | None,
) -> PartitionVerification:
    if seen is not None:
        return unknown(partition, mode, f"{side}: {seen.reason}", target_topic=copy.topic)
    return unknown(
        partition,
        mode,
        f"the {side} has no {missing}, or this user may not see it",
        "compare the names in spec.pairs; partitions are compared with those of the same number",
        target_topic=copy.topic,
    )
