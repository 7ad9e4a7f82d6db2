"""The status board turns what workers report into the status document.  (pure)

Rule: work is done for what changed or lags; ten thousand partitions in sync cost next to nothing. Time comes
in as a value.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import chain
from typing import NamedTuple

from kmigrate.copy.orders import PipelineKey
from kmigrate.copy.progress import PartitionProgress
from kmigrate.copy.spending import HELD_UP, Spent
from kmigrate.copy.states import PartitionState, StopKind
from kmigrate.copy.tally import Latencies
from kmigrate.kafka_types import TopicName, TopicPartition
from kmigrate.runner.forecast import Age, Ages
from kmigrate.runner.meter import Amounts, Left, Meter, Rates, decide_eta
from kmigrate.runner.status import (
    GOES_ON,
    AcceptedStatus,
    Flow,
    LatencyStatus,
    MigrationState,
    OpenTransaction,
    PartitionStatus,
    StatusDocument,
    StopStatus,
    TimeShare,
    TopicStatus,
)
from kmigrate.runner.time_shares import TimeShares
from kmigrate.words import count_of

NOT_LOOKED_AT = "not looked at yet"
_NOT_MOVING = (
    PartitionState.IN_SYNC,
    PartitionState.PAUSED,
    PartitionState.STOPPED,
    PartitionState.IGNORED,
    PartitionState.HANDED_OVER,
)


class Verdict(NamedTuple):
    """A migration's state, the reason, and what a human should do next."""

    state: MigrationState
    reason: str
    next_step: str


class StatusBoard:
    """Takes progress, gives documents."""

    def __init__(self) -> None:
        self._topics: dict[str, _Topic] = {}
        self._accepted: dict[str, dict[int, AcceptedStatus]] = {}
        self._amounts = Amounts()
        self._meter = Meter()
        self._time_shares = TimeShares()

    def expect(self, partitions: Iterable[TopicPartition]) -> None:
        """Lists partitions that no worker has reported yet."""
        for topic, partition in partitions:
            self._topic(topic).expect(partition)

    def drop(self, topic: str) -> None:
        """Forgets a topic that no longer takes part, or is copied anew from its start."""
        self._topics.pop(topic, None)

    def update(self, progress: Iterable[PartitionProgress], now_ms: int, key: PipelineKey | None = None) -> None:
        """Takes what workers reported; `key` is the pipeline that did, None if it is the owner's own word."""
        for each in progress:
            self._amounts = self._amounts.plus(self._topic(each.partition.topic).update(each, now_ms, key))
        self._meter.observe(now_ms, self._amounts)

    def spend(self, key: PipelineKey, spent: Spent, now_ms: int) -> None:
        """Takes where a pipeline's time went."""
        self._time_shares.observe(key, spent, now_ms)

    def count(self, latencies: Iterable[tuple[TopicName, Latencies]]) -> None:
        """Takes what a pipeline counted since its last report; topics that are not known take no part any more."""
        for name, each in latencies:
            if name in self._topics:
                self._topics[name].add_latencies(each)

    def show_open(self, transactions: Mapping[TopicPartition, OpenTransaction]) -> None:
        """Takes all open transactions that are known to hold something back; those of before are over."""
        by_topic: dict[str, dict[int, OpenTransaction]] = {}
        for (topic, partition), each in transactions.items():
            by_topic.setdefault(topic, {})[partition] = each
        for name, known in self._topics.items():
            known.show_open(by_topic.get(name, {}))

    def show_accepted(self, accepted: Mapping[TopicPartition, AcceptedStatus]) -> None:
        """Takes everything that an operator went on with; what is not among it was created anew."""
        self._accepted = {}
        for (topic, partition), each in accepted.items():
            self._accepted.setdefault(topic, {})[partition] = each
        for name, known in self._topics.items():
            known.show_accepted(self._accepted.get(name, {}))

    def show_retention(self, retention_ms: Mapping[TopicName, int | None]) -> None:
        """Takes how long the source keeps records (None: for ever, or it is not known)."""
        for name, known in self._topics.items():
            known.retention_ms = retention_ms.get(TopicName(name))

    def document(self, now_ms: int, head: StatusDocument) -> StatusDocument:
        """The head, with everything filled in that the board knows: totals, topics and partitions."""
        topics = sorted(self._topics.values(), key=lambda topic: topic.name)
        for topic in topics:
            topic.refresh(now_ms)
        flow = _Sum.of(topic.sum for topic in topics).flow(self._amounts, self._meter.rates(now_ms))
        return replace(
            head,
            updated_at=now_ms,
            totals=flow,
            time_shares=tuple(
                TimeShare(cause=cause, share=share) for cause, share in self._time_shares.of_window(now_ms)
            ),
            throttled_seconds={cause: round(self._time_shares.spent.of(cause), 3) for cause in HELD_UP},
            topics=tuple(topic.status for topic in topics),
            partitions=tuple(chain.from_iterable(topic.partitions for topic in topics)),
        )

    def _topic(self, name: str) -> _Topic:
        topic = self._topics.get(name)
        if topic is None:
            topic = self._topics[name] = _Topic(name)
            topic.show_accepted(self._accepted.get(name, {}))
        return topic


