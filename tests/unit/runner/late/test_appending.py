"""What the thread does in a turn: nothing is sent that is not kept and mirrored, or without the lease."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from unittest.mock import Mock

import pytest

from kmigrate.errors import Unreachable
from kmigrate.kafka_types import Offset, Partition, ProducerId, Side, TopicId, TopicName, TopicPartition
from kmigrate.late.gathering import Gathered
from kmigrate.late.partition import Look
from kmigrate.late.values import NOTHING, Batch, Handover, LateStopKind
from kmigrate.records.batch import parse_header
from kmigrate.records.record import RawRecord
from kmigrate.runner.late import appending
from kmigrate.runner.late.appending import LateAppender, LateSeen
from kmigrate.runner.late.reading import Unreadable, Wish
from kmigrate.runner.late.writing import NotSeen, Question
from kmigrate.state.late_book import LateBook
from kmigrate.state.store import Store
from kmigrate.wire.error_codes import ErrorCode
from kmigrate.wire.produce import AppendAnswer

ORDERS = TopicName("orders")
PLACE = TopicPartition(ORDERS, Partition(0))
OURS = ProducerId((1 << 62) + 5)
SOURCE_ID, TARGET_ID = TopicId("s"), TopicId("t")
HANDOVER = Handover(SOURCE_ID, TARGET_ID, Offset(40), Offset(55))
BODY = b"\x01\x01\x00"


class FakeSource:
    """The source's partition: records up to `end`."""

    def __init__(self, world: World) -> None:
        self.world = world

    def look(self, _topics: Collection[TopicName]) -> dict[TopicName, TopicId]:
        return {ORDERS: self.world.source_id}

    def read(self, wanted: Mapping[TopicPartition, Wish], _max_wait_ms: int) -> dict[TopicPartition, object]:
        return {tp: each for tp, wish in wanted.items() if (each := self._read(wish.start, wish.end)) is not None}

    def _read(self, start: int, end: int | None) -> Gathered | Unreadable | None:
        if self.world.unreadable is not None:
            return self.world.unreadable
        last = min(self.world.end, start + 4) if end is None else min(self.world.end, start + 4, end)
        if last <= start:
            return None
        return Gathered(tuple(RawRecord(offset, 1000 + offset, BODY) for offset in range(start, last)), Offset(last))

    def reread(self, _partition: TopicPartition, batch: Batch) -> Gathered | Unreadable:
        if self.world.is_source_away:
            self.world.asked_in_vain += 1
            raise Unreachable("no answer", side=Side.SOURCE)
        if self.world.reread is not None:
            return self.world.reread
        places = range(batch.source_from, batch.source_next)
        return Gathered(tuple(RawRecord(offset, 1000 + offset, BODY) for offset in places), batch.source_next)

    def close(self) -> None:
        return


class FakeTarget:
    """The target's partition."""

    is_old = True

    def __init__(self, world: World) -> None:
        self.world = world

    def look_around(self, _topics: list[TopicName]) -> dict[TopicName, TopicId]:
        self.is_old = False
        return {ORDERS: TARGET_ID}

    def look(self, questions: Mapping[TopicPartition, Question]) -> dict[TopicPartition, Look | NotSeen]:
        world = self.world
        if world.is_away:
            raise Unreachable("no answer", side=Side.TARGET)
        found: dict[TopicPartition, Look | NotSeen] = {}
        for tp, question in questions.items():
            wanted = question.wanted
            place = next((at for at, seq, _ in world.there if wanted is not None and seq == wanted.sequence), None)
            last = world.there[-1][1] + world.there[-1][2] - 1 if world.there else None
            found[tp] = Look(last, None if place is None else Offset(place))
        return found

    def send(
        self,
        batches: Mapping[TopicPartition, memoryview],
        may_send: Callable[[], bool],
        note: Callable[[TopicPartition], None],
    ) -> dict[TopicPartition, AppendAnswer | None]:
        world = self.world
        if not may_send():
            return {}
        for tp, view in batches.items():
            note(tp)
            world.check()
            header = parse_header(view, 0)
            assert header.producer_id == OURS
            if world.refusal:
                return {tp: AppendAnswer(world.refusal, -1, "")}
            world.there.append((world.target_end, header.base_sequence, header.record_count))
            world.target_end += header.record_count + 3  # an application writes as well
        if world.fails_behind_it:
            raise RuntimeError("a broker answers with something strange")
        answer = None if world.is_answer_lost else AppendAnswer(0, world.there[-1][0], "")
        return {PLACE: answer}

    def close(self) -> None:
        return


