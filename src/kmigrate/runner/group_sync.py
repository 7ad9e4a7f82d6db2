"""Keeps consumer groups in step beside the copy: a thread of the owner, a round about every second.

What is copied is looked at first, then the map, then what groups have committed: a map is saved before anything is sent
that needs it. A round waits for nothing of the owner's loop, and the loop for nothing of a round.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from kmigrate.cluster.client import ClusterClient
from kmigrate.copy.progress import PartitionProgress
from kmigrate.copy.states import PartitionState
from kmigrate.errors import ClusterError
from kmigrate.groups.cluster_groups import ClusterGroups
from kmigrate.groups.decide import Place
from kmigrate.groups.pace import PaceMeter
from kmigrate.groups.place import Placed, decide_place, no_map
from kmigrate.groups.select import select_groups
from kmigrate.groups.sync import RoundResult, Sync
from kmigrate.groups.values import NO_RECORD, Copied, GroupRecord, Latch, Outcome, OutcomeKind
from kmigrate.kafka_types import Offset, Side, TopicName, TopicPartition
from kmigrate.manifest import Manifest
from kmigrate.offsets.classes import OffsetClass
from kmigrate.offsets.offset_map import Ends
from kmigrate.runner.garbage import RareCollection
from kmigrate.runner.group_ages import At, Open, choose, read_times
from kmigrate.runner.group_board import lagging, measure, show_document, show_group, spans_of, summarize
from kmigrate.runner.groups_document import GroupsDocument, GroupsSummary
from kmigrate.runner.maps import Maps
from kmigrate.state.group_book import GroupBook
from kmigrate.topics.describe import describe_broker
from kmigrate.wire.offset_calls import DescribedGroup

log = logging.getLogger(__name__)

GROUPS_A_SECOND = 400
LONGEST_ROUND_SECONDS = 5.0
SHARE_OF_A_CORE = 0.2
"""Rounds that cost much are further apart, so that this thread takes no more than that …"""
LONGEST_PAUSE_SECONDS = 15.0
"""… unless they would be further apart than that."""
SHORTEST_PAUSE_SECONDS = 0.2
RETENTION_MINUTES = "offsets.retention.minutes"
_DEFAULT_RETENTION_MINUTES = 7 * 24 * 60
_DAY_MS = 24 * 60 * 60 * 1000
_STOP_SECONDS = 6.0
SAVE_SECONDS = 60.0
SAVED_PARTITIONS = 10_000
"""How large a list may be to be saved while it runs."""

_TOLD = frozenset(
    {
        PartitionState.CATCHING_UP,
        PartitionState.IN_SYNC,
        PartitionState.THROTTLED,
        PartitionState.PAUSED,
        PartitionState.HANDED_OVER,
    }
)
"""States in which a partition's position is proven."""
NOT_MOVING = Outcome(OutcomeKind.SKIPPED, "its topic does not take part in the migration")
NOT_YET = Outcome(OutcomeKind.WAITING, "nothing of the partition is copied yet")


class Snapshot(NamedTuple):
    """What is copied, as of one moment."""

    copied: Mapping[TopicPartition, Copied]
    topics: frozenset[TopicName]


def copied_of(progress: PartitionProgress) -> Copied:
    """What a partition's last word says about where its offsets lie."""
    hold = ""
    if progress.stop is not None:
        hold = f"the partition is stopped: {progress.stop.kind.value}"
    elif progress.state not in _TOLD or min(progress.position, progress.target_end, progress.source_start) < 0:
        hold = f"the copy of the partition waits: {progress.reason or progress.state.value}"
    return Copied(
        progress.offset_class,
        Ends(progress.position, progress.target_end),
        progress.source_start,
        progress.source_end,
        hold,
    )


def pause_after(groups: int, took_seconds: float, cpu_seconds: float) -> float:
    """How long to wait until the next round: one a second for so many groups, at most five seconds apart.

    A round that took much CPU is waited for longer.
    """
    every = max(
        min(LONGEST_ROUND_SECONDS, max(1.0, groups / GROUPS_A_SECOND)),
        min(LONGEST_PAUSE_SECONDS, cpu_seconds / SHARE_OF_A_CORE),
    )
    return max(SHORTEST_PAUSE_SECONDS, every - took_seconds)


