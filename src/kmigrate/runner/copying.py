"""A migration while it is copied: what is seen and heard is turned into what workers and target are told.

Every step is short and waits for nothing: answers of clusters come through queues and errands. What cannot be told
for certain (a topic that may be gone, a leader that nobody names) leaves things as they are.
"""

from __future__ import annotations

import logging
import math
import os
import queue
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import NamedTuple

from kmigrate.copy.engine import Engine, Event, ProgressReceived, WorkerDied, WorkerStarted
from kmigrate.copy.guard import QUIET_SECONDS, behind_seconds
from kmigrate.copy.orders import UNKNOWN_TIME_MS, Remembered
from kmigrate.copy.progress import PartitionProgress
from kmigrate.copy.states import CLASS_CHOICES, Choice, PartitionState, Stop, StopKind
from kmigrate.errors import Refused
from kmigrate.kafka_types import (
    UNKNOWN_EPOCH,
    BrokerId,
    Offset,
    Partition,
    Side,
    TopicId,
    TopicName,
    TopicPartition,
)
from kmigrate.manifest import Manifest, OffsetsClass
from kmigrate.offsets.beginning import Beginning
from kmigrate.offsets.classes import OffsetClass
from kmigrate.offsets.offset_map import Ends
from kmigrate.runner.beginnings import BEING_ASKED, Beginnings, Look, Undecided
from kmigrate.runner.board import StatusBoard
from kmigrate.runner.cleaning import CleaningWatch
from kmigrate.runner.desk import Answer, Decisions, Desk
from kmigrate.runner.dispatch import Dispatcher, End, Past, Wanted
from kmigrate.runner.limits import Limits
from kmigrate.runner.maps import Ahead, Maps, has_begun
from kmigrate.runner.observe import ClusterView, Looked, TopicSeen, Watch
from kmigrate.runner.positions import Positions
from kmigrate.runner.provision import Provision, Provisioner, decide_provision
from kmigrate.runner.scaling import Behind, Scaling
from kmigrate.state.store import Store
from kmigrate.topics.create import Created, Enlarged, Outcome, Present
from kmigrate.topics.select import Selected, select_topics

log = logging.getLogger(__name__)
_NOTHING_DECIDED = Decisions()
_MOVING = (PartitionState.CATCHING_UP, PartitionState.THROTTLED)
MIRROR_SECONDS = 0.5
"""How long orders wait for offset maps to be mirrored before partitions are left out whose maps are not."""
START_SECONDS = 15.0
"""How often it is translated where the log starts of *mapped* partitions should be."""


class Observation(NamedTuple):
    """How the clusters are seen: a view and a watch of each, and the queue that the watches fill."""

    views: Mapping[Side, ClusterView]
    watches: Mapping[Side, Watch]
    looks: queue.SimpleQueue[Looked]


