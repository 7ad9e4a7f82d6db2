"""What was seen of both clusters beside the partitions, and what follows from it.  (pure)

`Surroundings` are facts, `decide_surroundings` says of each thing what becomes of it. A plan shows it, `apply` carries
it out: both from the same decisions.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from kmigrate.groups.foresee import GroupDecision, GroupsSeen, decide_groups
from kmigrate.groups.select import select_groups
from kmigrate.kafka_types import TopicName
from kmigrate.manifest import Manifest, OffsetsClass
from kmigrate.security.acls import AclDecision, Scope, decide_acls
from kmigrate.security.quotas import QuotaDecision, Quotas, decide_quotas
from kmigrate.security.told import Told
from kmigrate.security.users import Given, UserDecision, decide_users
from kmigrate.topics.carry import Defaults, Settings, carry_settings
from kmigrate.topics.compare import SettingDecision, decide_settings
from kmigrate.topics.hold import wears_hold
from kmigrate.topics.internal import RunningGroup, objection, rule_of
from kmigrate.topics.replicas import decide_replication_factor
from kmigrate.wire.acl_calls import Acl
from kmigrate.wire.user_calls import Credentials, ScramMechanism


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicSeen:
    """One selected topic: partitions and replicas on the source, partitions on the target (0: it is not there).

    Settings are None where they are not told. `ours`: this migration copied into the target's.
    """

    name: TopicName
    partitions: int
    replicas: int
    settings: Settings | None
    target_partitions: int = 0
    target_settings: Settings | None = None
    ours: bool = False
    is_internal: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """Everything that was seen; `running` are the source's groups with members, None if they are not told.

    `transactions`: transactional ids of the source and what they write to, as far as they are looked at and told.
    """

    topics: tuple[TopicSeen, ...] = ()
    left_out: Mapping[TopicName, str] = field(default_factory=dict)
    target_brokers: int = 1
    defaults: Defaults | None = None
    running: Collection[RunningGroup] | None = None
    acls: tuple[Told[tuple[Acl, ...]], Told[tuple[Acl, ...]]] = (Told(value=()), Told(value=()))
    quotas: tuple[Told[Quotas], Told[Quotas]] = (Told(value={}), Told(value={}))
    users: tuple[Told[Credentials], Told[Credentials]] = (Told(value={}), Told(value={}))
    groups: GroupsSeen = field(default_factory=GroupsSeen)
    transactions: Mapping[str, Collection[TopicName]] = field(default_factory=dict)

    def groups_moving(self, manifest: Manifest) -> dict[str, frozenset[TopicName]]:
        """The groups that take part, and the topics that they have committed; nothing of one that is not told.

        A group that has committed, and nothing for topics that take part, is none of them.
        """
        topics = {each.name for each in self.topics}
        found: dict[str, frozenset[TopicName]] = {}
        for group in select_groups(self.groups.source, manifest).groups:
            commits = self.groups.source_commits.get(group)
            reads = frozenset(tp.topic for tp in commits or () if tp.topic in topics)
            if reads or commits is None:
                found[group] = reads
        return found


class TopicFate(enum.Enum):
    """What becomes of a topic."""

    CREATE = "create"
    ENLARGE = "enlarge"
    PRESENT = "present"
    BLOCKED = "blocked"
    LEFT_OUT = "left out"


class TopicDecision(NamedTuple):
    """One topic, its fate and why; `partitions` and `replicas` are what the target's is to have."""

    name: TopicName
    fate: TopicFate
    reason: str
    partitions: int = 0
    replicas: int = 0
    target_partitions: int = 0
    hint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decisions:
    """What becomes of everything; of what one of the clusters does not tell nothing is decided: `untold`."""

    topics: tuple[TopicDecision, ...]
    settings: Mapping[TopicName, tuple[SettingDecision, ...]]
    acls: tuple[AclDecision, ...]
    quotas: tuple[QuotaDecision, ...]
    users: tuple[UserDecision, ...]
    groups: tuple[GroupDecision, ...]
    untold: tuple[tuple[str, str, str], ...]
    """Kind, side and reason."""


def decide_surroundings(seen: Surroundings, manifest: Manifest) -> Decisions:
    """What becomes of everything that was seen."""
    topics = [_decide_topic(each, seen, manifest) for each in seen.topics]
    topics += [TopicDecision(name, TopicFate.LEFT_OUT, reason) for name, reason in seen.left_out.items()]
    moving = {each.name for each in topics if each.fate not in (TopicFate.LEFT_OUT, TopicFate.BLOCKED)}
    replicas = {each.name: each.replicas for each in topics}
    settings = {
        each.name: _decide_topic_settings(each, seen, replicas[each.name])
        for each in seen.topics
        if each.name in moving
    }
    return Decisions(
        topics=tuple(sorted(topics)),
        settings={name: decisions for name, decisions in sorted(settings.items()) if decisions is not None},
        acls=_decide_acls(seen, manifest),
        quotas=_decide_quotas(seen, manifest),
        users=_decide_users(seen, manifest),
        groups=decide_groups(seen.groups, manifest, moving),
        untold=(*_untold(seen), *_untold_settings(seen, moving)),
    )


