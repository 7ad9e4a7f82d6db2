"""Late records arrive once each: whatever dies, whatever answer is lost, whenever a request is read.

The simulated leader keeps a broker's rules: an id that it knows goes on with the next sequence, a repetition is
answered with the first place, and of an id that it does not know, or has forgotten, it takes anything. What it has not
read when it stops answering it reads within a moment of answering again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kmigrate.copy.guard import QUIET_SECONDS
from kmigrate.kafka_types import Offset, ProducerId, TopicId
from kmigrate.late import partition
from kmigrate.late.gathering import Gathered
from kmigrate.late.partition import LatePartition, Look, Phase
from kmigrate.late.searching import Search
from kmigrate.late.values import SEQUENCES, Batch, Handover, Kept, LateStopKind
from kmigrate.records.batch import Header
from kmigrate.records.record import RawRecord
from kmigrate.wire.error_codes import ErrorCode

OURS = ProducerId(1 << 62)
START, AFTER = Offset(40), Offset(55)
"""Where the copy ended, on the source and on the target."""
UNREAD_SECONDS = QUIET_SECONDS * 0.8
DOUBTFUL = (ErrorCode.REQUEST_TIMED_OUT, ErrorCode.NOT_LEADER_OR_FOLLOWER, ErrorCode.NOT_ENOUGH_REPLICAS_AFTER_APPEND)


@dataclass
class Lying:
    """A batch in the log; `records` are the source offsets of ours, empty of an application's."""

    base: int
    count: int
    sequence: int = -1
    records: tuple[int, ...] = ()


@dataclass
class Unread:
    """A request that its sender gave up."""

    batch: Batch
    records: tuple[int, ...]
    at: float


@dataclass
class Leader:
    """The target's partition."""

    log: list[Lying] = field(default_factory=list)
    end: int = AFTER
    known: Lying | None = None
    unread: list[Unread] = field(default_factory=list)

    def application(self, count: int) -> None:
        self.log.append(Lying(self.end, count))
        self.end += count

    def take(self, batch: Batch, records: tuple[int, ...]) -> tuple[int, int]:
        """(error, base offset), by a broker's rules."""
        if self.known is not None:
            if (batch.sequence, batch.records) == (self.known.sequence, self.known.count):
                return 0, self.known.base
            if batch.sequence != (self.known.sequence + self.known.count) % SEQUENCES:
                return ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER, -1
        self.known = Lying(self.end, batch.records, batch.sequence, records)
        self.log.append(self.known)
        self.end += batch.records
        return 0, self.known.base

    def read_what_waits(self, now: float) -> None:
        for each in [one for one in self.unread if one.at <= now]:
            self.unread.remove(each)
            self.take(each.batch, each.records)

    def look(self, machine: LatePartition) -> Look:
        last = None if self.known is None else (self.known.sequence + self.known.count - 1) % SEQUENCES
        if machine.pending is None:
            return Look(last)
        search = Search(OURS, machine.pending, machine.search_from, Offset(self.end))
        for each in self.log:
            if each.base + each.count > search.next and not search.is_done:
                search.show(header(each), each.base + each.count)
        return Look(last, search.found, search.is_whole, search.contradiction)


def header(lying: Lying) -> Header:
    producer = OURS if lying.records else 7
    return Header(lying.base, 100, 0, 2, 0, 0, lying.count - 1, 0, 0, producer, 0, lying.sequence, lying.count)


