"""Where records lie on the other side, as the migration's owner or its state tells; without either the same offsets.

Rule: what is assumed is said. The classes of all partitions are asked for once; a map is asked for single offsets.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

from kmigrate.cli.options import Named
from kmigrate.errors import UsageError
from kmigrate.kafka_types import Offset, Side, TopicPartition
from kmigrate.offsets.classes import OffsetClass
from kmigrate.offsets.offset_map import Ends
from kmigrate.offsets.translation import Place
from kmigrate.query.pairing import PlacesOf
from kmigrate.query.places import Pair, Places, assumed_identical

if TYPE_CHECKING:
    from kmigrate.api.client import Client
    from kmigrate.runner.lookup import Translation


def recorded_places(named: Named, name: str, tell: Callable[[str], None]) -> PlacesOf:
    """The places of each partition of the migration of this name; `tell` is told what is assumed."""
    if not named.has_folder(name):
        tell(f"nothing is recorded of {name} here: offsets are taken to be identical on both sides")
        return _assumed()
    from kmigrate.api.reads import classes_of

    classes = classes_of(named.folder(name)).classes
    client = cache(named.client)
    known: dict[TopicPartition, Places] = {}
    is_told = False

    def places_of(partition: TopicPartition) -> Places:
        nonlocal is_told
        if partition not in known:
            found = _places(client, partition, classes.get(partition))
            if found is None and not is_told:
                is_told = True
                tell(f"no offset class of {partition}, and perhaps of others, is recorded: identical is assumed")
            known[partition] = found or assumed_identical()
        return known[partition]

    return places_of


def _assumed() -> PlacesOf:
    places = assumed_identical()
    return lambda _partition: places


def _places(client: Callable[[], Client], partition: TopicPartition, offset_class: OffsetClass | None) -> Places | None:
    """The places of a partition; None if nothing of it is recorded."""
    if offset_class is None:
        return None
    if offset_class is OffsetClass.IDENTICAL:
        return assumed_identical()

    def translate(offset: Offset, side: Side) -> Translation:
        return client().translate(partition.topic, partition.partition, offset, side)

    def ask(offset: Offset, side: Side) -> Pair | None:
        found = translate(offset, side)
        if found.source_offset is None or found.target_offset is None:
            return None
        is_record = found.place in (Place.RECORD, None)
        return Pair(Offset(found.source_offset), Offset(found.target_offset), is_record)

    try:
        found = translate(Offset(0), Side.SOURCE)
    except UsageError:  # the migration has not been started, or has no such partition
        return None
    if found.offset_class is None:
        return None
    ends = None
    if found.position is not None and found.target_end is not None:
        ends = Ends(Offset(found.position), Offset(found.target_end))
    return Places(found.offset_class, ask, ends)