def decide_refresh_ms(retention_minutes: int | None) -> int:
    """How often commits are written anew: several times in the target's retention, and at least once a day."""
    minutes = _DEFAULT_RETENTION_MINUTES if retention_minutes is None else retention_minutes
    return max(1000, min(_DAY_MS, minutes * 60_000 // 8))


def read_retention_minutes(target: ClusterClient) -> int | None:
    """The shortest `offsets.retention.minutes` of the target's brokers; None if none of them tells."""
    told = []
    try:
        for broker in target.metadata([]).brokers:
            value = describe_broker(target, broker, [RETENTION_MINUTES]).get(RETENTION_MINUTES, "")
            if value.isdigit():
                told.append(int(value))
    except ClusterError as error:
        log.info("%s of the target: %s", RETENTION_MINUTES, error)
    return min(told, default=None)


class GroupSync:
    """The groups of a running migration."""

    def __init__(
        self,
        manifest: Manifest,
        book: GroupBook,
        clients: Mapping[Side, Callable[[], ClusterClient]],
        latest: Callable[[], Snapshot],
        maps: Maps,
        may_write: Callable[[], bool],
        open_source: Open,
    ) -> None:
        """`clients` opens a client of a cluster; `latest` says what is copied now."""
        self.clients = clients
        self.book = book
        self._name = manifest.name
        self._latest = latest
        self._maps = maps
        self._may_write = may_write
        self._open_source = open_source
        self._manifest = manifest
        self._lock = threading.Lock()
        """Held during a round, and by whoever else acts on groups or reads what a round writes."""
        self._sync: Sync | None = None
        self._meters: dict[str, PaceMeter] = {}
        self._copied: Mapping[TopicPartition, Copied] = {}
        self._rounds = 0
        self._whole_rounds = 0
        self._trouble = ""
        self._summary: GroupsSummary | None = None
        self._wanted_whole = False
        self._asked_after = 0
        self._next_save = 0.0
        self._poked = threading.Event()
        self._ending = threading.Event()
        self._done = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="groups", daemon=True)

    # -- life

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Ends after what is under way; nothing is committed any more when it returns."""
        self._ending.set()
        self._poked.set()
        if self._thread.is_alive():
            self._thread.join(_STOP_SECONDS)
        self._save_list(math.inf)

    def may_write(self) -> bool:
        """Whether commits may be made on the target now."""
        return not self._ending.is_set() and self._may_write()

    def _run(self) -> None:
        collection = RareCollection(time.monotonic)
        while not self._ending.is_set():
            began, cpu_before = time.monotonic(), time.thread_time()
            groups = 0
            try:
                with collection.during():
                    groups = self.round().groups
                self._save_list(began)
            except Exception as error:
                log.exception("a round over the groups failed")
                self._trouble = f"{type(error).__name__}: {error}"
            with self._done:
                self._done.notify_all()
            took, cpu = time.monotonic() - began, time.thread_time() - cpu_before
            self._poked.wait(pause_after(groups, took, cpu))
            self._poked.clear()

    def _save_list(self, now: float) -> None:
        """Keeps the list now and then, for whoever asks when no owner runs; a large one only at the end."""
        if self._sync is None or now < self._next_save:
            return
        self._next_save = now + SAVE_SECONDS
        if math.isinf(now) or (self._summary is not None and self._summary.partitions <= SAVED_PARTITIONS):
            self.book.save_list(self.document().to_json())

    # -- a round

    def round(self) -> RoundResult:
        """Looks at every group once."""
        with self._lock:
            whole, self._wanted_whole = self._wanted_whole, False
            began = time.monotonic()
            sync = self._open()
            snapshot = self._latest()
            result = sync.round(self.place(snapshot), anew=whole, require_stable=whole)
            self._copied = snapshot.copied
            spans = spans_of(snapshot.copied)
            measured = {group: measure(picture, spans) for group, picture in sync.pictures.items()}
            for group, each in measured.items():
                self._meters.setdefault(group, PaceMeter()).note(began, each.committed, each.source_lag or 0)
            for group in self._meters.keys() - sync.pictures.keys():
                del self._meters[group]
            self._rounds += 1
            self._whole_rounds += whole
            self._say(result.trouble)
            self._summary = summarize(
                sync.pictures,
                sync.selected,
                rounds=self._rounds,
                round_seconds=time.monotonic() - began,
                trouble=result.trouble,
                measured=measured,
            )
            return result

    def _open(self) -> Sync:
        if self._sync is None:
            target = self.clients[Side.TARGET]()
            refresh_ms = decide_refresh_ms(read_retention_minutes(target))
            self._sync = Sync(
                ClusterGroups(self.clients[Side.SOURCE]()),
                ClusterGroups(target),
                self.book,
                lambda listed: select_groups(listed, self._manifest),
                self.may_write,
                refresh_ms=refresh_ms,
                seconds=time.monotonic,
                wall_ms=lambda: time.time_ns() // 1_000_000,
            )
        return self._sync

    def place(self, snapshot: Snapshot | None = None) -> Place:
        """Where offsets of the source lie on the target, as of now."""
        copied, topics = snapshot if snapshot is not None else self._latest()
        maps = self._maps

        def place(partition: TopicPartition, offset: Offset) -> Placed | Outcome:
            known = copied.get(partition)
            if known is None:
                return NOT_YET if partition.topic in topics else NOT_MOVING
            if known.offset_class is OffsetClass.IDENTICAL:
                return decide_place(offset, known, no_map)
            return decide_place(
                offset,
                known,
                lambda at: maps.to_target(partition, at, known.offset_class, known.ends, known.source_start),
            )

        return place

    def _say(self, trouble: str) -> None:
        if trouble and trouble != self._trouble:
            log.warning("groups: %s", trouble)
        self._trouble = trouble

    # -- what others ask

    @property
    def summary(self) -> GroupsSummary | None:
        """How the groups stood after the last round; None before the first."""
        return self._summary

    def ask_whole_round(self) -> None:
        """The next round decides about everything anew; see `is_settled`."""
        self._asked_after = self._whole_rounds
        self._wanted_whole = True
        self._poked.set()

    @property
    def is_settled(self) -> bool:
        """Whether there was a whole round since it was asked for, and no group waits."""
        is_over = self._whole_rounds > self._asked_after and not self._wanted_whole
        return is_over and self._summary is not None and not self._summary.waiting and not self._summary.trouble

    def whole_round(self, timeout_seconds: float) -> bool:
        """Waits for a round that decides about everything anew; False if there was none in time."""
        with self._done:
            before = self._whole_rounds
            self._wanted_whole = True
            self._poked.set()
            return self._done.wait_for(lambda: self._whole_rounds > before, timeout_seconds)

    def release(self, groups: Iterable[str]) -> tuple[str, ...]:
        """Ends latches; returns the groups that had one."""
        with self._lock:
            released = self.book.release(groups)
            if self._sync is not None:
                self._sync.release(released)
        self._poked.set()
        return released

    def reads(self) -> dict[str, frozenset[TopicName]] | None:
        """The groups that were found, and the topics for which each has commits on the source; for any thread.

        None while not all of them are known.
        """
        sync, summary = self._sync, self._summary
        if sync is None or summary is None or summary.trouble:
            return None
        pictures, found = dict(sync.pictures), {}
        for group in sync.selected.groups:
            picture = pictures.get(group)
            if picture is None or picture.source is None:
                return None
            found[group] = frozenset(tp.topic for tp, each in picture.source.partitions.items() if each.offset >= 0)
        return found

    def latch(self, groups: Iterable[str], reason: str) -> None:
        """The commits of these groups are no longer brought to the target; those that are latched already stay so."""
        now_ms = time.time_ns() // 1_000_000
        with self._lock:
            known = self.book.load()
            latched = {
                group: replace(record, moved=Latch(reason=reason, at_ms=now_ms))
                for group in groups
                if (record := known.get(group, NO_RECORD)).moved is None
            }
            self.book.save(latched)
            for group, record in latched.items():
                self.adopt(group, record)
        self._poked.set()

    def unlatch(self, groups: Iterable[str], reason: str) -> None:
        """Ends the latches of these groups that were made for this reason; others stay."""
        known = self.book.load()
        self.release(
            group for group in groups if (moved := known.get(group, NO_RECORD).moved) and moved.reason == reason
        )

    def adopt(self, group: str, record: GroupRecord) -> None:
        """Another record of a group, which the book has already; only within `exclusively`."""
        if self._sync is not None:
            self._sync.adopt(group, record)

    def record(self, group: str) -> GroupRecord:
        """What is kept of a group; only within `exclusively`."""
        return NO_RECORD if self._sync is None else self._sync.record(group)

    def exclusively(self) -> threading.Lock:
        """Held while somebody else acts on groups."""
        return self._lock

    def document(self, *, details: bool = False) -> GroupsDocument:
        """All groups as of the last round; with `details` their members are asked for now."""
        with self._lock:
            sync = self._sync
            if sync is None:
                return GroupsDocument(name=self._name)
            pictures = {group: replace(picture) for group, picture in sync.pictures.items()}
            selected, copied = sync.selected, self._copied
            paces = {group: meter.pace() for group, meter in self._meters.items()}
            summary = self._summary or GroupsSummary()
        members = self._describe(list(pictures)) if details else {}
        at_ms = time.time_ns() // 1_000_000
        times = self._read_times(choose(lagging(pictures.values(), copied))) if details else {}
        ages = {at: max(0.0, (at_ms - time_ms) / 1000) for at, time_ms in times.items()}
        shown = [
            show_group(each, copied, paces[group], members, ages) for group, each in pictures.items() if group in paces
        ]
        return show_document(self._name, shown, summary, selected, at_ms=at_ms)

    def _read_times(self, places: Sequence[At]) -> Mapping[At, int]:
        source = self.clients[Side.SOURCE]()
        try:
            return read_times(source, self._open_source, places) if places else {}
        finally:
            source.close()

    def _describe(self, groups: list[str]) -> Mapping[str, Mapping[str, DescribedGroup]]:
        """The members on both sides; a side that does not answer is left out."""
        found: dict[str, dict[str, DescribedGroup]] = {}
        for side, open_client in self.clients.items():
            asked = ClusterGroups(open_client())
            try:
                described: dict[str, DescribedGroup] = {}
                for broker, chunk in asked.by_coordinator(groups):
                    described.update(asked.describe(broker, chunk))
                found[side.value] = described
            except ClusterError as error:
                log.info("members on the %s: %s", side, error)
            finally:
                asked.close()
        return found
