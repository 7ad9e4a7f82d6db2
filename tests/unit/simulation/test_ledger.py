"""The ledger finds nothing wrong with a copier that does as it should, and finds every one that does not.

The copier here is a plain one on values: it knows neither crashes nor networks, and shares no code with the product.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise

import pytest

from tests.simulation.batches import (
    APPEND_TIME,
    CONTROL,
    DELETE_HORIZON,
    MAGIC_AT,
    TRANSACTIONAL,
    Record,
    StoredBatch,
    StoredRecord,
    decode,
    make_batch,
    with_append_time,
    with_create_time,
)
from tests.simulation.ledger import BrokenLawError, Ledger
from tests.simulation.loads import MixedLoad
from tests.simulation.log import NONE, READ_COMMITTED, READ_UNCOMMITTED, PartitionLog, Served

NOW = 1_760_000_000_000
MARKERS = (1 << 62) + 2


class WrongAtTheEnd(Exception):
    """The logs do not agree when all is done."""


class Copier:
    """Copies what is decided, record by record; gaps become markers, what was trimmed at first becomes filler."""

    isolation_level = READ_COMMITTED

    def __init__(self, source: PartitionLog, target: PartitionLog, ledger: Ledger) -> None:
        self.source, self.target, self.ledger = source, target, ledger

    def step(self) -> None:
        """Copies what one fetch gives."""
        if self.target.end < self.source.log_start:
            self.fill()
        served = self.source.fetch(self.target.end, -1, -1, 4_000, first=True, isolation_level=self.isolation_level)
        assert not served.error, served
        for batch in batches_of(served):
            after = next_offset(batch)
            for record in self.visible(batch, served):
                if record.offset >= self.target.end:
                    self.mark_until(record.offset)
                    self.put(record)
            self.mark_until(after)

    def fill(self) -> None:
        missing = self.source.log_start - self.target.end
        self.append(make_batch([Record(NOW, None, None)] * missing))
        self.target.delete_records(self.source.log_start)

    def visible(self, batch: bytes, served: Served) -> Sequence[StoredRecord]:
        """The records of a batch that consumers see, asking the list that came with it."""
        if batch[MAGIC_AT] < 2:
            return decode(batch)
        if batch[22] & CONTROL:
            return ()
        producer_id = int.from_bytes(batch[43:51], "big", signed=True)
        if batch[22] & TRANSACTIONAL and self.is_aborted(producer_id, int.from_bytes(batch[:8], "big"), served):
            return ()
        return decode(batch)

    def is_aborted(self, producer_id: int, base: int, served: Served) -> bool:
        """Whether this producer's transaction at an offset was aborted: none of its markers lies between."""
        firsts = [first for aborted_id, first in served.aborted or () if aborted_id == producer_id and first <= base]
        ends = (
            stored.base
            for stored in self.source.batches
            if stored.producer_id == producer_id and stored.data[22] & CONTROL and stored.base < base
        )
        return bool(firsts) and max(ends, default=-1) < max(firsts)

    def mark_until(self, offset: int) -> None:
        while self.target.end < offset:
            assert self.target.write_marker(MARKERS, 0, 1, NOW).error == NONE
            self.check()

    def put(self, record: StoredRecord) -> None:
        self.append(make_batch([record.record]))

    def append(self, batch: bytes) -> None:
        assert self.target.append(batch, NOW).error == NONE
        self.check()

    def check(self) -> None:
        why = self.ledger.misplaced(self.target.batches)
        if why is not None:
            raise BrokenLawError(why)


def batches_of(served: Served) -> Iterator[bytes]:
    left = served.data
    while len(left) > 12 and len(left) >= (size := 12 + int.from_bytes(left[8:12], "big")):
        yield left[:size]
        left = left[size:]


def next_offset(batch: bytes) -> int:
    base = int.from_bytes(batch[:8], "big")
    return base + 1 if batch[MAGIC_AT] < 2 else base + int.from_bytes(batch[23:27], "big") + 1


