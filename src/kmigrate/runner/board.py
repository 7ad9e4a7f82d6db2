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

from kmigrate.copy.progress import PartitionProgress
from kmigrate.copy.states import PartitionState
from kmigrate.kafka_types import TopicPartition
from kmigrate.runner.meter import Amounts, Left, Meter, Rates, decide_eta
from kmigrate.runner.status import (
    GOES_ON,
    AcceptedStatus,
    Flow,
    MigrationState,
    OpenTransaction,
    PartitionStatus,
    StatusDocument,
    StopStatus,
    TopicStatus,
)

NOT_LOOKED_AT = "not looked at yet"
_NOT_MOVING = (
    PartitionState.IN_SYNC,
    PartitionState.PAUSED,
    PartitionState.STOPPED,
    PartitionState.IGNORED,
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
        self._amounts = Amounts()
        self._meter = Meter()

    def expect(self, partitions: Iterable[TopicPartition]) -> None:
        """Lists partitions that no worker has reported yet."""
        for topic, partition in partitions:
            self._topic(topic).expect(partition)

    def drop(self, topic: str) -> None:
        """Forgets a topic that no longer takes part, or is copied anew from its start."""
        self._topics.pop(topic, None)

    def update(self, progress: Iterable[PartitionProgress], now_ms: int) -> None:
        """Takes what workers reported."""
        for each in progress:
            self._amounts = self._amounts.plus(self._topic(each.partition.topic).update(each, now_ms))
        self._meter.observe(now_ms, self._amounts)

    def show_open(self, transactions: Mapping[TopicPartition, OpenTransaction]) -> None:
        """Takes all open transactions that are known to hold something back; those of before are over."""
        by_topic: dict[str, dict[int, OpenTransaction]] = {}
        for (topic, partition), each in transactions.items():
            by_topic.setdefault(topic, {})[partition] = each
        for name, known in self._topics.items():
            known.show_open(by_topic.get(name, {}))

    def show_accepted(self, accepted: Mapping[TopicPartition, AcceptedStatus]) -> None:
        """Takes everything that an operator went on with; what is not among it was created anew."""
        by_topic: dict[str, dict[int, AcceptedStatus]] = {}
        for (topic, partition), each in accepted.items():
            by_topic.setdefault(topic, {})[partition] = each
        for name, known in self._topics.items():
            known.show_accepted(by_topic.get(name, {}))

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
            topics=tuple(topic.status for topic in topics),
            partitions=tuple(chain.from_iterable(topic.partitions for topic in topics)),
        )

    def _topic(self, name: str) -> _Topic:
        topic = self._topics.get(name)
        if topic is None:
            topic = self._topics[name] = _Topic(name)
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
        self.sum = _Sum()
        self.status = TopicStatus(topic=name, partitions=0, flow=Flow(), states={})
        self.partitions: tuple[PartitionStatus, ...] = ()
        self._statuses: dict[int, PartitionStatus] = {}
        self._progress: dict[int, PartitionProgress] = {}
        self._changed: set[int] = set()
        self._lagging: set[int] = set()
        self._in_sync_ms: dict[int, int] = {}
        self._crc_errors: Counter[int] = Counter()
        self._open: dict[int, OpenTransaction] = {}
        self._accepted: dict[int, AcceptedStatus] = {}
        self._amounts = Amounts()
        self._meter = Meter()
        self._rates = Rates()

    def expect(self, partition: int) -> None:
        if partition not in self._statuses:
            self._statuses[partition] = PartitionStatus(
                topic=self.name, partition=partition, state=PartitionState.WAITING, reason=NOT_LOOKED_AT
            )
            self._changed.add(partition)

    def update(self, now: PartitionProgress, now_ms: int) -> Amounts:
        """Takes one progress; returns what was added by it."""
        partition = now.partition.partition
        before = self._progress.get(partition)
        if now == before:
            return Amounts()
        self._progress[partition] = now
        self._changed.add(partition)
        if _lag(now) == 0 or (before is not None and _lag(before) == 0):
            self._in_sync_ms[partition] = now_ms
        known = 0 if before is None or now.crc_errors < before.crc_errors else before.crc_errors
        self._crc_errors[partition] += now.crc_errors - known
        added = _added(before, now)
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
        if not self._changed and not self._lagging and rates == self._rates:
            return
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
        )

    def _refresh_partition(self, partition: int, now_ms: int) -> None:
        progress = self._progress.get(partition)
        if progress is None:
            return
        lag = _lag(progress)
        (self._lagging.add if lag else self._lagging.discard)(partition)
        stop = progress.stop
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
            lag_seconds=_lag_seconds(progress, lag, self._in_sync_ms.get(partition, -1), now_ms),
            crc_errors=self._crc_errors[partition],
            reason=progress.reason,
            stop=None if stop is None else StopStatus.of(stop, self.name, partition),
            waived=progress.state is PartitionState.IGNORED,
            held_back_records=progress.held_back if progress.source_end >= 0 else None,
            open_transaction=self._open.get(partition),
            accepted=self._accepted.get(partition),
        )


def decide_state(document: StatusDocument, *, paused: bool = False) -> Verdict:
    """What the partitions' states amount to. `ENDED` and `SUPERSEDED` are for the owner to say."""
    states: Counter[PartitionState] = Counter()
    for topic in document.topics:
        states.update(topic.states)
    if paused:
        return Verdict(MigrationState.PAUSED, "an operator paused it", "kmigrate resume -f FILE")
    if not states:
        return Verdict(MigrationState.WAITING, "no partition is known yet", GOES_ON)
    stopped, waived = states[PartitionState.STOPPED], states[PartitionState.IGNORED]
    answer = "answer the stops listed here" if stopped else ""
    stops = f"; {_count(stopped, 'partition')} stopped" if stopped else ""
    moving = states.total() - stopped - waived
    if states[PartitionState.ALIGNING] and not states[PartitionState.CATCHING_UP]:
        aligning = _count(states[PartitionState.ALIGNING], "partition")
        return Verdict(
            MigrationState.RUNNING, f"bringing {aligning} to where copying begins" + stops, answer or GOES_ON
        )
    if states[PartitionState.CATCHING_UP] or states[PartitionState.THROTTLED]:
        held = states[PartitionState.THROTTLED] and not states[PartitionState.CATCHING_UP]
        reason = "copying, held back by the limit or by a quota" if held else "copying"
        return Verdict(MigrationState.RUNNING, reason + stops, answer or "wait until it is in sync")
    if states[PartitionState.IN_SYNC] == moving:
        if stopped:
            reason = f"{_count(stopped, 'partition')} stopped; the others are in sync"
            return Verdict(MigrationState.STOPPED, reason, answer)
        beside = f" ({_count(waived, 'partition')} waived)" if waived else ""
        if held_back := document.held_back:
            waiting = f"{_count(len(held_back), 'partition')} held back by open transactions"
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


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _known(offset: int) -> int | None:
    return offset if offset >= 0 else None


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


def _added(before: PartitionProgress | None, now: PartitionProgress) -> Amounts:
    """What happened between two reports. A counter that fell began anew: in another worker or pipeline."""
    counted = _counted(now)
    if before is None:
        return counted
    earlier = _counted(before)
    if all(new >= old for new, old in zip(counted, earlier, strict=True)):
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
