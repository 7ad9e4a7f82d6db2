"""Restoring a topic ends its hold: it gets its intended settings, all of them or none.

Rule: only after the last record was copied. From then on the target expires, compacts and refuses as it is told to.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from kmigrate.cluster.client import ClusterClient
from kmigrate.kafka_types import TopicName
from kmigrate.topics.alter import AlterOutcome, Plan, alter_topics
from kmigrate.topics.hold import HELD_KEYS, SINGLE_LIMIT, SPLIT_LIMITS
from kmigrate.topics.intended import INTENDED_KEYS
from kmigrate.topics.treatments import AT_END_KEYS, AT_ONCE_KEYS
from kmigrate.wire.config_calls import Alteration, Setting


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreHold:
    """The effect: this topic is to have these settings of its own, and none of the hold's."""

    topic: TopicName
    settings: Mapping[str, str]


def restore_hold(client: ClusterClient, effect: RestoreHold) -> AlterOutcome:
    """Carries it out on the target; where it was carried out before, nothing is left to alter."""
    return restore_holds(client, [effect])[effect.topic]


def restore_holds(client: ClusterClient, effects: Iterable[RestoreHold]) -> dict[TopicName, AlterOutcome]:
    """The same for many topics, with the same requests for all."""

    def plan_of(effect: RestoreHold) -> Plan:
        return lambda found: plan_restore(found, effect.settings)

    return alter_topics(client, {effect.topic: plan_of(effect) for effect in effects}, INTENDED_KEYS)


def plan_restore(found: Mapping[str, Setting], intended: Mapping[str, str]) -> tuple[Alteration, ...]:
    """What leads from the settings found on the target to the intended ones.  (pure)

    The hold's settings become what is intended, or the target's defaults. Any other is set only where the topic has
    none of its own: the hold never set it, so somebody else did.
    """
    wanted = _spell_limits(intended, found.keys())
    alterations = []
    for key in HELD_KEYS:
        setting, value = found.get(key), wanted.get(key)
        if setting is not None and value != (setting.value if setting.is_override else None):
            alterations.append(Alteration(key, value))
    for key in (*AT_END_KEYS, *AT_ONCE_KEYS):
        if key in found and key in wanted and not found[key].is_override:
            alterations.append(Alteration(key, wanted[key]))
    return tuple(alterations)


def _spell_limits(intended: Mapping[str, str], known: Collection[str]) -> Mapping[str, str]:
    """The timestamp limits as a broker with these keys spells them: for both directions together, or for each.

    Where there is one for both, it is the wider of two: what the source took must not be refused.
    """
    if SINGLE_LIMIT in known and SPLIT_LIMITS[0] in known:
        return intended
    others = {key: value for key, value in intended.items() if key not in (SINGLE_LIMIT, *SPLIT_LIMITS)}
    both = {key: intended.get(key, intended.get(SINGLE_LIMIT)) for key in SPLIT_LIMITS}
    limits = {key: value for key, value in both.items() if value is not None}
    if SPLIT_LIMITS[0] in known:
        return others | limits
    return others | ({SINGLE_LIMIT: max(limits.values(), key=int)} if len(limits) == len(SPLIT_LIMITS) else {})
