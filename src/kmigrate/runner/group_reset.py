"""Moves a group's commits on the target to where an operator wants them, and back again.

Rule: first a preview. When it is carried out, the group is latched and what was there is kept, both before the commit:
so the sync never takes it back, and `undo` can. A group with members on the target is refused, as by Kafka's own tool.
A time is looked up on the source, since markers on the target carry the time of copying.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

from pydantic import ConfigDict, with_config
from pydantic.alias_generators import to_camel

from kmigrate.cluster.client import ClusterClient
from kmigrate.errors import KmigrateError, Refused, UsageError
from kmigrate.groups.cluster_groups import ClusterGroups
from kmigrate.groups.decide import EMPTY_STATES, latch
from kmigrate.groups.place import Placed
from kmigrate.groups.values import GroupRecord, Value
from kmigrate.kafka_types import BrokerId, LeaderEpoch, Offset, Partition, Side, TopicName, TopicPartition
from kmigrate.runner.group_sync import GroupSync
from kmigrate.state.group_book import ResetEntry
from kmigrate.wire import calls
from kmigrate.wire.call import error_name
from kmigrate.wire.calls import EARLIEST, LATEST, OffsetAnswer

log = logging.getLogger(__name__)
_JSON = ConfigDict(alias_generator=to_camel, validate_by_name=True, validate_by_alias=True)
BY_HAND = "its offsets were reset by an operator"


class ResetMode(Enum):
    """Where to; Kafka's own names."""

    EARLIEST = "to-earliest"
    LATEST = "to-latest"
    DATETIME = "to-datetime"
    SHIFT = "shift-by"
    OFFSET = "to-offset"


@dataclass(frozen=True, slots=True, kw_only=True)
class ResetWish:
    """What is to be reset. `number` is what the mode needs: milliseconds, records, or an offset of the target.

    `scope` maps topics to partitions, none for all of them; an empty scope is everything that the group committed.
    """

    group: str
    mode: ResetMode
    number: int = 0
    scope: Mapping[str, tuple[int, ...]]


@with_config(_JSON)
@dataclass(frozen=True, slots=True, kw_only=True)
class ResetRow:
    """A partition before and after; null: there is no commit."""

    topic: str
    partition: int
    before: int | None
    after: int | None
    note: str = ""


@with_config(_JSON)
@dataclass(frozen=True, slots=True, kw_only=True)
class ResetReply:
    """What a reset does, or did."""

    group: str
    executed: bool
    rows: tuple[ResetRow, ...]


