"""The waves of a migration as its manifest has them now, and what speaks against leading them.  (pure)"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from kmigrate.kafka_types import TopicName
from kmigrate.manifest import Manifest, wishes_of
from kmigrate.manifest.model import Scheme
from kmigrate.runner.cutover.waves import problems_of, waves_of
from kmigrate.schemes.wave import Ending, History, MoveKind, Wave


def is_led(manifest: Manifest) -> bool:
    """Whether the manifest says how the service moves."""
    return bool(wishes_of(manifest))


def plan_waves(
    manifest: Manifest, topics: Collection[TopicName], groups: Mapping[str, Collection[TopicName]]
) -> tuple[tuple[Wave, ...], tuple[str, ...]]:
    """(the waves, what speaks against them); `groups`: each group, and the topics that it reads."""
    waves = tuple(map(_led_back, waves_of(manifest, topics, groups)))
    return waves, tuple(f"{each.told}; {each.way}" for each in problems_of(manifest, topics, groups))


def _led_back(wave: Wave) -> Wave:
    """The way back begins where the source ended when its copy did: where writers go on there afterwards, it cannot."""
    if wave.scheme is Scheme.CONSUMERS_FIRST:
        stops = wave.ending is Ending.CLEAN or all(move.kind is not MoveKind.WRITERS for move in wave.moves)
    else:
        stops = wave.history is History.STOPPED
    return wave if stops or not wave.has_way_back else replace(wave, has_way_back=False)