class _Sum(NamedTuple):
    """What is left and what is done, added up over partitions."""

    known: int = 0
    lag: int = 0
    left: int = 0
    stopped: int = 0
    paused: int = 0
    unknown: int = 0
    done: int = 0
    span: int = 0
    lag_seconds: float = -1.0

    @classmethod
    def of(cls, parts: Iterable[_Sum]) -> _Sum:
        columns = list(zip(*parts, strict=True))
        if not columns:
            return cls()
        return cls._make([*(sum(column) for column in columns[:-1]), max(columns[-1])])

    def flow(self, amounts: Amounts, rates: Rates) -> Flow:
        """The flow; what is known to be nothing and not known in part is not known."""
        left = Left(records=self.left, stopped=self.stopped, paused=self.paused, unknown=self.unknown)
        eta_seconds, eta_basis = decide_eta(left, rates)
        lag_is_known = self.lag > 0 or (self.known > 0 and not self.unknown)
        done = self.done / self.span if self.span else 1.0
        return Flow(
            records_copied=amounts.records,
            bytes_copied=amounts.bytes,
            markers_written=amounts.markers,
            records_reencoded=amounts.reencoded,
            records_converted=amounts.converted,
            records_per_second=round(rates.records, 1),
            bytes_per_second=round(rates.bytes, 1),
            lag_records=self.lag if lag_is_known else None,
            lag_seconds=self._behind() if lag_is_known else None,
            eta_seconds=None if eta_seconds is None else round(eta_seconds, 1),
            eta_basis=eta_basis,
            done=round(min(done, 0.999) if self.unknown else done, 6) if self.known else None,
        )

    def _behind(self) -> float | None:
        if not self.lag:
            return 0.0
        return None if self.lag_seconds < 0 else self.lag_seconds


