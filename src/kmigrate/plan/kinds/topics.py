"""Topics and their partition counts as actions.  (pure)"""

from __future__ import annotations

from collections.abc import Iterator

from kmigrate.plan.actions import Kind, PlannedAction, Verb, When
from kmigrate.plan.surroundings import Decisions, TopicDecision, TopicFate
from kmigrate.words import count_of

_VERBS = {
    TopicFate.CREATE: (Verb.CREATE, When.NOW),
    TopicFate.ENLARGE: (Verb.ENLARGE, When.NOW),
    TopicFate.PRESENT: (Verb.NOTHING, When.NEVER),
    TopicFate.BLOCKED: (Verb.BLOCKED, When.NEVER),
    TopicFate.LEFT_OUT: (Verb.LEAVE_OUT, When.NEVER),
}


def topic_actions(decisions: Decisions) -> Iterator[PlannedAction]:
    """One for each topic of the source."""
    for each in decisions.topics:
        verb, when = _VERBS[each.fate]
        yield PlannedAction(
            kind=Kind.TOPICS,
            name=each.name,
            action=verb,
            what=_what(each),
            reason=each.reason,
            when=when,
            hint=each.hint,
        )


def _what(topic: TopicDecision) -> str:
    if topic.fate is TopicFate.LEFT_OUT:
        return ""
    partitions = count_of(topic.partitions, "partition")
    if topic.fate is TopicFate.CREATE:
        return f"{partitions}, replication factor {topic.replicas}"
    if topic.fate is TopicFate.ENLARGE:
        return f"{partitions}, from {topic.target_partitions}"
    return partitions
