"""Effects on groups: their commits are captured, prepared, withdrawn, and brought back.

Rule: as in `carrying.py`. A commit counts once it was read back, and what was prepared is in the book before that
counts as done. A group with members is never committed for: its coordinator refuses it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from kmigrate.cluster.client import ClusterClient
from kmigrate.errors import KmigrateError
from kmigrate.groups.cluster_groups import ClusterGroups
from kmigrate.groups.decide import EMPTY_STATES, Place
from kmigrate.groups.place import NOWHERE, Placed
from kmigrate.groups.values import Outcome, Value
from kmigrate.kafka_types import UNKNOWN_EPOCH, BrokerId, Offset, Side, TopicName, TopicPartition
from kmigrate.offsets.offset_map import Ends
from kmigrate.runner.cutover.book import CutoverBook
from kmigrate.runner.cutover.carrying import Carried, Handler, Waits
from kmigrate.schemes.cutover import Cutover
from kmigrate.schemes.effects import Effect, EffectKind
from kmigrate.wire.call import error_name
from kmigrate.wire.group_calls import Committed

ROUND_SECONDS = 20.0
PREPARED_METADATA = ""


class Groups(Protocol):
    """The groups that the owner keeps in step; for any thread."""

    def latch(self, groups: Iterable[str], reason: str) -> None: ...
    def unlatch(self, groups: Iterable[str], reason: str) -> None: ...
    def whole_round(self, timeout_seconds: float) -> bool: ...
    def place(self) -> Place: ...


ToSource = Callable[[TopicPartition, Offset], Offset | str]
"""Where an offset of the target lies on the source; or why that is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupEffects:
    """The handlers; `clients` opens a client of a cluster, each handler closes its own."""

    book: CutoverBook
    groups: Groups
    clients: Mapping[Side, Callable[[], ClusterClient]]
    ends_of: Callable[[TopicName], Mapping[TopicPartition, Ends] | None]
    to_source: ToSource
    may_write: Callable[[], bool]

    def handlers(self) -> dict[EffectKind, Handler]:
        kind = EffectKind
        return {
            kind.END_GROUP_SYNC: self.end_sync,
            kind.RESUME_GROUP_SYNC: self.resume_sync,
            kind.CAPTURE_COMMITS: self.capture,
            kind.PREPARE_GROUPS: self.prepare,
            kind.WITHDRAW_COMMITS: self.withdraw,
            kind.TRANSLATE_BACK: self.translate_back,
            kind.COMMIT_BACK: self.translate_back,
        }

    def end_sync(self, cutover: Cutover, effect: Effect) -> Carried | Waits:
        self.groups.latch(cutover.wave.scope(effect.scope).groups, _latch(cutover))
        return Carried()

    def resume_sync(self, cutover: Cutover, effect: Effect) -> Carried | Waits:
        self.groups.unlatch(cutover.wave.scope(effect.scope).groups, _latch(cutover))
        return Carried()

    # -- to the target

    def capture(self, cutover: Cutover, effect: Effect) -> Carried | Waits:
        """The last commits of groups without members, exactly where they lie on the target, and read back there."""
        groups, topics = cutover.wave.scope(effect.scope).groups, set(cutover.wave.topics)
        if not self.groups.whole_round(ROUND_SECONDS):
            return Waits("the groups are looked at anew")
        place = self.groups.place()
        with self._clusters() as (source, target):
            prepared: dict[str, dict[TopicPartition, Offset]] = {}
            for group in groups:
                theirs = _commits(source, group, stable=True)
                there = _commits(target, group, stable=True)
                wanted: dict[TopicPartition, Offset] = {}
                for tp, committed in theirs.items():
                    if tp.topic not in topics:
                        continue
                    placed = place(tp, committed.offset)
                    if isinstance(placed, Outcome):
                        return Waits(f"group {group}, {tp}: {placed.reason}")
                    found = there.get(tp)
                    if _differs(placed, found):
                        shown = "nothing" if found is None else f"{found.offset}"
                        return Waits(
                            f"group {group}, {tp}: {shown} is committed on the target, it should be {placed.offset}"
                        )
                    if placed.offset != NOWHERE:
                        wanted[tp] = placed.offset
                prepared[group] = wanted
        self._keep(prepared)
        return Carried()

    def prepare(self, cutover: Cutover, effect: Effect) -> Carried | Waits:
        """Groups that have read the source to its end are committed on the target where the copy ended."""
        groups, topics = cutover.wave.scope(effect.scope).groups, set(cutover.wave.topics)
        with self._clusters() as (source, target):
            prepared = {}
            for group in groups:
                read = {tp.topic for tp in _commits(source, group) if tp.topic in topics}
                wanted: dict[TopicPartition, Offset] = {}
                for topic in sorted(read):
                    ends = self.ends_of(topic)
                    if ends is None:
                        return Waits(f"the copy of topic {topic} has not ended yet")
                    wanted |= {tp: each.target for tp, each in ends.items()}
                missing = self._commit(target, group, wanted, at_least=True)
                if missing:
                    return Waits(missing)
                prepared[group] = wanted
        self._keep(prepared)
        return Carried()

    def withdraw(self, cutover: Cutover, effect: Effect) -> Carried | Waits:
        """Commits that nobody has moved on from are taken away; what somebody has read from there stays."""
        groups, known = cutover.wave.scope(effect.scope).groups, self.book.prepared()
        with self._clusters() as (_, target):
            for group in groups:
                there = _commits(target, group)
                ours = [tp for tp, at in known.get(group, {}).items() if tp in there and there[tp].offset == at]
                if not ours:
                    continue
                if not self.may_write():
                    return Waits("waiting for the lease")
                broker = _coordinator(target, group)
                error, errors = target.delete_offsets(broker, group, ours)
                failed = error or next((each for each in errors.values() if each), 0)
                if failed:
                    return Waits(f"commits of group {group} on the target: {error_name(failed)}")
        if known.keys() & set(groups):
            self.book.forget_prepared(groups)
        return Carried()

    def _keep(self, prepared: Mapping[str, Mapping[TopicPartition, Offset]]) -> None:
        known = self.book.prepared()
        if any(known.get(group) != dict(each) for group, each in prepared.items()):
            self.book.record_prepared(prepared)

    # -- back to the source

    def translate_back(self, cutover: Cutover, effect: Effect) -> Carried | Waits:
        """What groups have read on the target is committed on the source, where that is further than what is there."""
        groups, topics = cutover.wave.scope(effect.scope).groups, set(cutover.wave.topics)
        known = self.book.prepared()
        with self._clusters() as (source, target):
            for group in groups:
                begun = known.get(group)
                if begun is None:
                    continue  # it never left the source
                there = _commits(target, group, stable=True)
                wanted: dict[TopicPartition, Offset] = {}
                for tp, committed in there.items():
                    if tp.topic not in topics or committed.offset <= begun.get(tp, NOWHERE):
                        continue
                    place = self.to_source(tp, committed.offset)
                    if isinstance(place, str):
                        return Waits(f"group {group}, {tp}: {place}")
                    wanted[tp] = place
                missing = self._commit(source, group, wanted, at_least=False)
                if missing:
                    return Waits(missing)
        if effect.kind is EffectKind.TRANSLATE_BACK and known.keys() & set(groups):
            self.book.forget_prepared(groups)  # a way back may be given up: then they are prepared still
        return Carried()

    # -- commits

    def _commit(
        self, cluster: ClusterGroups, group: str, wanted: Mapping[TopicPartition, Offset], *, at_least: bool
    ) -> str:
        """Commits what is not there yet, and reads it back; why not, empty if it is there. `at_least`: what is further
        stays."""
        for attempt in range(2):
            there = _commits(cluster, group)
            missing = {
                tp: at
                for tp, at in wanted.items()
                if tp not in there or (there[tp].offset < at if at_least else there[tp].offset != at)
            }
            if not missing:
                return ""
            if attempt:
                break
            broker = _coordinator(cluster, group)
            described = cluster.describe(broker, [group]).get(group)
            if described is None or described.error or described.state not in EMPTY_STATES:
                return f"group {group} has members on the {cluster.side}, or its coordinator does not tell"
            if not self.may_write():
                return "waiting for the lease"
            answer = cluster.commit(
                broker, group, {tp: Value(at, PREPARED_METADATA, UNKNOWN_EPOCH) for tp, at in missing.items()}
            )
            refused = {tp: code for tp, code in answer.items() if code}
            if refused:
                tp, code = min(refused.items())
                return f"group {group}, {tp} on the {cluster.side}: {error_name(code)}"
        return f"group {group}: its commits on the {cluster.side} are not what was written"

    @contextlib.contextmanager
    def _clusters(self) -> Iterator[tuple[ClusterGroups, ClusterGroups]]:
        source = ClusterGroups(self.clients[Side.SOURCE]())
        target = ClusterGroups(self.clients[Side.TARGET]())
        try:
            yield source, target
        finally:
            source.close()
            target.close()


