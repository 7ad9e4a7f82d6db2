"""The reverse copy: what applications write to the target comes back to the source, at the same offsets.

It is an ordinary migration with the clusters swapped (`back_manifest`), which begins where the source ended when its
writers had left (`back_seed`), in a process of its own (`back_process`). Here is the handle by which the migration's
owner begins it, asks how far it is, and ends it.

Rule: which topics are copied back is in its store, written before anything is done about it. So whoever comes after a
crash begins it again with the same ends, and ends it with the same call.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from typing import NamedTuple, Self

from kmigrate.copy.states import Stop
from kmigrate.errors import KmigrateError, Refused
from kmigrate.kafka_types import Offset, Side, TopicName, TopicPartition
from kmigrate.manifest import Manifest
from kmigrate.runner.back_child import BackChild
from kmigrate.runner.back_look import look_back
from kmigrate.runner.back_manifest import BACK, SWAPPED, derive
from kmigrate.runner.back_messages import BackSettings, Word
from kmigrate.runner.back_seed import begun, copied_of, decide_seed, plant
from kmigrate.runner.effects import Effects
from kmigrate.runner.folder import MigrationFolder, Ownership
from kmigrate.runner.reach import Reach
from kmigrate.runner.short_lease import short_lease
from kmigrate.state.store import Store
from kmigrate.topics.alter import Altered
from kmigrate.topics.create import Later

log = logging.getLogger(__name__)

PREDECESSOR_SECONDS = 30.0
"""How long the process of an owner that was killed may take to end."""
RESTORE_SECONDS = 30.0
_AGAIN_SECONDS = 0.5


class _Kept(NamedTuple):
    """What the copy back's store says: partitions that were begun, from which offset on, and topics under hold."""

    begun: Mapping[TopicPartition, Offset]
    held: frozenset[str]

    @classmethod
    def of(cls, store: Store) -> Self:
        return cls(begun(store), frozenset(store.held()))

    @property
    def topics(self) -> frozenset[str]:
        """Topics that are copied back, or whose end was interrupted."""
        return self.held | {partition.topic for partition in self.begun}


