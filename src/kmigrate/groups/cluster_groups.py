"""The groups of one cluster, asked of their coordinators: many groups in a request, and few requests.

A coordinator that moved, or is loading, is looked for anew in the next round; what it was asked for counts as not
answered. Brokers before 3.0 take one group in a request (OffsetFetch v7, FindCoordinator v2).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, TypeVar

from kmigrate.cluster.client import ClusterClient
from kmigrate.cluster.lanes import Lanes, NotSent
from kmigrate.errors import BrokerRefused, ClusterError
from kmigrate.groups.values import Value
from kmigrate.kafka_types import BrokerId, Side, TopicPartition
from kmigrate.wire import group_calls, offset_calls
from kmigrate.wire.call import error_name
from kmigrate.wire.error_codes import ErrorCode
from kmigrate.wire.group_calls import Coordinator, GroupOffsets
from kmigrate.wire.offset_calls import DescribedGroup, ListedGroup, OffsetsSeen

log = logging.getLogger(__name__)
T = TypeVar("T")

GROUPS_A_REQUEST = 100
"""How many groups one request asks about: at 50 partitions each, an answer of about 150 KB."""

_LOST = frozenset(
    {ErrorCode.COORDINATOR_LOAD_IN_PROGRESS, ErrorCode.COORDINATOR_NOT_AVAILABLE, ErrorCode.NOT_COORDINATOR}
)
_NOT_OF_IT = frozenset({ErrorCode.GROUP_ID_NOT_FOUND, ErrorCode.UNSUPPORTED_VERSION})


class Listing(NamedTuple):
    """The groups of a cluster; `trouble` says why some may be missing (empty: none is)."""

    groups: Mapping[str, ListedGroup]
    trouble: str


class Commit(NamedTuple):
    """What is to be committed for a group, and the broker that coordinates it."""

    broker: BrokerId
    group: str
    offsets: Mapping[TopicPartition, Value]


Answered = Mapping[TopicPartition, int] | ClusterError | NotSent
"""An error code of each partition; with a ClusterError the outcome is unknown."""


class ClusterGroups:
    """One cluster's groups; used by one thread, with a client of its own."""

    def __init__(self, client: ClusterClient) -> None:
        self.side: Side = client.side
        self._client = client
        self._lanes = Lanes(client.connect)
        self._seen = OffsetsSeen()
        self._coordinators: dict[str, BrokerId] = {}
        self._refusals: dict[str, int] = {}
        self._is_old = False
        """Whether a broker turned out to take one group in a request."""
        self._is_classic = False
        """Whether a broker turned out not to know the new protocol."""

    def list_all(self) -> Listing:
        """Asks every broker for the groups that it coordinates; raises ClusterError if none is known."""
        found: dict[str, ListedGroup] = {}
        trouble = ""
        for broker in self._client.metadata([]).brokers:
            try:
                answer = self._client.broker(broker, offset_calls.list_groups())
            except ClusterError as error:
                trouble = trouble or str(error)
                continue
            if answer.error:
                trouble = trouble or f"ListGroups of broker {broker} on the {self.side}: {error_name(answer.error)}"
            found.update((each.group_id, each) for each in answer.groups)
        return Listing(found, trouble)

    def by_coordinator(self, groups: Collection[str]) -> Iterator[tuple[BrokerId, Sequence[str]]]:
        """The groups by the broker that coordinates them, some at a time; those without one are left out."""
        unknown = [group for group in groups if group not in self._coordinators]
        if unknown:
            self._find(unknown)
        led: dict[BrokerId, list[str]] = {}
        for group in groups:
            if group in self._coordinators:
                led.setdefault(self._coordinators[group], []).append(group)
        for broker, its in led.items():
            for chunk in _chunks(its, GROUPS_A_REQUEST):
                yield broker, chunk

    def refusal(self, group: str) -> int:
        """The error for which the group's coordinator was not told the last time, where waiting does not mend it; 0."""
        return self._refusals.get(group, 0)

    def _find(self, groups: Sequence[str]) -> None:
        try:
            for chunk in _chunks(groups, GROUPS_A_REQUEST):
                for group, found in self._ask_coordinators(chunk).items():
                    self._refusals.pop(group, None)
                    if not found.error:
                        self._coordinators[group] = found.address.node_id
                    elif found.error == ErrorCode.GROUP_AUTHORIZATION_FAILED:
                        self._refusals[group] = found.error
        except ClusterError as error:
            log.info("coordinators on the %s: %s", self.side, error)

    def _ask_coordinators(self, groups: Sequence[str]) -> Mapping[str, Coordinator]:
        if not self._is_old:
            try:
                return self._client.any(offset_calls.find_coordinators(groups))
            except BrokerRefused as error:
                self._turn_old(error)
        return {group: self._client.any(group_calls.find_coordinator(group)) for group in groups}

    def _turn_old(self, error: BrokerRefused) -> None:
        if error.code != ErrorCode.UNSUPPORTED_VERSION:
            raise error
        self._is_old = True

    def fetch_offsets(
        self, broker: BrokerId, groups: Sequence[str], *, require_stable: bool = False
    ) -> Mapping[str, GroupOffsets]:
        """Every commit of these groups; the same values as before where nothing changed. Raises ClusterError.

        Groups whose coordinator is another one by now are left out.
        """
        return self._known(groups, self._ask(groups, lambda: self._fetch(broker, groups, require_stable)))

    def _fetch(self, broker: BrokerId, groups: Sequence[str], require_stable: bool) -> Mapping[str, GroupOffsets]:
        if not self._is_old:
            try:
                call = offset_calls.fetch_offsets(groups, self._seen, require_stable=require_stable)
                return self._client.broker(broker, call)
            except BrokerRefused as error:
                self._turn_old(error)
        return {
            group: self._client.broker(broker, group_calls.offset_fetch(group, require_stable=require_stable))
            for group in groups
        }

    def describe(self, broker: BrokerId, groups: Sequence[str]) -> Mapping[str, DescribedGroup]:
        """State and members of these groups, of either protocol; one that does not exist is Dead. Raises ClusterError.

        Groups whose coordinator is another one by now are left out.
        """
        call = offset_calls.describe_classic_groups(groups)
        found = dict(self._known(groups, self._ask(groups, lambda: self._client.broker(broker, call))))
        dead = [group for group, each in found.items() if each.state in ("Dead", "")]
        if dead and not self._is_classic:
            found |= self._describe_consumers(broker, dead)
        return found

    def _describe_consumers(self, broker: BrokerId, groups: Sequence[str]) -> Mapping[str, DescribedGroup]:
        """Those of the new protocol; a cluster that has it switched off says UNSUPPORTED_VERSION of each."""
        call = offset_calls.describe_consumer_groups(groups)
        try:
            answer = self._client.broker(broker, call)
        except BrokerRefused as error:
            if error.code != ErrorCode.UNSUPPORTED_VERSION:
                raise
            self._is_classic = True
            return {}
        return {group: each for group, each in answer.items() if each.error not in _NOT_OF_IT}

    def commit(
        self, broker: BrokerId, group: str, offsets: Mapping[TopicPartition, Value]
    ) -> Mapping[TopicPartition, int]:
        """Commits from outside of the group: an error code each. Raises ClusterError: then the outcome is unknown."""
        call = offset_calls.commit_from_outside(group, offsets)
        answer = self._ask([group], lambda: self._client.broker(broker, call))
        self._note_committed(group, answer)
        return answer

    def commit_all(self, commits: Sequence[Commit], may_send: Callable[[], bool]) -> list[Answered]:
        """Many commits from outside, several at a time at each broker; what became of each, in their order.

        `may_send` is asked before each of them.
        """
        calls = [(each.broker, offset_calls.commit_from_outside(each.group, each.offsets)) for each in commits]
        answers = self._lanes.ask(calls, may_send)
        for each, answer in zip(commits, answers, strict=True):
            self._note_committed(each.group, answer)
        return answers

    def _note_committed(self, group: str, answer: Answered) -> None:
        """A coordinator that is another one now, or does not answer, is looked for anew."""
        if isinstance(answer, NotSent):
            is_lost = bool(answer.reason)
        else:
            is_lost = isinstance(answer, ClusterError) or not _LOST.isdisjoint(answer.values())
        if is_lost:
            self._coordinators.pop(group, None)

    def delete_offsets(
        self, broker: BrokerId, group: str, partitions: Collection[TopicPartition]
    ) -> tuple[int, Mapping[TopicPartition, int]]:
        """Takes a group's commits away: (error of the group, error of each partition)."""
        return self._ask([group], lambda: self._client.broker(broker, offset_calls.delete_offsets(group, partitions)))

    def forget(self, groups: Iterable[str]) -> None:
        """These groups are not asked for any more."""
        gone = list(groups)
        self._seen.forget(gone)
        for group in gone:
            self._coordinators.pop(group, None)
            self._refusals.pop(group, None)

    def close(self) -> None:
        self._lanes.close()
        self._client.close()

    def _ask(self, groups: Sequence[str], ask: Callable[[], T]) -> T:
        """Asks a coordinator; one that does not answer is looked for anew."""
        try:
            return ask()
        except ClusterError:
            for group in groups:
                self._coordinators.pop(group, None)
            raise

    def _known(self, groups: Sequence[str], answers: Mapping[str, T]) -> Mapping[str, T]:
        """The answers but those of brokers that do not coordinate the group now."""
        lost = [group for group in groups if getattr(answers.get(group), "error", 0) in _LOST]
        for group in lost:
            self._coordinators.pop(group, None)
        return answers if not lost else {group: each for group, each in answers.items() if group not in lost}


def _chunks(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for first in range(0, len(items), size):
        yield items[first : first + size]
