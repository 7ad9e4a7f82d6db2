"""The waves of a migration as its manifest has them now, and what speaks against leading them.  (pure)"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from kmigrate.kafka_types import TopicName
from kmigrate.manifest import Manifest, wishes_of
from kmigrate.runner.cutover.waves import problems_of, waves_of
from kmigrate.schemes.wave import Wave


def is_led(manifest: Manifest) -> bool:
    """Whether the manifest says how the service moves."""
    return bool(wishes_of(manifest))


def plan_waves(
    manifest: Manifest, topics: Collection[TopicName], groups: Mapping[str, Collection[TopicName]]
) -> tuple[tuple[Wave, ...], tuple[str, ...]]:
    """(the waves, what speaks against them); `groups`: each group, and the topics that it reads."""
    waves = waves_of(manifest, topics, groups)
    return waves, tuple(f"{each.told}; {each.way}" for each in problems_of(manifest, topics, groups))