def _decide_topic(topic: TopicSeen, seen: Surroundings, manifest: Manifest) -> TopicDecision:
    replicas = decide_replication_factor(manifest.replication_factor, topic.replicas, seen.target_brokers)
    rule = rule_of(topic.name, is_internal=topic.is_internal)
    identical = manifest.offsets.class_of(topic.name) is OffsetsClass.IDENTICAL
    against, hint = None, ""
    if rule is not None and not topic.ours:
        against = objection(topic.name, rule, seen.running, identical=identical)
    if against is not None:
        hint = (
            f"stop its application on the source and set `{topic.name}: identical` in offsets.topics, or leave it"
            " out of topics.include"
        )
    there, wanted = topic.target_partitions, topic.partitions
    if against is None and there > wanted:
        against = f"the target has {there} partitions and the source {wanted}: keys would go to other partitions"
    if against is None and not there and replicas > seen.target_brokers:
        against = f"{replicas} replicas are wanted, and the target has {seen.target_brokers} brokers"
    if against is not None:
        fate, reason = TopicFate.BLOCKED, against
    elif not there:
        fate, reason = TopicFate.CREATE, "the target does not have it"
    elif there < wanted and _is_by_hand(topic):
        reason = f"it was made by hand, with {there} of {wanted} partitions: `run` adds the rest once it looked inside"
        fate = TopicFate.PRESENT
    elif there < wanted:
        fate, reason = TopicFate.ENLARGE, f"the source has {wanted} partitions, the target {there}"
    else:
        fate, reason = TopicFate.PRESENT, "the target has it"
    return TopicDecision(topic.name, fate, reason, wanted, replicas, there, hint)


def _is_by_hand(topic: TopicSeen) -> bool:
    """Whether the target had the topic before this migration: what it has of its own stays."""
    settings = topic.target_settings
    return bool(topic.target_partitions) and not topic.ours and (settings is None or not wears_hold(settings))


def _decide_topic_settings(topic: TopicSeen, seen: Surroundings, replicas: int) -> tuple[SettingDecision, ...] | None:
    """None where one of the clusters does not tell."""
    if topic.settings is None or (topic.target_partitions and topic.target_settings is None):
        return None
    there = topic.target_settings if topic.target_partitions else None
    by_hand = _is_by_hand(topic)
    defaults = seen.defaults
    if there is not None:
        told = {key: each.inherited for key, each in there.items()}
        defaults = told if defaults is None else {key: told[key] or defaults.get(key) for key in told}
    return decide_settings(carry_settings(topic.settings, defaults, replicas), there, by_hand=by_hand)


def _decide_acls(seen: Surroundings, manifest: Manifest) -> tuple[AclDecision, ...]:
    source, target = seen.acls
    if source.value is None or target.value is None:
        return ()
    return decide_acls(source.value, target.value, {each.name for each in seen.topics}, Scope.of(manifest))


def _decide_quotas(seen: Surroundings, manifest: Manifest) -> tuple[QuotaDecision, ...]:
    source, target = seen.quotas
    if source.value is None or target.value is None:
        return ()
    ours = {cluster.client_id_of(manifest.name) for cluster in (manifest.source, manifest.target)}
    return decide_quotas(source.value, target.value, manifest.principals, ours)


def _decide_users(seen: Surroundings, manifest: Manifest) -> tuple[UserDecision, ...]:
    source, target = seen.users
    if target.value is None:
        return ()
    return decide_users(source.value or {}, target.value, given_users(manifest), manifest.principals)


def given_users(manifest: Manifest) -> Given:
    """The credentials that the manifest names."""
    mechanisms = {each.words: each for each in ScramMechanism}
    return {(user, mechanisms[each.mechanism]): each.iterations for user, each in manifest.users.items()}


def _untold(seen: Surroundings) -> list[tuple[str, str, str]]:
    found = []
    pairs: list[tuple[str, tuple[Told[Any], Told[Any]]]] = [
        ("acls", seen.acls),
        ("quotas", seen.quotas),
        ("users", seen.users),
    ]
    for kind, pair in pairs:
        has_none = pair[0].value is not None and not pair[0].value
        for side, told in zip(("source", "target"), pair, strict=True):
            if told.reason and not (told.is_off and (side == "source" or has_none)):
                found.append((kind, side, told.reason))
    found += [("groups", side.value, reason) for side, reason in seen.groups.untold]
    return found


def _untold_settings(seen: Surroundings, moving: Collection[TopicName]) -> list[tuple[str, str, str]]:
    why = "it does not tell settings (the right DESCRIBE_CONFIGS is missing)"
    found = []
    silent = {
        "source": [each.name for each in seen.topics if each.name in moving and each.settings is None],
        "target": [
            each.name
            for each in seen.topics
            if each.name in moving and each.target_partitions and each.target_settings is None
        ],
    }
    for side, names in silent.items():
        found += [("configs", f"{side} {name}", why) for name in names]
    if seen.topics and seen.defaults is None:
        found.append(("configs", "target", "it does not tell what topics inherit: only their own settings are carried"))
    return found
