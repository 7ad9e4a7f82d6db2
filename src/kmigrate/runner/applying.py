"""Carries out what a plan says beside the copy: topics under hold, settings, rules, quotas, users.

Each thing is journaled before it is done and ended when the target took it. Everything can be done again: whatever
ends a process between two steps, the next `apply` looks anew, does what is still missing, and ends what was left open.

Rule: nothing on the target is taken away or overwritten. Passwords are in no payload, no message and no log.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from kmigrate.cluster.client import ClusterClient
from kmigrate.copy.copier import WAITING_FOR_LEASE
from kmigrate.errors import ClusterError
from kmigrate.kafka_types import TopicName
from kmigrate.plan.actions import Kind
from kmigrate.plan.surroundings import Decisions, TopicDecision, TopicFate
from kmigrate.runner.granting import GrantOutcome, create_acls, set_credential, set_quota
from kmigrate.runner.promoting import prepare_acls
from kmigrate.security.acls import Fate
from kmigrate.security.quotas import QuotaFate, name_entity
from kmigrate.security.users import UserDecision, UserFate, salt_password
from kmigrate.state.store import EffectEntry, Store
from kmigrate.topics.alter import AlterOutcome, alter_topic
from kmigrate.topics.carry import Carriage, at_once
from kmigrate.topics.compare import SettingDecision, SettingFate, missing_at_once
from kmigrate.topics.create import Failed, Later, Outcome, TargetTraits, WantedTopic, create_topics, enlarge_topics
from kmigrate.topics.describe import in_batches
from kmigrate.topics.hold import MAX_MESSAGE_BYTES
from kmigrate.topics.intended import Intended, Origin
from kmigrate.wire.acl_calls import Acl
from kmigrate.wire.config_calls import Alteration, Setting
from kmigrate.wire.quota_calls import Entity

log = logging.getLogger(__name__)

CREATE_TOPIC, ADD_PARTITIONS, SET_CONFIGS = "create-topic", "add-partitions", "set-configs"
CREATE_ACLS, SET_QUOTA, SET_USER = "create-acls", "set-quota", "set-user"
KIND_OF_EFFECT: Mapping[str, Kind] = {
    CREATE_TOPIC: Kind.TOPICS,
    ADD_PARTITIONS: Kind.TOPICS,
    SET_CONFIGS: Kind.CONFIGS,
    CREATE_ACLS: Kind.ACLS,
    SET_QUOTA: Kind.QUOTAS,
    SET_USER: Kind.USERS,
}
TOGETHER = 50
"""Things of one kind that are journaled and asked for together."""
TRIES = 10
PAUSE_SECONDS = 1.0
SALT_BYTES = 20

AnyOutcome = Outcome | AlterOutcome | GrantOutcome


class Applied(NamedTuple):
    """What became of one thing; `trouble` is empty if it is done."""

    kind: Kind
    name: str
    what: str
    trouble: str
    passing: bool = False
    """Whether the trouble may be over by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Things of one kind by name, what the journal says of each, and how all of them are done."""

    effect: str
    payloads: Mapping[str, Mapping[str, Any]]
    act: Callable[[Sequence[str]], Mapping[str, AnyOutcome]]
    words: Mapping[str, str] = field(default_factory=dict)


class Applier:
    """Applies decisions to the target; used by one thread."""

    def __init__(
        self,
        store: Store,
        target: ClusterClient,
        traits: TargetTraits,
        *,
        may_write: Callable[[], bool],
        passwords: Mapping[str, str],
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        """`may_write` says whether the lease is granted now; it is asked before everything that changes the target."""
        self._store = store
        self._target = target
        self._traits = traits
        self._may_write = may_write
        self._passwords = passwords
        self._wait = wait

    def apply(
        self, decisions: Decisions, source_max_bytes: Mapping[TopicName, int], only: Iterable[Kind]
    ) -> Iterator[Applied]:
        """Does everything of these kinds, and says of each thing what became of it."""
        kinds = frozenset(only)
        steps = [each for each in self._steps(decisions, source_max_bytes) if KIND_OF_EFFECT[each.effect] in kinds]
        untold = {Kind(kind) for kind, _, _ in decisions.untold}
        self._end_leftovers(steps, kinds - untold)
        for step in steps:
            for names in in_batches(list(step.payloads), TOGETHER):
                yield from self._carry_out(step, names)
        if Kind.ACLS in kinds:
            prepared = [each.acl for each in decisions.acls if each.fate is Fate.PREPARE]
            for acl in prepare_acls(self._store, prepared):
                yield Applied(Kind.ACLS, acl.resource, f"{acl.words} at promotion", "")

    def _end_leftovers(self, steps: Sequence[Step], kinds: frozenset[Kind]) -> None:
        """Ends what an earlier run began and of which nothing is left to do now: the target has it.

        Of kinds that one of the clusters does not tell now nothing is known: those stay open.
        """
        wanted = {(step.effect, name) for step in steps for name in step.payloads}
        for entry in self._store.effects():
            kind = KIND_OF_EFFECT.get(entry.kind)
            if entry.is_done or kind not in kinds or (entry.kind, entry.topic) in wanted:
                continue
            log.info("%s of %s: nothing is left to do", entry.kind, entry.topic)
            self._store.end_effect(entry)

    # -- one step

    def _carry_out(self, step: Step, names: Sequence[str]) -> Iterator[Applied]:
        entries = self._plan(step, names)
        left, troubles = list(names), dict.fromkeys(names, Later(WAITING_FOR_LEASE))
        for attempt in range(TRIES):
            if attempt:
                self._wait(PAUSE_SECONDS)
            outcomes = self._act(step, left)
            for name in list(left):
                outcome = outcomes.get(name, Later("the target did not answer for it"))
                if isinstance(outcome, Later):
                    troubles[name] = outcome
                    continue
                left.remove(name)
                yield self._end(step, name, entries[name], outcome)
            if not left:
                return
        for name in left:
            yield self._applied(step, name, troubles[name].reason, passing=True)

    def _plan(self, step: Step, names: Sequence[str]) -> dict[str, EffectEntry]:
        """The open entry of each: one that an earlier run left, if it was about the same, else a new one."""
        found: dict[str, EffectEntry] = {}
        for entry in self._store.effects():
            if entry.kind == step.effect and not entry.is_done and entry.topic in names:
                if dict(entry.payload) == step.payloads[entry.topic] and entry.topic not in found:
                    found[entry.topic] = entry
                else:
                    self._store.end_effect(entry)  # decided anew, otherwise
        new = {name: step.payloads[name] for name in names if name not in found}
        return found | {entry.topic: entry for entry in self._store.plan_effects(step.effect, new)}

    def _act(self, step: Step, names: Sequence[str]) -> Mapping[str, AnyOutcome]:
        if not self._may_write():
            return dict.fromkeys(names, Later(WAITING_FOR_LEASE))
        try:
            return step.act(names)
        except ClusterError as error:
            return dict.fromkeys(names, Later(str(error)))

    def _end(self, step: Step, name: str, entry: EffectEntry, outcome: AnyOutcome) -> Applied:
        if isinstance(outcome, Failed):
            log.warning("%s of %s: %s", step.effect, name, outcome.reason)
            return self._applied(step, name, outcome.reason)
        log.info("%s of %s: done", step.effect, name)
        self._store.end_effect(entry)
        return self._applied(step, name, "")

    def _applied(self, step: Step, name: str, trouble: str, *, passing: bool = False) -> Applied:
        return Applied(KIND_OF_EFFECT[step.effect], name, step.words.get(name, ""), trouble, passing)

    # -- all steps

    def _steps(self, decisions: Decisions, source_max_bytes: Mapping[TopicName, int]) -> list[Step]:
        return [
            self._create_topics(decisions, source_max_bytes),
            self._enlarge_topics(decisions),
            self._set_configs(decisions),
            self._create_acls(decisions),
            self._set_quotas(decisions),
            self._set_users(decisions),
        ]

    def _create_topics(self, decisions: Decisions, source_max_bytes: Mapping[TopicName, int]) -> Step:
        wanted = {each.name: each for each in decisions.topics if each.fate is TopicFate.CREATE}
        become = {name: intended_of(decisions.settings.get(name)) for name in wanted}

        def act(names: Sequence[str]) -> Mapping[str, AnyOutcome]:
            topics = [wanted[TopicName(name)] for name in names]
            recorded = self._store.intended()
            self._store.record_intended(
                {each.name: become[each.name] for each in topics if not _keeps(recorded.get(each.name))}
            )
            return {
                str(name): outcome
                for name, outcome in create_topics(
                    self._target, [self._wanted(each, become, source_max_bytes) for each in topics], self._traits
                ).items()
            }

        return Step(
            effect=CREATE_TOPIC,
            payloads={
                name: {"partitions": each.partitions, "replicas": each.replicas} for name, each in wanted.items()
            },
            act=act,
            words={name: f"created with {each.partitions} partitions" for name, each in wanted.items()},
        )

    def _wanted(
        self, topic: TopicDecision, become: Mapping[TopicName, Intended], source_max_bytes: Mapping[TopicName, int]
    ) -> WantedTopic:
        return WantedTopic(
            name=topic.name,
            partitions=topic.partitions,
            replication_factor=topic.replicas,
            source_max_bytes=source_max_bytes.get(topic.name),
            settings=at_once(become[topic.name].settings or {}),
        )

    def _enlarge_topics(self, decisions: Decisions) -> Step:
        counts = {each.name: each.partitions for each in decisions.topics if each.fate is TopicFate.ENLARGE}

        def act(names: Sequence[str]) -> Mapping[str, AnyOutcome]:
            wanted = {TopicName(name): counts[TopicName(name)] for name in names}
            return {str(name): outcome for name, outcome in enlarge_topics(self._target, wanted).items()}

        return Step(
            effect=ADD_PARTITIONS,
            payloads={name: {"partitions": count} for name, count in counts.items()},
            act=act,
            words={name: f"enlarged to {count} partitions" for name, count in counts.items()},
        )

    def _set_configs(self, decisions: Decisions) -> Step:
        """Of topics that are there already; those that are created get theirs with it."""
        there = {each.name for each in decisions.topics if each.target_partitions}
        wanted = {name: missing_at_once(settings) for name, settings in decisions.settings.items() if name in there}
        wanted = {name: settings for name, settings in wanted.items() if settings}

        def act(names: Sequence[str]) -> Mapping[str, AnyOutcome]:
            return {name: set_missing(self._target, TopicName(name), wanted[TopicName(name)]) for name in names}

        return Step(
            effect=SET_CONFIGS,
            payloads={str(name): settings for name, settings in wanted.items()},
            act=act,
            words={name: ", ".join(f"{key}={value}" for key, value in each.items()) for name, each in wanted.items()},
        )

    def _create_acls(self, decisions: Decisions) -> Step:
        by_name: dict[str, list[Acl]] = {}
        for each in decisions.acls:
            if each.fate is Fate.CREATE:
                by_name.setdefault(each.acl.resource, []).append(each.acl)

        def act(names: Sequence[str]) -> Mapping[str, AnyOutcome]:
            return {name: create_acls(self._target, by_name[name]) for name in names}

        return Step(
            effect=CREATE_ACLS,
            payloads={name: {"acls": [list(acl) for acl in acls]} for name, acls in by_name.items()},
            act=act,
            words={name: ", ".join(acl.words for acl in acls) for name, acls in by_name.items()},
        )

    def _set_quotas(self, decisions: Decisions) -> Step:
        wanted: dict[str, tuple[Entity, dict[str, float]]] = {}
        for each in decisions.quotas:
            if each.fate is QuotaFate.SET:
                wanted.setdefault(name_entity(each.entity), (each.entity, {}))[1][each.key] = each.value

        def act(names: Sequence[str]) -> Mapping[str, AnyOutcome]:
            return {name: set_quota(self._target, *wanted[name]) for name in names}

        return Step(
            effect=SET_QUOTA,
            payloads={name: dict(values) for name, (_, values) in wanted.items()},
            act=act,
            words={name: ", ".join(values) for name, (_, values) in wanted.items()},
        )

    def _set_users(self, decisions: Decisions) -> Step:
        wanted = {f"{each.user} {each.mechanism.words}": each for each in decisions.users if each.fate is UserFate.SET}

        def act(names: Sequence[str]) -> Mapping[str, AnyOutcome]:
            return {name: self._set_user(wanted[name]) for name in names}

        return Step(
            effect=SET_USER,
            payloads={name: {"iterations": each.iterations} for name, each in wanted.items()},
            act=act,
            words={name: f"{each.iterations} iterations" for name, each in wanted.items()},
        )

    def _set_user(self, user: UserDecision) -> GrantOutcome:
        password = self._passwords.get(user.user)
        if password is None:
            return Failed("the manifest names no password for it")
        salt = secrets.token_bytes(SALT_BYTES)
        return set_credential(self._target, salt_password(user.user, user.mechanism, user.iterations, password, salt))


def intended_of(settings: Sequence[SettingDecision] | None) -> Intended:
    """What a topic that is created becomes; None where the source does not tell its settings."""
    if settings is None:
        return Intended(origin=Origin.SOURCE, settings=None)
    wanted = {each.key: each.value for each in settings if each.how is not Carriage.LEFT_OUT}
    kept = {each.key for each in settings if each.fate is SettingFate.LEFT_OUT}
    return Intended(origin=Origin.SOURCE, settings={key: value for key, value in wanted.items() if key not in kept})


def _keeps(recorded: Intended | None) -> bool:
    """Whether what a topic is to become is not the source's to say."""
    return recorded is not None and recorded.origin is Origin.TARGET


def set_missing(client: ClusterClient, topic: TopicName, settings: Mapping[str, str]) -> AlterOutcome:
    """Gives a topic settings that it has not of its own; one that it has stays."""

    def plan(found: Mapping[str, Setting]) -> tuple[Alteration, ...]:
        return tuple(
            Alteration(key, value) for key, value in settings.items() if key in found and not found[key].is_override
        )

    return alter_topic(client, topic, list(settings), plan)


def max_bytes_of(settings: Mapping[str, Setting] | None) -> int | None:
    """The limit for batches of a topic; None if it is not told."""
    found = (settings or {}).get(MAX_MESSAGE_BYTES)
    return None if found is None else int(found.value)