class World:
    """One partition from its first late record to its last."""

    def __init__(self, chance: Random) -> None:
        self.chance = chance
        self.leader = Leader()
        self.source = [offset for offset in range(START, START + chance.randrange(1, 60)) if chance.random() < 0.8]
        self.end = Offset(START + 60)
        self.handover = Handover(TopicId("s"), TopicId("t"), START, AFTER, self.end)
        self.saved: dict[int, Batch] = {}
        self.unsaved: list[Batch] = []
        self.sent: tuple[int, ...] = ()
        self.now = 1000.0
        self.deaths = 0
        self.away_until = 0.0
        self.machine = LatePartition(Kept(self.handover))

    def run(self) -> None:
        for _ in range(3_000):
            self.now += self.chance.choice((0.01, 0.3, 1.0, 3.0))
            self.around()
            if self.machine.wants_look(self.now):
                self.look()
            elif self.machine.wants_records:
                self.read()
            if self.chance.random() < 0.05:
                self.die()
                continue
            self.save()
            if self.machine.phase is Phase.READY:
                self.send()
            assert self.machine.stop is None, str(self.machine.stop)
            if self.machine.position >= self.end and self.machine.pending is None:
                break
        self.save()
        self.leader.read_what_waits(self.now + 100)
        self.judge()

    def around(self) -> None:
        """What others do meanwhile; time passes at the broker as well."""
        if self.chance.random() < 0.3:
            self.leader.application(self.chance.randrange(1, 5))
        if self.now >= self.away_until:
            self.leader.read_what_waits(self.now)
            if self.chance.random() < 0.03:
                self.away_until = self.now + self.chance.uniform(1, 60)
                for each in self.leader.unread:
                    each.at = self.away_until + self.chance.uniform(0, UNREAD_SECONDS)
        if self.chance.random() < 0.1:
            self.leader.known = None  # old timestamps, or a new leader

    def look(self) -> None:
        if self.now < self.away_until:
            self.machine.on_unseen()
            return
        landed = self.machine.on_look(self.leader.look(self.machine), self.now)
        if landed is not None:
            self.unsaved.append(landed)

    def read(self) -> None:
        most = min(self.machine.most_records, self.chance.randrange(1, 12))
        ahead = [offset for offset in self.source if offset >= self.machine.position]
        some = tuple(ahead[:most])
        behind = ahead[most] if len(ahead) > most else self.end
        self.sent = some
        self.machine.decide(Gathered(tuple(RawRecord(each, 0, b"") for each in some), Offset(behind)))

    def save(self) -> None:
        for each in self.unsaved:
            self.saved[each.number] = each
        self.unsaved.clear()
        if self.machine.phase is Phase.DECIDED:
            assert self.machine.pending is not None
            self.saved[self.machine.pending.number] = self.machine.pending
            self.machine.on_saved()

    def die(self) -> None:
        """What is saved is all that is left; a request that was under way may be read later."""
        self.deaths += 1
        self.unsaved.clear()
        landed = [each for each in self.saved.values() if each.target_base is not None]
        pending = [each for each in self.saved.values() if each.target_base is None]
        assert len(pending) <= 1
        last = max(landed, key=lambda each: each.number, default=None)
        count = sum(each.records for each in landed)
        self.machine = LatePartition(Kept(self.handover, last, next(iter(pending), None), count))
        self.now += self.chance.choice((0.0, 1.0, 30.0))

    def send(self) -> None:
        batch = self.machine.pending
        assert batch is not None
        assert self.saved[batch.number] == batch, "it is kept before it is sent"
        records = tuple(each for each in self.source if batch.source_from <= each < batch.source_next)
        self.machine.on_sent()
        if self.now < self.away_until or self.chance.random() < 0.1:  # not read in time
            base = max(self.now, self.away_until)
            self.leader.unread.append(Unread(batch, records, base + self.chance.uniform(0, UNREAD_SECONDS)))
            self.after_silence()
            return
        error, base_offset = self.leader.take(batch, records)
        if self.chance.random() < 0.15:  # the answer is lost, or says nothing
            self.after_silence()
            return
        landed = self.machine.on_answer(error, base_offset, "", self.now)
        if landed is not None:
            self.unsaved.append(landed)

    def after_silence(self) -> None:
        if self.chance.random() < 0.5:
            self.machine.on_silence(self.now)
        elif self.chance.random() < 0.5:
            self.machine.on_answer(self.chance.choice(DOUBTFUL), -1, "", self.now)
        else:
            self.die()

    def judge(self) -> None:
        there = [offset for each in self.leader.log for offset in each.records]
        assert there == self.source, f"{self.source} became {there}"
        assert self.machine.landed == len(self.source)
        lies = {each.base: each for each in self.leader.log}
        for batch in self.saved.values():
            assert batch.target_base is not None
            records = tuple(each for each in self.source if batch.source_from <= each < batch.source_next)
            assert lies[batch.target_base].records == records, "the map tells where they lie"


