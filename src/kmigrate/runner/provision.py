"""What has to be done to the target's topics so that partitions can be copied into them, and the thread that does it.

`decide_provision` is pure: it looks at both views and says what to create, enlarge or delete. `Provisioner` does one
such errand at a time, away from the owner's loop, and hands back an outcome for each topic; what did not work is
tried again after a pause.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from kmigrate.cluster.client import ClusterClient
from kmigrate.copy.copier import WAITING_FOR_LEASE
from kmigrate.errors import ClusterError
from kmigrate.kafka_types import TopicName
from kmigrate.manifest import ReplicationFactor
from kmigrate.runner.errand import Errand
from kmigrate.runner.observe import ClusterView, TopicSeen
from kmigrate.state.store import Store
from kmigrate.topics.carry import at_once
from kmigrate.topics.create import (
    Failed,
    Later,
    Outcome,
    Present,
    TargetTraits,
    WantedTopic,
    create_topics,
    delete_topics,
    enlarge_topics,
)
from kmigrate.topics.describe import describe_settings
from kmigrate.topics.hold import MAX_MESSAGE_BYTES
from kmigrate.topics.intended import INTENDED_KEYS, Intended, Settings, intended_by_source
from kmigrate.topics.replicas import decide_replication_factor

log = logging.getLogger(__name__)

LATER_SECONDS = 1.0
FAILED_SECONDS = 30.0
TOGETHER = 100
"""Topics in one errand: their outcomes come back together."""


class NewTopicSize(NamedTuple):
    """Partitions and replicas of a topic that is to be created."""

    partitions: int
    replication_factor: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Provision:
    """One errand to the target."""

    create: Mapping[TopicName, NewTopicSize] = field(default_factory=dict)
    enlarge: Mapping[TopicName, int] = field(default_factory=dict)
    delete: tuple[TopicName, ...] = ()
    inspect: tuple[TopicName, ...] = ()

    @property
    def topics(self) -> set[TopicName]:
        return {*self.create, *self.enlarge, *self.delete, *self.inspect}


class Inspection(NamedTuple):
    """Of target topics that were there already: why they cannot be copied into, or what they are to become."""

    objections: Mapping[TopicName, str]
    intended: Mapping[TopicName, Intended]


def decide_provision(
    source: ClusterView,
    target: ClusterView,
    topics: Collection[TopicName],
    *,
    adopted: Collection[TopicName],
    cleared: Collection[TopicName],
    recreate: Collection[TopicName],
    released: Collection[TopicName],
    replaced: Collection[TopicName],
    resting: Collection[TopicName],
    replication_factor: ReplicationFactor,
) -> Provision:
    """What the target needs now.

    `adopted` topics are never created by themselves: one that is missing was deleted, and that is the operator's to
    decide. One that is there already is inspected until it is `cleared`. A topic in `recreate` is deleted once it is
    in `released`, and created once it is gone. Topics in `replaced` are not what was copied: they are left as they
    are. Those in `resting` failed a moment ago.
    """
    create: dict[TopicName, NewTopicSize] = {}
    enlarge: dict[TopicName, int] = {}
    delete: list[TopicName] = []
    inspect: list[TopicName] = []
    for name in sorted(topics):
        if name in resting or len(create) + len(enlarge) + len(delete) + len(inspect) >= TOGETHER:
            continue
        there, wanted = target.topics.get(name), source.topics.get(name)
        if name in recreate:
            if name not in released:
                continue
            if name not in target.gone:
                delete.append(name)
            elif wanted is not None:
                create[name] = _size(wanted, replication_factor, len(target.brokers))
        elif wanted is None or name in replaced:
            continue
        elif there is None:
            if name not in adopted:
                create[name] = _size(wanted, replication_factor, len(target.brokers))
        elif name not in cleared:
            inspect.append(name)
        elif len(there.partitions) < len(wanted.partitions):
            enlarge[name] = len(wanted.partitions)
    return Provision(create=create, enlarge=enlarge, delete=tuple(delete), inspect=tuple(inspect))


def _size(topic: TopicSeen, replication_factor: ReplicationFactor, brokers: int) -> NewTopicSize:
    return NewTopicSize(len(topic.partitions), decide_replication_factor(replication_factor, topic.replicas, brokers))


class Provisioner:
    """Does errands, one after the other; used by one thread."""

    def __init__(
        self,
        source: ClusterClient,
        target: ClusterClient,
        traits: TargetTraits,
        store: Store,
        inspect: Callable[[Sequence[TopicName]], Inspection],
        may_write: Callable[[], bool],
    ) -> None:
        """`store` gets what topics are to become, before anything is done to them; `inspect` looks at existing ones.

        `may_write` says whether the lease is granted now; it is asked before everything that changes the target.
        """
        self._store = store
        self._inspect = inspect
        self._may_write = may_write
        self._source = source
        self._target = target
        self._traits = traits
        self._under_way: tuple[Provision, Errand[dict[TopicName, Outcome]]] | None = None
        self._rest_until: dict[TopicName, float] = {}
        self.failures: dict[TopicName, str] = {}
        """Topics that could not be brought into shape, and why; the last word on each."""
        self.refused: set[TopicName] = set()
        """Those of them that the target refused: waiting alone does not mend it."""

    @property
    def busy(self) -> bool:
        return self._under_way is not None

    def resting(self, now: float) -> set[TopicName]:
        """Topics that are left alone for a moment."""
        return {name for name, until in self._rest_until.items() if until > now}

    def resting_is_over(self, now: float) -> bool:
        """Whether a topic has rested long enough since this was last asked."""
        over = [name for name, until in self._rest_until.items() if until <= now]
        for name in over:
            del self._rest_until[name]
        return bool(over)

    def begin(self, provision: Provision) -> None:
        """Starts an errand; only when not busy."""
        assert self._under_way is None, "one errand at a time"
        self._under_way = provision, Errand(lambda: self._perform(provision), "provision")

    def collect(self, now: float) -> tuple[Provision, dict[TopicName, Outcome]] | None:
        """The errand that is done and its outcomes; None while there is none."""
        if self._under_way is None or not self._under_way[1].done:
            return None
        provision, errand = self._under_way
        self._under_way = None
        try:
            outcomes = errand.result()
        except (ClusterError, _NotGranted) as error:
            outcomes = dict.fromkeys(provision.topics, Later(str(error)))
        for name, outcome in outcomes.items():
            (self.refused.add if isinstance(outcome, Failed) else self.refused.discard)(name)
            if isinstance(outcome, (Later, Failed)):
                if self.failures.get(name) != outcome.reason:
                    log.warning("topic %s on the target: %s", name, outcome.reason)
                self.failures[name] = outcome.reason
                rest = FAILED_SECONDS if isinstance(outcome, Failed) else LATER_SECONDS
                self._rest_until[name] = now + rest
            else:
                log.info("topic %s on the target: %s", name, type(outcome).__name__.lower())
                self.failures.pop(name, None)
                self._rest_until[name] = now + LATER_SECONDS  # until the metadata shows it
        return provision, outcomes

    def _perform(self, provision: Provision) -> dict[TopicName, Outcome]:
        outcomes: dict[TopicName, Outcome] = {}
        if provision.delete:
            self._check_grant()
            outcomes.update(delete_topics(self._target, provision.delete))
        if provision.create:
            names = list(provision.create)
            theirs = describe_settings(self._source, names, INTENDED_KEYS)
            recorded = self._store.intended()
            become = {
                name: intended_by_source(
                    recorded.get(name), theirs.get(name), self._traits.defaults, size.replication_factor
                )
                for name, size in provision.create.items()
            }
            self._store.record_intended(become)
            wanted = [
                WantedTopic(
                    name=name,
                    partitions=size.partitions,
                    replication_factor=size.replication_factor,
                    source_max_bytes=_max_bytes(theirs.get(name, {})),
                    settings=at_once(become[name].settings or {}),
                )
                for name, size in provision.create.items()
            ]
            self._check_grant()
            outcomes.update(create_topics(self._target, wanted, self._traits))
        if provision.inspect:
            objections, intended = self._inspect(provision.inspect)
            self._store.record_intended(intended)
            for name in provision.inspect:
                outcomes[name] = Failed(objections[name]) if name in objections else Present()
        if provision.enlarge:
            self._check_grant()
            outcomes.update(enlarge_topics(self._target, provision.enlarge))
        return outcomes

    def _check_grant(self) -> None:
        if not self._may_write():
            raise _NotGranted(WAITING_FOR_LEASE)


class _NotGranted(Exception):
    """The lease is not granted now: another owner may be at work."""


def _max_bytes(settings: Settings) -> int | None:
    return int(settings[MAX_MESSAGE_BYTES].value) if MAX_MESSAGE_BYTES in settings else None
