"""Consumer groups of a simulated cluster, as `kmigrate.groups.sync` meets them: with members that come and go, answers
that are lost, and commits that arrive late."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from kmigrate.cluster.lanes import LANES, NotSent
from kmigrate.errors import ClusterError, ConnectionLost
from kmigrate.groups.cluster_groups import Answered, Commit, Listing
from kmigrate.groups.values import GroupRecord, Value
from kmigrate.kafka_types import BrokerId, LeaderEpoch, Offset, Side, TopicPartition
from kmigrate.wire.error_codes import ErrorCode
from kmigrate.wire.group_calls import Committed, GroupOffsets
from kmigrate.wire.offset_calls import DescribedGroup, ListedGroup, Member

BROKER = BrokerId(1)


class OwnCommit(NamedTuple):
    """A commit that the sync made, and that the coordinator took."""

    group: str
    partition: TopicPartition
    value: Value
    over: Value | None


@dataclass
class SimulatedGroup:
    """A group at its coordinator."""

    offsets: dict[TopicPartition, Value] = field(default_factory=dict)
    members: int = 0


class LostAnswer(Exception):
    """A crash of whoever asked, in the middle of a call."""


class SimulatedGroups:
    """One cluster's groups; `before` is called ahead of everything that is asked, and may do or raise anything."""

    def __init__(self, side: Side, before: Callable[[str], None] = lambda what: None) -> None:
        self.side = side
        self.groups: dict[str, SimulatedGroup] = {}
        self.own: list[OwnCommit] = []
        self.asked: list[str] = []
        self.before = before
        self.outcome: Callable[[], str] = lambda: "ok"
        """Of a commit: ok, lost (never arrives), unanswered (arrives, no answer), late (arrives with `deliver`)."""
        self.listing_trouble = ""
        self.late: list[tuple[str, Mapping[TopicPartition, Value]]] = []
        self._last: dict[str, GroupOffsets] = {}

    def group(self, name: str) -> SimulatedGroup:
        return self.groups.setdefault(name, SimulatedGroup())

    def _ask(self, what: str) -> None:
        self.asked.append(what)
        self.before(what)

    def list_all(self) -> Listing:
        self._ask("list")
        listed = {
            name: ListedGroup(name, "consumer", "Stable" if group.members else "Empty", "classic")
            for name, group in self.groups.items()
        }
        return Listing(listed, self.listing_trouble)

    def by_coordinator(self, groups: Collection[str]) -> Iterator[tuple[BrokerId, Sequence[str]]]:
        if groups:
            yield BROKER, list(groups)

    def fetch_offsets(
        self, broker: BrokerId, groups: Sequence[str], *, require_stable: bool = False
    ) -> Mapping[str, GroupOffsets]:
        self._ask("offsets")
        found = {}
        for name in groups:
            held = self.groups[name].offsets if name in self.groups else {}
            answer = GroupOffsets(0, {tp: Committed(0, v.offset, v.leader_epoch, v.metadata) for tp, v in held.items()})
            if self._last.get(name) != answer:
                self._last[name] = answer
            found[name] = self._last[name]
        return found

    def describe(self, broker: BrokerId, groups: Sequence[str]) -> Mapping[str, DescribedGroup]:
        self._ask("describe")
        return {name: self._describe(self.groups.get(name)) for name in groups}

    def _describe(self, group: SimulatedGroup | None) -> DescribedGroup:
        if group is None:
            return DescribedGroup(0, "Dead", "", ())
        members = tuple(Member(f"m{number}", "app", "host", None) for number in range(group.members))
        return DescribedGroup(0, "Stable" if members else "Empty", "consumer", members)

    def commit_all(self, commits: Sequence[Commit], may_send: Callable[[], bool]) -> list[Answered]:
        """Those that were under way together all have their fate; behind a failure nothing is sent any more."""
        answers: list[Answered] = []
        failure = ""
        for number, each in enumerate(commits):
            if number % LANES == 0 and failure:
                answers += [NotSent(failure)] * (len(commits) - number)
                break
            try:
                answers.append(self.commit(*each) if may_send() else NotSent(""))
            except ClusterError as error:
                answers.append(error)
                failure = str(error)
        return answers

    def commit(
        self, broker: BrokerId, group: str, offsets: Mapping[TopicPartition, Value]
    ) -> Mapping[TopicPartition, int]:
        self._ask("commit")
        outcome = self.outcome()
        if outcome == "late":
            self.late.append((group, offsets))
        if outcome in ("late", "lost"):
            raise ConnectionLost("no answer", side=self.side)
        answer = self._take(group, offsets)
        if outcome == "unanswered":
            raise ConnectionLost("no answer", side=self.side)
        if outcome == "crash":
            raise LostAnswer
        return answer

    def deliver(self) -> None:
        """What was under way arrives now."""
        for group, offsets in self.late:
            self._take(group, offsets)
        self.late.clear()

    def _take(self, name: str, offsets: Mapping[TopicPartition, Value]) -> dict[TopicPartition, int]:
        group = self.group(name)
        if group.members:
            return dict.fromkeys(offsets, int(ErrorCode.UNKNOWN_MEMBER_ID))
        for partition, value in offsets.items():
            self.own.append(OwnCommit(name, partition, value, group.offsets.get(partition)))
            group.offsets[partition] = value
        return dict.fromkeys(offsets, 0)

    def delete_offsets(
        self, broker: BrokerId, group: str, partitions: Sequence[TopicPartition]
    ) -> tuple[int, Mapping[TopicPartition, int]]:
        self._ask("delete")
        if self.group(group).members:
            return int(ErrorCode.NON_EMPTY_GROUP), {}
        for partition in partitions:
            self.group(group).offsets.pop(partition, None)
        return 0, dict.fromkeys(partitions, 0)

    def forget(self, groups: Collection[str]) -> None:
        """Nothing is cached here."""

    # -- what applications do

    def commit_inside(self, name: str, partition: TopicPartition, offset: int, *, epoch: int = 0) -> None:
        """A commit of an application."""
        self.group(name).offsets[partition] = Value(Offset(offset), "", LeaderEpoch(epoch))


class MemoryBook:
    """Records that survive the sync that made them, unless `save` is told to fail before or after it kept them."""

    def __init__(self) -> None:
        self.records: dict[str, GroupRecord] = {}
        self.crash: str = ""

    def load(self) -> Mapping[str, GroupRecord]:
        return dict(self.records)

    def save(self, records: Mapping[str, GroupRecord]) -> None:
        crash, self.crash = self.crash, ""
        if crash == "before":
            raise LostAnswer
        self.records |= records
        if crash == "after":
            raise LostAnswer
