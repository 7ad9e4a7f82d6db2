"""The waves of a migration as its manifest has them now, and what speaks against them.  (pure)"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from kmigrate.kafka_types import TopicName
from kmigrate.manifest import Manifest
from kmigrate.schemes.order import moves_of, wave_problems
from kmigrate.schemes.wave import Limits, Wave

WHOLE = "all"
"""The wave of a manifest without waves."""


def is_led(manifest: Manifest) -> bool:
    """Whether the manifest says how the service moves."""
    return manifest.scheme is not None or any(each.scheme is not None for each in manifest.waves)


def plan_waves(
    manifest: Manifest, topics: Collection[TopicName], groups: Mapping[str, Collection[TopicName]]
) -> tuple[tuple[Wave, ...], tuple[str, ...]]:
    """(the waves, what speaks against them); `groups`: each group, and the topics that it reads."""
    if manifest.scheme is None:
        return (), ()
    names = tuple(sorted(topics))
    readers = {
        group: sorted(set(reads) & set(names)) for group, reads in sorted(groups.items()) if set(reads) & set(names)
    }
    wave = Wave(
        name=WHOLE,
        scheme=manifest.scheme,
        topics=names,
        groups=tuple(readers),
        moves=moves_of(manifest.scheme, names, readers),
        has_way_back=False,
        limits=Limits(still_seconds=3.0),
    )
    return (wave,), tuple(wave_problems(wave))
