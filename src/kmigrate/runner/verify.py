"""A whole verification: what is copied is asked of the owner, ends of both clusters, then ranges are read and kept.

Rule: the target is looked at first, then the source, then the offset maps. So nothing that is copied in between can
look like a difference: what the target held then is the upper bound, the source cannot have less by then, and a map is
saved before anything is sent that needs it. Nothing is written to a cluster.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Protocol

from kmigrate.cluster.client import ClusterClient
from kmigrate.copy.states import PartitionState
from kmigrate.errors import ClusterError, UsageError
from kmigrate.kafka_types import Offset, Partition, Side, TopicName, TopicPartition
from kmigrate.manifest import Manifest
from kmigrate.offsets.classes import OffsetClass
from kmigrate.offsets.offset_map import Ends, OffsetMap, Run
from kmigrate.preflight import guard_cluster, guard_clusters
from kmigrate.preflight.bounds import Bounds, Unseen, read_bounds
from kmigrate.runner.lookup import PartitionRuns
from kmigrate.runner.reach import Reach, first_metadata
from kmigrate.runner.status import PartitionStatus, StatusDocument
from kmigrate.runner.verification import PartitionVerification, VerificationDocument
from kmigrate.runner.verify_partition import Mode, Outcome, Task
from kmigrate.runner.verify_processes import Work, choose_processes, work_in_processes
from kmigrate.runner.verify_rows import Copied, Sight, Wish, complete, decide, unknown
from kmigrate.runner.verify_worker import Settings, Told
from kmigrate.topics.describe import describe_topics
from kmigrate.verify.ends import LogEnds
from kmigrate.verify.walk import NOTHING_YET
from kmigrate.wire.calls import ClusterMetadata

CLEANUP_POLICY = "cleanup.policy"
SAVE_SECONDS = 30.0
NOT_COPIED = "nothing of it is copied yet, as far as is known here"


class Memory(Protocol):
    """What the migration remembers: the owner's API, or without an owner the same in-process."""

    def status(self) -> StatusDocument:
        """How the migration stands."""

    def runs(self, topic: str | None) -> Iterator[PartitionRuns]:
        """The runs of all offset maps, or of one topic's."""

    def verifications(self, mode: Mode) -> list[PartitionVerification]:
        """What was verified before."""

    def save_verifications(self, rows: Sequence[PartitionVerification]) -> None:
        """Keeps what was verified."""


@dataclass(slots=True)
class Progress:
    """How far a verification has come."""

    partitions: int = 0
    done: int = 0
    records: int = 0
    source_bytes: int = 0
    different: int = 0


Report = Callable[[Progress], None]


class Scope(NamedTuple):
    """Which partitions are verified: all, those of some topics or of one, or one."""

    topic: str | None = None
    partition: int | None = None
    topics: frozenset[str] | None = None

    def holds(self, partition: TopicPartition) -> bool:
        if self.topics is not None and partition.topic not in self.topics:
            return False
        return self.topic in (None, partition.topic) and self.partition in (None, partition.partition)


