"""Alters settings of target topics; the outcome is a value.

Rule: a topic counts as altered once the target shows it, not when the target said so. Nothing here repeats a request:
what may work later comes back as `Later`, and the caller comes again, to the same end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple, TypeAlias

from kmigrate.cluster.client import ClusterClient
from kmigrate.kafka_types import TopicName
from kmigrate.topics.create import Failed, Later, judge_error
from kmigrate.wire import config_calls
from kmigrate.wire.calls import TopicOutcome
from kmigrate.wire.config_calls import Alteration, Setting

TOGETHER = 100
"""Topics in one request."""


class Altered(NamedTuple):
    """It is as it should be, and the target shows it; `alterations` are what this request did to get there."""

    alterations: tuple[Alteration, ...]


AlterOutcome: TypeAlias = Altered | Later | Failed
Plan: TypeAlias = Callable[[Mapping[str, Setting]], Sequence[Alteration]]
"""What is to be altered in a topic with these settings; nothing in one that is as it should be."""


def alter_topic(client: ClusterClient, topic: TopicName, keys: Sequence[str], plan: Plan) -> AlterOutcome:
    """Brings a topic to where the plan, which looks at these keys, finds nothing left to alter."""
    return alter_topics(client, {topic: plan}, keys)[topic]


def alter_topics(
    client: ClusterClient, plans: Mapping[TopicName, Plan], keys: Sequence[str]
) -> dict[TopicName, AlterOutcome]:
    """The same for many topics: looked at, altered and looked at again by a request for all of them each time."""
    outcomes: dict[TopicName, AlterOutcome] = {}
    for names in _in_requests([*plans]):
        outcomes |= _alter_some(client, {name: plans[name] for name in names}, keys)
    return outcomes


def _alter_some(
    client: ClusterClient, plans: Mapping[TopicName, Plan], keys: Sequence[str]
) -> dict[TopicName, AlterOutcome]:
    outcomes: dict[TopicName, AlterOutcome] = {}
    wanted: dict[TopicName, tuple[Alteration, ...]] = {}
    for topic, found in _describe(client, [*plans], keys).items():
        if isinstance(found, (Later, Failed)):
            outcomes[topic] = found
        elif alterations := tuple(plans[topic](found)):
            wanted[topic] = alterations
        else:
            outcomes[topic] = Altered(())
    if not wanted:
        return outcomes
    answer = client.controller(config_calls.alter_topic_configs(wanted))
    altered = []
    for topic, alterations in wanted.items():
        told = answer.get(topic)
        if told is None or told.error:
            outcomes[topic] = _unaltered(told, alterations)
        else:
            altered.append(topic)
    for topic, shown in _describe(client, altered, keys).items() if altered else ():
        if isinstance(shown, (Later, Failed)):
            outcomes[topic] = shown
        elif plans[topic](shown):
            outcomes[topic] = Later("the target does not show the new settings yet")
        else:
            outcomes[topic] = Altered(wanted[topic])
    return outcomes


def _in_requests(names: Sequence[TopicName]) -> Iterator[Sequence[TopicName]]:
    return (names[first : first + TOGETHER] for first in range(0, len(names), TOGETHER))


def _describe(
    client: ClusterClient, topics: Sequence[TopicName], keys: Sequence[str]
) -> dict[TopicName, Mapping[str, Setting] | Later | Failed]:
    answer = client.any(config_calls.describe_topic_configs(topics, keys))
    found: dict[TopicName, Mapping[str, Setting] | Later | Failed] = {}
    for topic in topics:
        error, settings = answer.get(topic, (None, {}))
        if error is None:
            found[topic] = Later("the target did not tell this topic's settings")
        else:
            found[topic] = judge_error(TopicOutcome(error, "")) if error else settings
    return found


def _unaltered(answer: TopicOutcome | None, alterations: Sequence[Alteration]) -> Later | Failed:
    if answer is None:
        return Later("the target did not answer for this topic")
    outcome = judge_error(answer)
    return outcome._replace(reason=f"{outcome.reason} (asked for {', '.join(map(str, alterations))})")
