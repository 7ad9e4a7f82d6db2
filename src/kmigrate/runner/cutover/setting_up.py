"""Puts the parts together that lead the waves of one running migration."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from kmigrate.cluster.client import ClusterClient
from kmigrate.copy.identity import late_producer_id, producer_ids
from kmigrate.kafka_types import Offset, ProducerId, Side, TopicPartition
from kmigrate.manifest import Manifest
from kmigrate.runner.back import ReverseCopy
from kmigrate.runner.copying import Copying
from kmigrate.runner.cutover.back_memory import BackMemory
from kmigrate.runner.cutover.carrying import Carrier
from kmigrate.runner.cutover.desk import CutoverDesk
from kmigrate.runner.cutover.leader import Leader, Plan
from kmigrate.runner.cutover.observing import Observer, Sources
from kmigrate.runner.cutover.of_back import BackEffects
from kmigrate.runner.cutover.of_copy import CopyEffects, TopicsStill
from kmigrate.runner.cutover.of_fences import FenceEffects
from kmigrate.runner.cutover.of_groups import GroupEffects
from kmigrate.runner.cutover.of_late import LateEffects
from kmigrate.runner.cutover.of_rights import RightsEffects
from kmigrate.runner.cutover.strangers import find_stranger
from kmigrate.runner.cutover.verifying import verify_ahead
from kmigrate.runner.desk import Desk
from kmigrate.runner.effects import Effects
from kmigrate.runner.group_sync import GroupSync
from kmigrate.runner.late.appending import LateAppender
from kmigrate.runner.late.proving import LateProof
from kmigrate.runner.late.reading import LateSource
from kmigrate.runner.late.writing import LateTarget
from kmigrate.runner.lookup import Lookup, PartitionRuns
from kmigrate.runner.maps import Ahead
from kmigrate.runner.reach import Reach
from kmigrate.runner.status import MigrationState, StatusDocument
from kmigrate.runner.verification import PartitionVerification
from kmigrate.runner.verify_partition import Mode
from kmigrate.schemes.cutover import Cutover
from kmigrate.schemes.effects import EffectKind
from kmigrate.state.fence_book import FenceBook
from kmigrate.state.late_book import LateBook
from kmigrate.state.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Crew:
    """What a running owner lends to its leader."""

    manifest: Manifest
    folder: Path
    store: Store
    desk: Desk
    copying: Copying
    groups: GroupSync
    reach: Mapping[Side, Reach]
    may_write: Callable[[], bool]
    back: ReverseCopy
    secure: Callable[[], None]
    producer_id: ProducerId
    back_producer_id: ProducerId
    ahead: Ahead


class OwnMemory:
    """What the migration remembers, for a verification in the owner's own process."""

    def __init__(self, desk: Desk, lookup: Lookup, name: str) -> None:
        self._desk = desk
        self._lookup = lookup
        self._name = name

    def status(self) -> StatusDocument:
        known = self._desk.status()
        return known or StatusDocument(name=self._name, state=MigrationState.WAITING)

    def runs(self, topic: str | None) -> Iterator[PartitionRuns]:
        return self._lookup.all_runs(topic)

    def verifications(self, mode: Mode) -> list[PartitionVerification]:
        return self._desk.verifications.load(mode)

    def save_verifications(self, rows: Sequence[PartitionVerification]) -> None:
        self._desk.verifications.keep(rows)


def make_leader(crew: Crew, cutovers: CutoverDesk, plan: Plan) -> Leader:
    """The leader of a migration, not started yet."""
    clients: dict[Side, Callable[[], ClusterClient]] = {side: reach.client for side, reach in crew.reach.items()}
    book = cutovers.book
    fences = FenceBook(crew.folder)
    lookup = Lookup(crew.store, crew.desk.status)
    memory = OwnMemory(crew.desk, lookup, crew.manifest.name)

    back_memory = BackMemory(crew.manifest.name, crew.folder, crew.back, crew.copying.ends_of)

    def to_source(partition: TopicPartition, offset: Offset) -> Offset | str:
        """By the migration's own map up to where its copy ended, by that of the copy back beyond."""
        ended = (crew.copying.ends_of(partition.topic) or {}).get(partition)
        if ended is None or offset <= ended.target:
            found = lookup.translate(partition.topic, partition.partition, offset, Side.TARGET)
            return found.reason if found.source_offset is None else Offset(found.source_offset)
        return back_memory.to_source(partition, offset)

    def landed_on_source(partition: TopicPartition, end: Offset) -> Offset | str:
        """What an end of the target is on the source, also if it is beyond the last words of those who copied."""
        found = crew.copying.maps.ends_at(partition, end)
        return "its offset map does not tell" if found is None else found.source

    @contextlib.contextmanager
    def effects() -> Iterator[Effects]:
        with (
            contextlib.closing(clients[Side.SOURCE]()) as source,
            contextlib.closing(clients[Side.TARGET]()) as target,
        ):
            yield Effects(crew.store, source, target, crew.may_write)

    of_copy = CopyEffects(
        manifest=crew.manifest,
        book=book,
        copy=crew.copying,
        effects=effects,
        clients=clients,
        memory=memory,
        to_source=landed_on_source,
        still_since=TopicsStill(),
        strangers=partial(find_stranger, clients[Side.TARGET], producer_ids(crew.producer_id)),
    )
    of_groups = GroupEffects(
        book=book,
        groups=crew.groups,
        clients=clients,
        ends_of=crew.copying.ends_of,
        to_source=to_source,
        may_write=crew.groups.may_write,
    )
    of_fences = FenceEffects(
        manifest=crew.manifest,
        folder=crew.folder,
        fences=fences,
        clients=clients,
        verify_ahead=lambda topics: verify_ahead(crew.manifest, memory, topics),
    )
    of_rights = RightsEffects(store=crew.store, client=clients[Side.TARGET], may_write=crew.may_write)
    of_back = BackEffects(
        manifest=crew.manifest,
        back=crew.back,
        memory=back_memory,
        ends_of=crew.copying.ends_of,
        ended_ms=book.ended_ms,
        lift_fence=lambda cutover, effect: of_fences.lift(Side.SOURCE, cutover, effect),
    )
    late_id, not_applications = late_producer_id(crew.producer_id), producer_ids(crew.back_producer_id)
    late_book = LateBook(crew.store)
    appender = LateAppender(
        late_book,
        lambda: LateSource.of(crew.reach[Side.SOURCE], not_applications),
        lambda: LateTarget(crew.reach[Side.TARGET], late_id),
        late_id,
        crew.may_write,
        crew.ahead,
    )
    of_late = LateEffects(
        book=book,
        appender=appender,
        clients=clients,
        ends_of=crew.copying.ends_of,
        prove=LateProof(book=late_book, reach=crew.reach, producer_id=late_id, ignored=not_applications).prove,
    )
    observer = Observer(
        clients,
        Sources(
            copy=crew.copying,
            verifications=lambda: crew.desk.verifications.load(Mode.RECORDS),
            fences=fences,
            held=crew.store.held,
            is_lease_held=crew.may_write,
            back=of_back.seen,
            late=appender.seen,
        ),
        book,
    )
    rooms = (of_copy, of_groups, of_rights, of_fences, of_back, of_late)
    handlers = {kind: handler for room in rooms for kind, handler in room.handlers().items()}
    carrier = Carrier(handlers, secure=crew.secure)

    def confirm(cutover: Cutover) -> None:
        of_fences.confirm(cutover)
        if cutover.is_in_force(EffectKind.BEGIN_REVERSE_COPY):
            of_back.keep_alive()

    return Leader(cutovers, observer, carrier, plan, confirm, appender)
