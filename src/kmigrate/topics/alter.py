"""Alters settings of target topics; the outcome is a value.

Rule: a topic counts as altered once the target shows it, not when the target said so. Nothing here repeats a request:
what may work later comes back as `Later`, and the caller comes again, to the same end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypeAlias

from kmigrate.cluster.client import ClusterClient
from kmigrate.kafka_types import TopicName
from kmigrate.topics.create import Failed, Later, judge_error
from kmigrate.wire import config_calls
from kmigrate.wire.calls import TopicOutcome
from kmigrate.wire.config_calls import Alteration, Setting


class Altered(NamedTuple):
    """It is as it should be, and the target shows it; `alterations` are what this request did to get there."""

    alterations: tuple[Alteration, ...]


AlterOutcome: TypeAlias = Altered | Later | Failed
Plan: TypeAlias = Callable[[Mapping[str, Setting]], Sequence[Alteration]]
"""What is to be altered in a topic with these settings; nothing in one that is as it should be."""


def alter_topic(client: ClusterClient, topic: TopicName, keys: Sequence[str], plan: Plan) -> AlterOutcome:
    """Brings a topic to where the plan, which looks at these keys, finds nothing left to alter."""
    found = _describe(client, topic, keys)
    if isinstance(found, (Later, Failed)):
        return found
    alterations = tuple(plan(found))
    if not alterations:
        return Altered(())
    answer = client.controller(config_calls.alter_topic_configs({topic: alterations})).get(topic)
    if answer is None or answer.error:
        return _unaltered(answer, alterations)
    shown = _describe(client, topic, keys)
    if isinstance(shown, (Later, Failed)):
        return shown
    return Later("the target does not show the new settings yet") if plan(shown) else Altered(alterations)


def _describe(client: ClusterClient, topic: TopicName, keys: Sequence[str]) -> Mapping[str, Setting] | Later | Failed:
    error, settings = client.any(config_calls.describe_topic_configs([topic], keys)).get(topic, (None, {}))
    if error is None:
        return Later("the target did not tell this topic's settings")
    return judge_error(TopicOutcome(error, "")) if error else settings


def _unaltered(answer: TopicOutcome | None, alterations: Sequence[Alteration]) -> Later | Failed:
    if answer is None:
        return Later("the target did not answer for this topic")
    outcome = judge_error(answer)
    return outcome._replace(reason=f"{outcome.reason} (asked for {', '.join(map(str, alterations))})")