def _latch(cutover: Cutover) -> str:
    return f"the cutover of wave {cutover.wave.name} ended the bringing of its commits"


def _coordinator(cluster: ClusterGroups, group: str) -> BrokerId:
    for broker, _ in cluster.by_coordinator([group]):
        return broker
    raise KmigrateError(f"group {group}: its coordinator on the {cluster.side} is not known", hint="wait")


def _commits(cluster: ClusterGroups, group: str, *, stable: bool = False) -> Mapping[TopicPartition, Committed]:
    """What a group has committed; raises KmigrateError if that is not known."""
    found = cluster.fetch_offsets(_coordinator(cluster, group), [group], require_stable=stable).get(group)
    if found is None or found.error:
        why = "its coordinator is another one now" if found is None else error_name(found.error)
        raise KmigrateError(f"group {group} on the {cluster.side}: {why}", hint="wait")
    bad = next(((tp, each.error) for tp, each in found.partitions.items() if each.error), None)
    if bad is not None:
        raise KmigrateError(f"group {group}, {bad[0]} on the {cluster.side}: {error_name(bad[1])}", hint="wait")
    return {tp: each for tp, each in found.partitions.items() if each.offset >= 0}


def _differs(placed: Placed, found: Committed | None) -> bool:
    return found is not None if placed.offset == NOWHERE else found is None or found.offset != placed.offset