class World:
    """One appender with its clusters; what it keeps is on the disk."""

    def __init__(self, folder: Path) -> None:
        self.store = Store.open(folder)
        self.book = LateBook(self.store)
        self.source_id = SOURCE_ID
        self.end, self.target_end = 40, 60
        self.there: list[tuple[int, int, int]] = []
        """(offset, sequence, records) of what was appended."""
        self.unreadable: Unreadable | None = None
        self.reread: Unreadable | None = None
        self.refusal = 0
        self.is_answer_lost = False
        self.fails_behind_it = False
        self.is_away = self.is_source_away = False
        self.asked_in_vain = 0
        self.holds_lease = True
        self.is_mirrored = True
        self.now = 100.0
        self.appender = self.born()

    def born(self) -> LateAppender:
        appender = LateAppender(
            self.book,
            lambda: FakeSource(self),  # type: ignore[arg-type,return-value]
            lambda: FakeTarget(self),  # type: ignore[arg-type,return-value]
            OURS,
            lambda: self.holds_lease,
            self,
            steady_seconds=lambda: self.now,
        )
        for tp, kept in self.book.load().items():
            appender.open({tp: kept.handover})
        return appender

    def decided_by_another(self) -> None:
        """Another process decided a batch, and died; this one goes on."""
        self.book.open({PLACE: HANDOVER})
        self.book.save([(PLACE, Batch(0, 0, Offset(40), Offset(43), 3))])
        self.end = 43
        self.appender = self.born()

    def check(self) -> None:
        """What is sent is kept, and mirrored."""
        assert self.book.load()[PLACE].pending is not None
        assert self.is_mirrored

    def turns(self, count: int = 1, seconds: float = 0.1) -> LateSeen:
        for _ in range(count):
            self.now += seconds
            self.appender.turn()
        return self.appender.seen()[PLACE]

    # -- what must be mirrored

    def mark(self) -> int:
        return 1

    def has(self, _mark: int) -> bool:
        return self.is_mirrored

    def wait(self, _mark: int, _seconds: float) -> bool:
        if not self.is_mirrored:
            self.appender._ending.set()  # or it would wait for ever
        return self.is_mirrored


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.store.close()


def test_every_record_is_appended_as_it_comes(world: World) -> None:
    world.appender.open({PLACE: HANDOVER})
    world.end = 50
    seen = world.turns(5)
    assert seen == LateSeen(Offset(50), 10, 10, None)
    assert world.there == [(60, 0, 4), (67, 4, 4), (74, 8, 2)]
    assert not seen.is_done, "there is no end to it"
    world.appender.open({PLACE: HANDOVER._replace(until=Offset(50))})
    assert world.turns(2).is_done


def test_without_the_lease_and_before_it_is_mirrored_nothing_is_sent(world: World) -> None:
    world.appender.open({PLACE: HANDOVER})
    world.end, world.holds_lease = 42, False
    assert world.turns(3) == LateSeen(Offset(40), 0, 2, None)
    assert world.there == []
    world.holds_lease = True
    assert world.turns(2).position == 42
    world.end, world.is_mirrored = 44, False
    world.turns()
    assert world.there == [(60, 0, 2)]


def test_a_lost_answer_is_looked_up_by_the_next_process(world: World) -> None:
    world.appender.open({PLACE: HANDOVER})
    world.end, world.is_answer_lost = 43, True
    world.turns()
    assert world.there == [(60, 0, 3)]
    world.is_answer_lost = False
    world.appender = world.born()
    assert world.turns(3) == LateSeen(Offset(43), 3, 3, None)
    assert world.there == [(60, 0, 3)], "it is there once"


def test_a_turn_that_fails_behind_a_request_leaves_a_doubt_and_no_standstill(world: World) -> None:
    world.appender.open({PLACE: HANDOVER})
    world.end, world.fails_behind_it = 43, True
    with pytest.raises(RuntimeError):
        world.turns()
    world.fails_behind_it = False
    assert world.turns(3) == LateSeen(Offset(43), 3, 3, None)
    assert world.there == [(60, 0, 3)], "it is there once"


def test_what_was_never_sent_is_read_again_and_sent_once_all_is_quiet(world: World) -> None:
    world.decided_by_another()
    world.turns(5, seconds=1.0)
    assert world.there == []
    world.turns(2, seconds=1.0)
    assert world.there == [(60, 0, 3)]
    assert world.turns(2) == LateSeen(Offset(43), 3, 3, None)


def test_a_turn_without_an_answer_ends_what_was_quiet_until_then(world: World) -> None:
    world.decided_by_another()
    world.turns(4)
    world.is_away = True
    with pytest.raises(Unreachable):
        world.turns(1, seconds=2.0)
    world.is_away = False
    world.turns(1, seconds=60.0)
    assert world.there == [], "what it had not read when it went away it may read now"
    world.turns(6, seconds=1.0)
    assert world.there == [(60, 0, 3)]


