"""A partition and its copy by another tool, on modelled logs: what log starts and brokers do is no difference."""

from __future__ import annotations

import pytest

from kmigrate.errors import Unreachable
from kmigrate.kafka_types import Partition, Side, TopicName, TopicPartition
from kmigrate.runner import log_pieces
from kmigrate.runner.log_pieces import Pace
from kmigrate.runner.verify_pair import PairOutcome, PairTask, verify_pair
from kmigrate.runner.verify_pair_rows import PairSight, complete_pair, decide_pair
from kmigrate.runner.verify_partition import Mode, Sides
from kmigrate.verify import in_order
from kmigrate.verify.differences import DifferenceKind
from kmigrate.verify.ends import LogEnds
from tests.simulation.batches import Record, make_batch
from tests.simulation.log import PartitionLog, Served

from .verified_logs import ONE, SOURCE_ID, TARGET_ID, LogLeaders, records

COPY = TopicPartition(TopicName("source.orders"), Partition(0))
Kind = DifferenceKind


class Pair:
    """A source and its copy."""

    def __init__(self) -> None:
        self.source = LogLeaders(Side.SOURCE, PartitionLog(SOURCE_ID))
        self.target = LogLeaders(Side.TARGET, PartitionLog(TARGET_ID), partition=COPY)
        self.now = 0.0

    def sight(self, *, compacted: bool = False) -> PairSight:
        ends = [
            LogEnds(each.log.log_start, each.log.end, each.log.end, each.log.last_stable_offset)
            for each in (self.source, self.target)
        ]
        return PairSight(
            partition=ONE,
            target=COPY,
            source_id=SOURCE_ID,
            target_id=TARGET_ID,
            source_ends=ends[0],
            target_ends=ends[1],
            compacted=compacted,
        )

    def task(self, mode: Mode = Mode.RECORDS) -> PairTask:
        task = decide_pair(self.sight(), mode)[1]
        assert task is not None
        return task

    def verify(self, mode: Mode = Mode.RECORDS) -> PairOutcome:
        def sleep(seconds: float) -> None:
            self.now += seconds

        def now() -> float:
            self.now += 0.1
            return self.now

        return verify_pair(
            self.task(mode), Sides(self.source, self.target), Pace(sleep=sleep, now=now), lambda *_: None
        )


@pytest.fixture
def pair(monkeypatch: pytest.MonkeyPatch) -> Pair:
    """Answers hold a batch or two."""
    monkeypatch.setattr(log_pieces, "ANSWER_BYTES", 200)
    return Pair()


def places(found: PairOutcome) -> list[tuple[Kind, int, int]]:
    return [(each.kind, each.source_offset, each.target_offset) for each in found.findings]


def test_a_copy_with_other_offsets_is_the_same(pair: Pair) -> None:
    for first in range(0, 60, 5):
        pair.source.log.write(records(first, 5))
        pair.source.log.write_marker(9, 0, 0, 0, committed=False)
    for first in range(0, 60, 12):
        pair.target.log.write(records(first, 12))
    found = pair.verify()
    assert (found.findings, found.failure, found.amounts.records) == ((), "", 60)
    assert (found.compared_to, found.target_compared_to) == (pair.source.log.end, 60)
    assert [len(each.free) for each in (pair.source, pair.target)] == [1, 1]


def test_a_row_tells_what_differs_with_both_offsets(pair: Pair) -> None:
    for first in range(0, 40, 5):
        pair.source.log.write(records(first, 5))
    for number in [*range(10), 4, *range(10, 20), *range(21, 40)]:
        pair.target.log.write(records(number, 1))
    found = pair.verify()
    assert places(found) == [(Kind.REPEATED, 4, 10), (Kind.MISSING, 20, 21)]
    row, task = decide_pair(pair.sight(), Mode.RECORDS)
    assert task is not None
    row = complete_pair(row, task, found, show_contents=True, now_ms=5)
    assert (row.verdict.value, row.reason) == ("different", "1 missing, 1 repeated")
    assert row.different_records == {"missing": 1, "repeated": 1}
    assert row.difference == row.differences[0]
    assert row.differences[1].source is not None
    assert row.differences[1].source.contents == "key null, value 'value20'"
    assert row.to_keep.differences[1].source is not None
    assert row.to_keep.differences[1].source.contents is None, "what records hold is never kept"
    assert type(row).from_json(row.to_json()) == row


def test_what_is_counted_differs_also_where_all_that_was_shown_is_excused(pair: Pair) -> None:
    def keyed(key: int, at: int) -> bytes:
        return make_batch([Record(at, b"%d" % key, b"x")])

    for at in range(100):  # the copier lost all of these; the first fifty keys come again
        pair.source.log.write(keyed(at, at))
    for log in (pair.source.log, pair.target.log):
        for at in range(50):
            log.write(keyed(at, 1_000 + at))
    row, task = decide_pair(pair.sight(compacted=True), Mode.RECORDS)
    assert task is not None
    found = verify_pair(task, Sides(pair.source, pair.target), Pace(), lambda *_: None)
    assert (found.findings, found.counts, found.excused) == ((), {Kind.MISSING: 50}, 50)
    row = complete_pair(row, task, found, show_contents=False, now_ms=5)
    assert (row.verdict.value, row.reason, row.difference) == ("different", "50 missing", None)


