"""The fencer puts a fence and lifts it: what the book says is made true on a cluster, and looked at on every broker.

Rule: before each request the book is asked whether the fence is still wanted, and a fence counts as put or lifted once
every broker that the cluster names shows it. Each step can be carried out again at any time. Two fencers at once do no
harm: a putting that finds its fence to be lifted lifts it itself.

On a cluster with ZooKeeper brokers answer for topic settings from there, not from what they go by themselves: `ends`
are the witness then, and everywhere for what no broker shows, such as a writer whom the fence does not hold.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple

from kmigrate.cluster.client import ClusterClient
from kmigrate.errors import ClusterError, KmigrateError, Refused
from kmigrate.kafka_types import BrokerId, LeaderEpoch, Offset, TopicName, TopicPartition
from kmigrate.runner.granting import acl_refusals, create_acls
from kmigrate.security.ask import ask_acls
from kmigrate.security.fence import MIN_ISR, Fence, FenceKind
from kmigrate.security.fence_moves import (
    Own,
    acls_to_put,
    acls_to_remove,
    is_gone,
    is_shown,
    settings_to_lift,
    settings_to_put,
)
from kmigrate.state.fence_book import FenceBook
from kmigrate.topics.alter import alter_topic
from kmigrate.topics.create import Failed, Later
from kmigrate.topics.describe import in_batches
from kmigrate.wire import acl_calls, calls, config_calls
from kmigrate.wire.acl_calls import Acl
from kmigrate.wire.call import error_name
from kmigrate.wire.config_calls import Alteration
from kmigrate.wire.error_codes import ErrorCode

SHOWN_SECONDS = 30.0
"""How long brokers have to show a fence, or that it is gone."""
STILL_SECONDS = 2.0
"""How long no log end may move, so that the topics count as still …"""
STILL_WITHIN_SECONDS = 15.0
"""… and how long that is waited for."""
AGAIN_SECONDS = 1.0
RULES_A_REQUEST = 200
_POLL_SECONDS = 0.2

Ends = Mapping[TopicPartition, Offset]


class NoLongerWanted(Refused):
    """The fence is to be lifted, or nobody confirmed it in time: nothing more of it is put."""


class Growth(NamedTuple):
    """The true log ends of all partitions, and those that went on growing."""

    ends: Ends
    growing: tuple[TopicPartition, ...]
    unknown: tuple[TopicPartition, ...]


class Fencer:
    """Works for one cluster over one client; used by one thread."""

    def __init__(
        self,
        client: ClusterClient,
        book: FenceBook,
        *,
        monotonic_seconds: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._client = client
        self._book = book
        self._monotonic_seconds = monotonic_seconds
        self._sleep = sleep

    def put(self, number: int) -> Fence:
        """Puts what is missing of a fence until every broker shows it.

        Raises NoLongerWanted, or Refused if the cluster does not take it: what a fence that never stood has put is
        lifted then. Raises KmigrateError if it is not shown in time: then it stays to be put, or lifted.
        """
        deadline = self._monotonic_seconds() + SHOWN_SECONDS
        try:
            self._book.change(number, lambda known: known.begin_putting(self._book.now()))
            while True:
                fence = self._wanted(number)
                self._put_missing(fence)
                hidden = self._brokers_without(fence, shown=True)
                if not hidden:
                    break
                self._wait(deadline, f"fence {number} is not shown by {_brokers(hidden)}")
            standing = self._book.change(number, lambda known: known.found_standing(self._book.now()))
            if standing is None:
                raise _no_longer(number)
        except Refused as error:
            if isinstance(error, NoLongerWanted) or not self._book.fence(number).stood:
                with contextlib.suppress(KmigrateError):  # else the watcher does, and tries on
                    self.lift(number, f"it could not be put: {error}")
            raise
        return standing

    def lift(self, number: int, why: str) -> Fence:
        """Takes away what is left of a fence until no broker shows it.

        Raises Refused if the cluster does not let it, KmigrateError if it is still shown after a while.
        """
        fence = self._book.change(number, lambda known: known.lift(self._book.now(), why))
        assert fence is not None, "every fence can be lifted"
        deadline = self._monotonic_seconds() + SHOWN_SECONDS
        looks = 1 if fence.stood else 2  # what was put a moment ago, and cut short, brokers may not show yet
        self._remove_rules(fence, [each.acl for each in fence.acls if not each.was_there])
        while True:
            left = self._lift_rest(fence)
            shown = self._brokers_without(fence, shown=False)
            looks -= not shown
            if not looks:
                break
            if not shown:
                self._sleep(AGAIN_SECONDS)
                continue
            self._wait(deadline, f"fence {number} is to be lifted and still shown by {_brokers(shown)}")
        lifted = self._book.change(number, lambda known: known.found_lifted(self._book.now(), left))
        assert lifted is not None
        return lifted

    def is_whole(self, fence: Fence) -> bool:
        """Whether every broker shows the fence now."""
        return not self._brokers_without(fence, shown=True)

    def watch_ends(self, topics: Sequence[TopicName]) -> Growth:
        """Waits until no log end of these topics moves any more, for a while at most."""
        deadline = self._monotonic_seconds() + STILL_WITHIN_SECONDS
        ends = self._ends(topics)
        still_since = self._monotonic_seconds()
        growing: set[TopicPartition] = set()
        while True:
            now = self._monotonic_seconds()
            unknown = tuple(sorted(each for each, end in ends.items() if end < 0))
            if now - still_since >= STILL_SECONDS and not unknown:
                return Growth(ends, (), ())
            if now >= deadline:
                return Growth(ends, tuple(sorted(growing)), unknown)
            self._sleep(_POLL_SECONDS)
            later = self._ends(topics)
            moved = {each for each, end in later.items() if end != ends.get(each)}
            if moved:
                still_since, growing = self._monotonic_seconds(), growing | moved
            ends = later

    # -- inside -------------------------------------------------------------------------------------------------------

    def _wanted(self, number: int) -> Fence:
        fence = self._book.fence(number)
        if not fence.is_wanted or fence.is_due(self._book.now()):
            raise _no_longer(number)
        return fence

    def _put_missing(self, fence: Fence) -> None:
        if fence.kind is FenceKind.ACL:
            for step in acls_to_put(fence, self._rules()):
                for some in in_batches(step, RULES_A_REQUEST):
                    self._wanted(fence.number)
                    _raise_failed(create_acls(self._client, some), "put")
            return
        moves = settings_to_put(fence, self._own(fence))
        if moves.strange:
            raise Refused(f"fence {fence.number} is not put: {moves.strange[0]}", hint="lift the fence and look again")
        for topic, value in moves.wanted.items():
            self._wanted(fence.number)
            self._alter(fence, topic, value, lifting=False)

    def _lift_rest(self, fence: Fence) -> tuple[str, ...]:
        """One more go; returns what somebody changed, which stays."""
        if fence.kind is FenceKind.ACL:
            self._remove_rules(fence, self._rules())
            return ()
        moves = settings_to_lift(fence, self._own(fence))
        for topic, value in moves.wanted.items():
            self._alter(fence, topic, value, lifting=True)
        return moves.strange

    def _remove_rules(self, fence: Fence, there: Collection[Acl]) -> None:
        for step in acls_to_remove(fence, frozenset(there)):
            for some in in_batches(step, RULES_A_REQUEST):
                outcomes = self._client.controller(acl_calls.delete_acls(some))
                for refusal in acl_refusals(some, outcomes):
                    _raise_failed(refusal, "lifted")

    def _alter(self, fence: Fence, topic: TopicName, value: str | None, *, lifting: bool) -> None:
        """Alters one topic, if it still has what it is to be altered from at that moment."""
        decide = settings_to_lift if lifting else settings_to_put

        def plan(found: Mapping[str, config_calls.Setting]) -> Sequence[Alteration]:
            wanted = decide(fence, {topic: _own_value(found)}).wanted
            return [Alteration(MIN_ISR, wanted[topic])] if topic in wanted else []

        outcome = alter_topic(self._client, topic, (MIN_ISR,), plan)
        if isinstance(outcome, Failed) and _is_gone(outcome):
            return
        _raise_failed(outcome, "lifted" if lifting else "put")

    def _brokers_without(self, fence: Fence, *, shown: bool) -> list[BrokerId]:
        """The brokers that do not show the fence, or (not `shown`) those that still show a part of it."""
        found = is_shown if shown else is_gone
        brokers = self._client.metadata([]).brokers
        return [
            broker
            for broker in sorted(brokers)
            if not found(
                fence,
                self._rules(broker) if fence.kind is FenceKind.ACL else (),
                self._own(fence, broker) if fence.kind is FenceKind.MIN_ISR else {},
            )
        ]

    def _rules(self, broker: BrokerId | None = None) -> Collection[Acl]:
        if broker is None:
            told = ask_acls(self._client)
            if told.value is None:
                raise KmigrateError(f"the {self._client.side} does not tell its rules: {told.reason}")
            return frozenset(told.value)
        answer = self._client.broker(broker, acl_calls.describe_acls())
        if answer.error:
            reason = f"{error_name(answer.error)} ({answer.error})"
            raise ClusterError(f"DescribeAcls: {reason}", side=self._client.side, broker=f"id {broker}")
        return frozenset(answer.acls)

    def _own(self, fence: Fence, broker: BrokerId | None = None) -> Own:
        """What the topics have of their own; those that are gone are left out."""
        found: dict[TopicName, str | None] = {}
        for names in in_batches(fence.topics):
            call = config_calls.describe_topic_configs(names, (MIN_ISR,))
            answer = self._client.any(call) if broker is None else self._client.broker(broker, call)
            for name in names:
                error, settings = answer.get(name, (ErrorCode.REQUEST_TIMED_OUT, {}))
                if error == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION:
                    continue
                if error:
                    raise ClusterError(
                        f"DescribeConfigs of topic {name}: {error_name(error)} ({error})", side=self._client.side
                    )
                found[name] = _own_value(settings)
        return found

    def _ends(self, topics: Sequence[TopicName]) -> Ends:
        """The true log end of every partition, from its leader; −1 where it is not known now."""
        seen = self._client.metadata(topics).topics
        ends: dict[TopicPartition, Offset] = {}
        asked: dict[BrokerId, dict[TopicPartition, LeaderEpoch]] = {}
        for name in topics:
            for number, each in seen[name].partitions.items() if name in seen else ():
                ends[TopicPartition(name, number)] = Offset(-1)
                if each.leader >= 0:
                    asked.setdefault(each.leader, {})[TopicPartition(name, number)] = each.leader_epoch
        for leader, wanted in asked.items():
            try:
                answer = self._client.broker(leader, calls.offset_for_leader_epoch(wanted))
            except ClusterError:
                continue  # its partitions stay unknown, and are told as that
            ends |= {each: end.end_offset for each, end in answer.items() if not end.error}
        return ends

    def _wait(self, deadline: float, what: str) -> None:
        if self._monotonic_seconds() >= deadline:
            raise KmigrateError(
                f"{self._client.side} cluster: {what} after {SHOWN_SECONDS:.0f} s", hint="the same command again"
            )
        self._sleep(_POLL_SECONDS)


def _own_value(settings: Mapping[str, config_calls.Setting]) -> str | None:
    found = settings.get(MIN_ISR)
    return found.value if found is not None and found.is_override else None


def _is_gone(outcome: Failed) -> bool:
    return error_name(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION) in outcome.reason


def _raise_failed(outcome: object, what: str) -> None:
    """What may work later is looked at again by the caller; what was refused ends it."""
    match outcome:
        case Failed(reason):
            raise Refused(f"the fence could not be {what}: {reason}", hint="`kmigrate fence status -f FILE` shows it")
        case Later():
            return


def _no_longer(number: int) -> NoLongerWanted:
    return NoLongerWanted(
        f"fence {number} is no longer wanted: it was lifted, or its deadline passed, while it was being put",
        hint="put it again",
    )


def _brokers(brokers: Sequence[BrokerId]) -> str:
    return f"broker{'' if len(brokers) == 1 else 's'} {', '.join(map(str, brokers))}"