@settings(max_examples=400, deadline=None)
@example(2630)  # the leader stops answering twice before it reads what it was sent
@given(st.integers(0, 1 << 40))
def test_every_late_record_arrives_once(seed: int) -> None:
    World(Random(seed)).run()


def test_the_worlds_are_rough_enough() -> None:
    worlds = [World(Random(seed)) for seed in range(100)]
    for each in worlds:
        each.run()
    assert sum(each.deaths for each in worlds) > 100


def test_without_the_quiet_period_a_record_comes_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or the simulated leader would prove nothing."""
    monkeypatch.setattr(partition, "QUIET_SECONDS", 0.0)
    broken = 0
    for seed in range(300):
        try:
            World(Random(seed)).run()
        except AssertionError:
            broken += 1
    assert broken


def machine(pending: bool = True) -> LatePartition:
    batch = Batch(0, 0, START, Offset(50), 5)
    return LatePartition(Kept(Handover(TopicId("s"), TopicId("t"), START, AFTER), None, batch if pending else None))


def look(doubtful: LatePartition, *seconds: float) -> None:
    """Nothing is found, so often."""
    for each in seconds:
        assert doubtful.phase is Phase.DOUBT
        doubtful.on_look(Look(None), float(each))


def test_what_cannot_be_told_is_a_stop() -> None:
    for look, told in (
        (Look(None, is_whole=False), "does not show all"),
        (Look(17), "last sequence is 17"),
        (Look(4, is_whole=False), "compaction took it"),
        (Look(None, contradiction="something else lies there"), "something else"),
    ):
        doubtful = machine()
        assert doubtful.on_look(look, 1.0) is None
        assert doubtful.stop is not None
        assert doubtful.stop.kind is LateStopKind.UNKNOWN
        assert told in str(doubtful.stop)
        assert doubtful.phase is Phase.DOUBT, "it is looked at again"


def test_what_was_seen_before_a_leader_stopped_answering_proves_nothing() -> None:
    doubtful = machine()
    look(doubtful, 0, 1, 2, 3, 4)
    doubtful.on_unseen()
    look(doubtful, 6, 7, 8, 9, 10, 10.9)
    assert doubtful.phase is Phase.DOUBT
    look(doubtful, 11)
    assert doubtful.phase is Phase.READY


def test_a_look_that_comes_late_counts_little() -> None:
    doubtful = machine()
    look(doubtful, 0, 31, 60)
    assert doubtful.phase is Phase.DOUBT, "its leader may have been frozen, and answer as if nothing had been"
    look(doubtful, 61, 62, 63)
    assert doubtful.phase is Phase.READY


def test_a_refusal_is_a_stop_and_is_tried_again() -> None:
    refused = machine()
    look(refused, *range(6))
    refused.on_sent()
    assert refused.on_answer(ErrorCode.TOPIC_AUTHORIZATION_FAILED, -1, "", 7.0) is None
    assert refused.stop is not None
    assert "grant WRITE" in refused.stop.way
    assert not refused.wants_look(8.0)
    assert refused.wants_look(20.0)
    look(refused, *range(20, 26))
    refused.on_sent()
    assert refused.on_answer(0, 60, "", 27.0) is not None
    assert refused.stop is None


def test_a_batch_that_is_too_large_is_decided_anew_as_a_smaller_one() -> None:
    large = machine(pending=False)
    large.on_look(Look(None), 0.0)
    first = large.decide(Gathered(tuple(RawRecord(40 + each, 0, b"") for each in range(10)), Offset(50)))
    large.on_saved()
    large.on_sent()
    assert large.on_answer(ErrorCode.MESSAGE_TOO_LARGE, -1, "", 1.0) is None
    assert (large.pending, large.most_records) == (None, 5)
    again = large.decide(Gathered(tuple(RawRecord(40 + each, 0, b"") for each in range(5)), Offset(45)))
    assert first is not None
    assert again is not None
    assert (again.number, again.sequence, again.source_from) == (first.number, first.sequence, first.source_from)


def test_what_compaction_changed_before_it_was_sent_is_decided_anew() -> None:
    changed = machine()
    look(changed, *range(6))
    assert not changed.rebuild(Gathered((RawRecord(41, 0, b""),), Offset(50)))
    assert (changed.phase, changed.pending, changed.position) == (Phase.FREE, None, START)
