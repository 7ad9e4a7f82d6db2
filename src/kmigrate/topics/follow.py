"""Settings that change on the source while it is copied come along; those that somebody changes on the target stay.

What the topic is to have in the end is recorded anew. Of what is not held the target's topic gets the change at once,
but only where it still has what it was given before: anything else is somebody's decision, and is told as drift.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from kmigrate.cluster.client import ClusterClient
from kmigrate.kafka_types import TopicName
from kmigrate.topics.alter import AlterOutcome, alter_topic
from kmigrate.topics.carry import at_once
from kmigrate.topics.compare import hold_drift
from kmigrate.topics.treatments import AT_END_KEYS, AT_ONCE_KEYS
from kmigrate.wire.config_calls import Alteration, Setting

Changes = Mapping[str, tuple[str | None, str | None]]
"""Setting → what the topic was given before, and what it is given now; None: nothing of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowSettings:
    """The effect: this topic gets the changes of the source's settings."""

    topic: TopicName
    changes: Changes


def decide_changes(recorded: Mapping[str, str], wanted: Mapping[str, str]) -> Changes:
    """What changed of the settings that are not held.  (pure)"""
    before, now = at_once(recorded), at_once(wanted)
    return {
        key: (before.get(key), now.get(key))
        for key in sorted(before.keys() | now.keys())
        if before.get(key) != now.get(key)
    }


def plan_follow(found: Mapping[str, Setting], changes: Changes) -> tuple[Alteration, ...]:
    """What leads from the settings found to the changed ones; what somebody else set stays.  (pure)"""
    return tuple(
        Alteration(key, now)
        for key, (before, now) in changes.items()
        if key in found and _own(found, key) == before and before != now
    )


def follow_settings(client: ClusterClient, effect: FollowSettings) -> AlterOutcome:
    """Carries it out on the target; where it was carried out before, nothing is left to alter."""
    return alter_topic(client, effect.topic, list(effect.changes), lambda found: plan_follow(found, effect.changes))


def list_drift(target: Mapping[str, Setting], intended: Mapping[str, str]) -> Iterator[str]:
    """What is not as the copy left it, each in a few words; of a topic under hold.  (pure)"""
    wanted = at_once(intended)
    for key in AT_ONCE_KEYS:
        if key not in target or _own(target, key) == wanted.get(key):
            continue
        have = f"{target[key].value}" + ("" if target[key].is_override else " (inherited)")
        yield f"{key} is {have}, " + (f"it was given {wanted[key]}" if key in wanted else "it was given none")
    for key in AT_END_KEYS:
        if key in target and target[key].is_override and target[key].value != intended.get(key):
            yield f"{key} is {target[key].value}, it was given none"
    for each in hold_drift(target):
        yield f"{each.key} is {each.value} instead of the hold's"


def _own(settings: Mapping[str, Setting], key: str) -> str | None:
    setting = settings.get(key)
    return setting.value if setting is not None and setting.is_override else None