class World:
    """One source under a mixed load, one target, one copier."""

    def __init__(self, seed: int, kind: type[Copier]) -> None:
        self.chance = random.Random(seed)
        self.source, self.target = PartitionLog("aa" * 16), PartitionLog("bb" * 16)
        self.ledger = Ledger()
        self.load = MixedLoad(
            self.chance, self.source, self.ledger, lambda: NOW - self.chance.randrange(1_000_000), lambda: NOW
        )
        self.load.begin()
        self.copier = kind(self.source, self.target, self.ledger)

    def run(self) -> None:
        chance = self.chance
        for _ in range(chance.randrange(20, 120)):
            pick = chance.random()
            if pick < 0.6:
                self.load.write()
            elif pick < 0.9:
                self.copier.step()
            elif pick < 0.95:
                self.source.elect(
                    self.source.end,
                    high_watermark=self.source.high_watermark,
                    now_ms=NOW,
                    drop_expired=False,
                    other_cleaning=chance.random() < 0.5,
                )
            elif self.load.trims and self.target.end:
                self.load.trim(chance.randrange(self.target.end + 1))
        self.load.settle(all_of_them=chance.random() < 0.8)
        while self.target.end < self.source.last_stable_offset:
            self.copier.step()
        self.note_reached()
        if not self.ledger.agree(self.source, self.target):
            raise WrongAtTheEnd

    def note_reached(self) -> None:
        """What this run had in it."""
        source, target = self.source, self.target
        batches = [batch for batch in source.batches if batch.data[MAGIC_AT] == 2]
        self.reached = Counter(
            {
                "markers": sum(bool(batch.data[22] & CONTROL) for batch in target.batches),
                "filler": target.log_start > 0,
                "a log start inside a batch": bool(source.batches) and source.batches[0].base < source.log_start,
                "aborted transactions": len(source.transactions.aborted),
                "a transaction that hangs": len(source.transactions.open),
                "holes in batches": sum(0 < batch.count < batch.next - batch.base for batch in batches),
                "batches without records": sum(batch.count == 0 for batch in batches),
                "gone as a whole": sum(one.next < two.base for one, two in pairwise(source.batches)),
                "append time": sum(bool(batch.data[22] & APPEND_TIME) for batch in batches),
                "delete horizons": sum(bool(batch.data[22] & DELETE_HORIZON) for batch in batches),
                "older formats": len(source.batches) - len(batches),
            }
        )


def test_a_copier_that_does_as_it_should_breaks_no_law() -> None:
    reached: Counter[str] = Counter()
    for seed in range(150):
        world = World(seed, Copier)
        world.run()
        assert world.target.end == world.source.last_stable_offset
        reached += world.reached
    assert {what: reached[what] for what in world.reached if reached[what] < 10} == {}, "the load no longer has these"


# ── copiers that do not ───────────────────────────────────────────────────────────────────────────────────────────


class CopiesAborted(Copier):
    def is_aborted(self, producer_id: int, base: int, served: Served) -> bool:
        return False


class DropsAllTransactions(Copier):
    def is_aborted(self, producer_id: int, base: int, served: Served) -> bool:
        return True


class ReadsWhatIsNotDecided(Copier):
    isolation_level = READ_UNCOMMITTED


class MarksWhatIsNotDecided(Copier):
    def step(self) -> None:
        super().step()
        self.mark_until(self.source.high_watermark)


class CopiesMarkers(Copier):
    def visible(self, batch: bytes, served: Served) -> Sequence[StoredRecord]:
        return decode(batch)


class KeepsCreateTimes(Copier):
    def visible(self, batch: bytes, served: Served) -> Sequence[StoredRecord]:
        found = super().visible(batch, served)
        return decode(with_create_time(batch)) if found and batch[MAGIC_AT] == 2 else found


class ClosesHoles(Copier):
    """Every record goes to the end of the target, wherever it was."""

    def mark_until(self, offset: int) -> None:
        pass

    def step(self) -> None:
        before = self.target.end
        super().step()
        if self.target.end == before:
            super().mark_until(self.source.last_stable_offset)


class WritesOneMarkerTooMany(Copier):
    def mark_until(self, offset: int) -> None:
        super().mark_until(offset + 1 if self.target.end < offset else offset)


class SkipsOneRecord(Copier):
    skipped = False

    def put(self, record: StoredRecord) -> None:
        if self.skipped or record.offset < 5:
            super().put(record)
        else:
            self.skipped = True


class CopiesOneRecordTwice(Copier):
    def put(self, record: StoredRecord) -> None:
        super().put(record)
        if record.offset == 7:
            super().put(record)


