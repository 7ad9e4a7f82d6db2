"""What the copy back remembers, for a verification of it and for the offsets of groups that go back with it.

Rule: in the copy back the migration's target is the source, and its source the target. What was verified is kept in
this process only: after a restart it is verified anew, as it is little.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from kmigrate.copy.states import PartitionState
from kmigrate.kafka_types import Offset, Side, TopicName, TopicPartition
from kmigrate.offsets.offset_map import Ends
from kmigrate.runner.back import ReverseCopy
from kmigrate.runner.back_manifest import BACK
from kmigrate.runner.lookup import Lookup, PartitionRuns
from kmigrate.runner.status import MigrationState, PartitionStatus, StatusDocument
from kmigrate.runner.verification import PartitionVerification
from kmigrate.runner.verify_partition import Mode
from kmigrate.state.store import Store


class BackMemory:
    """Of one copy back; many threads may use it."""

    def __init__(
        self,
        name: str,
        folder: Path,
        back: ReverseCopy,
        ends_of: Callable[[TopicName], Mapping[TopicPartition, Ends] | None],
    ) -> None:
        """`folder` is the migration's, `ends_of` tells where the copy of a topic ended."""
        self._name = name
        self._folder = folder / BACK
        self._back = back
        self._ends_of = ends_of
        self._verified: dict[tuple[str, int, Mode], PartitionVerification] = {}

    def status(self) -> StatusDocument:
        """How far everything is back; what lies below where the copy ended is none of it."""
        partitions = []
        for tp, word in sorted(self._back.words().items()):
            ended = (self._ends_of(tp.topic) or {}).get(tp)
            if word.position is not None and ended is not None:
                partitions.append(
                    PartitionStatus(
                        topic=tp.topic,
                        partition=tp.partition,
                        state=PartitionState.IN_SYNC,
                        position=word.position,
                        target_end=word.target_end,
                        source_start=ended.target,
                        offset_class=word.offset_class,
                    )
                )
        return StatusDocument(name=self._name, state=MigrationState.RUNNING, partitions=tuple(partitions))

    def runs(self, topic: str | None) -> Iterator[PartitionRuns]:
        """The runs of its offset maps."""
        with self._lookup() as lookup:
            yield from lookup.all_runs(topic)

    def to_source(self, partition: TopicPartition, offset: Offset) -> Offset | str:
        """Where an offset of the migration's target, behind the end of the copy, is on its source; or why not known."""
        with self._lookup() as lookup:
            found = lookup.translate(partition.topic, partition.partition, offset, Side.SOURCE)
        return found.reason if found.target_offset is None else Offset(found.target_offset)

    def verifications(self, mode: Mode) -> list[PartitionVerification]:
        return [each for each in list(self._verified.values()) if each.mode is mode]

    def save_verifications(self, rows: Sequence[PartitionVerification]) -> None:
        self._verified |= {(each.topic, each.partition, each.mode): each for each in rows}

    @contextlib.contextmanager
    def _lookup(self) -> Iterator[Lookup]:
        """Reads what its process has written; nothing is written here."""
        with contextlib.closing(Store.open(self._folder)) as store:
            yield Lookup(store, self.status)