def test_a_batch_that_cannot_be_read_again_now_fails_no_turn(world: World) -> None:
    world.decided_by_another()
    world.is_source_away = True
    world.turns(8, seconds=1.0)
    assert world.there == []
    assert world.asked_in_vain > 1, "other partitions go on meanwhile"
    world.is_source_away = False
    world.turns(2)
    assert world.there == [(60, 0, 3)]


def test_what_was_opened_is_taken_up_although_it_could_not_be_read_at_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.appender.open({PLACE: HANDOVER})
    world.end = 42
    with monkeypatch.context() as broken:
        broken.setattr(world.book, "load", Mock(side_effect=OSError("the disk is busy")))
        with pytest.raises(OSError, match="busy"):
            world.appender.turn()
    assert world.turns(2).position == 42


def test_a_refusal_and_what_cannot_be_read_are_told_and_end(world: World) -> None:
    world.appender.open({PLACE: HANDOVER})
    world.end, world.refusal = 42, ErrorCode.TOPIC_AUTHORIZATION_FAILED
    stop = world.turns(2).stop
    assert "LATE_REFUSED at source offset 40" in stop
    assert "grant WRITE" in stop
    world.refusal = 0
    assert world.turns(18, seconds=1.0) == LateSeen(Offset(42), 2, 2, None)
    world.end, world.unreadable = 44, Unreadable(LateStopKind.TRIMMED, "its log starts at 43", "it is lost")
    assert "LATE_SOURCE_TRIMMED at source offset 42: its log starts at 43; it is lost" in world.turns().stop
    world.unreadable = None
    assert world.turns(18, seconds=1.0) == LateSeen(Offset(44), 4, 4, None)


def test_a_topic_that_was_created_anew_is_another_one(world: World) -> None:
    world.appender.open({PLACE: HANDOVER})
    world.end = 42
    world.turns(2)
    world.source_id, world.end = TopicId("another"), 44
    seen = world.turns(3, seconds=2.0)
    assert "LATE_SOURCE_REPLACED" in seen.stop
    assert world.there == [(60, 0, 2)]


def test_what_is_given_up_is_sent_no_more_until_it_is_opened_anew(world: World) -> None:
    world.appender.open({PLACE: HANDOVER})
    world.end, world.refusal = 42, ErrorCode.TOPIC_AUTHORIZATION_FAILED
    assert world.turns(2).stop
    assert not world.appender.forgo([PLACE]), "a turn may be under way"
    world.turns()
    assert world.appender.forgo([PLACE])
    assert world.appender.seen()[PLACE] == LateSeen(Offset(40), 0, 2, NOTHING), "two may lie there"
    world.refusal, world.end = 0, 50
    for _ in range(2):
        seen = world.turns(6, seconds=6.0)
        assert (seen.is_done, seen.stop, world.there) == (True, "", [])
        world.appender = world.born()
    world.appender.open({PLACE: HANDOVER._replace(source_from=Offset(45), until=Offset(50))})
    assert world.turns(10, seconds=6.0).is_done
    assert [each[1:] for each in world.there] == [(0, 4), (4, 1)], "what was given up stays where it is"


def test_a_batch_whose_records_the_source_deleted_is_not_waited_for(world: World) -> None:
    world.book.open({PLACE: HANDOVER})
    world.book.save([(PLACE, Batch(0, 0, Offset(40), Offset(43), 3))])
    world.end, world.appender = 43, world.born()
    world.reread = world.unreadable = Unreadable(LateStopKind.TRIMMED, "its log starts at 43", "it is lost")
    seen = world.turns(8, seconds=6.0)
    assert (seen.position, seen.sent) == (40, 0), "it is known not to lie on the target"
    assert "LATE_SOURCE_TRIMMED at source offset 40" in seen.stop


def test_while_much_waits_to_be_sent_no_more_is_read(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.appender.open({PLACE: HANDOVER})
    world.end = 50
    monkeypatch.setattr(appending, "MOST_BUILT_BYTES", 0)
    assert world.turns(3) == LateSeen(Offset(40), 0, 0, None), "there is no room for anything"
    monkeypatch.setattr(appending, "MOST_BUILT_BYTES", 1000)
    world.refusal = ErrorCode.TOPIC_AUTHORIZATION_FAILED
    world.turns(2)
    assert list(world.appender._built) == [PLACE]
    monkeypatch.setattr(appending, "MOST_BUILT_BYTES", 10)
    assert world.appender._has_room()
    assert world.appender._built == {}, "what is in doubt is let go, and read again"
    world.refusal = 0
    assert world.turns(12, seconds=6.0) == LateSeen(Offset(50), 10, 10, None)
    assert sum(records for _, _, records in world.there) == 10
