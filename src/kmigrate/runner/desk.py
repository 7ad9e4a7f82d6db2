"""The desk is where the operator's decisions meet the running owner.

Rule: a decision is on the disk, in the journal, before anybody acts on it. Without an owner the same desk
takes decisions for the next one. Many threads may use it.
"""

from __future__ import annotations

import enum
import json
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias

from kmigrate.copy.rates import NO_LIMITS, RateLimits
from kmigrate.copy.states import CLASS_CHOICES, Choice, StopKind
from kmigrate.errors import UsageError
from kmigrate.kafka_types import Partition, TopicName, TopicPartition
from kmigrate.offsets.classes import OffsetClass
from kmigrate.runner.apply_desk import ApplyDesk
from kmigrate.runner.cutover.desk import CutoverDesk
from kmigrate.runner.fence_notice import read_fences
from kmigrate.runner.group_desk import GroupDesk
from kmigrate.runner.retention import RetentionJournal
from kmigrate.runner.status import (
    AcceptedStatus,
    PartitionStatus,
    StatusDocument,
    StopStatus,
    before_first_look,
    left_by_owner,
)
from kmigrate.runner.verifications import Verifications
from kmigrate.state.store import Store

if TYPE_CHECKING:
    from kmigrate.runner.ledger import Ledger

FACT = "decisions"
MOST_TOPICS = 1000
"""How many may have a limit of their own."""
SAVE_SECONDS = 1.0
"""The status is saved at most this often …"""
SAVE_SHARE = 0.02
"""… and saving takes at most this share of the time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What was answered to a partition's stop; `revision` rises with every answer."""

    choice: Choice
    revision: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Decisions:
    """What the operator wants now; `recreate` lists the topics whose target is still to be created anew.

    `accepted` is the last acceptance of each partition: it stays whatever is answered afterwards, until the topic is
    created anew.
    """

    paused: bool = False
    limits: RateLimits = NO_LIMITS
    answers: Mapping[TopicPartition, Answer] = field(default_factory=dict)
    recreate: tuple[TopicName, ...] = ()
    accepted: Mapping[TopicPartition, AcceptedStatus] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Throttle:
    """A throttle decision and the manifest's limit that it overrode: it ends when the manifest changes."""

    bytes_per_second: int | None
    instead_of: int | None


class _Each(enum.Enum):
    """What a limit is for, beside single topics."""

    TOTAL = "total"
    BROKER = "broker"


_Limited: TypeAlias = _Each | TopicName