class _Topic:
    """One topic's partitions: the last progress of each, and the statuses made of them."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.retention_ms: int | None = None
        self.sum = _Sum()
        self.status = TopicStatus(topic=name, partitions=0, flow=Flow(), states={})
        self.partitions: tuple[PartitionStatus, ...] = ()
        self._statuses: dict[int, PartitionStatus] = {}
        self._progress: dict[int, PartitionProgress] = {}
        self._keys: dict[int, PipelineKey] = {}
        self._changed: set[int] = set()
        self._lagging: set[int] = set()
        self._in_sync_ms: dict[int, int] = {}
        self._crc_errors: Counter[int] = Counter()
        self._foreign_writes = 0
        self._open: dict[int, OpenTransaction] = {}
        self._accepted: dict[int, AcceptedStatus] = {}
        self._ages: dict[int, Ages] = {}
        self._amounts = Amounts()
        self._meter = Meter()
        self._rates = Rates()
        self._latencies = Latencies()
        self._is_counted = False

    def add_latencies(self, more: Latencies) -> None:
        """Takes what was measured since the last time."""
        self._latencies = self._latencies.plus(more)
        self._is_counted = True

    def expect(self, partition: int) -> None:
        if partition not in self._statuses:
            self._statuses[partition] = PartitionStatus(
                topic=self.name, partition=partition, state=PartitionState.WAITING, reason=NOT_LOOKED_AT
            )
            self._changed.add(partition)

    def update(self, now: PartitionProgress, now_ms: int, key: PipelineKey | None) -> Amounts:
        """Takes one progress; returns what was added by it."""
        partition = now.partition.partition
        before = self._progress.get(partition)
        if now == before:
            return Amounts()
        self._progress[partition] = now
        self._changed.add(partition)
        if _is_foreign(now) and not (before is not None and _is_foreign(before)):
            self._foreign_writes += 1
        if _lag(now) == 0 or (before is not None and _lag(before) == 0):
            self._in_sync_ms[partition] = now_ms
        known = 0 if before is None or now.crc_errors < before.crc_errors else before.crc_errors
        self._crc_errors[partition] += now.crc_errors - known
        began_anew = key is not None and self._keys.get(partition) not in (None, key)
        if key is not None:
            self._keys[partition] = key
        added = _added(before, now, began_anew=began_anew)
        self._amounts = self._amounts.plus(added)
        self._meter.observe(now_ms, self._amounts)
        return added

    def show_open(self, transactions: dict[int, OpenTransaction]) -> None:
        """Takes the open transaction of every partition that has one."""
        partitions = self._open.keys() | transactions.keys()
        self._changed |= {each for each in partitions if self._open.get(each) != transactions.get(each)}
        self._open = transactions

    def show_accepted(self, accepted: dict[int, AcceptedStatus]) -> None:
        """Takes what was accepted of every partition of which something was."""
        partitions = self._accepted.keys() | accepted.keys()
        self._changed |= {each for each in partitions if self._accepted.get(each) != accepted.get(each)}
        self._accepted = accepted

    def refresh(self, now_ms: int) -> None:
        """Brings everything that others read up to date."""
        rates = self._meter.rates(now_ms)
        if not self._changed and not self._lagging and rates == self._rates and not self._is_counted:
            return
        self._is_counted = False
        for partition in self._changed | self._lagging:
            self._refresh_partition(partition, now_ms)
        self._changed.clear()
        self._rates = rates
        self.partitions = tuple(self._statuses[partition] for partition in sorted(self._statuses))
        self.sum = _Sum.of(map(_part, self.partitions))
        self.status = TopicStatus(
            topic=self.name,
            partitions=len(self.partitions),
            flow=self.sum.flow(self._amounts, rates),
            states=dict(Counter(each.state for each in self.partitions)),
            foreign_writes=self._foreign_writes,
            latency=LatencyStatus(counts=self._latencies.counts, sum_seconds=self._latencies.sum_ms / 1000),
            loss_seconds=min(
                (each.loss_seconds for each in self.partitions if each.loss_seconds is not None), default=None
            ),
        )

    def _refresh_partition(self, partition: int, now_ms: int) -> None:
        progress = self._progress.get(partition)
        if progress is None:
            return
        lag = _lag(progress)
        (self._lagging.add if lag else self._lagging.discard)(partition)
        stop = progress.stop
        lag_seconds = _lag_seconds(progress, lag, self._in_sync_ms.get(partition, -1), now_ms)
        self._statuses[partition] = PartitionStatus(
            topic=self.name,
            partition=partition,
            state=progress.state,
            position=_known(progress.position),
            source_start=_known(progress.source_start),
            source_end=_known(progress.source_end),
            target_end=_known(progress.target_end),
            offset_class=progress.offset_class if progress.position >= 0 else None,
            lag_records=lag,
            lag_seconds=lag_seconds,
            loss_seconds=self._forecast(partition, lag_seconds, now_ms),
            crc_errors=self._crc_errors[partition],
            reason=progress.reason,
            stop=None if stop is None else StopStatus.of(stop, self.name, partition),
            waived=progress.state is PartitionState.IGNORED,
            held_back_records=progress.held_back if progress.source_end >= 0 else None,
            open_transaction=self._open.get(partition),
            accepted=self._accepted.get(partition),
        )

    def _forecast(self, partition: int, lag_seconds: float | None, now_ms: int) -> float | None:
        """When the source deletes what is not copied yet; nothing to lose where nothing is behind."""
        if not lag_seconds:
            self._ages.pop(partition, None)
            return None
        age = Age(now_ms, lag_seconds)
        before = self._ages.get(partition)
        ages = self._ages[partition] = Ages.beginning(age) if before is None else before.then(age)
        loss = ages.loss_seconds(self.retention_ms)
        return None if loss is None else round(loss, 1)


def decide_state(document: StatusDocument, *, paused: bool = False, full: str = "") -> Verdict:
    """What the partitions' states amount to. `ENDED` and `SUPERSEDED` are for the owner to say.

    `full` says why nothing is written to the target, if that is so.
    """
    states: Counter[PartitionState] = Counter()
    for topic in document.topics:
        states.update(topic.states)
    if paused:
        return Verdict(MigrationState.PAUSED, "an operator paused it", "kmigrate resume -f FILE")
    if full:
        return Verdict(MigrationState.PAUSED, full, "make room on the target's disks, or add some")
    if not states:
        return Verdict(MigrationState.WAITING, "no partition is known yet", GOES_ON)
    stopped, waived = states[PartitionState.STOPPED], states[PartitionState.IGNORED]
    answer = "answer the stops listed here" if stopped else ""
    stops = f"; {count_of(stopped, 'partition')} stopped" if stopped else ""
    moving = states.total() - stopped - waived - states[PartitionState.HANDED_OVER]
    if states[PartitionState.ALIGNING] and not states[PartitionState.CATCHING_UP]:
        aligning = count_of(states[PartitionState.ALIGNING], "partition")
        return Verdict(
            MigrationState.RUNNING, f"bringing {aligning} to where copying begins" + stops, answer or GOES_ON
        )
    if states[PartitionState.CATCHING_UP] or states[PartitionState.THROTTLED]:
        held = states[PartitionState.THROTTLED] and not states[PartitionState.CATCHING_UP]
        reason = "copying, held back by the limit or by a quota" if held else f"copying{_slowest(document)}"
        return Verdict(MigrationState.RUNNING, reason + stops, answer or "wait until it is in sync")
    if states[PartitionState.HANDED_OVER] and not moving and not stopped:
        return Verdict(
            MigrationState.IN_SYNC, "every topic was handed over: the copy has ended", "kmigrate cutover status -f FILE"
        )
    if states[PartitionState.IN_SYNC] == moving:
        if stopped:
            reason = f"{count_of(stopped, 'partition')} stopped; the others are in sync"
            return Verdict(MigrationState.STOPPED, reason, answer)
        beside = f" ({count_of(waived, 'partition')} waived)" if waived else ""
        if held_back := document.held_back:
            waiting = f"{count_of(len(held_back), 'partition')} held back by open transactions"
            return Verdict(
                MigrationState.IN_SYNC,
                f"everything readable is copied{beside}; {waiting}",
                "have the open transactions listed here ended on the source",
            )
        return Verdict(
            MigrationState.IN_SYNC,
            f"everything readable is copied{beside}; new records follow",
            "nothing to do here; the target's topics stay under hold, moving clients is yours to do",
        )
    reasons = Counter(each.reason for each in document.partitions if each.state is PartitionState.WAITING)
    why = next((reason for reason, _ in reasons.most_common() if reason), "partitions are not ready")
    return Verdict(MigrationState.WAITING, why + stops, answer or GOES_ON)


def _slowest(document: StatusDocument) -> str:
    """What holds the copy back most."""
    if not document.time_shares:
        return ""
    most = document.time_shares[0]
    return f"; {most.share:.0%} of the time goes into {most.words}"


def _known(offset: int) -> int | None:
    return offset if offset >= 0 else None


def _is_foreign(progress: PartitionProgress) -> bool:
    return progress.stop is not None and progress.stop.kind is StopKind.FOREIGN_WRITE


def _lag(progress: PartitionProgress) -> int | None:
    if progress.position < 0 or progress.source_end < 0:
        return None
    return max(0, progress.source_end - progress.position)


def _lag_seconds(progress: PartitionProgress, lag: int | None, in_sync_ms: int, now_ms: int) -> float | None:
    """The age of the newest copied record, but no more than the time since the partition was in sync."""
    if not lag:
        return None if lag is None else 0.0
    since_ms = max(progress.newest_ms, in_sync_ms)
    return None if since_ms < 0 else max(0.0, round((now_ms - since_ms) / 1000, 1))


def _added(before: PartitionProgress | None, now: PartitionProgress, *, began_anew: bool) -> Amounts:
    """What happened between two reports. In another pipeline counters begin anew; one that fell did so in any case."""
    counted = _counted(now)
    if before is None:
        return counted
    earlier = _counted(before)
    if not began_anew and all(new >= old for new, old in zip(counted, earlier, strict=True)):
        counted = Amounts(*(new - old for new, old in zip(counted, earlier, strict=True)))
    return counted._replace(
        advanced=_grown(before.position, now.position), produced=_grown(before.source_end, now.source_end)
    )


def _counted(progress: PartitionProgress) -> Amounts:
    return Amounts(
        records=progress.records,
        bytes=progress.bytes,
        markers=progress.markers,
        reencoded=progress.reencoded,
        converted=progress.converted,
    )


def _grown(before: int, now: int) -> int:
    return now - before if 0 <= before < now else 0


def _part(each: PartitionStatus) -> _Sum:
    stopped, paused = int(each.state is PartitionState.STOPPED), int(each.state is PartitionState.PAUSED)
    if each.lag_records is None or each.position is None or each.source_end is None:
        return _Sum(stopped=stopped, paused=paused, unknown=int(each.state not in _NOT_MOVING))
    start = min(each.source_start or 0, each.position, each.source_end)
    return _Sum(
        known=1,
        lag=each.lag_records,
        left=0 if each.state in _NOT_MOVING else each.lag_records,
        stopped=stopped,
        paused=paused,
        done=min(each.position, each.source_end) - start,
        span=each.source_end - start,
        lag_seconds=each.lag_seconds if each.lag_records and each.lag_seconds is not None else -1.0,
    )
