"""The offset classes of all partitions, and the maps of those that need one: kept in the store, written ahead.

Rule: a class never changes silently. It is decided once, before a partition is first ordered, and afterwards by an
operator's answer. Entries of a map come up with the workers' progress; what is saved, and mirrored where the state is,
goes down to them, and only then do they send the records behind it.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Collection, Mapping
from typing import Protocol

from kmigrate.copy.course import IDENTITY, KEPT_OFFSETS
from kmigrate.copy.orders import PipelineKey, Remembered, Saved
from kmigrate.copy.progress import PartitionProgress
from kmigrate.copy.states import PartitionState
from kmigrate.kafka_types import Offset, Side, TopicName, TopicPartition
from kmigrate.offsets.beginning import Beginning
from kmigrate.offsets.classes import OffsetClass
from kmigrate.offsets.offset_map import Ends, OffsetMap, Run
from kmigrate.offsets.translation import translate
from kmigrate.state.store import RUNS_A_PIECE, RunsFrom, Store

_COPYING = frozenset({PartitionState.CATCHING_UP, PartitionState.IN_SYNC, PartitionState.THROTTLED})


AHEAD_SECONDS = 0.05
"""How long the owner's loop waits for what is to be mirrored before workers are told: mostly a few milliseconds."""


class Ahead(Protocol):
    """Where what is saved must be, too, before anything follows from it. Its methods are for any thread."""

    def mark(self) -> int:
        """The number of the last change to the store; everything up to it is on its way from now on."""
        ...

    def has(self, mark: int) -> bool:
        """Whether everything up to this change is there."""
        ...

    def wait(self, mark: int, seconds: float) -> bool:
        """Waits for that, but no longer than this."""
        ...


class NothingAhead:
    """The store is enough."""

    def mark(self) -> int:
        return 0

    def has(self, mark: int) -> bool:
        return True

    def wait(self, mark: int, seconds: float) -> bool:
        return True


def has_begun(memory: Remembered | None, latest: PartitionProgress | None) -> bool:
    """Whether something is copied of a partition: it may have stopped before anything was remembered of it."""
    return (memory is not None and memory.appended > 0) or (latest is not None and latest.target_end > 0)