@dataclass(slots=True, kw_only=True)
class Verifier:
    """Verifies one migration. `work` carries tasks out; without it processes do, `processes` of them."""

    manifest: Manifest
    memory: Memory
    report: Report
    processes: int | None = None
    work: Work | None = None
    clients: Callable[[Reach], ClusterClient] = Reach.client
    wall_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000
    _rows: dict[TopicPartition, PartitionVerification] = field(default_factory=dict)
    _tasks: dict[TopicPartition, Task] = field(default_factory=dict)
    _told: dict[TopicPartition, Told] = field(default_factory=dict)

    def run(self, scope: Scope, wish: Wish) -> VerificationDocument:
        """Looks, reads, keeps what it finds; raises UsageError if there is no such partition, Blocked or Refused where
        a cluster is not there or is not the right one."""
        started = self.wall_ms()
        status = self.memory.status()
        reach = {
            Side.SOURCE: Reach.of(Side.SOURCE, self.manifest.source, self.manifest.name),
            Side.TARGET: Reach.of(Side.TARGET, self.manifest.target, self.manifest.name),
        }
        before = {_place(row): row for row in self.memory.verifications(wish.mode)}
        self._look(reach, status, scope, wish, before)
        try:
            self._read(reach, status, wish)
        finally:
            self._keep_parts(wish)
        rows = tuple(self._rows[tp] for tp in sorted(self._rows))
        return VerificationDocument(
            name=self.manifest.name, mode=wish.mode, started_at=started, finished_at=self.wall_ms(), partitions=rows
        )

    # -- looking

    def _look(
        self,
        reach: Mapping[Side, Reach],
        status: StatusDocument,
        scope: Scope,
        wish: Wish,
        before: Mapping[TopicPartition, PartitionVerification],
    ) -> None:
        with contextlib.ExitStack() as stack:
            source, target = (
                stack.enter_context(contextlib.closing(self.clients(reach[side])))
                for side in (Side.SOURCE, Side.TARGET)
            )
            on_source, on_target = first_metadata(source), first_metadata(target)
            self._guard(status, on_source, on_target)
            told = {_named(each): each for each in status.partitions if scope.holds(_named(each))}
            there = {tp for tp in _partitions(on_source) if scope.holds(tp) and self.manifest.topic_selected(tp.topic)}
            wanted = sorted(told.keys() | there)
            if not wanted:
                raise UsageError(
                    f"the migration has no {_words(scope)}", hint="`kmigrate status -f FILE` shows what it copies"
                )
            held = _partitions(on_target)
            target_bounds = read_bounds(target, on_target, [tp for tp in wanted if tp in held])
            source_bounds = read_bounds(source, on_source, [tp for tp in wanted if tp in _partitions(on_source)])
            policies = {
                side: cleanup_policies(client, sorted({tp.topic for tp in wanted}))
                for side, client in ((Side.SOURCE, source), (Side.TARGET, target))
            }
        copied = self._copied(told)
        for tp in wanted:
            source_ends, target_ends = source_bounds.get(tp), target_bounds.get(tp)
            if tp not in copied:
                reason = told[tp].reason if tp in told and told[tp].reason else NOT_COPIED
                self._rows[tp] = unknown(tp, wish.mode, reason, "`kmigrate status -f FILE` shows how the copy stands")
            elif not isinstance(source_ends, Bounds):
                self._rows[tp] = unknown(tp, wish.mode, _unseen(Side.SOURCE, source_ends))
            elif not isinstance(target_ends, Bounds):
                self._rows[tp] = unknown(tp, wish.mode, _unseen(Side.TARGET, target_ends))
            else:
                sight = Sight(
                    partition=tp,
                    target=tp,
                    source_id=on_source.topics[tp.topic].topic_id,
                    target_id=on_target.topics[tp.topic].topic_id,
                    source_ends=log_ends(source_ends),
                    target_ends=log_ends(target_ends),
                    compacted="compact" in policies[Side.SOURCE].get(tp.topic, ""),
                    target_cleans="compact" in policies[Side.TARGET].get(tp.topic, ""),
                )
                self._rows[tp], task = decide(copied[tp], sight, wish, before.get(tp))
                if task is not None:
                    self._tasks[tp] = task
        self._stamp([tp for tp in self._rows if tp not in self._tasks])

    def _guard(self, status: StatusDocument, on_source: ClusterMetadata, on_target: ClusterMetadata) -> None:
        for side, found, wanted, remembered in (
            (Side.SOURCE, on_source.cluster_id, self.manifest.source.cluster_id, status.source_cluster_id),
            (Side.TARGET, on_target.cluster_id, self.manifest.target.cluster_id, status.target_cluster_id),
        ):
            guard_cluster(side, found, wanted=wanted, remembered=remembered)
        guard_clusters(source=on_source.cluster_id, target=on_target.cluster_id)

    def _copied(self, told: Mapping[TopicPartition, PartitionStatus]) -> dict[TopicPartition, Copied]:
        """What is known to be copied; the maps are read last, a topic at a time."""
        found: dict[TopicPartition, Copied] = {}
        mapped: dict[str, dict[TopicPartition, tuple[OffsetMap, Ends]]] = {}
        for tp, each in told.items():
            if each.position is None or each.target_end is None:
                continue
            offset_class = each.offset_class or OffsetClass.IDENTICAL
            runs = OffsetMap()
            ends = Ends(Offset(each.position), Offset(each.target_end))
            if offset_class.needs_map:
                if tp.topic not in mapped:
                    mapped[tp.topic] = self._maps(tp.topic)
                runs, ends = mapped[tp.topic].get(tp, (runs, ends))
            found[tp] = Copied(
                offset_class=offset_class,
                runs=runs,
                ends=ends,
                begins=each.source_start or 0,
                handed_over=each.state is PartitionState.HANDED_OVER,
            )
        return found

    def _maps(self, topic: str) -> dict[TopicPartition, tuple[OffsetMap, Ends]]:
        """The offset maps of a topic, and how far they are copied."""
        maps: dict[TopicPartition, tuple[OffsetMap, Ends]] = {}
        for part in self.memory.runs(topic):
            tp = TopicPartition(TopicName(part.topic), Partition(part.partition))
            runs, _ = maps.get(tp, (OffsetMap(), None))
            for source, target, _count in part.runs:
                runs.add(Run(Offset(source), Offset(target)))
            source, target, count = part.runs[-1]
            maps[tp] = runs, Ends(Offset(source + count), Offset(target + count))
        return maps

    # -- reading

    def _read(self, reach: Mapping[Side, Reach], status: StatusDocument, wish: Wish) -> None:
        progress = Progress(partitions=len(self._rows), done=len(self._rows) - len(self._tasks))
        tasks = list(self._tasks.values())
        finished = NOTHING_YET
        saved = self.wall_ms()
        self.report(progress)
        if not tasks:
            return
        for message in self._worked(reach, status, tasks):
            if isinstance(message, Told):
                self._told[message.partition] = message
            else:
                self._finish(message, wish)
                finished += message.amounts
                progress.done += 1
            amounts = sum((each.amounts for each in self._told.values()), finished)
            progress.records, progress.source_bytes = amounts.records, amounts.source_bytes
            progress.different = sum(row.difference is not None for row in self._rows.values())
            self.report(progress)
            if self.wall_ms() - saved > SAVE_SECONDS * 1000:
                self._keep_parts(wish)
                saved = self.wall_ms()

    def _worked(
        self, reach: Mapping[Side, Reach], status: StatusDocument, tasks: Sequence[Task]
    ) -> Iterator[Told | Outcome]:
        if self.work is not None:
            return self.work(tasks)
        processes = choose_processes(self.processes, os.cpu_count() or 1, tasks)
        limit = status.throttle_bytes_per_second
        settings = Settings(
            source=reach[Side.SOURCE],
            target=reach[Side.TARGET],
            bytes_per_second=None if limit is None else limit / processes,
        )
        return work_in_processes(settings, processes, tasks)

    def _finish(self, outcome: Outcome, wish: Wish) -> None:
        tp = outcome.partition
        task = self._tasks.pop(tp)
        self._told.pop(tp, None)
        if outcome.compared_to < 0:
            outcome = replace(outcome, compared_to=task.start)
        self._rows[tp] = complete(self._rows[tp], task, outcome, wish, self.wall_ms())
        self.memory.save_verifications([self._rows[tp].to_keep])

    def _keep_parts(self, wish: Wish) -> None:
        """What is compared so far of what is not done yet; of a compacted topic nothing is known before the end."""
        rows = []
        for tp, told in self._told.items():
            task = self._tasks.get(tp)
            if task is not None and not task.compacted and wish.mode is Mode.RECORDS and task.fold is None:
                rows.append(replace(self._rows[tp], end=told.compared_to, verified_at=self.wall_ms()).to_keep)
        if rows:
            self.memory.save_verifications(rows)

    def _stamp(self, partitions: Sequence[TopicPartition]) -> None:
        """What is known without reading is known as of now, unless an earlier time is remembered."""
        now, kept = self.wall_ms(), []
        for tp in partitions:
            row = self._rows[tp]
            if not row.verified_at:
                self._rows[tp] = row = replace(row, verified_at=now)
            if row.end is not None:
                kept.append(row.to_keep)
        if kept:
            self.memory.save_verifications(kept)