class Copying:
    """One migration's topics and partitions; used by the owner's thread only."""

    def __init__(
        self,
        manifest: Manifest,
        store: Store,
        desk: Desk,
        engine: Engine,
        observation: Observation,
        provisioner: Provisioner,
        positions: Positions,
        *,
        cleared: Iterable[TopicName],
        first_term: bool,
        cluster_ids: Mapping[Side, str],
        classes: Mapping[TopicPartition, OffsetClass],
        beginnings: Mapping[TopicPartition, Beginning],
        look: Look,
        cleaning: CleaningWatch,
        limits: Limits,
        begun_ms: int,
        ended: Mapping[TopicName, Mapping[TopicPartition, Ends]],
        ahead: Ahead | None = None,
    ) -> None:
        """`first_term`: nobody ever held the lease before, so nobody else can have sent anything.

        `ahead`: where offset maps must be saved, too, before anything is sent under them. `classes` and `beginnings`
        are those that the target remembers; `look` asks the source for more. What is not remembered was not copied
        before `begun_ms` (-1: it may have been). `ended` are topics whose copy a cutover has ended, and where.
        """
        self.board = StatusBoard()
        self.positions = positions
        self.latest: dict[TopicPartition, PartitionProgress] = {}
        self.selected = Selected(topics=(), left_out={}, missing=())
        self.changed = True
        self.held_up = ""
        self._manifest = manifest
        self._store = store
        self._desk = desk
        self._engine = engine
        self._views, self._watches, self._looks = observation
        self._provisioner = provisioner
        self._cluster_ids = cluster_ids
        self._cleaning = cleaning
        self._limits = limits
        self._begun_ms = begun_ms
        self._lost_at = time.monotonic() if store.remembered() else -math.inf
        """When something was under way last of which nobody knows what became of it; of an earlier owner, perhaps."""
        self._first_term = first_term
        self.maps = Maps(store, ahead)
        self.maps.adopt(classes)
        self._beginnings = Beginnings(store, self.maps, manifest, look)
        self._beginnings.adopt(beginnings)
        self._scaling = Scaling(
            workers=manifest.workers,
            lanes=manifest.lanes,
            cores=os.cpu_count() or 1,
            pairs=math.prod(len(view.brokers) for view in self._views.values()),
        )
        self._dispatcher = Dispatcher(
            workers=self._scaling.workers,
            lanes=self._scaling.lanes,
            past=self._past,
            gap_budget=manifest.offsets.gap_budget,
        )
        self._decisions = _NOTHING_DECIDED
        self._answers = desk.decisions().answers
        self._answered_at = -math.inf
        self._answered: dict[TopicPartition, int | None] = {}
        self._seen_of = dict.fromkeys(Side, -math.inf)
        self._moving: dict[TopicName, set[TopicPartition]] = {}
        self._ignored: set[TopicPartition] = set()
        self._cleared = set(cleared)
        self._fresh: set[TopicPartition] = set()
        self._told_waiting: dict[TopicPartition, str] = {}
        self._to_end: frozenset[TopicName] = frozenset(ended)
        self._withdrawn: frozenset[TopicName] = frozenset(ended)
        self._ended: dict[TopicName, Mapping[TopicPartition, Ends]] = dict(ended)
        self._undispatched = True
        self._unprovisioned = True
        self._next_starts = 0.0
        self._target_unsettled = False
        self._left_out_unmirrored = False
        self._stops_before = _stops_of_last_run(desk)
        # what was answered while no owner ran, or just before one died
        chosen = desk.answered_classes()
        self._take_classes({tp: each for tp, each in chosen.items() if self.maps.class_of(tp) is not each})

    # -- what others ask

    @property
    def partitions(self) -> Iterator[TopicPartition]:
        """Every partition that is to be copied, in any state."""
        return (partition for partitions in self._moving.values() for partition in partitions)

    @property
    def target_brokers(self) -> Collection[BrokerId]:
        """The target's brokers, as they were last seen."""
        return self._views[Side.TARGET].brokers.keys()

    @property
    def moving_topics(self) -> tuple[TopicName, ...]:
        """The topics that take part; for any thread."""
        return tuple(self._moving)

    @property
    def target_replicas(self) -> dict[TopicName, int]:
        """How many replicas the topics that are copied have on the target."""
        there = self._views[Side.TARGET].topics
        return {name: there[name].replicas for name in self._moving if name in there and name not in self._to_end}

    @property
    def all_ordered(self) -> bool:
        """Whether every partition is in a pipeline's hands, or is left alone for good."""
        return not self._undispatched and all(
            partition in self._ignored
            or partition.topic in self._ended
            or self.is_refused(partition)
            or self._dispatcher.holder(partition) is not None
            for partition in self.partitions
        )

    def is_stopped(self, partition: TopicPartition) -> bool:
        """Whether it stopped, also if that was waived, or cannot begin because one of the clusters does not let it."""
        progress = self.latest.get(partition)
        stopped = progress is not None and progress.stop is not None and partition not in self._answered
        return stopped or partition in self._ignored or self.is_refused(partition)

    def is_refused(self, partition: TopicPartition) -> bool:
        """Whether the target refuses its topic, or the source the time to begin at: no pipeline can have it."""
        refused = partition.topic in self._provisioner.refused or partition in self._beginnings.refused
        return refused and self._dispatcher.holder(partition) is None

    def beginning_of(self, partition: TopicPartition) -> Beginning | None:
        """What is known of where it begins."""
        return self._beginnings.get(partition)

    def is_waived(self, partition: TopicPartition) -> bool:
        return partition in self._ignored

    # -- the end of a topic's copy; for any thread

    def end_topics(self, topics: Iterable[TopicName]) -> None:
        """Nothing more is copied into these topics, as soon as what was sent is answered: see `ends_of`."""
        self._to_end |= frozenset(topics)

    def resume_topics(self, topics: Iterable[TopicName]) -> None:
        """These topics are copied again, from where their copy ended."""
        self._to_end -= frozenset(topics)

    def positions_of(self, topic: TopicName) -> dict[TopicPartition, Ends]:
        """How far every partition of a topic is copied by now; those that are not known are left out."""
        latest = self.latest.copy()
        return {
            tp: Ends(each.position, each.target_end)
            for tp, each in latest.items()
            if tp.topic == topic and min(each.position, each.target_end) >= 0
        }

    def ends_of(self, topic: TopicName) -> Mapping[TopicPartition, Ends] | None:
        """Where the copy of a topic has ended: how far the source was copied, and where that is on the target.

        None while it has not.
        """
        return self._ended.get(topic) if topic in self._to_end else None

    def quiet_seconds(self) -> float:
        """How long the target's log ends must stand still before nothing of ours can be on its way; for any thread.

        Whoever copied and died, or lost a connection, may have had requests under way that wait behind others.
        """
        longest = QUIET_SECONDS + behind_seconds(self._manifest.target.request_timeout_ms)
        return longest if time.monotonic() - self._lost_at < longest else QUIET_SECONDS

    def correct_ends(self, topic: TopicName, ends: Mapping[TopicPartition, Ends]) -> None:
        """The target's log tells more than the last words of those who copied: that is where the copy ended."""
        if topic in self._ended:
            self._ended[topic] = dict(ends)

    def _end_topics(self, now_ms: int) -> None:
        """Takes up which topics are to end, and which of them have."""
        for name in self._ended.keys() - self._to_end:
            log.info("topic %s is copied again", name)
            for partition in self._ended.pop(name):
                self.latest.pop(partition, None)
            self._touch()
        self._withdrawn &= self._to_end
        for name in self._to_end - self._ended.keys():
            partitions = self._moving.get(name, set())
            words = [self.latest[each] for each in partitions if each in self.latest]
            if len(words) < len(partitions) or any(min(each.position, each.target_end) < 0 for each in words):
                continue  # who copies it says first how far it is: nobody could tell afterwards
            if name not in self._withdrawn:
                self._withdrawn |= {name}
                self._undispatched = True
            elif self._is_released(name):
                self._ended[name] = {each.partition: Ends(each.position, each.target_end) for each in words}
                log.info("the copy of topic %s has ended", name)
            else:
                self._undispatched = True
        told = []
        for ends in self._ended.values():
            for partition, (source, target) in ends.items():
                known = self.latest.get(partition)
                is_told = known is not None and known.state is PartitionState.HANDED_OVER
                if known is None or not is_told or (known.position, known.target_end) != (source, target):
                    word = self._last_word(partition)._replace(
                        state=PartitionState.HANDED_OVER,
                        position=source,
                        source_end=source,
                        target_end=target,
                        offset_class=self.maps.class_of(partition) or OffsetClass.IDENTICAL,
                        reason="",
                        stop=None,
                    )
                    self.latest[partition] = word
                    told.append(word)
        if told:
            self.board.update(told, now_ms)
            self.changed = True

    # -- what happened

    def adopt_looks(self) -> str:
        """Takes what the watches saw; returns why a cluster does not answer, empty if both do."""
        trouble = ""
        while True:
            try:
                side, metadata, asked_at, at_seconds, reason = self._looks.get_nowait()
            except queue.Empty:
                break
            trouble = reason or trouble
            if metadata is not None:
                self._check_cluster(side, metadata.cluster_id)
                self._seen_of[side] = asked_at
                if self._views[side].adopt(metadata, at_seconds):
                    self.on_view_changed()
        for side, view in self._views.items():
            if view.unsure:
                self._watches[side].poke()
        if self._target_unsettled:
            self._watches[Side.TARGET].poke()
        return trouble

    def _check_cluster(self, side: Side, found: str) -> None:
        if found != self._cluster_ids[side]:
            raise Refused(
                f"the {side} cluster is {found} now; it was {self._cluster_ids[side]}",
                hint=f"bootstrap.servers of spec.{side} lead to another cluster; nothing more is written",
            )

    def on_view_changed(self) -> None:
        """Selects topics anew; expects every partition that either cluster or our memory knows."""
        source = self._views[Side.SOURCE]
        self.selected = select_topics(source.listed, self._manifest)
        moving: dict[TopicName, set[TopicPartition]] = {}
        remembered = (name for name in self.positions.topics if self._manifest.topic_selected(name))
        not_gone = (name for name in self._moving if name in source.topics)
        for name in {*self.selected.topics, *remembered, *not_gone}:
            seen = source.topics.get(name)
            numbers = {TopicPartition(name, number) for number in seen.partitions} if seen else set()
            moving[name] = numbers.union(self.positions.partitions_of(name))
        for name in self._moving.keys() - moving.keys():
            log.info("topic %s no longer takes part", name)
            self._drop_topic(name)
        self._moving = moving
        self.board.expect(self.partitions)
        self._target_unsettled = any(self._is_unsettled(name) for name in moving)
        for watch in self._watches.values():
            watch.follow(tuple(moving))
        self._touch()

    def _is_unsettled(self, name: TopicName) -> bool:
        """Whether the target should soon look otherwise: a topic was just created, or a leader is missing."""
        there, source = self._views[Side.TARGET].topics.get(name), self._views[Side.SOURCE].topics.get(name)
        if there is None:
            return name in self._cleared or name in self._decisions.recreate
        fewer = source is not None and len(there.partitions) < len(source.partitions)
        return fewer or any(part.leader is None for part in there.partitions.values())

    def _touch(self) -> None:
        self._undispatched = self._unprovisioned = self.changed = True

    def on_event(self, event: Event, now_ms: int) -> None:
        """Takes what a worker did or said."""
        match event:
            case WorkerStarted(worker, pid):
                log.info("worker %d runs as process %d", worker, pid)
                self._dispatcher.on_worker_changed(worker)
                self._touch()
            case WorkerDied(worker, pid, exit_code):
                log.warning("worker %d (process %d) ended with exit code %d", worker, pid, exit_code)
                self._lost_at = time.monotonic()
                self._dispatcher.on_worker_changed(worker)
                self._touch()
            case ProgressReceived(_, progress):
                words = []
                for each in progress.partitions:
                    partition = each.partition
                    if self._dispatcher.holder(partition) != progress.key or self._is_out(partition):
                        continue  # the last word of one that was taken away
                    self._log_stop(self.latest.get(partition), each)
                    self._shift_where_it_may_be(each)
                    self.latest[partition] = each
                    answered_by = self._answered.get(partition)
                    if answered_by is not None and progress.orders >= answered_by:
                        del self._answered[partition]
                    self._told_waiting.pop(partition, None)
                    self.positions.on_progress(each, progress.orders)
                    self.maps.on_progress(progress.key, each)
                    self._limits.on_progress(each)
                    words.append(each)
                self.board.update(words, now_ms, progress.key)
                self.board.spend(progress.key, progress.spent, now_ms)
                self._scaling.observe(progress.key, progress.spent)
                self.board.count(progress.latencies)
                self.changed = True
                if self._dispatcher.on_progress(progress):
                    self._undispatched = self._unprovisioned = True
                if progress.source_trouble:
                    self._watches[Side.SOURCE].poke()
                if progress.target_trouble:
                    self._lost_at = time.monotonic()
                    self._watches[Side.TARGET].poke()

    def _is_out(self, partition: TopicPartition) -> bool:
        return partition in self._ignored or partition.topic in self._decisions.recreate

    def _log_stop(self, before: PartitionProgress | None, now: PartitionProgress) -> None:
        if now.stop is not None and (before is None or before.stop != now.stop):
            log.error("%s stopped: %s", now.partition, now.stop)

    # -- what follows

    def hold_up(self, reason: str) -> None:
        """Pauses all copying for a reason, or with none lets it go on; whatever the operator says."""
        self.held_up = reason
        self._undispatched = self.changed = True

    def step(self, now: float, now_ms: int) -> None:
        """Decides and tells what is to be done; waits for nothing."""
        decisions = self._desk.decisions()
        if decisions is not self._decisions:
            self._adopt_decisions(decisions, now_ms)
        self._adopt_answers()
        if self._to_end or self._ended:
            self._end_topics(now_ms)
        self._follow_starts(now)
        for worker, saved in self.maps.save().items():
            self._engine.tell_saved(worker, saved)
        self._undispatched |= self._left_out_unmirrored and not self.maps.on_their_way
        self._provision(now)
        if self._beginnings.step(self._undecided, now, may_be_more=self._undispatched):
            self._touch()
        if self._cleaning.step(self._moving, now) | self._limits.step(now):
            self._undispatched = True
        self._scale(now)
        if self._undispatched:
            self.maps.wait_for_mirror(MIRROR_SECONDS)
            self._left_out_unmirrored = bool(self.maps.on_their_way)
            wanted = dict(self._wanted())
            self._show_waiting(wanted, now_ms)
            self._remember_fresh(wanted, now_ms)
            self._undispatched = not self._dispatcher.dispatch(
                self._engine,
                wanted,
                self._views[Side.SOURCE].brokers,
                self._views[Side.TARGET].brokers,
                paused=decisions.paused or bool(self.held_up),
                limits=decisions.limits,
            )
            if self._undispatched:
                return
            for partition, each in wanted.items():
                number = self._dispatcher.number
                self.positions.on_ordered(partition, each.source.topic_id, each.target.topic_id, number)
                if self._answers is self._decisions.answers and self._answered.get(partition, number) is None:
                    self._answered[partition] = number

    def _scale(self, now: float) -> None:
        """Now and then looks whether more workers or lanes would help, or work should change hands."""
        if not self._scaling.is_due(now):
            return
        copied, behind = 0, []
        for partition, progress in self.latest.items():
            copied += max(0, progress.position)
            left = progress.source_end - progress.position
            holder = self._dispatcher.holder(partition)
            if left > 0 and progress.state in _MOVING and holder is not None:
                behind.append(Behind(partition, holder, left))
        scale = self._scaling.step(now, copied, behind)
        if scale is None:
            return
        for worker in range(scale.workers):
            self._engine.add(worker)
        log.info("%d workers, %d lanes; %d partitions change hands", *scale[:2], len(scale.moves))
        self._dispatcher.scale(*scale)
        self._undispatched = True

    def _remember_fresh(self, wanted: Mapping[TopicPartition, Wanted], now_ms: int) -> None:
        """Writes down, before anything is copied, whose copy a partition is that was made for it.

        Else nothing would tell after a kill, if the source had dropped by then what was copied first.
        """
        new = {
            tp: Remembered(each.source.topic_id, each.target.topic_id, UNKNOWN_EPOCH, Offset(0), now_ms)
            for tp, each in wanted.items()
            if tp in self._fresh and self.positions.get(tp) is None
            if each.source.topic_id is not None and each.target.topic_id is not None
        }
        if new:
            self.positions.adopt(new)
            self._store.remember(new)

    def _adopt_decisions(self, decisions: Decisions, now_ms: int) -> None:
        before = self._answers if self._decisions is _NOTHING_DECIDED else self._decisions.answers
        new = {tp for tp, answer in decisions.answers.items() if answer != before.get(tp)}
        for topic in {partition.topic for partition in new}:
            self._limits.forget(topic)
            for partition in self._moving.get(topic, ()):
                if partition in self.latest:
                    self._limits.on_progress(self.latest[partition])  # others of the topic may still wait
        if new:
            self._answered_at = time.monotonic()  # not the turn's: a look may have been asked since it began
        self._decisions = decisions
        self._answered |= dict.fromkeys(new)
        ignored = {tp for tp, answer in decisions.answers.items() if answer.choice is Choice.IGNORE}
        self.board.update([self._waived(tp) for tp in ignored - self._ignored], now_ms)
        self.board.show_accepted(decisions.accepted)
        self._ignored = ignored
        self._touch()

    def _adopt_answers(self) -> None:
        """Hands answers on once both clusters were looked at again: what the operator mended counts."""
        if self._answers is self._decisions.answers:
            return
        late = [side for side in Side if self._seen_of[side] < self._answered_at]
        for side in late:
            self._watches[side].poke()
        if not late:
            self._change_classes(self._answers, self._decisions.answers)
            self._answers = self._decisions.answers
            self._touch()

    def _change_classes(self, before: Mapping[TopicPartition, Answer], now: Mapping[TopicPartition, Answer]) -> None:
        """Another class, where an operator answered a stop so."""
        new = {tp: answer.choice for tp, answer in now.items() if answer != before.get(tp)}
        self._take_classes({tp: OffsetClass(each.value) for tp, each in new.items() if each in CLASS_CHOICES})

    def _take_classes(self, chosen: Mapping[TopicPartition, OffsetClass]) -> None:
        for offset_class in set(chosen.values()):
            changed = {tp: self._has_begun(tp) for tp, each in chosen.items() if each is offset_class}
            self.maps.change(changed, offset_class)
            for partition in changed:
                log.info("%s goes on in class %s", partition, offset_class)

    def _follow_starts(self, now: float) -> None:
        """Now and then says where the log starts of *mapped* partitions should be."""
        if now < self._next_starts:
            return
        self._next_starts = now + START_SECONDS
        for partition, progress in self.latest.items():
            holder = self._dispatcher.holder(partition)
            if holder is not None:
                self.maps.follow_start(holder, progress)

    def _waived(self, partition: TopicPartition) -> PartitionProgress:
        progress = self._last_word(partition)
        stop = progress.stop or self._stops_before.get(partition)
        return progress._replace(state=PartitionState.IGNORED, stop=stop, reason="")

    def _last_word(self, partition: TopicPartition) -> PartitionProgress:
        memory = self.positions.get(partition)
        return self.latest.get(partition) or PartitionProgress(
            partition=partition,
            state=PartitionState.WAITING,
            position=Offset(-1) if memory is None else memory.appended,
            source_start=Offset(-1),
            source_end=Offset(-1),
            source_epoch=UNKNOWN_EPOCH,
            records=0,
            bytes=0,
            newest_ms=-1,
            crc_errors=0,
            reason="",
            stop=None,
        )

    # -- orders

    def _past(self, partition: TopicPartition, is_first: bool) -> Past:
        fresh = is_first and (self._first_term or partition in self._fresh)
        memory = self.positions.get(partition)
        runs = self.maps.runs(partition, 0 if memory is None else memory.appended)
        return Past(memory, fresh, runs, self._begun_ms if memory is None else UNKNOWN_TIME_MS)

    def _wanted(self) -> Iterator[tuple[TopicPartition, Wanted]]:
        unmirrored = self.maps.on_their_way
        for name, partitions in self._moving.items():
            if name in self._decisions.recreate or name in self._withdrawn or not self._may_copy_into(name):
                continue
            cleaning = self._cleaning.get(name)
            for partition in partitions:
                offset_class = self.maps.class_of(partition)
                if partition in self._ignored or offset_class is None or self._waits_for_cleaning(partition):
                    continue
                if partition in unmirrored:
                    continue
                source, target = self._end(Side.SOURCE, partition), self._end(Side.TARGET, partition)
                if source is not None and target is not None and not self._is_open(partition, source.topic_id):
                    answer = self._answers.get(partition)
                    revision = 0 if answer is None else answer.revision
                    accepted = self._decisions.accepted.get(partition)
                    yield (
                        partition,
                        Wanted(
                            source=source,
                            target=target,
                            revision=revision,
                            offset_class=offset_class,
                            start=self._beginnings.start_of(partition),
                            pad_budget=self._beginnings.pad_budget_of(partition),
                            delete_retention_ms=cleaning.delete_retention_ms,
                            batch_bytes=cleaning.max_message_bytes,
                            even_from_ms=UNKNOWN_TIME_MS if accepted is None else accepted.at,
                            free_from_ms=cleaning.free_ms_if_compacted,
                            limit=self._limits.get(name),
                            own_from=self._beginnings.own_from_of(partition),
                        ),
                    )

    def _waits_for_cleaning(self, partition: TopicPartition) -> bool:
        """Whether how long its tombstones are kept must be known first: one that was begun may be too late for some."""
        return self.positions.get(partition) is not None and not self._cleaning.is_asked(partition.topic)

    def _undecided(self) -> dict[TopicPartition, Undecided]:
        """Partitions without a class, or whose source topic is another one before anything was begun.

        What was begun before classes were told is identical, and began where its log did.
        """
        found, old = {}, {}
        for partition in self.partitions:
            seen, known = self._views[Side.SOURCE].topics.get(partition.topic), self.maps.class_of(partition)
            if known is None and self.positions.get(partition) is not None:
                old[partition] = OffsetClass.IDENTICAL
            elif (
                seen is not None and partition.partition in seen.partitions and self._is_open(partition, seen.topic_id)
            ):
                stays = self._beginnings.lacks_filler(partition) and self._beginnings.is_of(partition, seen.topic_id)
                found[partition] = Undecided(seen.topic_id, known if stays else self._wish(partition))
        self.maps.decide(old)
        return found

    def _is_open(self, partition: TopicPartition, source_topic_id: TopicId | None) -> bool:
        """Whether class and beginning are still to be decided, or anew as nothing was begun yet."""
        if self.maps.class_of(partition) is None:
            return True
        if self._has_begun(partition) or self._dispatcher.holder(partition) is not None:
            return False
        if self._beginnings.own_from_of(partition) is not None:
            return False
        is_other = source_topic_id is not None and not self._beginnings.is_of(partition, source_topic_id)
        return is_other or self._beginnings.is_unpadded(partition)

    def _has_begun(self, partition: TopicPartition) -> bool:
        """Whether something of it is on the target."""
        return has_begun(self.positions.get(partition), self.latest.get(partition))

    def _wish(self, partition: TopicPartition) -> OffsetClass | None:
        """The class that the manifest asks for; None if it may be any."""
        wish = self._manifest.offsets.class_of(partition.topic)
        return None if wish is OffsetsClass.AUTO else OffsetClass(wish.value)

    def _shift_where_it_may_be(self, progress: PartitionProgress) -> None:
        """Too much filler for a partition whose class may be any: nothing is copied yet, and it begins at 0 instead."""
        stop, partition = progress.stop, progress.partition
        if stop is None or stop.kind is not StopKind.START_QUESTION or self._wish(partition) is not None:
            return
        if self.maps.class_of(partition) is OffsetClass.IDENTICAL:
            log.warning("%s is copied in class shifted: %s", partition, stop.evidence)
            self.maps.change({partition: False}, OffsetClass.SHIFTED)
            self._touch()

    def _may_copy_into(self, name: TopicName) -> bool:
        return name in self._cleared or name in self.positions.topics

    def _end(self, side: Side, partition: TopicPartition) -> End | None:
        """One side of a partition; None if it is unknown, or not there yet."""
        view, memory = self._views[side], self.positions.get(partition)
        seen = view.topics.get(partition.topic)
        if seen is None:
            gone = partition.topic in view.gone and memory is not None
            return self._lost_end(side, partition, None) if gone else None
        part = seen.partitions.get(partition.partition)
        if part is None:
            if memory is None or _id_of(memory, side) == seen.topic_id:
                return None
            return self._lost_end(side, partition, seen)  # another topic of that name, with fewer partitions
        leader = part.leader if part.leader is not None else self._leader_before(side, partition)
        return None if leader is None else End(seen.topic_id, leader, part.epoch)

    def _lost_end(self, side: Side, partition: TopicPartition, seen: TopicSeen | None) -> End | None:
        """An end without a leader: whichever pipeline had it last, or any other, keeps its stop."""
        anyone = self._leader_before(side, partition)
        if anyone is None:
            anyone = min(self._views[side].brokers, default=None)
        return None if anyone is None else End(None if seen is None else seen.topic_id, anyone, UNKNOWN_EPOCH)

    def _leader_before(self, side: Side, partition: TopicPartition) -> BrokerId | None:
        key = self._dispatcher.holder(partition)
        return None if key is None else (key.source if side is Side.SOURCE else key.target)

    def _show_waiting(self, wanted: Mapping[TopicPartition, Wanted], now_ms: int) -> None:
        """Says of partitions that nobody can copy now why that is."""
        words = []
        for partition in self.partitions:
            if partition in wanted or partition in self._ignored or partition.topic in self._withdrawn:
                continue
            reason = self._reason_to_wait(partition)
            if self._told_waiting.get(partition) != reason:
                self._told_waiting[partition] = reason
                waiting = self._last_word(partition)
                words.append(waiting._replace(state=PartitionState.WAITING, reason=reason, stop=None))
        self.board.update(words, now_ms)

    def _reason_to_wait(self, partition: TopicPartition) -> str:
        name = partition.topic
        if name in self._decisions.recreate:
            return self._provisioner.failures.get(name, "the target topic is being created anew")
        if name in self._provisioner.failures:
            return f"target topic: {self._provisioner.failures[name]}"
        for side, view in self._views.items():
            seen = view.topics.get(name)
            if seen is None or partition.partition not in seen.partitions:
                return f"not on the {side} yet" if name not in self.positions.topics else f"missing on the {side}"
            if seen.partitions[partition.partition].leader is None:
                return f"no leader on the {side}"
        if self._is_open(partition, None):
            return self._beginnings.failures.get(partition, BEING_ASKED)
        if self._waits_for_cleaning(partition):
            return "the source is asked how it cleans the topic"
        if partition in self.maps.on_their_way:
            return "its offset map waits to be mirrored on the target"
        return "the target topic is being checked"

    # -- the target's topics

    def _provision(self, now: float) -> None:
        done = self._provisioner.collect(now)
        if done is not None:
            self._adopt_outcomes(*done)
        if self._provisioner.busy or not (self._unprovisioned or self._provisioner.resting_is_over(now)):
            return
        recreate = self._decisions.recreate
        provision = decide_provision(
            self._views[Side.SOURCE],
            self._views[Side.TARGET],
            {name: partitions for name, partitions in self._moving.items() if name not in self._withdrawn},
            adopted=self.positions.topics,
            cleared=self._cleared | self.positions.topics,
            recreate=recreate,
            released={name for name in recreate if self._is_released(name)},
            replaced={name for name in self.positions.topics if self._is_replaced(name)},
            resting=self._provisioner.resting(now),
            replication_factor=self._manifest.replication_factor,
        )
        self._unprovisioned = False
        if provision.topics:
            self._provisioner.begin(provision)

    def _is_released(self, name: TopicName) -> bool:
        return all(self._dispatcher.holder(partition) is None for partition in self._moving.get(name, ()))

    def _is_replaced(self, name: TopicName) -> bool:
        memory = next((self.positions.get(partition) for partition in self.positions.partitions_of(name)), None)
        ends = [(side, self._views[side].topics.get(name)) for side in Side]
        return memory is not None and any(
            seen is not None and seen.topic_id != _id_of(memory, side) for side, seen in ends
        )

    def _adopt_outcomes(self, provision: Provision, outcomes: Mapping[TopicName, Outcome]) -> None:
        known = self._views[Side.TARGET].topics
        for name, outcome in outcomes.items():
            recreated = name in self._decisions.recreate
            match outcome:
                case Created() if recreated:
                    self._forget_copy(name)
                    self._cleared.add(name)
                    self._desk.recreated(name)
                case Created():
                    self._cleared.add(name)
                    size = provision.create[name].partitions
                    self._fresh |= {TopicPartition(name, Partition(number)) for number in range(size)}
                case Enlarged():
                    there = len(known[name].partitions) if name in known else provision.enlarge[name]
                    numbers = range(there, provision.enlarge[name])
                    self._fresh |= {TopicPartition(name, Partition(number)) for number in numbers}
                case Present() if name in provision.inspect:
                    self._cleared.add(name)
        self._watches[Side.TARGET].poke()
        self._target_unsettled = True
        self._touch()

    def _forget_copy(self, name: TopicName) -> None:
        """The target topic is a new one: nothing that was known of the old copy counts any more."""
        self._store.forget(name)
        self.maps.forget(name)
        self._drop_topic(name)
        self.board.expect(self._moving.get(name, ()))

    def _drop_topic(self, name: TopicName) -> None:
        self.positions.forget(name)
        self._limits.forget(name)
        self.board.drop(name)
        for partition in self._moving.get(name, ()):
            self.latest.pop(partition, None)
            self._answered.pop(partition, None)
            self._told_waiting.pop(partition, None)
            self._fresh.discard(partition)
        self._cleared.discard(name)


def _id_of(memory: tuple[object, ...], side: Side) -> object:
    return memory[0] if side is Side.SOURCE else memory[1]


def _stops_of_last_run(desk: Desk) -> dict[TopicPartition, Stop]:
    document = desk.status()
    return {
        TopicPartition(TopicName(each.topic), Partition(each.partition)): Stop(
            kind=each.stop.kind, offset=Offset(each.stop.offset), evidence=each.stop.evidence
        )
        for each in (document.stopped + document.waived if document is not None else ())
        if each.stop is not None
    }
