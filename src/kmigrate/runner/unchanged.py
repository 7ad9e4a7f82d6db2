"""What may not change once it began: the offset class of a partition, the scheme and the topics of a wave.

Rule: it is refused before anything is copied. A class that an operator chose as the answer to a stop is no change of
the manifest; so what the manifest asked for is kept, and compared with what it asks for now.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import MappingProxyType

from kmigrate.copy.orders import Remembered
from kmigrate.errors import Refused
from kmigrate.kafka_types import TopicName, TopicPartition
from kmigrate.manifest import Manifest, wishes_of
from kmigrate.manifest.model import Offsets, OffsetsClass
from kmigrate.offsets.classes import OffsetClass
from kmigrate.preflight.findings import name_some
from kmigrate.runner.cutover.book import CutoverBook
from kmigrate.runner.maps import has_begun
from kmigrate.schemes.cutover import Phase
from kmigrate.state.store import Store

_OFFSETS = "offsets.wished"
_NOTHING: Mapping[TopicPartition, Remembered] = MappingProxyType({})
_NO_CLASSES: Mapping[TopicPartition, OffsetClass] = MappingProxyType({})


def wished_offsets(manifest: Manifest) -> dict[str, str]:
    """The facts to keep of a manifest that an owner begins with."""
    return {_OFFSETS: manifest.offsets.model_dump_json(by_alias=True)}


def refuse_changed(
    manifest: Manifest,
    store: Store,
    *,
    memories: Mapping[TopicPartition, Remembered] = _NOTHING,
    classes: Mapping[TopicPartition, OffsetClass] = _NO_CLASSES,
    recreate: Collection[TopicName] = (),
) -> None:
    """Raises Refused where the manifest asks for something else than what has begun.

    `memories` is what is remembered of partitions, `classes` what the target tells of those that the store knows
    nothing of. The topics of `recreate` are to be created anew: they get a class anew, too.
    """
    known = {**dict.fromkeys(memories, OffsetClass.IDENTICAL), **classes, **store.offset_classes()}
    open_to_all = _undecided(store, known, memories)
    begun = {tp: each for tp, each in known.items() if tp.topic not in recreate and tp not in open_to_all}
    _refuse_classes(manifest.offsets, store.get(_OFFSETS), begun)
    _refuse_waves(manifest, CutoverBook(store))


def _undecided(
    store: Store, known: Mapping[TopicPartition, OffsetClass], memories: Mapping[TopicPartition, Remembered]
) -> set[TopicPartition]:
    """Partitions that `Copying` decides anew when it begins: nothing is copied, and no filler was given to them."""
    return {
        tp
        for tp, each in store.beginnings().items()
        if each.filler == 0
        and each.own_from is None
        and known.get(tp) is OffsetClass.IDENTICAL
        and not has_begun(memories.get(tp), None)
    }


def _refuse_classes(wanted: Offsets, kept: str | None, begun: Mapping[TopicPartition, OffsetClass]) -> None:
    before = wanted if kept is None else Offsets.model_validate_json(kept)
    topics = {partition.topic for partition in begun}
    wishes = {topic: wanted.class_of(topic) for topic in topics}
    new = {topic for topic, wish in wishes.items() if wish not in (OffsetsClass.AUTO, before.class_of(topic))}
    changed: dict[tuple[OffsetClass, OffsetsClass], set[TopicName]] = {}
    for partition, has in begun.items():
        topic = partition.topic
        if topic in new and wishes[topic].value != has.value:
            changed.setdefault((has, wishes[topic]), set()).add(topic)
    for (has, wish), names in sorted(changed.items()):
        raise Refused(
            f"spec.offsets asks for the class {wish} now, but class {has} was decided: {name_some(names)}",
            hint=f"name these topics in spec.offsets.topics with the class {before.class_of(min(names))}, as it was: a "
            "class that is decided changes only as the answer to a stop, by `kmigrate resume --class`",
        )


def _refuse_waves(manifest: Manifest, book: CutoverBook) -> None:
    wishes = wishes_of(manifest)
    schemes = {wish.name: wish.scheme for wish in wishes}
    for name in book.waves():
        cutover = book.load(name)
        if cutover is None or cutover.may_begin_anew:
            continue
        is_over = cutover.phase is Phase.OVER
        scheme, wish = cutover.wave.scheme, schemes.get(name)
        way = f"write wave {name} with `scheme: {scheme}` and its topics under spec.waves, as it was"
        if not is_over:
            way += "; once it is aborted (`kmigrate cutover abort`) it may be another one"
        if wish not in (None, scheme):
            raise Refused(f"wave {name} began with the scheme {scheme}, and the manifest says {wish} now", hint=way)
        if wish is None and not is_over:
            raise Refused(
                f"wave {name} began with the scheme {scheme}, and the manifest has no such wave now", hint=way
            )
        for topic in cutover.wave.topics:
            home = next((each.name for each in wishes if each.wants_topic(topic)), name)
            if home != name:
                raise Refused(
                    f"wave {name} began with topic {topic}, which the manifest gives to wave {home}", hint=way
                )