def stored_document(name: str, memory: Memory, scope: Scope, mode: Mode) -> VerificationDocument:
    """What was verified before, and how far the copy has come since; nothing is read."""
    positions = {_named(each): each.position for each in memory.status().partitions}
    rows = [
        replace(row, position=positions.get(_place(row)))
        for row in memory.verifications(mode)
        if scope.holds(_place(row))
    ]
    return VerificationDocument(name=name, mode=mode, stored=True, partitions=tuple(rows))


def _place(row: PartitionVerification) -> TopicPartition:
    return TopicPartition(TopicName(row.topic), Partition(row.partition))


def _named(each: PartitionStatus) -> TopicPartition:
    return TopicPartition(TopicName(each.topic), Partition(each.partition))


def _partitions(metadata: ClusterMetadata) -> set[TopicPartition]:
    return {TopicPartition(name, number) for name, topic in metadata.topics.items() for number in topic.partitions}


def cleanup_policies(client: ClusterClient, topics: Sequence[TopicName]) -> dict[TopicName, str]:
    """How topics are cleaned, as far as that may be read: what is not known counts as not compacted."""
    try:
        return {
            name: told.get(CLEANUP_POLICY, "")
            for name, told in describe_topics(client, topics, [CLEANUP_POLICY]).items()
        }
    except ClusterError:
        return {}


def log_ends(bounds: Bounds) -> LogEnds:
    """The same as values of the comparison."""
    return LogEnds(bounds.start, bounds.end, bounds.high_watermark, bounds.last_stable)


def _unseen(side: Side, seen: Unseen | None) -> str:
    return f"the {side} does not have it" if seen is None else f"{side}: {seen.reason}"


def _words(scope: Scope) -> str:
    if scope.topic is None:
        return "partitions"
    return f"topic {scope.topic!r}" if scope.partition is None else f"partition {scope.topic}-{scope.partition}"
