"""Creates, enlarges and deletes topics on the target; the outcome of each is a value.

Nothing here repeats a request: what may work later comes back as `Later`, and the caller comes again. A topic
counts as ours to begin with only if this very request created it: after a time-out it may have been another one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple, TypeAlias, TypeVar

from kmigrate.cluster.client import ClusterClient
from kmigrate.kafka_types import TopicName
from kmigrate.topics.carry import Defaults
from kmigrate.topics.describe import BATCH
from kmigrate.topics.hold import TimestampLimits, hold_settings
from kmigrate.wire import calls
from kmigrate.wire.call import Call, error_name
from kmigrate.wire.calls import NewTopic, TopicOutcome
from kmigrate.wire.error_codes import ErrorCode

TIMEOUT_MS = 20_000
RECORDS_A_REQUEST = 5_000
"""A KRaft controller takes 10,000 metadata records a request at most: one for each topic, partition and setting."""
INVALID_PARTITIONS = 37
INVALID_CONFIG = 40
THROTTLING_QUOTA_EXCEEDED = 89

_LATER = frozenset(
    {
        ErrorCode.LEADER_NOT_AVAILABLE,
        ErrorCode.REQUEST_TIMED_OUT,
        ErrorCode.NOT_CONTROLLER,
        ErrorCode.COORDINATOR_NOT_AVAILABLE,
        THROTTLING_QUOTA_EXCEEDED,
    }
)


class Created(NamedTuple):
    """This request created it."""


class Present(NamedTuple):
    """It was there already, or is as large as it should be."""


class Enlarged(NamedTuple):
    """This request gave it more partitions."""


class Gone(NamedTuple):
    """It is deleted, or was never there."""


class Later(NamedTuple):
    """Not now; what came of it is unknown."""

    reason: str


class Failed(NamedTuple):
    """The target refused it."""

    reason: str


T = TypeVar("T")
Outcome: TypeAlias = Created | Present | Enlarged | Gone | Later | Failed
Answer: TypeAlias = Mapping[TopicName, TopicOutcome]


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedTopic:
    """A topic that the target should have; `source_max_bytes` is the source topic's max.message.bytes.

    `settings` are those that it gets at once, beside the hold.
    """

    name: TopicName
    partitions: int
    replication_factor: int
    source_max_bytes: int | None
    settings: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetTraits:
    """What a target broker told of itself; `limits` None: it told nothing, both spellings are tried.

    `defaults` are what topics inherit there; None: not told.
    """

    limits: TimestampLimits | None
    max_bytes: int | None
    defaults: Defaults | None = None


def create_topics(
    client: ClusterClient, wanted: Sequence[WantedTopic], traits: TargetTraits
) -> dict[TopicName, Outcome]:
    """Creates topics under hold.

    Where the target refuses a setting, the topic is created with those of the hold alone: the others are set later.
    """
    limits = traits.limits or TimestampLimits.SPLIT
    outcomes = _create_under(client, wanted, limits, traits.max_bytes)
    bare = [replace(topic, settings={}) for topic in _refused(wanted, outcomes) if topic.settings]
    outcomes.update(_create_under(client, bare, limits, traits.max_bytes))
    if traits.limits is None:
        refused = [replace(topic, settings={}) for topic in _refused(wanted, outcomes)]
        outcomes.update(_create_under(client, refused, TimestampLimits.SINGLE, traits.max_bytes))
    return {
        name: Failed(outcome.reason) if isinstance(outcome, _BadSetting) else outcome
        for name, outcome in outcomes.items()
    }


class _BadSetting(NamedTuple):
    reason: str


def _refused(wanted: Sequence[WantedTopic], outcomes: Mapping[TopicName, Outcome | _BadSetting]) -> list[WantedTopic]:
    return [topic for topic in wanted if isinstance(outcomes[topic.name], _BadSetting)]


def _create_under(
    client: ClusterClient, wanted: Sequence[WantedTopic], limits: TimestampLimits, max_bytes: int | None
) -> dict[TopicName, Outcome | _BadSetting]:
    outcomes: dict[TopicName, Outcome | _BadSetting] = {}
    topics = [
        NewTopic(
            name=topic.name,
            partitions=topic.partitions,
            replication_factor=topic.replication_factor,
            configs={
                **topic.settings,
                **hold_settings(limits, source_max_bytes=topic.source_max_bytes, broker_max_bytes=max_bytes),
            },
        )
        for topic in wanted
    ]
    for batch in _in_requests(topics, lambda topic: 1 + topic.partitions + len(topic.configs)):
        answer = client.controller(calls.create_topics(batch, TIMEOUT_MS))
        for topic in batch:
            found = answer.get(topic.name)
            if found is not None and found.error == INVALID_CONFIG:
                outcomes[topic.name] = _BadSetting(_reason(found))
            else:
                outcomes[topic.name] = _outcome(found, Created(), present=ErrorCode.TOPIC_ALREADY_EXISTS)
    return outcomes


def enlarge_topics(client: ClusterClient, counts: Mapping[TopicName, int]) -> dict[TopicName, Outcome]:
    """Raises topics to the given partition counts; one that has as many already is present."""

    def ask(names: Sequence[TopicName]) -> Call[Answer]:
        return calls.create_partitions({name: counts[name] for name in names}, TIMEOUT_MS)

    return _ask_controller(
        client, list(counts), ask, Enlarged(), present=INVALID_PARTITIONS, records=counts.__getitem__
    )


def delete_topics(client: ClusterClient, names: Sequence[TopicName]) -> dict[TopicName, Outcome]:
    """Deletes topics; brokers forget one only a moment after it is gone: look at the metadata."""

    def ask(some: Sequence[TopicName]) -> Call[Answer]:
        return calls.delete_topics(some, TIMEOUT_MS)

    outcomes = _ask_controller(client, names, ask, Gone(), present=ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
    return {name: Gone() if isinstance(each, Present) else each for name, each in outcomes.items()}


def _ask_controller(
    client: ClusterClient,
    names: Sequence[TopicName],
    ask: Callable[[Sequence[TopicName]], Call[Answer]],
    done: Outcome,
    *,
    present: int,
    records: Callable[[TopicName], int] = lambda _name: 1,
) -> dict[TopicName, Outcome]:
    outcomes: dict[TopicName, Outcome] = {}
    for batch in _in_requests(names, records):
        answer = client.controller(ask(batch))
        outcomes.update((name, _outcome(answer.get(name), done, present=present)) for name in batch)
    return outcomes


def _in_requests(items: Sequence[T], records: Callable[[T], int]) -> Iterator[Sequence[T]]:
    """The items in order, as many at a time as a controller takes; `records` is what one makes of its metadata log."""
    batch: list[T] = []
    size = 0
    for each in items:
        needed = records(each)
        if batch and (size + needed > RECORDS_A_REQUEST or len(batch) == BATCH):
            yield batch
            batch, size = [], 0
        batch.append(each)
        size += needed
    if batch:
        yield batch


def _outcome(found: TopicOutcome | None, done: Outcome, *, present: int) -> Outcome:
    if found is None:
        return Later("the target did not answer for this topic")
    if found.error == ErrorCode.NONE:
        return done
    if found.error == present:
        return Present()
    return judge_error(found)


def judge_error(found: TopicOutcome) -> Later | Failed:
    """Whether an error may pass, or is the target's last word."""
    return Later(_reason(found)) if found.error in _LATER else Failed(_reason(found))


def _reason(found: TopicOutcome) -> str:
    name = f"{error_name(found.error)} ({found.error})"
    return f"{name}: {found.message}" if found.message else name
