"""What a cluster looks like: a view that grows wiser with every metadata answer, and the thread that asks.

`ClusterView` is pure. Rule: an answer that may be incomplete takes nothing away. A topic counts as gone only after
two answers, a second apart, said by name that there is no such topic while others are listed; a leader epoch never
falls while the topic stays the same.

`Watch` asks every few seconds, and at once when poked. An answer with the same bytes as the last one is not even
decoded, so thousands of idle partitions cost next to nothing.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple, TypeAlias, TypeVar

from kmigrate.cluster.client import ClusterClient
from kmigrate.errors import ClusterError
from kmigrate.kafka_types import (
    BrokerAddress,
    BrokerId,
    LeaderEpoch,
    Partition,
    Side,
    TopicId,
    TopicName,
)
from kmigrate.wire import calls
from kmigrate.wire.call import Call
from kmigrate.wire.calls import ClusterMetadata, TopicMetadata
from kmigrate.wire.error_codes import ErrorCode

log = logging.getLogger(__name__)
T = TypeVar("T")

CERTAIN_SECONDS = 1.0
"""How far apart two answers must be that say that a topic is gone …"""
LONELY_SECONDS = 30.0
"""… and if they list no topic at all, as a broker does that has just started."""
NEXT_LOOK_SECONDS = 0.5
"""A poke is followed at once, but not more often than this."""


class PartitionSeen(NamedTuple):
    """Who leads a partition, None for nobody, and since which epoch."""

    leader: BrokerId | None
    epoch: LeaderEpoch


class TopicSeen(NamedTuple):
    """A topic as it was last described; `replicas` is the largest number of replicas of a partition."""

    topic_id: TopicId
    partitions: Mapping[Partition, PartitionSeen]
    replicas: int


class ClusterView:
    """What is known of a cluster. `gone` are followed topics that certainly do not exist now."""

    def __init__(self) -> None:
        self.brokers: dict[BrokerId, BrokerAddress] = {}
        self.topics: dict[TopicName, TopicSeen] = {}
        self.listed: Mapping[TopicName, TopicMetadata] = {}
        self.gone: set[TopicName] = set()
        self._missing: dict[TopicName, float] = {}
        self._last: ClusterMetadata | None = None

    @property
    def unsure(self) -> bool:
        """Whether a topic is missing and it is not yet certain that it is gone: ask again soon."""
        return not self._missing.keys() <= self.gone

    def adopt(self, answer: ClusterMetadata, now: float) -> bool:
        """Takes an answer that came at `now`; True if anything is different from before."""
        if answer is self._last and not self.unsure:
            return False
        self._last = answer
        before = dict(self.topics), set(self.gone), dict(self.brokers), self.listed.keys()
        self.brokers.update(answer.brokers)
        for name, topic in answer.topics.items():
            if topic.error == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION:
                self._miss(name, answer, now)
            elif topic.error in (ErrorCode.NONE, ErrorCode.LEADER_NOT_AVAILABLE):
                self._missing.pop(name, None)
                self.gone.discard(name)
                self.topics[name] = _see(topic, self.topics.get(name))
        self.listed = {name: topic for name, topic in answer.topics.items() if not _is_missing(topic)}
        return before != (self.topics, self.gone, self.brokers, self.listed.keys())

    def _miss(self, name: TopicName, answer: ClusterMetadata, now: float) -> None:
        lonely = all(_is_missing(topic) for topic in answer.topics.values())
        since = self._missing.setdefault(name, now)
        if now - since >= (LONELY_SECONDS if lonely else CERTAIN_SECONDS):
            self.gone.add(name)
            self.topics.pop(name, None)


def _is_missing(topic: TopicMetadata) -> bool:
    return topic.error == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION


def _see(topic: TopicMetadata, known: TopicSeen | None) -> TopicSeen:
    before = known.partitions if known is not None and known.topic_id == topic.topic_id else {}
    partitions = dict(before)
    for number, part in topic.partitions.items():
        earlier = before.get(number)
        if earlier is not None and part.leader_epoch < earlier.epoch:
            continue  # from a broker that lags behind
        partitions[number] = PartitionSeen(part.leader if part.leader >= 0 else None, part.leader_epoch)
    replicas = max((len(part.replicas) for part in topic.partitions.values()), default=1)
    return TopicSeen(topic.topic_id, partitions, replicas)


@dataclass(slots=True)
class _Last:
    """The last answer, as bytes and decoded."""

    body: bytes = b""
    value: object = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RepeatedCall(Call[T]):
    """A call that is made again and again: the same bytes give the same value, the very same object."""

    last: _Last = field(default_factory=_Last)

    def decode(self, version: int, answer: memoryview | bytes) -> T:
        """The value; decoded only if the bytes behind the correlation id differ from the last ones."""
        body = bytes(answer[4:])
        if body != self.last.body or self.last.value is None:
            self.last.value = Call.decode(self, version, answer)
            self.last.body = body
        return self.last.value  # type: ignore[return-value]


def repeated(call: Call[T]) -> RepeatedCall[T]:
    """The same call, for asking again and again."""
    return RepeatedCall(
        what=call.what,
        request=call.request,
        response=call.response,
        oldest=call.oldest,
        newest=call.newest,
        build=call.build,
        parse=call.parse,
    )


class Looked(NamedTuple):
    """An answer, when it was asked for and when it came, or why there is none."""

    side: Side
    metadata: ClusterMetadata | None
    asked_at_seconds: float
    at_seconds: float
    trouble: str


Looks: TypeAlias = "queue.SimpleQueue[Looked]"


class Watch:
    """Asks one cluster for its metadata, from a thread of its own; answers go into a queue."""

    def __init__(self, client: ClusterClient, looks: Looks, *, every_seconds: float) -> None:
        self._client = client
        self._looks = looks
        self._every_seconds = every_seconds
        self._call = repeated(calls.metadata(None))
        self._followed: Collection[TopicName] = ()
        self._last: ClusterMetadata | None = None
        self._poked = threading.Event()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"watch {client.side}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def follow(self, topics: Collection[TopicName]) -> None:
        """These topics are asked for by name when they are not listed."""
        self._followed = topics

    def poke(self) -> None:
        """Asks soon: somebody saw something change."""
        self._poked.set()

    def stop(self) -> None:
        """Ends asking; does not wait for an answer that is under way."""
        self._ending.set()
        self._poked.set()

    def look(self) -> Looked:
        """Asks once."""
        asked_at = time.monotonic()
        try:
            found = self._client.any(self._call)
            if found is not self._last:
                self._client.metadata([])  # the client remembers where the brokers are
            self._last = found
            missing = [name for name in self._followed if name not in found.topics]
            if missing:
                by_name = self._client.any(calls.metadata(missing)).topics
                found = replace(found, topics={**found.topics, **by_name})
        except ClusterError as error:
            return Looked(self._client.side, None, asked_at, time.monotonic(), str(error))
        return Looked(self._client.side, found, asked_at, time.monotonic(), "")

    def _run(self) -> None:
        while not self._ending.is_set():
            try:
                looked = self.look()
            except Exception as error:
                log.exception("watching the %s cluster failed", self._client.side)
                now = time.monotonic()
                looked = Looked(self._client.side, None, now, now, f"{type(error).__name__}: {error}")
            self._looks.put(looked)
            if not self._ending.wait(NEXT_LOOK_SECONDS):
                self._poked.wait(self._every_seconds - NEXT_LOOK_SECONDS)
                self._poked.clear()
        self._client.close()
