"""The thread that appends late records of one migration: reads, decides, saves, sends, and believes what is shown.

Rule: what is decided is in the store, and mirrored where the state is, before it is sent; what has landed is in the
store before it counts. The lease is looked at before every request. Whatever dies in between, the next process begins
in doubt, and the target tells what became of the batch that was decided last.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from kmigrate.errors import ClusterError, KmigrateError
from kmigrate.kafka_types import Offset, ProducerId, TopicId, TopicName, TopicPartition
from kmigrate.late.gathering import Gathered, Limits
from kmigrate.late.partition import LatePartition, Phase
from kmigrate.late.values import NOTHING, Batch, Handover, LateStopKind
from kmigrate.records.batch import stamp
from kmigrate.runner.late.reading import LateSource, Unreadable, Wish
from kmigrate.runner.late.writing import LateTarget, NotSeen, Question
from kmigrate.runner.maps import Ahead
from kmigrate.state.late_book import LateBook
from kmigrate.wire.error_codes import ErrorCode

T = TypeVar("T")

log = logging.getLogger(__name__)

WAIT_MS = 200
"""How long a request waits at the source for something new, where nothing is under way."""
NOTHING_SECONDS = 1.0
AGAIN_SECONDS = 0.5
LOOK_SECONDS = 1.0
"""How often topics are looked at: whether they are still the same."""
MOST_BUILT_BYTES = 64 << 20
"""No more is read while as much waits to be sent."""
_STOP_SECONDS = 8.0
_MOVED = frozenset({ErrorCode.NOT_LEADER_OR_FOLLOWER, ErrorCode.LEADER_NOT_AVAILABLE, ErrorCode.FENCED_LEADER_EPOCH})


class LateSeen(NamedTuple):
    """How far a partition's late records are appended: every one below source offset `position` lies on the target.

    `landed` lie there; no more than `sent` do. `until` is NOTHING where the rest was given up. `stop` says why it does
    not go on, empty if it does.
    """

    position: Offset
    landed: int
    sent: int
    until: Offset | None
    stop: str = ""

    @property
    def is_done(self) -> bool:
        """Whether everything that is wanted by now is on the target."""
        return self.until is not None and self.position >= self.until


@dataclass(slots=True)
class _Built:
    """A batch as it is sent."""

    data: bytearray
    codec: int


class LateAppender:
    """Appends late records; `open`, `seen` and `counts` are for any thread."""

    def __init__(
        self,
        book: LateBook,
        make_source: Callable[[], LateSource],
        make_target: Callable[[], LateTarget],
        producer_id: ProducerId,
        may_write: Callable[[], bool],
        ahead: Ahead,
        *,
        steady_seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        """`ahead`: where what is saved must be, too, before anything is sent."""
        self._book = book
        self._make_source, self._make_target = make_source, make_target
        self._id = producer_id
        self._may_write = may_write
        self._ahead = ahead
        self._now = steady_seconds
        self._lock = threading.Lock()
        self._opened: dict[TopicPartition, Handover] = {}
        self._machines: dict[TopicPartition, LatePartition] = {}
        self._built: dict[TopicPartition, _Built] = {}
        self._landed: list[tuple[TopicPartition, Batch]] = []
        """What has landed, and is not saved yet."""
        self._seen: dict[TopicPartition, LateSeen] = {}
        self._untold: set[TopicPartition] = set()
        """Given up, and no turn that knows it has told how far they are."""
        self._source: LateSource | None = None
        self._target: LateTarget | None = None
        self._next_look = 0.0
        self._poked = threading.Event()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="late", daemon=True)
        self.trouble = ""
        """Why something could not be done in the last turn; empty if everything could."""
        self._is_troubled = False

    # -- for any thread

    def start(self) -> None:
        """Goes on with what is kept."""
        for tp, kept in self._book.load().items():
            self._machines[tp] = LatePartition(kept)
        self._tell()
        self._thread.start()

    def stop(self) -> None:
        """Ends after what is under way; nothing is sent any more."""
        self._ending.set()
        self._poked.set()
        if self._thread.is_alive():
            self._thread.join(_STOP_SECONDS)

    def open(self, handovers: Mapping[TopicPartition, Handover]) -> None:
        """Records of these partitions are late from there on, or wanted up to there now; it is kept when it returns."""
        with self._lock:
            kept = self._book.open(handovers)
            self._opened |= kept
            self._seen = self._seen | {
                tp: self._seen[tp]._replace(until=each.until, position=max(self._seen[tp].position, each.source_from))
                if tp in self._seen
                else LateSeen(each.source_from, 0, 0, each.until)
                for tp, each in kept.items()
            }
        self._poked.set()

    def forgo(self, partitions: Collection[TopicPartition]) -> bool:
        """Nothing more of these partitions is sent, until they are opened anew; it is kept when it returns.

        False as long as a turn may be under way that began before.
        """
        with self._lock:
            new = [tp for tp in partitions if tp in self._seen and self._seen[tp].until != NOTHING]
            if new:
                kept = self._book.give_up(new)
                self._opened |= kept
                self._untold |= kept.keys()
                self._seen = self._seen | {tp: self._seen[tp]._replace(until=NOTHING, stop="") for tp in kept}
            is_told = self._untold.isdisjoint(partitions)
        self._poked.set()
        return is_told

    def seen(self) -> dict[TopicPartition, LateSeen]:
        """How far every partition is."""
        with self._lock:
            return dict(self._seen)

    # -- the thread

    def _run(self) -> None:
        try:
            while not self._ending.is_set():
                pause = 0.0
                self._is_troubled = False
                try:
                    pause = self.turn()
                    if not self._is_troubled:
                        self.trouble = ""
                except KmigrateError as error:
                    pause = AGAIN_SECONDS
                    self._tell_trouble(str(error))
                    self._forget_leaders()
                except Exception:
                    log.exception("a turn over late records failed")
                    pause = AGAIN_SECONDS
                if pause:
                    self._poked.wait(pause)
                self._poked.clear()
        finally:
            for each in (self._source, self._target):
                if each is not None:
                    each.close()

    def turn(self) -> float:
        """One round over all partitions; how long nothing more is to be done, in seconds."""
        try:
            return self._turn()
        except Exception:
            for machine in self._machines.values():
                machine.on_unseen()  # some leader may not have answered
            raise

    def _turn(self) -> float:
        self._adopt()
        now = self._now()
        for machine in self._machines.values():
            if machine.phase is Phase.SENT:
                machine.on_silence(now)  # the turn that sent it failed before the answer was taken up
        busy = {tp: each for tp, each in self._machines.items() if each.is_busy}
        if not busy:
            self._save()
            return NOTHING_SECONDS
        self._look_around(busy, now)
        self._look(busy, now)
        is_read = self._reread(busy, now) and self._read(busy)
        self._save()
        self._send({tp: each for tp, each in busy.items() if each.phase is Phase.READY})
        return self._pause(busy) if is_read else AGAIN_SECONDS

    def _pause(self, busy: Mapping[TopicPartition, LatePartition]) -> float:
        """Where something can be read, the source waits for us; else a moment."""
        if not self._has_room():
            return AGAIN_SECONDS
        return 0.0 if any(each.wants_records for each in busy.values()) else AGAIN_SECONDS / 5

    def _adopt(self) -> None:
        """Takes up what was opened."""
        with self._lock:
            if not self._opened:
                return
            kept = self._book.load()
            opened, self._opened = self._opened, {}
        for tp, handover in opened.items():
            known = self._machines.get(tp)
            if known is None:
                self._machines[tp] = LatePartition(kept[tp])
            else:
                known.extend(handover)
                if known.is_given_up:
                    self._built.pop(tp, None)
        self._next_look = 0.0

    # -- the clusters

    def _clusters(self) -> tuple[LateSource, LateTarget]:
        if self._source is None:
            self._source = self._make_source()
        if self._target is None:
            self._target = self._make_target()
        return self._source, self._target

    def _forget_leaders(self) -> None:
        self._next_look = 0.0
        if self._target is not None:
            self._target.is_old = True

    def _look_around(self, busy: Mapping[TopicPartition, LatePartition], now: float) -> None:
        """Who leads, and whether the topics are still those that they were."""
        source, target = self._clusters()
        if now < self._next_look and not target.is_old:
            return
        topics = sorted({tp.topic for tp in busy})
        here, there = source.look(topics), target.look_around(topics)
        self._next_look = now + LOOK_SECONDS
        for tp, machine in busy.items():
            self._check(tp, machine, here, there, now)

    def _check(
        self,
        tp: TopicPartition,
        machine: LatePartition,
        here: Mapping[TopicName, TopicId],
        there: Mapping[TopicName, TopicId],
        now: float,
    ) -> None:
        for side, found, wanted, kind in (
            ("source", here.get(tp.topic), machine.handover.source_topic_id, LateStopKind.SOURCE_REPLACED),
            ("target", there.get(tp.topic), machine.handover.target_topic_id, LateStopKind.TARGET_REPLACED),
        ):
            if found != wanted and machine.phase in (Phase.FREE, Phase.DOUBT, Phase.READY):
                evidence = (
                    f"the {side} has no topic {tp.topic}" if found is None else f"the {side} has another {tp.topic}"
                )
                machine.on_unreadable(kind, evidence, "what late records there are beyond must be settled by hand", now)

    def _look(self, busy: Mapping[TopicPartition, LatePartition], now: float) -> None:
        _, target = self._clusters()
        doubtful = {tp: each for tp, each in busy.items() if each.wants_look(now)}
        if not doubtful:
            return
        questions = {tp: Question(each.pending, each.search_from) for tp, each in doubtful.items()}
        answers = target.look(questions)
        now = self._now()
        for tp, answer in answers.items():
            machine = doubtful[tp]
            if isinstance(answer, NotSeen):
                target.is_old = True
                self._tell_trouble(f"{tp} on the target: {answer.reason}")
                machine.on_unseen()
                continue
            landed = machine.on_look(answer, now)
            if landed is not None:
                self._land(tp, landed)
            elif machine.stop is not None:
                log.warning("%s: %s", tp, machine.stop)

    # -- the records

    def _reread(self, busy: Mapping[TopicPartition, LatePartition], now: float) -> bool:
        """What another process decided, and was not appended, is read again; False where the source did not answer."""
        source, _ = self._clusters()
        for tp, machine in _rotated(busy, int(self._now() * 10)).items():
            if machine.phase is not Phase.READY or tp in self._built or not self._has_room():
                continue
            assert machine.pending is not None, "what is to be sent was decided"
            try:
                found = source.reread(tp, machine.pending)
            except ClusterError as error:  # what others decided goes on
                self._look_again(error)
                return False
            if isinstance(found, Unreadable):
                machine.on_unreadable(found.kind, found.evidence, found.way, now)
            elif found is not None and machine.rebuild(found):
                self._built[tp] = _built(found)
        return True

    def _read(self, busy: Mapping[TopicPartition, LatePartition]) -> bool:
        """What comes next, of those that wait for it; False where the source did not answer."""
        source, _ = self._clusters()
        wanted = {
            tp: Wish(each.position, each.handover.until, Limits(records=each.most_records))
            for tp, each in busy.items()
            if each.wants_records
        }
        if not self._has_room():
            return True
        is_idle = not any(each.phase is Phase.READY for each in busy.values())
        try:
            found = source.read(_rotated(wanted, int(self._now() * 10)), WAIT_MS if is_idle else 0)
        except ClusterError as error:  # what is decided already goes on
            self._look_again(error)
            return False
        now = self._now()
        for tp, each in found.items():
            machine = busy[tp]
            if isinstance(each, Unreadable):
                machine.on_unreadable(each.kind, each.evidence, each.way, now)
                log.warning("%s: %s", tp, machine.stop)
            elif machine.decide(each) is not None:
                self._built[tp] = _built(each)
        return True

    def _has_room(self) -> bool:
        """Whether more may be read. Batches in doubt make room: they are read again if they are to be sent."""
        built = sum(len(each.data) for each in self._built.values())
        for tp in [tp for tp in self._built if self._machines[tp].phase is Phase.DOUBT]:
            if built < MOST_BUILT_BYTES:
                break
            built -= len(self._built.pop(tp).data)
        return built < MOST_BUILT_BYTES

    def _land(self, tp: TopicPartition, landed: Batch) -> None:
        self._built.pop(tp, None)
        self._landed.append((tp, landed))

    def _save(self) -> None:
        """What has landed, and what is decided, in one step; then what is decided may be sent."""
        decided = {
            tp: each.pending
            for tp, each in self._machines.items()
            if each.phase is Phase.DECIDED and each.pending is not None
        }
        landed = list(self._landed)
        self._book.save([*landed, *decided.items()])
        del self._landed[: len(landed)]
        self._tell()
        if not decided:
            return
        mark = self._ahead.mark()
        while not self._ahead.wait(mark, AGAIN_SECONDS):
            self._tell_trouble("what is decided is not mirrored yet")
            if self._ending.wait(AGAIN_SECONDS / 5):  # where the mirror has trouble, it does not wait
                return
        for tp in decided:
            self._machines[tp].on_saved()

    def _tell(self) -> None:
        """What others see: a batch counts as sent before it is."""
        with self._lock:
            self._seen = {
                tp: LateSeen(
                    each.position,
                    each.landed,
                    each.sent_records,
                    each.handover.until if tp not in self._opened else self._opened[tp].until,
                    "" if each.stop is None else str(each.stop),
                )
                for tp, each in self._machines.items()
            } | {tp: self._seen[tp] for tp in self._opened if tp not in self._machines}
            self._untold -= {tp for tp, each in self._machines.items() if each.is_given_up}

    # -- sending

    def _send(self, ready: Mapping[TopicPartition, LatePartition]) -> None:
        _, target = self._clusters()
        batches: dict[TopicPartition, memoryview] = {}
        for tp, machine in ready.items():
            built = self._built.get(tp)
            if built is not None and machine.pending is not None:
                view = memoryview(built.data)
                stamp(view, 0, len(view), self._id, 0, machine.pending.sequence, built.codec)
                batches[tp] = view
        if not batches or not self._may_send():
            return
        answers = target.send(batches, self._may_send, lambda tp: ready[tp].on_sent())
        now = self._now()
        for tp, answer in answers.items():
            machine = ready[tp]
            if answer is None:
                machine.on_silence(now)
                continue
            target.is_old = target.is_old or answer.error in _MOVED
            landed = machine.on_answer(answer.error, answer.base_offset, answer.message, now)
            if landed is not None:
                self._land(tp, landed)
            elif machine.pending is None:
                self._built.pop(tp, None)  # it was too large: less of it is decided
            if machine.stop is not None:
                log.warning("%s: %s", tp, machine.stop)

    def _look_again(self, error: ClusterError) -> None:
        self._tell_trouble(str(error))
        self._next_look = 0.0

    def _tell_trouble(self, trouble: str) -> None:
        """Why something could not be done a moment ago, in the log, once as long as it is the same."""
        if trouble != self.trouble:
            log.warning("late records: %s", trouble)
        self.trouble, self._is_troubled = trouble, True

    def _may_send(self) -> bool:
        return not self._ending.is_set() and self._may_write()


def _built(gathered: Gathered) -> _Built:
    return _Built(gathered.build(), gathered.codec)


def _rotated(wanted: Mapping[TopicPartition, T], by: int) -> dict[TopicPartition, T]:
    """Another partition comes first each time: what one answer may hold is shared out so."""
    places = list(wanted.items())
    at = by % len(places) if places else 0
    return dict([*places[at:], *places[:at]])