class LosesHeaders(Copier):
    def put(self, record: StoredRecord) -> None:
        super().put(record._replace(headers=record.headers[:1]))


class LosesMilliseconds(Copier):
    def put(self, record: StoredRecord) -> None:
        super().put(record._replace(timestamp_ms=record.timestamp_ms // 1000 * 1000))


class LeavesFiller(Copier):
    def fill(self) -> None:
        self.append(make_batch([Record(NOW, None, None)] * (self.source.log_start - self.target.end)))


class FillsWithRecords(Copier):
    """Filler instead of markers."""

    def mark_until(self, offset: int) -> None:
        while self.target.end < offset:
            self.append(make_batch([Record(NOW, None, None)]))


def run_many(kind: type[Copier]) -> None:
    for seed in range(40):
        World(seed, kind).run()


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (CopiesAborted, "nobody may see"),
        (DropsAllTransactions, "a marker landed at .* no gap"),
        (ReadsWhatIsNotDecided, "nobody may see"),
        (MarksWhatIsNotDecided, "a marker landed at .* no gap"),
        (CopiesMarkers, "nobody may see"),
        (KeepsCreateTimes, "never held"),
        (ClosesHoles, "landed at"),
        (WritesOneMarkerTooMany, "a marker landed at .* no gap"),
        (SkipsOneRecord, "landed at|a marker landed"),
        (CopiesOneRecordTwice, "landed at"),
        (LosesHeaders, "never held"),
        (LosesMilliseconds, "never held"),
        (FillsWithRecords, "never held"),
    ],
)
def test_a_copier_that_does_otherwise_breaks_a_law(kind: type[Copier], words: str) -> None:
    with pytest.raises(BrokenLawError, match=words):
        run_many(kind)


def test_filler_that_stays_is_seen_at_the_end() -> None:
    with pytest.raises(WrongAtTheEnd):
        run_many(LeavesFiller)


# ── directed ──────────────────────────────────────────────────────────────────────────────────────────────────────


class Pair:
    """A source, a target, and what the ledger says about each append."""

    def __init__(self) -> None:
        self.source, self.target = PartitionLog("aa" * 16, compact=True), PartitionLog("bb" * 16)
        self.ledger = Ledger()

    def write(self, *values: bytes, key: bytes = b"k", **header: int) -> StoredBatch:
        stored = self.source.write(make_batch([Record(NOW, key, value) for value in values], **header))
        self.ledger.wrote(stored)
        return stored

    def end(self, producer_id: int, *, committed: bool) -> None:
        self.source.write_marker(producer_id, 0, 0, NOW, committed=committed)
        self.ledger.wrote(self.source.batches[-1])

    def copy(self, *values: bytes, key: bytes = b"k") -> str | None:
        self.target.write(make_batch([Record(NOW, key, value) for value in values]))
        return self.ledger.misplaced(self.target.batches)

    def mark(self) -> str | None:
        self.target.write_marker(MARKERS, 0, 1, NOW)
        return self.ledger.misplaced(self.target.batches)

    @property
    def agrees(self) -> bool:
        return self.ledger.agree(self.source, self.target)


@pytest.fixture
def pair() -> Pair:
    return Pair()


def test_batches_may_be_cut_and_joined_anew(pair: Pair) -> None:
    pair.write(b"1", b"2", b"3")
    pair.write(b"4")
    assert pair.copy(b"1") is None
    assert pair.copy(b"2", b"3", b"4") is None
    assert pair.agrees


def test_a_record_that_never_was_is_no_misplaced_one(pair: Pair) -> None:
    pair.write(b"1")
    with pytest.raises(BrokenLawError, match="never held"):
        pair.copy(b"2")


def test_shift_repetition_and_disorder_are_told_as_misplaced(pair: Pair) -> None:
    """Told, not raised: after a foreign write it may happen to what was in flight."""
    pair.write(b"1", b"2", b"3")
    assert pair.copy(b"2") == "the source's record of offset 1 landed at 0"
    assert pair.copy(b"2") == "the source's record of offset 1 lies behind 0"
    assert pair.copy(b"1") == "the source's record of offset 0 landed at 2"