class GroupReset:
    """One reset, or its undo, through a running sync."""

    def __init__(self, live: GroupSync, group: str) -> None:
        self._live = live
        self._group = group
        self._target_client = live.clients[Side.TARGET]()
        self._target = ClusterGroups(self._target_client)

    def close(self) -> None:
        self._target.close()

    def reset(self, wish: ResetWish, *, execute: bool) -> ResetReply:
        """The preview, or with `execute` what was done. Raises UsageError, or Refused for a group with members."""
        with self._live.exclusively():
            broker = self._coordinator()
            self._check_empty(broker)
            before = self._read(broker)
            rows = self._plan(wish, before)
            if execute:
                self._carry_out(broker, before, rows)
            return ResetReply(group=self._group, executed=execute, rows=tuple(rows))

    def undo(self, *, execute: bool) -> ResetReply:
        """Takes the last reset back; raises Refused if somebody committed since."""
        with self._live.exclusively():
            entry = self._live.book.last_reset(self._group)
            if entry is None:
                raise UsageError(
                    f"no reset of group {self._group!r} is recorded that was not undone",
                    hint="`kmigrate group list -f FILE -o wide` shows its commits",
                )
            broker = self._coordinator()
            self._check_empty(broker)
            there = self._read(broker)
            before, after = _load(entry.payload["before"]), _load(entry.payload["after"])
            self._check_untouched(there, before, after)
            rows = [
                ResetRow(
                    topic=tp.topic,
                    partition=tp.partition,
                    before=there[tp].offset if tp in there else None,
                    after=before[tp].offset if tp in before else None,
                )
                for tp in sorted(after)
            ]
            if execute:
                self._take_back(broker, entry, before, after)
            return ResetReply(group=self._group, executed=execute, rows=tuple(rows))

    # -- reading

    def _coordinator(self) -> BrokerId:
        for broker, _ in self._target.by_coordinator([self._group]):
            return broker
        raise KmigrateError(
            f"the target does not tell who coordinates group {self._group!r}", hint="try again in a moment"
        )

    def _check_empty(self, broker: BrokerId) -> None:
        found = self._target.describe(broker, [self._group]).get(self._group)
        if found is None or found.error:
            why = "its coordinator moved" if found is None else error_name(found.error)
            raise KmigrateError(f"the target does not describe group {self._group!r}: {why}", hint="try again")
        if found.state not in EMPTY_STATES:
            members = ", ".join(f"{each.client_id} on {each.host}" for each in found.members[:5])
            raise Refused(
                f"group {self._group!r} has members on the target (state {found.state}): {members}",
                hint="stop them first: a group's commits are theirs while they run",
            )

    def _read(self, broker: BrokerId) -> dict[TopicPartition, Value]:
        found = self._target.fetch_offsets(broker, [self._group], require_stable=True).get(self._group)
        codes = () if found is None else (found.error, *(each.error for each in found.partitions.values()))
        if found is None or any(codes):
            told = ", ".join(error_name(code) for code in sorted({*codes}) if code) or "its coordinator moved"
            raise KmigrateError(f"the commits of group {self._group!r} on the target cannot be read: {told}")
        return {tp: Value.of(each) for tp, each in found.partitions.items() if each.offset >= 0}

    # -- planning

    def _plan(self, wish: ResetWish, before: Mapping[TopicPartition, Value]) -> list[ResetRow]:
        partitions = self._scope(wish.scope, before)
        starts = self._ends(self._target_client, partitions, EARLIEST)
        ends = self._ends(self._target_client, partitions, LATEST)
        places = self._by_time(partitions, wish.number) if wish.mode is ResetMode.DATETIME else {}
        rows = []
        for tp in sorted(partitions):
            current = before.get(tp)
            wanted = {
                ResetMode.EARLIEST: starts[tp],
                ResetMode.LATEST: ends[tp],
                ResetMode.DATETIME: places.get(tp, 0),
                ResetMode.SHIFT: wish.number + (current.offset if current is not None else 0),
                ResetMode.OFFSET: wish.number,
            }[wish.mode]
            if wish.mode is ResetMode.SHIFT and current is None:
                raise UsageError(
                    f"group {self._group!r} has committed nothing for {tp} on the target: there is nothing to shift",
                    hint="name the partitions that it has committed for, or use --to-offset",
                )
            after = min(max(wanted, starts[tp]), ends[tp])
            note = "" if after == wanted else f"{wanted} is outside of the log, which is {starts[tp]} to {ends[tp]}"
            rows.append(
                ResetRow(
                    topic=tp.topic,
                    partition=tp.partition,
                    before=None if current is None else current.offset,
                    after=after,
                    note=note,
                )
            )
        return rows

    def _scope(
        self, scope: Mapping[str, tuple[int, ...]], before: Mapping[TopicPartition, Value]
    ) -> Sequence[TopicPartition]:
        if not scope:
            if not before:
                raise UsageError(
                    f"group {self._group!r} has committed nothing on the target", hint="name topics with -t TOPIC"
                )
            return list(before)
        topics = self._target_client.metadata([TopicName(name) for name in scope]).topics
        found = []
        for name, numbers in scope.items():
            there = topics[TopicName(name)]
            if there.error:
                raise UsageError(f"the target has no topic {name!r}: {error_name(there.error)}")
            for number in numbers or sorted(there.partitions):
                if number not in there.partitions:
                    raise UsageError(f"topic {name!r} has no partition {number} on the target")
                found.append(TopicPartition(TopicName(name), Partition(number)))
        return found

    def _ends(
        self, client: ClusterClient, partitions: Sequence[TopicPartition], timestamp_ms: int
    ) -> dict[TopicPartition, Offset]:
        found = _list_offsets(client, partitions, timestamp_ms)
        for tp in partitions:
            if tp not in found or found[tp].error:
                why = error_name(found[tp].error) if tp in found else "it has no leader"
                raise KmigrateError(f"{client.side} cluster: ListOffsets of {tp}: {why}", hint="try again in a moment")
        return {tp: found[tp].offset for tp in partitions}

    def _by_time(self, partitions: Sequence[TopicPartition], at_ms: int) -> dict[TopicPartition, Offset]:
        """Where the first record at or after a time of the source lies on the target; the end where there is none."""
        source = self._live.clients[Side.SOURCE]()
        try:
            ends = self._ends(source, partitions, LATEST)
            found = self._ends(source, partitions, at_ms)
        finally:
            source.close()
        place, places = self._live.place(), {}
        for tp in partitions:
            offset = found[tp] if found[tp] >= 0 else ends[tp]
            placed = place(tp, offset)
            if not isinstance(placed, Placed):
                raise KmigrateError(f"{tp}@{offset} of the source has no place on the target: {placed.reason}")
            places[tp] = placed.offset
        return places

    # -- acting

    def _carry_out(self, broker: BrokerId, before: Mapping[TopicPartition, Value], rows: Sequence[ResetRow]) -> None:
        self._check_lease()
        after = {
            TopicPartition(TopicName(row.topic), Partition(row.partition)): Value(Offset(row.after), "")
            for row in rows
            if row.after is not None
        }
        record, now_ms = self._live.record(self._group), time.time_ns() // 1_000_000
        payload = {
            "before": _dump({tp: each for tp, each in before.items() if tp in after}),
            "after": _dump(after),
            "moved": record.moved is not None,
        }
        latched = record if record.moved is not None else latch(record, BY_HAND, now_ms)
        self._live.book.plan_reset(self._group, payload, latched, now_ms)
        self._live.adopt(self._group, latched)
        self._commit(broker, after)
        log.warning("group %s was reset on the target by an operator: %s", self._group, payload)

    def _take_back(
        self,
        broker: BrokerId,
        entry: ResetEntry,
        before: Mapping[TopicPartition, Value],
        after: Mapping[TopicPartition, Value],
    ) -> None:
        self._check_lease()
        self._commit(broker, before)
        gone = [tp for tp in after if tp not in before]
        if gone:
            error, errors = self._target.delete_offsets(broker, self._group, gone)
            refused = error or next(filter(None, errors.values()), 0)
            if refused:
                raise KmigrateError(
                    f"the target does not delete commits of group {self._group!r}: {error_name(refused)}",
                    hint="DELETE on the group is needed where it had no commit before the reset",
                )
        record: GroupRecord = self._live.record(self._group)
        if not entry.payload["moved"]:
            record = replace(record, moved=None)
        self._live.book.end_reset(entry, record, time.time_ns() // 1_000_000)
        self._live.adopt(self._group, record)
        log.warning("the last reset of group %s was undone", self._group)

    def _check_lease(self) -> None:
        if not self._live.may_write():
            raise KmigrateError("the lease is not held now: nothing was committed", hint="try again in a moment")

    def _commit(self, broker: BrokerId, values: Mapping[TopicPartition, Value]) -> None:
        if not values:
            return
        refused = {tp: code for tp, code in self._target.commit(broker, self._group, values).items() if code}
        there = self._read(broker)
        other = [tp for tp, each in values.items() if tp not in there or there[tp][:2] != each[:2]]
        if refused or other:
            place = min(refused or other)
            why = error_name(refused[place]) if refused else f"it has {there.get(place)}"
            raise KmigrateError(
                f"the target did not take every commit of group {self._group!r}; {place}: {why}",
                hint="do it again, or take it back with --undo --execute",
            )

    def _check_untouched(
        self,
        there: Mapping[TopicPartition, Value],
        before: Mapping[TopicPartition, Value],
        after: Mapping[TopicPartition, Value],
    ) -> None:
        """Whether everything is as the reset left it, or found it: it may have been cut short."""
        for tp, value in after.items():
            if there.get(tp) not in (value, before.get(tp)):
                raise Refused(
                    f"group {self._group!r} has the commit {there.get(tp)} for {tp} now; the reset left {value}",
                    hint="somebody committed since: nothing was undone; reset it to where it should be",
                )


def _list_offsets(
    client: ClusterClient, partitions: Sequence[TopicPartition], timestamp_ms: int
) -> Mapping[TopicPartition, OffsetAnswer]:
    topics = client.metadata(sorted({tp.topic for tp in partitions})).topics
    led: dict[BrokerId, list[TopicPartition]] = {}
    for tp in partitions:
        part = topics[tp.topic].partitions.get(tp.partition) if tp.topic in topics else None
        if part is not None and part.leader >= 0:
            led.setdefault(part.leader, []).append(tp)
    found: dict[TopicPartition, OffsetAnswer] = {}
    for leader, its in led.items():
        answer = client.broker(leader, calls.list_offsets(its, timestamp_ms))
        found.update(answer)
    return found


def _dump(values: Mapping[TopicPartition, Value]) -> list[list[object]]:
    return [[*tp, *value] for tp, value in values.items()]


def _load(saved: Sequence[Sequence[Any]]) -> dict[TopicPartition, Value]:
    return {
        TopicPartition(TopicName(topic), Partition(number)): Value(Offset(offset), metadata, LeaderEpoch(epoch))
        for topic, number, offset, metadata, epoch in saved
    }