class Desk:
    """Takes decisions, keeps them in the store, and hands status documents out.

    `wake` tells the owner that there is something new; without it there is no owner. `manifest_limits` are the
    manifest's: a throttle decision wins over one of them until the manifest says something else there.
    """

    def __init__(
        self,
        store: Store,
        wake: Callable[[], None] | None = None,
        *,
        manifest_limits: RateLimits = NO_LIMITS,
        monotonic_seconds: Callable[[], float] = time.monotonic,
        wall_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self.retention = RetentionJournal(store)
        self.verifications = Verifications(store)
        """What was verified."""
        self._store = store
        self._wall_ms = wall_ms
        self._wake = wake
        self._manifest_limits = manifest_limits
        self._monotonic_seconds = monotonic_seconds
        self._lock = threading.RLock()
        self._throttles: dict[_Limited, _Throttle] = {}
        self._decisions = self._load()
        self.groups = GroupDesk(store)
        """Where decisions about consumer groups are taken."""
        self.cutover = CutoverDesk(store.path.parent.name, store)
        """Where the waves of the service are led."""
        self.apply = ApplyDesk()
        """Where `apply` is done by a running owner."""
        self._status: StatusDocument | None = None
        self._unsaved = False
        self._next_save = 0.0

    def on_decision(self, wake: Callable[[], None]) -> None:
        """Makes the caller the owner: `wake` is called after every decision from now on."""
        self._wake = wake

    def reload(self) -> None:
        """The store was recovered: what was decided is what it says now."""
        with self._lock:
            self._throttles.clear()
            self._decisions = self._load()
            self.cutover.reload()

    def decisions(self) -> Decisions:
        """What the operator wants now."""
        return self._decisions

    def pause(self) -> None:
        """Stops all copying until `resume_all`."""
        with self._lock:
            self._decide("pause", {}, replace(self._decisions, paused=True))

    def resume_all(self) -> None:
        """Ends a pause; stopped partitions stay stopped."""
        with self._lock:
            self._decide("resume", {}, replace(self._decisions, paused=False))

    def throttle(self, bytes_per_second: int | None) -> None:
        """Limits all copying together; None lifts the limit."""
        self._throttle({_Each.TOTAL}, bytes_per_second)

    def throttle_brokers(self, bytes_per_second: int | None) -> None:
        """Limits what goes through each broker of either cluster; None lifts the limit."""
        self._throttle({_Each.BROKER}, bytes_per_second)

    def throttle_topics(self, topics: Collection[str], bytes_per_second: int | None) -> None:
        """Limits each of these topics; None lifts the limits."""
        wanted = {TopicName(topic) for topic in topics}
        with self._lock:
            limited = wanted | {topic for topic, _ in self._decisions.limits.topics}
            if bytes_per_second is not None and len(limited) > MOST_TOPICS:
                raise UsageError(
                    f"at most {MOST_TOPICS:,} topics have limits of their own", hint="limit them all together"
                )
            self._throttle(wanted, bytes_per_second)

    def _throttle(self, limited: Collection[_Limited], bytes_per_second: int | None) -> None:
        if bytes_per_second is not None and bytes_per_second < 1:
            raise UsageError(
                f"a limit of {bytes_per_second} bytes a second would copy nothing",
                hint="`kmigrate pause` stops the copying, `kmigrate throttle -f FILE none` lifts the limit",
            )
        with self._lock:
            for each in limited:
                instead_of = _limit_of(self._manifest_limits, each)
                self._throttles[each] = _Throttle(bytes_per_second=bytes_per_second, instead_of=instead_of)
            self._decide(
                "throttle",
                {
                    "bytesPerSecond": bytes_per_second,
                    "of": sorted(_name_of(each) for each in limited),
                    "manifest": [_limit_of(self._manifest_limits, each) for each in sorted(limited, key=_name_of)],
                },
                replace(self._decisions, limits=self._limits()),
            )

    def answer(self, topic: str, partition: int | None, choice: Choice) -> tuple[TopicPartition, ...]:
        """Answers the stop of a partition, or those of a topic; returns the partitions answered.

        Waived stops of a topic are answered anew only if it has no others, or to recreate it. Raises UsageError
        if there is no such stop or if the choice is not among the stop's; to recreate, one stop must offer it.
        """
        if choice is Choice.RECREATE:
            partition = None
        with self._lock:
            stopped = self._stopped(topic, partition)
            if partition is None and choice is not Choice.RECREATE:
                stopped = [each for each in stopped if not each.waived] or stopped
            _check_choice(stopped, choice)
            name = TopicName(topic)
            partitions = tuple(TopicPartition(name, Partition(each.partition)) for each in stopped)
            answers = dict(self._decisions.answers)
            old = {key for key in answers if choice is Choice.RECREATE and key.topic == name}
            for key in {*partitions, *old}:  # what was answered of a topic is over when it is created anew
                answers[key] = Answer(choice=choice, revision=self._revision(key) + 1)
            recreate = tuple(each for each in self._decisions.recreate if each != name)
            if choice is Choice.RECREATE:
                recreate += (name,)
            detail: dict[str, object] = {
                "topic": topic,
                "partitions": [key.partition for key in partitions],
                "choice": choice.value,
                "stops": [[each.partition, each.stop.kind.value, each.stop.offset] for each in stopped if each.stop],
            }
            accepted = dict(self._decisions.accepted)
            if choice is Choice.ACCEPT:
                new = self._accept(stopped)
                accepted |= new
                detail["accepted"] = [_dump_accepted(*each) for each in new.items()]
            self._decide(
                "answer",
                detail,
                replace(
                    self._decisions,
                    answers=MappingProxyType(answers),
                    recreate=recreate,
                    accepted=MappingProxyType(accepted),
                ),
            )
            return partitions

    def _accept(self, stopped: Sequence[PartitionStatus]) -> dict[TopicPartition, AcceptedStatus]:
        now_ms = self._wall_ms()
        return {
            TopicPartition(TopicName(each.topic), Partition(each.partition)): AcceptedStatus(
                kind=each.stop.kind, offset=each.stop.offset, evidence=each.stop.evidence, at=now_ms
            )
            for each in stopped
            if each.stop is not None
        }

    def answered_classes(self) -> dict[TopicPartition, OffsetClass]:
        """The classes that were chosen as answers to the stops that the last status shows."""
        with self._lock:
            document, answers = self._status, self._decisions.answers
        chosen: dict[TopicPartition, OffsetClass] = {}
        for each in () if document is None else document.partitions:
            tp = TopicPartition(TopicName(each.topic), Partition(each.partition))
            answer = answers.get(tp)
            if answer is None or answer.choice not in CLASS_CHOICES or each.stop is None:
                continue
            if answer.choice in {offered.choice for offered in each.stop.choices}:
                chosen[tp] = OffsetClass(answer.choice.value)
        return chosen

    def recreated(self, topic: str) -> None:
        """Records that the owner created the topic anew on the target."""
        with self._lock:
            recreate = tuple(each for each in self._decisions.recreate if each != topic)
            accepted = {key: each for key, each in self._decisions.accepted.items() if key.topic != topic}
            decisions = replace(self._decisions, recreate=recreate, accepted=MappingProxyType(accepted))
            self._decide("recreated", {"topic": topic}, decisions, wake=False)

    def publish(self, document: StatusDocument) -> None:
        """Hands out this document from now on, and saves it now and then."""
        with self._lock:
            self._status = document
            self._unsaved = True
            if self._monotonic_seconds() >= self._next_save:
                self.save()

    def save(self) -> None:
        """Saves the last published document; the owner calls it at its end."""
        with self._lock:
            if self._status is not None and self._unsaved:
                began = self._monotonic_seconds()
                self._store.save_status(self._status.to_json())
                self._unsaved = False
                ended = self._monotonic_seconds()
                self._next_save = began + max(SAVE_SECONDS, (ended - began) / SAVE_SHARE)

    def status(self) -> StatusDocument | None:
        """The last document: of this owner, or what the last one left; None if there was never one."""
        with self._lock:
            if self._status is None:
                saved = self._store.load_status()
                if saved is None:
                    return None
                left = replace(StatusDocument.from_json(saved), held=self._store.held())
                is_finished = self.cutover.is_finished
                is_left = self._wake is None
                self._status = left_by_owner(left, is_finished=is_finished) if is_left else before_first_look(left)
            status = self._status
        return replace(status, fences=read_fences(self._store.path.parent), waves=self.cutover.places())

    def ledger(self) -> Ledger:
        """What is kept of everything that was done, for a report."""
        from kmigrate.runner.ledger_reader import read_ledger  # needs much that no other request does

        return read_ledger(self._store, self._wall_ms())

    def _stopped(self, topic: str, partition: int | None) -> list[PartitionStatus]:
        status = self.status()
        known = [each for each in status.partitions if each.topic == topic] if status else []
        if not known:
            raise UsageError(
                f"the migration has no topic {topic!r}", hint="`kmigrate status` lists its topics and stops"
            )
        if partition is not None:
            known = [each for each in known if each.partition == partition]
        stopped = [each for each in known if each.stop is not None]
        if not stopped:
            place = topic if partition is None else f"{topic}-{partition}"
            elsewhere = sorted(each.name for each in status.stopped) if status else []
            raise UsageError(
                f"{place} is not stopped: there is nothing to answer",
                hint="stopped: " + ", ".join(elsewhere[:10]) if elsewhere else "no partition is stopped",
            )
        return stopped

    def _revision(self, partition: TopicPartition) -> int:
        answer = self._decisions.answers.get(partition)
        return 0 if answer is None else answer.revision

    def _decide(self, kind: str, detail: Mapping[str, object], decisions: Decisions, *, wake: bool = True) -> None:
        self._store.decide(kind, detail, facts={FACT: self._dump(decisions)})
        self._decisions = decisions
        if wake and self._wake is not None:
            self._wake()

    def _limits(self) -> RateLimits:
        """The manifest's, but for what was decided instead."""
        manifest = self._manifest_limits
        topics: dict[TopicName, int | None] = dict(manifest.topics)
        total, broker = manifest.total, manifest.broker
        for each, throttle in self._throttles.items():
            match each:
                case _Each.TOTAL:
                    total = throttle.bytes_per_second
                case _Each.BROKER:
                    broker = throttle.bytes_per_second
                case topic:
                    topics[topic] = throttle.bytes_per_second
        limited = tuple(sorted((topic, rate) for topic, rate in topics.items() if rate is not None))
        return RateLimits(total, broker, limited, manifest.latency_ms)

    def _dump(self, decisions: Decisions) -> str:
        throttle = self._throttles.get(_Each.TOTAL)
        return json.dumps(
            {
                "paused": decisions.paused,
                "throttle": None if throttle is None else [throttle.bytes_per_second, throttle.instead_of],
                "throttles": [
                    [_name_of(each), throttle.bytes_per_second, throttle.instead_of]
                    for each, throttle in self._throttles.items()
                    if each is not _Each.TOTAL
                ],
                "answers": [
                    [key.topic, key.partition, answer.choice.value, answer.revision]
                    for key, answer in decisions.answers.items()
                ],
                "recreate": decisions.recreate,
                "accepted": [_dump_accepted(*each) for each in decisions.accepted.items()],
            },
            ensure_ascii=False,
        )

    def _load(self) -> Decisions:
        text = self._store.get(FACT)
        if text is None:
            return Decisions(limits=self._limits())
        saved = json.loads(text)
        throttles = [(_Each.TOTAL, *saved["throttle"])] if saved["throttle"] is not None else []
        throttles += [(_named(name), *rest) for name, *rest in saved.get("throttles", ())]
        for each, wanted, instead_of in throttles:
            if instead_of == _limit_of(self._manifest_limits, each):
                self._throttles[each] = _Throttle(bytes_per_second=wanted, instead_of=instead_of)
        return Decisions(
            paused=saved["paused"],
            limits=self._limits(),
            answers=MappingProxyType(
                {
                    TopicPartition(TopicName(topic), Partition(partition)): Answer(
                        choice=Choice(choice), revision=revision
                    )
                    for topic, partition, choice, revision in saved["answers"]
                }
            ),
            recreate=tuple(map(TopicName, saved["recreate"])),
            accepted=MappingProxyType(dict(map(_load_accepted, saved.get("accepted", ())))),
        )


def _limit_of(limits: RateLimits, each: _Limited) -> int | None:
    match each:
        case _Each.TOTAL:
            return limits.total
        case _Each.BROKER:
            return limits.broker
        case topic:
            return dict(limits.topics).get(topic)


_TOPIC = "topic "


def _name_of(each: _Limited) -> str:
    return each.value if isinstance(each, _Each) else f"{_TOPIC}{each}"


def _named(name: str) -> _Limited:
    return TopicName(name.removeprefix(_TOPIC)) if name.startswith(_TOPIC) else _Each(name)


def _dump_accepted(partition: TopicPartition, accepted: AcceptedStatus) -> list[object]:
    return [*partition, accepted.kind.value, accepted.offset, accepted.evidence, accepted.at]


def _load_accepted(saved: Sequence[Any]) -> tuple[TopicPartition, AcceptedStatus]:
    topic, partition, kind, offset, evidence, at_ms = saved
    accepted = AcceptedStatus(kind=StopKind(kind), offset=offset, evidence=evidence, at=at_ms)
    return TopicPartition(TopicName(topic), Partition(partition)), accepted


def _check_choice(stopped: Sequence[PartitionStatus], choice: Choice) -> None:
    refusing = [each for each in stopped if each.stop is not None and not _offers(each.stop, choice)]
    if not refusing or (choice is Choice.RECREATE and len(refusing) < len(stopped)):
        return
    partition, stop = refusing[0], refusing[0].stop
    if stop is not None:
        raise UsageError(
            f"{choice.value} is no answer to {stop.kind.value} of {partition.name}: {stop.meaning}",
            hint="choose: " + " or: ".join(each.command for each in stop.choices),
        )


def _offers(stop: StopStatus, choice: Choice) -> bool:
    return any(each.choice is choice for each in stop.choices)