def test_what_is_not_decided_may_not_be_seen(pair: Pair) -> None:
    pair.write(b"1", attributes=TRANSACTIONAL, producer_id=7, producer_epoch=0)
    with pytest.raises(BrokenLawError, match="nobody may see"):
        pair.copy(b"1")
    pair.target.elect(0, high_watermark=0, now_ms=NOW, drop_expired=False)
    assert pair.mark() == "a marker landed at 0, where the source has no gap"
    pair.target.elect(0, high_watermark=0, now_ms=NOW, drop_expired=False)
    pair.end(7, committed=True)
    assert pair.copy(b"1") is None
    assert pair.mark() is None
    assert pair.agrees


def test_what_was_cleaned_may_be_there_or_not_and_what_was_not_must(pair: Pair) -> None:
    for value in (b"1", b"2", b"3"):
        pair.write(value)
    pair.write(b"4", key=b"other")
    assert pair.copy(b"1") is None
    pair.source.clean(3, NOW)
    pair.ledger.cleaned(pair.source.batches)
    assert pair.mark() is None
    assert pair.mark() == "a marker landed at 2, where the source has no gap"
    pair.target.elect(2, high_watermark=2, now_ms=NOW, drop_expired=False)
    assert pair.copy(b"3") is None
    assert pair.copy(b"4", key=b"other") is None
    assert pair.agrees


def test_what_another_replica_brings_back_need_not_be_there(pair: Pair) -> None:
    pair.write(b"1")
    pair.write(b"2")
    pair.source.clean(2, NOW, everywhere=False)
    pair.ledger.cleaned(pair.source.batches)
    assert [pair.mark(), pair.copy(b"2")] == [None, None]
    pair.source.elect(2, high_watermark=2, now_ms=NOW, drop_expired=False, other_cleaning=True)
    assert len(pair.source.batches) == 2
    assert pair.agrees


def test_a_record_behind_another_history_is_misplaced(pair: Pair) -> None:
    pair.write(b"1")
    pair.write(b"2")
    assert [pair.copy(b"1"), pair.copy(b"2")] == [None, None]
    pair.source.elect(1, high_watermark=1, now_ms=NOW, drop_expired=False)
    pair.ledger.cut(pair.source.batches)
    pair.write(b"3", b"4")
    assert pair.copy(b"4") == "the source's record of offset 2 lies behind 1"
    assert not pair.agrees


def test_a_transaction_may_end_otherwise_after_a_truncation(pair: Pair) -> None:
    pair.write(b"1", attributes=TRANSACTIONAL, producer_id=7, producer_epoch=0)
    pair.end(7, committed=False)
    assert pair.mark() is None
    pair.source.elect(1, high_watermark=1, now_ms=NOW, drop_expired=False)
    pair.ledger.cut(pair.source.batches)
    pair.end(7, committed=True)
    assert not pair.agrees, "in this history the record is visible"
    pair.target.recreate("cc" * 16)
    assert [pair.copy(b"1"), pair.mark()] == [None, None]
    assert pair.agrees


def test_append_time_is_what_consumers_saw(pair: Pair) -> None:
    batch = make_batch([Record(5, b"k", b"1")])
    pair.ledger.wrote(pair.source.write(with_append_time(batch, NOW)))
    pair.target.append(batch, NOW)
    with pytest.raises(BrokenLawError, match="never held"):
        pair.ledger.misplaced(pair.target.batches)
    pair.target.elect(0, high_watermark=0, now_ms=NOW, drop_expired=False)
    assert pair.copy(b"1") is None


def test_nothing_needs_to_be_seen_below_a_log_start_before_the_first_copy(pair: Pair) -> None:
    pair.write(b"1", b"2", b"3")
    pair.source.delete_records(2)
    pair.ledger.trimmed(2)
    pair.target.write(make_batch([Record(NOW, None, None)]))
    assert pair.ledger.misplaced(pair.target.batches) is None
    assert pair.mark() is None, "a marker is as good as filler there"
    assert pair.copy(b"3") is None
    assert not pair.agrees, "the filler is still visible"
    pair.target.delete_records(2)
    assert pair.agrees


def test_a_trimmed_log_excuses_no_loss_behind_what_was_copied(pair: Pair) -> None:
    pair.write(b"1", b"2", b"3")
    assert pair.copy(b"1") is None
    pair.source.delete_records(2)
    pair.ledger.trimmed(2)
    assert pair.mark() == "a marker landed at 1, where the source has no gap"
    assert pair.copy(b"3") == "the source's record of offset 2 lies behind 0"