class Maps:
    """What one owner knows of classes and maps."""

    def __init__(self, store: Store, ahead: Ahead | None = None) -> None:
        self._store = store
        self._ahead = NothingAhead() if ahead is None else ahead
        self._classes = store.offset_classes()
        self._maps: dict[TopicPartition, OffsetMap] = {}
        self._lock = threading.RLock()
        """Held where maps are changed, and where another thread than the owner's reads them."""
        self._noted: dict[TopicPartition, Saved] = {}
        """How many entries of which life are in the map, and which log start was told in it."""
        self._unsaved: dict[TopicPartition, int] = {}
        """Partitions whose map changed, and from which run on."""
        self._to_tell: dict[int, dict[TopicPartition, Saved]] = {}
        self._on_its_way: deque[tuple[int, dict[int, dict[TopicPartition, Saved]]]] = deque()
        """What is saved, but not yet mirrored: the number of the change, and what to tell which worker then."""

    def class_of(self, partition: TopicPartition) -> OffsetClass | None:
        """The class that was decided; None if none was yet."""
        return self._classes.get(partition)

    def adopt(self, classes: Mapping[TopicPartition, OffsetClass]) -> None:
        """What the target remembers of partitions that the store has lost; their maps are lost too."""
        self.decide({tp: each for tp, each in classes.items() if tp not in self._classes})

    def decide(
        self,
        classes: Mapping[TopicPartition, OffsetClass],
        beginnings: Mapping[TopicPartition, Beginning] | None = None,
    ) -> None:
        """Records what is decided, once and for all, and with it, in one step, where these partitions begin."""
        self._store.decide_classes(classes, {}, beginnings)
        self._classes |= classes

    def change(self, begun: Mapping[TopicPartition, bool], offset_class: OffsetClass) -> None:
        """Another class from now on, as an operator said, for partitions that were begun or not.

        What was copied at the same offsets is the first run of the map.
        """
        classes, runs = {}, {}
        for partition, has_begun in begun.items():
            before = self._classes.get(partition, OffsetClass.IDENTICAL)
            classes[partition] = offset_class
            if offset_class.needs_map and not before.needs_map:
                self._maps[partition] = kept = OffsetMap()
                if has_begun:
                    kept.add(IDENTITY[0])
                runs[partition] = RunsFrom(0, kept.to_bytes())
        self._store.decide_classes(classes, runs)
        self._classes |= classes

    def map_of(self, partition: TopicPartition) -> OffsetMap:
        """The map as it is now, with what is not saved yet."""
        with self._lock:
            if partition not in self._maps:
                self._maps[partition] = self._store.offset_map(partition)
            return self._maps[partition]

    def to_target(
        self,
        partition: TopicPartition,
        offset: Offset,
        offset_class: OffsetClass,
        ends: Ends,
        log_start: Offset,
    ) -> Offset | None:
        """Where an offset of the source lies on the target, as far as `ends` were copied; for any thread.

        The ends must have been looked at before: what is in the map by now tells of everything that they cover.
        """
        with self._lock:
            found = translate(self.map_of(partition), offset_class, ends, offset, Side.SOURCE, log_start)
        return None if found is None else found.target

    def ends_at(self, partition: TopicPartition, target_end: Offset) -> Ends | None:
        """What an end of the target is on the source, beyond what was told too; None if the map does not tell.

        A run is told before anything is sent under it, so that the last one holds for whatever has landed.
        """
        if not self._classes.get(partition, OffsetClass.IDENTICAL).needs_map:
            return Ends(target_end, target_end)
        with self._lock:
            runs = self.map_of(partition).from_target(target_end, 1)
        if not runs or runs[0].target > target_end:
            return None
        return Ends(Offset(runs[0].source + target_end - runs[0].target), target_end)

    def runs(self, partition: TopicPartition, floor: int) -> tuple[Run, ...]:
        """The end of the map, from a little before what the target acknowledged."""
        if not self._classes.get(partition, OffsetClass.IDENTICAL).needs_map:
            return ()
        return self.map_of(partition).from_target(Offset(max(0, floor - KEPT_OFFSETS)), 2)

    def on_progress(self, holder: PipelineKey, progress: PartitionProgress) -> None:
        """Notes the entries that are new."""
        if not progress.entries:
            return
        partition, made = progress.partition, progress.entries_made
        _, noted, start = self._noted_of(progress)
        if made > noted:
            with self._lock:
                kept = self.map_of(partition)
                for entry in progress.entries[noted - made :]:
                    self._unsaved[partition] = min(self._unsaved.get(partition, len(kept)), max(0, len(kept) - 1))
                    kept.note(entry)
                    self._unsaved[partition] = min(self._unsaved[partition], max(0, len(kept) - 1))
        self._tell(holder, partition, Saved(progress.life, made, start))

    def follow_start(self, holder: PipelineKey, progress: PartitionProgress) -> None:
        """Tells where the target's log should start, as far as it is copied; for a *mapped* one only the map knows.

        Only a partition that is being copied says where source and target belong together.
        """
        partition = progress.partition
        if self.class_of(partition) is not OffsetClass.MAPPED or progress.state not in _COPYING:
            return
        ends = Ends(progress.position, progress.target_end)
        if min(ends) < 0 or progress.source_start <= 0:
            return
        noted = self._noted_of(progress)
        start = self.map_of(partition).to_target(min(progress.source_start, ends.source), ends)
        if start is not None and start > noted.start:
            self._tell(holder, partition, noted._replace(start=start))

    def _noted_of(self, progress: PartitionProgress) -> Saved:
        known = self._noted.get(progress.partition)
        return known if known is not None and known.life == progress.life else Saved(progress.life, 0)

    def _tell(self, holder: PipelineKey, partition: TopicPartition, saved: Saved) -> None:
        self._noted[partition] = saved
        self._to_tell.setdefault(holder.worker, {})[partition] = saved

    def save(self) -> Mapping[int, Mapping[TopicPartition, Saved]]:
        """Saves what is new; returns what to tell which worker: what is mirrored, too, by now."""
        if self._to_tell:
            self._save()
        told: dict[int, dict[TopicPartition, Saved]] = {}
        while self._on_its_way and self._ahead.has(self._on_its_way[0][0]):
            for worker, saved in self._on_its_way.popleft()[1].items():
                told.setdefault(worker, {}).update(saved)
        return told

    @property
    def on_their_way(self) -> Collection[TopicPartition]:
        """Partitions whose map has runs that are not mirrored yet: nobody may begin on them."""
        if not self._on_its_way:
            return ()
        return {tp for _, told in self._on_its_way for saved in told.values() for tp in saved}

    def wait_for_mirror(self, seconds: float) -> None:
        """Waits a moment, if something is not mirrored yet."""
        if self._on_its_way:
            self._ahead.wait(self._on_its_way[-1][0], seconds)

    def _save(self) -> None:
        runs = {}
        for partition, changed in self._unsaved.items():
            first = changed // RUNS_A_PIECE * RUNS_A_PIECE
            runs[partition] = RunsFrom(first, self._maps[partition].to_bytes(first))
        self._store.save_runs(runs)
        self._unsaved.clear()
        told, self._to_tell = self._to_tell, {}
        mark = self._ahead.mark()
        self._on_its_way.append((mark, told))
        self._ahead.wait(mark, AHEAD_SECONDS)

    def forget(self, topic: TopicName) -> None:
        """The target topic is created anew: its partitions get a class anew too; they begin where they did."""
        with self._lock:
            for known in (self._classes, self._maps, self._noted, self._unsaved):
                for partition in [partition for partition in known if partition.topic == topic]:
                    del known[partition]
