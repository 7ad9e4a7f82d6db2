"""Every topic of the source either moves or is left out for a reason that is told.  (pure)"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from kmigrate.kafka_types import TopicName
from kmigrate.manifest import Manifest
from kmigrate.topics.internal import ALWAYS_INTERNAL, reason_to_leave_out, rule_of
from kmigrate.wire.calls import TopicMetadata

INTERNAL = ALWAYS_INTERNAL
NOT_INCLUDED = "not included by the manifest"
EXCLUDED = "excluded by the manifest"


@dataclass(frozen=True, slots=True, kw_only=True)
class Selected:
    """What moves, what does not and why, and what the manifest names but the source does not have."""

    topics: tuple[TopicName, ...]
    left_out: Mapping[TopicName, str]
    missing: tuple[TopicName, ...]


def select_topics(topics: Mapping[TopicName, TopicMetadata], manifest: Manifest) -> Selected:
    """Sorts the topics of a source."""
    moving: list[TopicName] = []
    left_out: dict[TopicName, str] = {}
    named = frozenset(manifest.literal_topics())
    for name in sorted(topics):
        reason = _reason_to_leave_out(name, topics[name].is_internal, manifest, named)
        if reason is None:
            moving.append(name)
        else:
            left_out[name] = reason
    missing = tuple(TopicName(name) for name in manifest.literal_topics() if name not in topics)
    return Selected(topics=tuple(moving), left_out=left_out, missing=missing)


def _reason_to_leave_out(name: TopicName, is_internal: bool, manifest: Manifest, named: Collection[str]) -> str | None:
    rule = rule_of(name, is_internal=is_internal)
    selected = manifest.topic_selected(name)
    if rule is not None and (selected or is_internal or rule.what == INTERNAL):
        return reason_to_leave_out(rule, named=name in named)
    if selected:
        return None
    include, _exclude = manifest.topics.patterns
    return EXCLUDED if any(pattern.fullmatch(name) for pattern in include) else NOT_INCLUDED
