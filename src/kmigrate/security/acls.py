"""What becomes of every access control rule of the source.  (pure)

A DENY is created at once. A right that lets somebody change a topic that is copied (WRITE, DELETE, ALTER, …) is only
*prepared*: the target's topic takes one writer at a time, and until promotion that is the copy. Of a right to do
everything the reading part is granted at once, so that consumers can move first. Everything else is created at once.
Nothing is ever taken away from the target.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from kmigrate.manifest import Manifest
from kmigrate.security.principals import Principals, map_principal
from kmigrate.wire.acl_calls import Acl, AclOperation, PatternType, Permission, ResourceType

ANY_NAME = "*"
READING = (AclOperation.READ, AclOperation.DESCRIBE, AclOperation.DESCRIBE_CONFIGS)
"""What may be done to a topic while it is copied."""


class Fate(enum.Enum):
    """What becomes of a rule."""

    CREATE = "create"
    PREPARE = "prepare"
    """It takes effect when its topics are promoted."""
    PRESENT = "present"
    LEFT_OUT = "left out"


class AclDecision(NamedTuple):
    """One rule as the target would have it (one that is left out: as the source has it), its fate and why."""

    acl: Acl
    fate: Fate
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """Which topics and groups move, and how principals are called on the target."""

    topic: Callable[[str], bool]
    group: Callable[[str], bool]
    own_group: str
    principals: Principals

    @classmethod
    def of(cls, manifest: Manifest) -> Scope:
        """The scope of a migration."""
        return cls(
            topic=manifest.topic_selected,
            group=manifest.groups.selects,
            own_group=manifest.lease_group,
            principals=manifest.principals,
        )


def decide_acls(
    source: Iterable[Acl], target: Collection[Acl], topics: Collection[str], scope: Scope
) -> tuple[AclDecision, ...]:
    """Every rule of the source in the order of resources, each with its fate.

    `topics` are those of the source that move.
    """
    there = frozenset(target)
    found: dict[Acl, AclDecision] = {}
    for each in sorted(source):
        why_not = _reason_to_leave_out(each, topics, scope)
        if why_not:
            found[each] = AclDecision(each, Fate.LEFT_OUT, why_not)
            continue
        for wanted, fate, reason in _split(_mapped(each, scope.principals)):
            if wanted in there:
                fate, reason = Fate.PRESENT, "the target has it"
            if wanted not in found or found[wanted].fate is Fate.LEFT_OUT:
                found[wanted] = AclDecision(wanted, fate, reason)
    return tuple(found[acl] for acl in sorted(found))


def changes_topics(acl: Acl) -> bool:
    """Whether a rule lets somebody change a topic."""
    return acl.resource_type is ResourceType.TOPIC and acl.permission is Permission.ALLOW and not _only_reads(acl)


def concerns(acl: Acl, topic: str) -> bool:
    """Whether a rule about topics is about this one."""
    if acl.pattern_type is PatternType.PREFIXED:
        return topic.startswith(acl.name)
    return acl.name in (ANY_NAME, topic)


def _only_reads(acl: Acl) -> bool:
    return acl.operation in READING


def _split(acl: Acl) -> Iterator[tuple[Acl, Fate, str]]:
    if not changes_topics(acl):
        denies = acl.permission is Permission.DENY
        yield acl, Fate.CREATE, "what is denied there is denied here at once" if denies else "as on the source"
        return
    yield acl, Fate.PREPARE, "it may change a topic that is copied: from the promotion on"
    if acl.operation is AclOperation.ALL:
        for operation in READING:
            yield acl._replace(operation=operation), Fate.CREATE, "the reading part of a right to do everything"


def _mapped(acl: Acl, principals: Principals) -> Acl:
    """Names of users are mapped too where a rule is about one."""
    name = map_principal(acl.name, principals) if acl.resource_type is ResourceType.USER else acl.name
    return acl._replace(principal=map_principal(acl.principal, principals), name=name)


def _reason_to_leave_out(acl: Acl, topics: Collection[str], scope: Scope) -> str:
    prefixed = acl.pattern_type is PatternType.PREFIXED
    match acl.resource_type:
        case ResourceType.TOPIC if prefixed:
            moves = scope.topic(acl.name) or any(topic.startswith(acl.name) for topic in topics)
            return "" if moves else "no topic that moves begins so"
        case ResourceType.TOPIC:
            moves = acl.name == ANY_NAME or acl.name in topics or scope.topic(acl.name)
            return "" if moves else "the topic does not move"
        case ResourceType.GROUP if acl.name == scope.own_group and not prefixed:
            return "it is about kmigrate's own group"
        case ResourceType.GROUP if not prefixed and acl.name != ANY_NAME and not scope.group(acl.name):
            return "the group does not move"
        case ResourceType.DELEGATION_TOKEN if acl.name != ANY_NAME:
            return "it is about a token of the source, which the target does not know"
        case ResourceType.CLUSTER if acl.operation is AclOperation.CLUSTER_ACTION:
            return "it is for brokers: the target's have their own"
        case _:
            return ""
