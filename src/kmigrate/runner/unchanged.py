"""What may not change once it began: the offset class of a partition, the scheme and the topics of a wave.

Rule: it is refused before anything is copied. A class that an operator chose as the answer to a stop is no change of
the manifest; so what the manifest asked for is kept, and compared with what it asks for now.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import MappingProxyType

from kmigrate.copy.orders import Remembered
from kmigrate.errors import Refused
from kmigrate.kafka_types import TopicId, TopicName, TopicPartition
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
_NO_IDS: Mapping[TopicName, TopicId | None] = MappingProxyType({})


def wished_offsets(manifest: Manifest) -> dict[str, str]:
    """The facts to keep of a manifest that an owner begins with."""
    return {_OFFSETS: _as_text(manifest.offsets)}


def refuse_changed(
    manifest: Manifest,
    store: Store,
    *,
    memories: Mapping[TopicPartition, Remembered] = _NOTHING,
    classes: Mapping[TopicPartition, OffsetClass] = _NO_CLASSES,
    answered: Mapping[TopicPartition, OffsetClass] = _NO_CLASSES,
    recreate: Collection[TopicName] = (),
    source_ids: Mapping[TopicName, TopicId | None] = _NO_IDS,
) -> None:
    """Raises Refused where the manifest asks for something else than what has begun.

    `memories` is what is remembered of partitions, `classes` what the target tells of those that the store knows
    nothing of, `answered` what was chosen as the answer to a stop. The topics of `recreate` are to be created anew and
    get a class anew, as do those of which nothing is copied and whose source topic has another id now.
    """
    kept = store.get(_OFFSETS)
    if kept is not None and kept != _as_text(manifest.offsets):
        decided = {**dict.fromkeys(memories, OffsetClass.IDENTICAL), **classes, **store.offset_classes(), **answered}
        for tp, beginning in store.beginnings().items():
            is_other = source_ids.get(tp.topic) not in (None, beginning.source_topic_id)
            is_unpadded = beginning.filler == 0 and decided.get(tp) is OffsetClass.IDENTICAL
            is_begun = has_begun(memories.get(tp), None) or beginning.own_from is not None
            if (is_other or is_unpadded) and not is_begun:
                decided.pop(tp, None)  # `Copying` decides it anew
        stays = {tp: each for tp, each in decided.items() if tp.topic not in recreate}
        _refuse_classes(manifest.offsets, Offsets.model_validate_json(kept), stays)
    _refuse_waves(manifest, CutoverBook(store))


def _as_text(offsets: Offsets) -> str:
    """With regular expressions in their order: the first match counts."""
    return offsets.model_dump_json(by_alias=True)


def _refuse_classes(wanted: Offsets, before: Offsets, decided: Mapping[TopicPartition, OffsetClass]) -> None:
    asked = {topic: (wanted.class_of(topic), before.class_of(topic)) for topic in {tp.topic for tp in decided}}
    changed: dict[tuple[OffsetClass, OffsetsClass, OffsetsClass], set[TopicName]] = {}
    for partition, has in decided.items():
        wish, was = asked[partition.topic]
        if wish not in (OffsetsClass.AUTO, was) and wish.value != has.value:
            changed.setdefault((has, wish, was), set()).add(partition.topic)
    for (has, wish, was), topics in sorted(changed.items()):
        raise Refused(
            f"spec.offsets asks for the class {wish} now, but class {has} was decided: {name_some(topics)}",
            hint="put spec.offsets back as it was, or name such topics first in spec.offsets.topics, with the class "
            f"{was}: a class that is decided changes only as the answer to a stop, by `kmigrate resume --class`",
        )


def _refuse_waves(manifest: Manifest, book: CutoverBook) -> None:
    wishes = wishes_of(manifest)
    schemes = {wish.name: wish.scheme for wish in wishes}
    for name in book.waves():
        cutover = book.load(name)
        if cutover is None or cutover.may_begin_anew:
            continue
        is_over, scheme, wish = cutover.phase is Phase.OVER, cutover.wave.scheme, schemes.get(name)
        as_it_was = f"write it under spec.waves as it was, with `scheme: {scheme}`"
        until = "" if is_over else "; once the wave is aborted (`kmigrate cutover abort`) this may change"
        if wish not in (None, scheme):
            raise Refused(
                f"wave {name} began with the scheme {scheme}, and the manifest says {wish} now", hint=as_it_was + until
            )
        if wish is None and not is_over:
            raise Refused(f"wave {name} is under way, and the manifest has no such wave now", hint=as_it_was + until)
        for topic in cutover.wave.topics:
            is_selected = manifest.topic_selected(topic)
            if not is_selected and not is_over:
                raise Refused(
                    f"wave {name} is under way with topic {topic}, which spec.topics does not select now",
                    hint=f"select it again{until}",
                )
            home = next((each.name for each in wishes if each.wants_topic(topic)), name)
            if is_selected and home != name:
                raise Refused(
                    f"wave {name} began with topic {topic}, which the manifest gives to wave {home} now",
                    hint=f"leave it out of the topics of wave {home}, under spec.waves{until}",
                )