class ReverseCopy:
    """The copy back of one migration; many threads may use it. `begin` and `end` take seconds, nothing else waits."""

    def __init__(self, manifest: Manifest, folder: MigrationFolder, store: Store) -> None:
        """`folder` and `store` are the migration's own, whose owner this process must be."""
        self._manifest = manifest
        self._folder = folder
        self._store = store
        self._changing = threading.Lock()
        self._kept: _Kept | None = None
        self._child: BackChild | None = None

    # -- what is done

    def begin(self, ends: Mapping[TopicPartition, Offset], *, even_ms: int | None = None) -> None:
        """Copies these partitions back, each from where its source ended; those that are copied back already go on.

        `ends` are true log ends of the source, to which nobody writes any more and which is all copied; as of `even_ms`
        nothing but the copy had written to the target (None: now). A partition is begun once: another end is refused.
        Where the process is gone it is started again.

        Raises Refused or Blocked with what speaks against it, before anything is changed.
        """
        with self._changing:
            known = self._load().begun
            new = {partition: end for partition, end in ends.items() if partition not in known}
            for partition, end in ends.items():
                if known.get(partition, end) != end:
                    raise Refused(
                        f"{partition} is copied back from offset {known[partition]} on, not from {end}",
                        hint="end the copy back of the topic before it is begun at another offset",
                    )
            try:
                if new:
                    self._seed(new, _wall_ms() if even_ms is None else even_ms)
            finally:
                self._start_if_wanted()

    def end(self, topics: Collection[TopicName]) -> None:
        """Copies these topics back no longer, and gives them the settings that they had before; others go on.

        Raises KmigrateError if settings could not be restored: the same call tries it again.
        """
        with self._changing:
            known = self._load()
            if known.topics.isdisjoint(topics):
                return
            self._stop()
            try:
                with self._owned() as (ownership, store):
                    for topic in topics:
                        store.forget_all(topic)
                    self._kept = _Kept.of(store)
                    self._restore(ownership, store, topics)
                    self._kept = _Kept.of(store)
            finally:
                self._start_if_wanted()

    def close(self) -> None:
        """Ends the process and nothing else: the next owner begins it again. Safe to call twice."""
        with self._changing:
            self._stop()

    # -- how it stands

    @property
    def is_running(self) -> bool:
        """Whether the process is there."""
        child = self._child
        return child is not None and child.is_alive

    @property
    def pid(self) -> int | None:
        """The process; None if there is none."""
        child = self._child
        return child.pid if child is not None and child.is_alive else None

    @property
    def trouble(self) -> str:
        """Why the process ended by itself, and what helps; empty if it did not."""
        child = self._child
        if child is None:
            return ""
        message, hint = child.trouble
        return f"{message} ({hint})" if hint else message

    @property
    def state(self) -> tuple[str, str]:
        """How it stands as a whole, in the words of `status`: state and reason; both empty while it does not run."""
        child = self._child
        return child.state if child is not None and child.is_alive else ("", "")

    def positions(self) -> dict[TopicPartition, Offset]:
        """Offsets of the target below which everything is on the source again; partitions not proven yet are left out.

        Nothing is known while the process is not there.
        """
        child = self._child
        words = {} if child is None else child.words()
        return {partition: word.position for partition, word in words.items() if word.position is not None}

    def begun(self) -> Mapping[TopicPartition, Offset]:
        """The partitions that are copied back, each from which offset of the source on; for any thread."""
        kept = self._kept
        return {} if kept is None else kept.begun

    def words(self) -> Mapping[TopicPartition, Word]:
        """The last word on every partition; none while the process is not there."""
        child = self._child
        return {} if child is None else child.words()

    def stops(self) -> dict[TopicPartition, Stop]:
        """The partitions whose copy back has stopped, and why; source and target are the copy back's own."""
        child = self._child
        words = {} if child is None else child.words()
        return {
            partition: replace(word.stop, evidence=f"{word.stop.evidence} ({SWAPPED})")
            for partition, word in words.items()
            if word.stop is not None
        }

    # -- the process

    def _start_if_wanted(self) -> None:
        topics = {partition.topic for partition in self._load().begun}
        if not topics or self.is_running:
            return
        self._child = BackChild(BackSettings(manifest=derive(self._manifest, topics), folder=self._folder.path))
        log.info("process %d copies %d topics back to the source", self._child.pid, len(topics))

    def _stop(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.end()

    # -- what it remembers

    @contextlib.contextmanager
    def _owned(self) -> Iterator[tuple[Ownership, Store]]:
        """The copy back's folder and store, while its process is not there."""
        folder = MigrationFolder(self._folder.path, BACK)
        with (
            folder.take_ownership(waiting=log.info, patience_seconds=PREDECESSOR_SECONDS) as ownership,
            contextlib.closing(Store.open(folder.path)) as store,
        ):
            yield ownership, store

    def _load(self) -> _Kept:
        """What was begun and not ended; read once, as nobody else changes it."""
        if self._kept is None and not Store.exists(self._folder.path / BACK):
            self._kept = _Kept({}, frozenset())
        if self._kept is None:
            with self._owned() as (_, store):
                self._kept = _Kept.of(store)
        return self._kept

    def _seed(self, ends: Mapping[TopicPartition, Offset], even_ms: int) -> None:
        kept = self._load()
        topics = sorted({partition.topic for partition in ends})
        ending = [topic for topic in topics if topic in kept.topics and topic not in {tp.topic for tp in kept.begun}]
        if ending:
            raise Refused(
                f"the copy back of {', '.join(ending)} was ended, but the settings on the source are not restored yet",
                hint="end it again first",
            )
        copied = copied_of(self._store, {**kept.begun, **ends}, topics)
        seeds = {tp: decide_seed(tp, end, copied[tp], even_ms) for tp, end in ends.items()}
        intended = look_back(derive(self._manifest, topics), topics)
        self._stop()
        with self._owned() as (_, store):
            plant(store, seeds, intended)
            self._kept = _Kept.of(store)

    # -- the end of a hold

    def _restore(self, ownership: Ownership, store: Store, topics: Collection[TopicName]) -> None:
        held = [TopicName(topic) for topic in store.held() if topic in topics]
        if not held:
            return
        manifest = derive(self._manifest, held)
        reach = {
            Side.SOURCE: Reach.of(Side.SOURCE, manifest.source, manifest.name),
            Side.TARGET: Reach.of(Side.TARGET, manifest.target, manifest.name),
        }
        with (
            short_lease(reach[Side.TARGET], manifest.lease_group, store, ownership) as may_write,
            contextlib.closing(reach[Side.SOURCE].client()) as source,
            contextlib.closing(reach[Side.TARGET].client()) as target,
        ):
            effects = Effects(store, source, target, may_write)
            failed = {topic: reason for topic in held if (reason := _restored(effects, topic))}
        if failed:
            topic, reason = next(iter(failed.items()))
            raise KmigrateError(
                f"the settings of {len(failed)} topics on the source were not restored; {topic}: {reason}",
                hint="what they are to be is kept: mend it, and end the copy back again",
            )


def _restored(effects: Effects, topic: TopicName, clock: Callable[[], float] = time.monotonic) -> str:
    """Restores a topic; why that did not work, or empty."""
    deadline = clock() + RESTORE_SECONDS
    while not isinstance(outcome := effects.restore_hold(topic), Altered):
        if not isinstance(outcome, Later) or clock() >= deadline:
            return outcome.reason
        time.sleep(_AGAIN_SECONDS)
    return ""


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000
