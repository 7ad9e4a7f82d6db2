"""Topics of Kafka's own, of vendors and of an application's inside: each has a rule, and the rule its reason.  (pure)

Kafka's own and vendors' are never copied: the target has its own. State of an application (Kafka Streams, Connect, a
schema registry) is worth something only at the same offsets and while nobody writes to it: it is copied only if the
manifest names the topic outright, wants it identical, and the application is stopped on the source.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Collection
from functools import lru_cache
from typing import NamedTuple

ALWAYS_INTERNAL = "an internal topic: the target has its own"


class Care(enum.Enum):
    """Whether such a topic may be copied at all."""

    NEVER = "never"
    ONLY_STOPPED = "only stopped"
    """Only with identical offsets, and while its application is stopped."""


class InternalRule(NamedTuple):
    """What topics with such names are."""

    pattern: re.Pattern[str]
    care: Care
    what: str


class RunningGroup(NamedTuple):
    """A consumer group of the source that has members now."""

    group_id: str
    protocol_type: str


def _never(pattern: str, what: str) -> InternalRule:
    return InternalRule(re.compile(pattern), Care.NEVER, what)


def _only_stopped(pattern: str, what: str) -> InternalRule:
    return InternalRule(re.compile(pattern), Care.ONLY_STOPPED, what)


STREAMS, CONNECT, SCHEMAS = (
    "state of a Kafka Streams application",
    "state of Kafka Connect",
    "a schema registry's topic",
)
KMIGRATE = "kmigrate's own: the mirrored state of a migration"
MIRROR = "MirrorMaker's own, about a pair of clusters that will not exist"

RULES: tuple[InternalRule, ...] = (
    _never(r"__consumer_offsets|__transaction_state|__share_group_state|__cluster_metadata", ALWAYS_INTERNAL),
    _never(r"__amazon_msk.*", "Amazon MSK's own"),
    _never(r"__strimzi.*|__.*[Cc]ruise_?[Cc]ontrol.*", "made by what operates the cluster"),
    _never(r"_+confluent.*", "Confluent's own"),
    _never(r"mm2-(configs|offsets|status|offset-syncs)\..*\.internal|.*\.checkpoints\.internal", MIRROR),
    _never(r"heartbeats|.*\.heartbeats", MIRROR),
    _never(r"__kmigrate\..*", KMIGRATE),
    _never(r"__.*", ALWAYS_INTERNAL),
    _only_stopped(r".+-changelog|.+-repartition", STREAMS),
    _only_stopped(r"(.*[-_.])?connect(-cluster)?[-_.](.*[-_.])?(configs?|offsets?|status(es)?)", CONNECT),
    _only_stopped(r"_schemas|_schema_encoders", SCHEMAS),
)
"""The first whose pattern matches the whole name counts."""


@lru_cache(maxsize=65_536)
def rule_of(name: str, *, is_internal: bool = False) -> InternalRule | None:
    """The rule for a topic; None for one that is as any other."""
    found = next((rule for rule in RULES if rule.pattern.fullmatch(name)), None)
    if found is None and is_internal:  # Kafka itself says so
        return InternalRule(re.compile(re.escape(name)), Care.NEVER, ALWAYS_INTERNAL)
    return found


def reason_to_leave_out(rule: InternalRule, *, named: bool) -> str | None:
    """Why such a topic does not move; None if it may. `named`: the manifest names it outright.

    Names that begin with two underscores are Kafka's; others may be like an application's by chance.
    """
    if rule.care is Care.ONLY_STOPPED:
        if named:
            return None
        return f"{rule.what}: name it in topics.include to copy it, identical and with the application stopped"
    if rule.what == ALWAYS_INTERNAL:
        return ALWAYS_INTERNAL
    if named and not rule.pattern.pattern.startswith("__"):
        return None
    return f"{rule.what}: the target has, or needs, its own"


def objection(
    name: str, rule: InternalRule, running: Collection[RunningGroup] | None, *, identical: bool
) -> str | None:
    """Why a topic that the manifest names must not be copied now; None if nothing speaks against it.

    `running` are the source's groups with members (None: not told), `identical` says whether the manifest wants it so.
    """
    if rule.care is not Care.ONLY_STOPPED:
        return None
    if not identical:
        return f"topic {name} is {rule.what}: it is of use only at the same offsets"
    if running is None:
        return f"topic {name} is {rule.what}, and the source does not tell whether its application is stopped"
    users = sorted(each.group_id for each in running if _uses(each, name, rule))
    if users:
        return f"topic {name} is {rule.what}, and {', '.join(users)} is running on the source"
    return None


def _uses(group: RunningGroup, topic: str, rule: InternalRule) -> bool:
    """Whether such a group is the topic's application, or may be."""
    if rule.what == STREAMS:
        return topic.startswith(f"{group.group_id}-")
    if rule.what == CONNECT:
        return group.protocol_type == "connect"
    return group.protocol_type == "sr" or group.group_id == "schema-registry"