def test_a_copier_that_began_again_far_back_is_followed(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(in_order, "WINDOWS", (4, 8))
    for first in range(0, 200, 5):
        pair.source.log.write(records(first, 5))
    for number in [*range(100), *range(40, 150), *range(160, 200)]:
        pair.target.log.write(records(number, 1))
    found = pair.verify()
    assert places(found)[0] == (Kind.REPEATED, 40, 100)
    assert found.findings[0].note == "and what follows, up to source offset 100"
    assert found.counts[Kind.REPEATED] == 1
    assert found.counts[Kind.DIFFERS] == 1, "ten records are more than is looked ahead here: there they part"
    assert found.findings[-1][:3] == (Kind.DIFFERS, 150, 210)


@pytest.mark.parametrize("lost", ["source", "target"])
def test_a_later_beginning_is_looked_up_by_its_time(pair: Pair, monkeypatch: pytest.MonkeyPatch, lost: str) -> None:
    monkeypatch.setattr(in_order, "WINDOWS", (4, 8))
    for first in range(0, 200, 5):
        pair.source.log.write(records(first, 5))
        pair.target.log.write(records(first, 5))
    log = pair.source.log if lost == "source" else pair.target.log
    log.batches = [each for each in log.batches if each.base >= 100]
    log.log_start = 100
    found = pair.verify()
    assert (found.failure, found.amounts.records) == ("", 100)
    if lost == "source":
        assert found.findings == ()
    else:
        assert places(found) == [(Kind.MISSING, 0, 100)]
        assert "the target begins with what the source has near offset 100" in found.findings[0].note


def test_what_the_source_deletes_meanwhile_is_no_difference(pair: Pair) -> None:
    for first in range(0, 100, 5):
        pair.source.log.write(records(first, 5))
        pair.target.log.write(records(first, 5))

    def trim(number: int) -> None:
        if number == 3:
            log = pair.source.log
            log.log_start = 50
            log.batches = [each for each in log.batches if each.base >= 50]

    pair.source.on_request = trim
    found = pair.verify()
    assert (found.findings, found.failure) == ((), "")
    assert found.compared_to == 100


def test_what_was_damaged_on_its_way_is_read_again(pair: Pair) -> None:
    for first in range(0, 50, 5):
        pair.source.log.write(records(first, 5))
        pair.target.log.write(records(first, 5))
    changes = iter([False, False, True])

    def change(served: Served) -> Served:
        return served._replace(data=served.data[:70] + b"?" + served.data[71:]) if next(changes, False) else served

    pair.target.change = change
    found = pair.verify()
    assert (found.findings, found.failure, found.amounts.records) == ((), "", 50)
    stored = pair.target.log.batches[4]
    pair.target.log.batches[4] = stored._replace(data=stored.data[:-3] + b"?" + stored.data[-2:])
    assert places(pair.verify()) == [(Kind.DAMAGED_TARGET, 20, 20)]


def test_a_cluster_that_is_away_makes_it_unknown(pair: Pair) -> None:
    pair.source.log.write(records(0, 5))
    pair.target.log.write(records(0, 5))
    pair.target.failure = Unreachable("it is away", side=Side.TARGET, broker="b:1")
    found = pair.verify()
    assert "it is away" in found.failure
    row, task = decide_pair(pair.sight(), Mode.RECORDS)
    assert task is not None
    assert complete_pair(row, task, found, show_contents=False, now_ms=5).verdict.value == "unknown"


def at(*times: int) -> bytes:
    return make_batch([Record(time_ms * 60_000, None, b"x") for time_ms in times])


@pytest.mark.parametrize(
    ("here", "there", "unequal"),
    [
        ([1, 1, 2, 3], [1, 1, 2, 3], 0),
        ([1, 1, 2, 3, 3, 4], [1, 1, 2, 3], 0),  # behind
        ([1, 1, 2, 3], [1, 2, 3], 1),
        ([1, 1, 2, 3], [1, 1, 2, 2, 3], 1),
    ],
)
def test_counts_may_be_behind_in_the_newest_stretch_of_time(
    pair: Pair, here: list[int], there: list[int], unequal: int
) -> None:
    pair.source.log.write(at(*here))
    pair.target.log.write(at(*there))
    found = pair.verify(Mode.COUNTS)
    row, task = decide_pair(pair.sight(), Mode.COUNTS)
    assert task is not None
    row = complete_pair(row, task, found, show_contents=False, now_ms=5)
    assert len(row.unequal_buckets) == unequal
    assert row.verdict.value == ("different" if unequal else "equal")


def test_ends_alone_say_little(pair: Pair) -> None:
    pair.source.log.write(records(0, 5))
    pair.target.log.write(records(0, 3))
    row, task = decide_pair(pair.sight(), Mode.ENDS)
    assert (row.verdict.value, row.behind, task) == ("equal", 2, None)
    pair.target.log.write(records(3, 4))
    row, _ = decide_pair(pair.sight(), Mode.ENDS)
    assert row.verdict.value == "unknown"
    assert row.reason.startswith("the target holds 2 offsets more")
    assert decide_pair(pair.sight(compacted=True), Mode.ENDS)[0].verdict.value == "equal"
