"""What may not change once it began: the offset class of a partition, and the scheme of a wave.

Rule: it is refused before anything is written. A class that an operator chose as the answer to a stop is no change of
the manifest; so what the manifest asked for is kept, and compared with what it asks for now.
"""

from __future__ import annotations

from kmigrate.errors import Refused
from kmigrate.kafka_types import TopicName
from kmigrate.manifest import Manifest, wishes_of
from kmigrate.manifest.model import Offsets, OffsetsClass
from kmigrate.offsets.classes import OffsetClass
from kmigrate.preflight.findings import name_some
from kmigrate.runner.cutover.book import CutoverBook
from kmigrate.schemes.cutover import Outcome
from kmigrate.state.store import Store

_OFFSETS = "offsets.wished"


def wished_offsets(manifest: Manifest) -> dict[str, str]:
    """The facts to keep of a manifest that an owner begins with."""
    return {_OFFSETS: manifest.offsets.model_dump_json(by_alias=True)}


def refuse_changed(manifest: Manifest, store: Store) -> None:
    """Raises Refused where the manifest asks for something else than what has begun."""
    _refuse_classes(manifest.offsets, store)
    _refuse_schemes(manifest, CutoverBook(store))


def _refuse_classes(wanted: Offsets, store: Store) -> None:
    text = store.get(_OFFSETS)
    before = wanted if text is None else Offsets.model_validate_json(text)
    if before == wanted:
        return
    known = store.offset_classes()
    changed: dict[tuple[OffsetClass, OffsetsClass], set[TopicName]] = {}
    for partition, memory in store.remembered().items():
        wish, has = wanted.class_of(partition.topic), known.get(partition, OffsetClass.IDENTICAL)
        is_new = wish not in (OffsetsClass.AUTO, before.class_of(partition.topic))
        if memory.appended > 0 and is_new and wish.value != has.value:
            changed.setdefault((has, wish), set()).add(partition.topic)
    for (has, wish), topics in sorted(changed.items()):
        raise Refused(
            f"spec.offsets asks for the class {wish} now, but the copy began in class {has}: {name_some(topics)}",
            hint="put spec.offsets back as it was: what has begun changes its class only as the answer to a stop, "
            "by `kmigrate resume --class`; or begin another migration with empty target topics",
        )


def _refuse_schemes(manifest: Manifest, book: CutoverBook) -> None:
    wishes = {wish.name: wish.scheme for wish in wishes_of(manifest)}
    for name in book.waves():
        begun, wish = book.load(name), wishes.get(name)
        if begun is None or wish is None or begun.outcome is Outcome.ABORTED or begun.wave.scheme is wish:
            continue
        raise Refused(
            f"wave {name} began with the scheme {begun.wave.scheme}, and the manifest says {wish} now",
            hint=f"put {begun.wave.scheme} back: another scheme may be chosen once the wave is aborted, "
            "by `kmigrate cutover abort`",
        )
