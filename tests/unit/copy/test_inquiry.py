"""A standing is asked in the one order that is safe, and what cannot be told yet is said to be unclear."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

import pytest

from kmigrate.cluster import reader
from kmigrate.copy import inquiry
from kmigrate.copy.guard import QUIET_SECONDS
from kmigrate.copy.identity import marker_producer_id
from kmigrate.copy.inquiry import FIRST_WINDOW, Denied, Finding, Inquiry, Question, Unclear
from kmigrate.copy.standing import Decision, GoOn, Quiet, Standing, decide_standing
from kmigrate.copy.states import Stop, StopKind
from kmigrate.kafka_types import LeaderEpoch, Offset, Partition, ProducerId, Side, TopicId, TopicName, TopicPartition
from kmigrate.offsets.classes import OffsetClass
from kmigrate.records import visible
from kmigrate.records.batch import LOG_APPEND_TIME, TRANSACTIONAL
from kmigrate.wire import calls
from tests.simulation.batches import GZIP, ZSTD, Record, make_batch, seal
from tests.simulation.committed import CommittedLink, compact, marker, with_holes
from tests.simulation.log import DAY_MS, PartitionLog, Served
from tests.simulation.wire import FetchPart

TP = TopicPartition(TopicName("orders"), Partition(0))
OTHER = TopicPartition(TopicName("orders"), Partition(1))
OURS = ProducerId(2**62 + 9)
MARKERS = marker_producer_id(OURS)
THEIRS = 3
"""The source's producer."""
NOW_MS = 1_760_000_000_000
SOURCE_ID, TARGET_ID = "aa" * 16, "bb" * 16


def decide(standing: Standing) -> Decision:
    return decide_standing(standing, OffsetClass.IDENTICAL, Offset(0), None, began=True, aligning=False)


class Clock:
    """Both clocks, moved by hand."""

    def __init__(self) -> None:
        self.seconds = 50.0

    def steady_seconds(self) -> float:
        return self.seconds

    def wall_ms(self) -> int:
        return NOW_MS + int(self.seconds * 1000)


class Link(CommittedLink):
    """A link with a list of errors and a hook before each request; `listed` are more ids that its broker knows."""

    def __init__(self, logs: dict[TopicPartition, PartitionLog]) -> None:
        super().__init__(logs)
        self.errors: dict[tuple[str, TopicPartition], int] = {}
        self.happens: Callable[[str], None] = lambda what: None
        self.serves: Callable[[Served], Served] = lambda served: served
        self.listed: tuple[calls.ProducerState, ...] = ()

    def call(self, call: Any) -> Any:
        answers = super().call(call)
        if call.what == "DescribeProducers":
            return {tp: each._replace(states=each.states + self.listed) for tp, each in answers.items()}
        return answers

    def before(self, what: str) -> None:
        self.happens(what)

    def error(self, what: str, partition: TopicPartition) -> int:
        return self.errors.get((what, partition), 0)

    def served(self, partition: TopicPartition, part: FetchPart, served: Served) -> Served:
        return self.serves(served)


class Pair:
    """A source and a target, the target holding the first `copied` of the source's batches as ours."""

    def __init__(self, batches: int = 6, copied: int = 4, *, age_ms: int = 0, count: int = 2) -> None:
        self.source, self.target = PartitionLog(SOURCE_ID), PartitionLog(TARGET_ID)
        self.clock = Clock()
        for number in range(batches):
            records = [Record(NOW_MS - age_ms, None, number.to_bytes(3, "big"))] * count
            self.source.write(make_batch(records, producer_id=3, base_sequence=0))
        self.copy(copied)
        logs = {TP: self.source}, {TP: self.target}
        self.source_link, self.target_link = Link(logs[0]), Link(logs[1])
        self.inquiry = Inquiry(self.clock, OURS, DAY_MS // 2)  # type: ignore[arg-type]

    def copy(self, batches: int) -> None:
        for stored in self.source.batches[len(self.target.batches) : batches]:
            self.target.append(self.ours(stored.base), self.clock.wall_ms())

    def ours(self, base: int) -> bytes:
        (stored,) = [batch for batch in self.source.batches if batch.base == base]
        records = [Record(stored.newest_ms, None, stored.data[-4:-1])] * stored.count
        return make_batch(records, producer_id=OURS, producer_epoch=0, base_sequence=base)

    def replace(self, places: range) -> None:
        """These batches of the target hold something else."""
        for place in places:
            stored = self.target.batches[place]
            other = make_batch([Record(NOW_MS, None, b"?")] * stored.count, base_offset=stored.base, producer_id=OURS)
            self.target.batches[place] = stored._replace(data=other)

    def ask(self, quiet: Quiet = Quiet.NEEDLESS, start: int = 0) -> Finding:
        question = Question(
            partition=TP,
            source_topic_id=TopicId(SOURCE_ID),
            target_topic_id=TopicId(TARGET_ID),
            source_epoch=LeaderEpoch(self.source.leader_epoch),
            target_epoch=LeaderEpoch(self.target.leader_epoch),
            quiet=quiet,
            start=Offset(start),
        )
        return self.inquiry.ask(self.source_link, self.target_link, [question])[TP]

    def stand_still(self, seconds: float) -> None:
        """So long, looked at every second; the last look is not made."""
        before, end = self.clock.seconds, self.clock.seconds + seconds
        while (before := before + 1.0) < end:
            self.clock.seconds = before
            assert "stand still" in self.unclear(Quiet.NEEDED)
        self.clock.seconds = end

    def stop(self) -> tuple[StopKind, int]:
        """What follows from a standing that was asked until it is clear."""
        decision = decide(self.clear())
        assert isinstance(decision, Stop), decision
        return decision.kind, decision.offset

    def goes_on(self) -> GoOn:
        """The same, if nothing speaks against it."""
        decision = decide(self.clear())
        assert isinstance(decision, GoOn), decision
        return decision

    def clear(self) -> Standing:
        """A standing, asked until it is clear."""
        for _ in range(4):
            finding = self.ask()
            if isinstance(finding, Standing):
                return finding
        pytest.fail(f"never clear: {finding}")

    def fetches(self) -> tuple[int, int]:
        """How often the source and the target were read."""
        return self.source_link.asked.count("Fetch"), self.target_link.asked.count("Fetch")

    def standing(self, quiet: Quiet = Quiet.NEEDLESS) -> Standing:
        finding = self.ask(quiet)
        assert isinstance(finding, Standing), finding
        return finding

    def unclear(self, quiet: Quiet = Quiet.NEEDLESS) -> str:
        finding = self.ask(quiet)
        assert isinstance(finding, Unclear), finding
        return finding.reason


def test_a_standing_tells_both_ends_the_sequence_and_the_tail() -> None:
    standing = Pair().standing()
    assert standing[:5] == (0, 12, 0, 8, 7)
    assert (standing.tail.compared, standing.tail.differs_at, standing.tail.next_sequence) == (4, None, 8)


def test_sequences_are_asked_before_log_ends_and_both_once_more_at_the_end() -> None:
    pair = Pair()
    pair.standing()
    assert pair.target_link.asked == [
        "DescribeProducers",
        "OffsetForLeaderEpoch",
        "ListOffsets",
        "ListOffsets",
        "Fetch",
        "DescribeProducers",
        "OffsetForLeaderEpoch",
    ]


@pytest.mark.parametrize("moment", range(1, 7))
def test_a_request_that_arrives_while_it_is_asked_makes_it_unclear(moment: int) -> None:
    pair = Pair()
    count = 0

    def arrive(what: str) -> None:
        nonlocal count
        if count == moment:
            pair.copy(5)
        count += 1

    pair.target_link.happens = arrive
    pair.unclear()
    pair.target_link.happens = lambda what: None
    assert pair.standing()[3:5] == (10, 9)


def test_records_above_the_targets_high_watermark_are_waited_for() -> None:
    pair = Pair()
    pair.target.freeze()
    pair.copy(5)
    assert "above its high watermark 8" in pair.unclear()
    pair.target.thaw()
    assert pair.standing().target_end == 10


def test_the_true_log_end_counts_not_the_high_watermark() -> None:
    pair = Pair(copied=0)
    pair.target.freeze()
    pair.copy(3)
    pair.target.high_watermark = 6
    pair.target.thaw()
    assert pair.standing().target_end == 6


def test_a_source_whose_high_watermark_lags_is_waited_for() -> None:
    pair = Pair()
    pair.source.elect(12, high_watermark=4, now_ms=NOW_MS, drop_expired=False)
    pair.source.following = False
    pair.source.epochs[-1] = (1, 0)
    assert "last stable offset" in pair.unclear()


@pytest.mark.parametrize("side", list(Side))
@pytest.mark.parametrize("code", [3, 5, 6, 74, 75, 100, 103])
def test_a_moved_leader_is_unclear_and_named(side: Side, code: int) -> None:
    pair = Pair()
    link = pair.source_link if side is Side.SOURCE else pair.target_link
    link.errors["OffsetForLeaderEpoch", TP] = code
    finding = pair.ask()
    assert isinstance(finding, Unclear)
    assert finding.moved == side.value


@pytest.mark.parametrize("what", ["DescribeProducers", "ListOffsets", "Fetch"])
def test_other_errors_of_the_target_are_unclear(what: str) -> None:
    pair = Pair()
    pair.target_link.errors[what, TP] = 56
    assert pair.unclear().startswith("target: ")


@pytest.mark.parametrize("side", list(Side))
def test_a_missing_right_is_denied(side: Side) -> None:
    pair = Pair()
    link = pair.source_link if side is Side.SOURCE else pair.target_link
    link.errors["OffsetForLeaderEpoch", TP] = 29
    assert pair.ask() == Denied(f"READ on the {side} topic")


def test_one_partitions_trouble_is_not_anothers() -> None:
    pair = Pair()
    pair.source_link.logs = {TP: pair.source, OTHER: pair.source}
    pair.target_link.logs = {TP: pair.target, OTHER: pair.target}
    pair.target_link.errors["DescribeProducers", OTHER] = 6
    question = Question(TP, TopicId(SOURCE_ID), TopicId(TARGET_ID), LeaderEpoch(0), LeaderEpoch(0), Quiet.NEEDLESS)
    findings = pair.inquiry.ask(pair.source_link, pair.target_link, [question, question._replace(partition=OTHER)])
    assert isinstance(findings[TP], Standing)
    assert isinstance(findings[OTHER], Unclear)


# ── ends that differ ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("end", [0, 2, 6])
def test_a_source_that_ends_below_the_copy_is_told_as_it_is(end: int) -> None:
    pair = Pair()
    pair.source.elect(end, high_watermark=end, now_ms=NOW_MS, drop_expired=False)
    assert pair.stop() == (StopKind.SOURCE_TRUNCATED, end)


def test_what_lies_beyond_the_sources_end_is_not_compared() -> None:
    pair = Pair()
    pair.source.elect(6, high_watermark=6, now_ms=NOW_MS, drop_expired=False)
    assert "once more" in pair.unclear(), "another topic of that name may be there now"
    standing = pair.standing()
    assert (standing.tail.compared, standing.tail.excused, standing.tail.differs_at) == (6, 0, None)


def test_a_source_truncated_below_the_compared_window_is_told_as_it_is() -> None:
    pair = Pair(batches=FIRST_WINDOW, copied=FIRST_WINDOW)
    pair.source.elect(10, high_watermark=10, now_ms=NOW_MS, drop_expired=False)
    assert pair.stop() == (StopKind.SOURCE_TRUNCATED, 10)


def test_a_foreign_record_beyond_the_sources_end_is_a_foreign_write() -> None:
    pair = Pair(copied=6)
    pair.target.write(make_batch([Record(NOW_MS, None, b"foreign")], producer_id=44))
    assert pair.stop() == (StopKind.FOREIGN_WRITE, 12)


def test_a_source_that_was_trimmed_is_compared_as_far_as_it_goes() -> None:
    pair = Pair()
    pair.source.delete_records(5)
    standing = pair.standing()
    assert (standing.source_start, standing.tail.compared, standing.tail.differs_at) == (5, 1, None)


def test_what_is_not_wanted_counts_as_trimmed_away() -> None:
    pair = Pair()
    pair.replace(range(2))
    standing = pair.ask(start=5)
    assert isinstance(standing, Standing)
    assert (standing.source_start, standing.tail.compared, standing.tail.differs_at) == (5, 1, None)
    pair.source.delete_records(7)
    assert pair.ask(start=5).source_start == 7  # type: ignore[union-attr]


@pytest.mark.parametrize("copied", [0, 6])
def test_a_source_that_ends_below_what_is_wanted_is_truncated_once_that_was_seen_twice(copied: int) -> None:
    pair = Pair(copied=copied)
    pair.source.elect(4, high_watermark=4, now_ms=NOW_MS, drop_expired=False)
    assert isinstance(pair.ask(start=6), Unclear)
    found = pair.ask(start=6)
    assert isinstance(found, Standing)
    decision = decide_standing(found, OffsetClass.IDENTICAL, Offset(0), None, began=False, aligning=False)
    assert isinstance(decision, Stop)
    assert (decision.kind, decision.offset) == (StopKind.SOURCE_TRUNCATED, 4)


def test_the_window_widens_until_something_is_equal() -> None:
    pair = Pair(batches=200, copied=100)
    pair.replace(range(50, 100))
    assert pair.stop() == (StopKind.SOURCE_TRUNCATED, 100)


def test_where_something_before_the_difference_is_equal_the_window_is_wide_enough() -> None:
    pair = Pair(batches=100, copied=100)
    pair.replace(range(99, 100))
    pair.unclear()
    assert pair.fetches() == (2, 2)


def test_a_partition_of_large_records_is_not_read_far_back(monkeypatch: pytest.MonkeyPatch) -> None:
    pair = Pair(batches=200, copied=200, count=1)
    pair.replace(range(200))
    pair.ask()
    fetched = pair.target_link.asked.count("Fetch")
    monkeypatch.setattr(inquiry, "WIDEST_BYTES", FIRST_WINDOW * 50)
    pair.target_link.asked.clear()
    pair.ask()
    assert pair.target_link.asked.count("Fetch") < fetched


# ── what is seen once is looked at again ──────────────────────────────────────────────────────────────────────


def flip_last(served: Served) -> Served:
    return served._replace(data=served.data[:-3] + bytes([served.data[-3] ^ 1]) + served.data[-2:])


@pytest.mark.parametrize("side", list(Side))
def test_a_difference_seen_once_is_not_believed(side: Side) -> None:
    pair = Pair()
    link = pair.source_link if side is Side.SOURCE else pair.target_link
    pair.source.high_watermark = 8  # the answer ends with the compared stretch
    link.serves = flip_last
    assert "differ" in pair.unclear()
    link.serves = lambda served: served
    assert pair.standing().tail.differs_at is None


def test_a_difference_seen_twice_is_believed() -> None:
    pair = Pair()
    last = pair.target.batches[-1]
    pair.target.batches[-1] = last._replace(data=last.data[:-3] + b"?" + last.data[-2:])
    assert "differ" in pair.unclear()
    assert pair.standing().tail.differs_at == 7


def test_two_different_differences_are_not_the_same_seen_twice() -> None:
    pair = Pair()
    pair.source.high_watermark = 8
    pair.source_link.serves = flip_last
    pair.unclear()
    pair.source_link.serves = lambda served: served._replace(data=served.data[:70] + b"?" + served.data[71:])
    pair.unclear()


def moved(served: Served) -> Served:
    """A bit of the first batch's base offset came wrong: it seems to lie far away."""
    return served._replace(data=b"\0\0\1" + served.data[3:])


def test_a_source_batch_that_came_with_a_wrong_offset_hides_no_difference() -> None:
    pair = Pair(batches=1, copied=1)
    pair.replace(range(1))
    pair.source_link.serves = moved
    assert "differ" in pair.unclear()
    pair.source_link.serves = lambda served: served
    assert pair.stop() == (StopKind.SOURCE_REPLACED, 0)


# ── the quiet period ──────────────────────────────────────────────────────────────────────────────────────────


def test_nothing_under_way_needs_no_quiet() -> None:
    pair = Pair(age_ms=30 * DAY_MS)
    pair.target.expire(NOW_MS)
    assert pair.standing(Quiet.NEEDLESS).last_sequence is None


def test_a_recent_listed_id_needs_no_quiet() -> None:
    assert Pair().standing(Quiet.UNLESS_GUARDED).last_sequence == 7


@pytest.mark.parametrize("listed", [True, False])
def test_an_old_or_unlisted_id_needs_a_quiet_log_end(listed: bool) -> None:
    pair = Pair(age_ms=30 * DAY_MS)
    if not listed:
        pair.target.expire(NOW_MS)
    assert "stand still" in pair.unclear(Quiet.UNLESS_GUARDED)
    pair.stand_still(QUIET_SECONDS - 0.1)
    assert "stand still" in pair.unclear(Quiet.UNLESS_GUARDED)
    pair.stand_still(0.1)
    pair.standing(Quiet.UNLESS_GUARDED)


def test_an_id_in_the_second_half_of_its_life_is_old() -> None:
    pair = Pair(age_ms=DAY_MS // 2)
    assert "stand still" in pair.unclear(Quiet.UNLESS_GUARDED)


def test_a_late_request_begins_the_quiet_period_anew() -> None:
    pair = Pair(age_ms=30 * DAY_MS)
    pair.unclear(Quiet.UNLESS_GUARDED)
    pair.stand_still(QUIET_SECONDS - 0.5)
    pair.copy(5)
    pair.stand_still(0.5)
    assert "stand still" in pair.unclear(Quiet.UNLESS_GUARDED)
    pair.stand_still(QUIET_SECONDS)
    assert pair.standing(Quiet.UNLESS_GUARDED).target_end == 10


def test_what_was_seen_before_the_target_was_lost_proves_nothing() -> None:
    pair = Pair(age_ms=30 * DAY_MS)
    pair.unclear(Quiet.UNLESS_GUARDED)
    pair.stand_still(QUIET_SECONDS)
    pair.inquiry.on_lost()
    assert "stand still" in pair.unclear(Quiet.UNLESS_GUARDED)
    pair.stand_still(QUIET_SECONDS)
    pair.standing(Quiet.UNLESS_GUARDED)


def test_a_time_in_which_nobody_looked_counts_little() -> None:
    pair = Pair(age_ms=30 * DAY_MS)
    pair.unclear(Quiet.UNLESS_GUARDED)
    pair.stand_still(QUIET_SECONDS - 1.5)
    assert "stand still" in pair.unclear(Quiet.UNLESS_GUARDED)
    pair.clock.seconds += 60.0
    assert "stand still" in pair.unclear(Quiet.UNLESS_GUARDED), "it may have been frozen, and answer late"
    pair.clock.seconds += 1.0
    pair.standing(Quiet.UNLESS_GUARDED)


def test_where_quiet_is_needed_a_guarded_id_does_not_spare_it() -> None:
    pair = Pair()
    assert "stand still" in pair.unclear(Quiet.NEEDED)
    pair.stand_still(QUIET_SECONDS)
    assert pair.standing(Quiet.NEEDED).quiet


@pytest.mark.parametrize(("quiet", "seconds"), [(Quiet.BRIEF, 5), (Quiet.NEEDED, 85)])
def test_brief_quiet_does_not_wait_for_what_may_lie_behind_a_guarded_request(quiet: Quiet, seconds: int) -> None:
    pair = Pair()
    pair.inquiry = Inquiry(pair.clock, OURS, DAY_MS // 2, 80.0)  # type: ignore[arg-type]
    assert f"stand still for {seconds} s" in pair.unclear(quiet)
    pair.stand_still(seconds - 0.1)
    assert f"stand still for {seconds} s" in pair.unclear(quiet)
    pair.stand_still(0.1)
    assert pair.standing(quiet).quiet is (quiet is Quiet.NEEDED), "only the long wait says that nothing is under way"


def test_where_nothing_is_guarded_brief_quiet_is_the_whole_of_it() -> None:
    pair = Pair(age_ms=30 * DAY_MS)
    pair.inquiry = Inquiry(pair.clock, OURS, DAY_MS // 2, 80.0)  # type: ignore[arg-type]
    assert "stand still for 5 s" in pair.unclear(Quiet.BRIEF)
    pair.stand_still(QUIET_SECONDS)
    assert pair.standing(Quiet.BRIEF).quiet


def test_a_standing_says_whether_the_log_end_stood_still() -> None:
    assert not Pair().standing(Quiet.NEEDLESS).quiet
    assert not Pair().standing(Quiet.UNLESS_GUARDED).quiet


@pytest.mark.parametrize("place", [0, 2, 3])
def test_target_records_that_cannot_be_read_prove_nothing(place: int) -> None:
    pair = Pair(count=1)
    stored = pair.target.batches[place]
    pair.target.batches[place] = stored._replace(data=stored.data[:16] + b"\1" + stored.data[17:])
    for _ in range(3):
        assert f"offset {place} cannot be read" in pair.unclear()


def test_a_target_whose_last_records_are_not_served_proves_nothing() -> None:
    pair = Pair()
    compact(pair.source, 6, 8)
    compact(pair.target, 6, 8)
    for _ in range(3):
        assert "last records cannot be read" in pair.unclear()


def test_each_doubt_has_a_quiet_period_of_its_own() -> None:
    pair = Pair(age_ms=30 * DAY_MS)
    pair.unclear(Quiet.UNLESS_GUARDED)
    pair.stand_still(QUIET_SECONDS)
    pair.standing(Quiet.UNLESS_GUARDED)
    assert "stand still" in pair.unclear(Quiet.UNLESS_GUARDED)


def test_a_partition_given_up_takes_its_quiet_period_with_it() -> None:
    pair = Pair(age_ms=30 * DAY_MS)
    pair.unclear(Quiet.UNLESS_GUARDED)
    pair.inquiry.forget(TP)
    pair.stand_still(QUIET_SECONDS)
    assert "stand still" in pair.unclear(Quiet.UNLESS_GUARDED)


# ── records where batches prove nothing ───────────────────────────────────────────────────────────────────────────


def values(*numbers: int) -> list[Record]:
    return [Record(NOW_MS + number, b"k", bytes([number])) for number in numbers]


class Bare(Pair):
    """A source and a target that tests fill by hand; what is copied carries our id and the next sequence."""

    def __init__(self) -> None:
        super().__init__(batches=0, copied=0)
        self.sequence = 0

    def wrote(self, *numbers: int, **fields: int) -> None:
        """A batch on the source; transactional under an id, if one is named."""
        self.source.write(make_batch(values(*numbers), producer_id=fields.pop("producer_id", THEIRS), **fields))

    def ended(self, producer_id: int, first: int, *, commit: bool) -> None:
        """The end of a transaction that began at `first`, on the source."""
        stored = self.source.write(marker(producer_id, commit=commit))
        if not commit:
            self.source_link.aborted.append((producer_id, first, stored.base))

    def copied(self, *numbers: int, **fields: int) -> None:
        """A batch on the target."""
        records = values(*numbers)
        self.target.append(
            make_batch(records, producer_id=OURS, producer_epoch=0, base_sequence=self.sequence, **fields), NOW_MS
        )
        self.sequence += len(records)

    def filled(self, count: int = 1, *, producer_id: int = MARKERS) -> None:
        """Markers on the target."""
        for _ in range(count):
            self.target.write(marker(producer_id))


def transactions() -> Bare:
    """Offsets: 0, 1 committed · 2 its marker · 3 aborted · 4 plain · 5 aborted · 6 the abort · 7 plain."""
    pair = Bare()
    pair.wrote(0, 1, producer_id=7, attributes=TRANSACTIONAL)
    pair.ended(7, 0, commit=True)
    pair.wrote(3, producer_id=8, attributes=TRANSACTIONAL)
    pair.wrote(4)
    pair.wrote(5, producer_id=8, attributes=TRANSACTIONAL)
    pair.ended(8, 3, commit=False)
    pair.wrote(7)
    return pair


def test_plain_tails_are_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(visible, "read_records", lambda *_: pytest.fail("decoded"))
    pair = Pair()
    pair.standing()
    assert pair.fetches() == (1, 1)
    assert pair.source_link.asked == ["OffsetForLeaderEpoch", "ListOffsets", "ListOffsets", "Fetch"]


def test_a_thousand_plain_tails_are_read_in_one_request_a_side(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(visible, "read_records", lambda *_: pytest.fail("decoded"))
    pair = Pair(batches=2, copied=2)
    every = [TopicPartition(TopicName("orders"), Partition(number)) for number in range(1_000)]
    pair.source_link.logs = dict.fromkeys(every, pair.source)
    pair.target_link.logs = dict.fromkeys(every, pair.target)
    question = Question(TP, TopicId(SOURCE_ID), TopicId(TARGET_ID), LeaderEpoch(0), LeaderEpoch(0), Quiet.NEEDLESS)
    asked = [question._replace(partition=each) for each in every]
    findings = pair.inquiry.ask(pair.source_link, pair.target_link, asked)
    assert all(isinstance(each, Standing) for each in findings.values())
    assert pair.fetches() == (1, 1)


def test_a_source_that_holds_nothing_of_the_copy_is_not_read_twice() -> None:
    pair = Pair()
    pair.source.delete_records(8)
    assert pair.standing().tail.compared == 0
    assert pair.fetches() == (0, 1)


def test_decided_data_is_held_against_data_and_markers() -> None:
    pair = transactions()
    pair.copied(0, 1)
    pair.filled(2)
    pair.copied(4)
    pair.filled(2)
    pair.copied(7)
    standing = pair.standing()
    assert (standing.tail.compared, standing.tail.differs_at, standing.tail.next_sequence) == (4, None, 4)
    assert pair.fetches() == (2, 2)
    assert (pair.source_link.isolation, pair.target_link.isolation) == ([1, 1], [0, 0])


@pytest.mark.parametrize("answer_bytes", [1, 300])
def test_aborted_transactions_are_taken_from_the_answer_that_they_come_with(
    answer_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "PARTITION_BYTES", answer_bytes)
    pair = transactions()
    pair.copied(0, 1)
    pair.filled(2)
    pair.copied(4)
    pair.filled(2)
    assert pair.standing().tail.differs_at is None
    assert min(pair.fetches()) > 2


def test_a_copy_of_an_aborted_record_differs() -> None:
    pair = transactions()
    pair.copied(0, 1)
    pair.filled()
    pair.copied(3)
    assert pair.stop() == (StopKind.SOURCE_TRUNCATED, 3)


def test_a_record_in_the_place_of_a_control_batch_differs() -> None:
    pair = transactions()
    pair.copied(0, 1, 2)
    assert pair.stop() == (StopKind.SOURCE_TRUNCATED, 2)


def test_a_marker_in_the_place_of_a_record_differs() -> None:
    pair = transactions()
    pair.copied(0, 1)
    pair.filled(3)
    assert pair.stop() == (StopKind.GAP_OVERSHOT, 4)


def test_batches_that_were_merged_and_compressed_are_equal() -> None:
    pair = Bare()
    for number in range(6):
        pair.wrote(number)
    pair.copied(*range(6), codec=ZSTD)
    assert (pair.goes_on(), pair.fetches()) == (GoOn(Offset(6), 6, LeaderEpoch(0)), (2, 2))  # type: ignore[arg-type]


def test_an_append_time_became_each_records_timestamp() -> None:
    pair = Bare()
    pair.wrote(0, 1, 5, attributes=LOG_APPEND_TIME)
    stamped = [record._replace(timestamp_ms=NOW_MS + 5) for record in values(0, 1, 5)]
    pair.target.append(make_batch(stamped, producer_id=OURS, producer_epoch=0, base_sequence=0), NOW_MS)
    assert pair.goes_on().offset == 3
    unchanged = Bare()
    unchanged.wrote(0, 1, 5, attributes=LOG_APPEND_TIME)
    unchanged.copied(0, 1, 5)
    assert unchanged.stop() == (StopKind.SOURCE_REPLACED, 0)


def message(offset: int, number: int) -> bytes:
    """The record of `values(number)` in format v1."""
    after = b"\1\0" + (NOW_MS + number).to_bytes(8, "big") + b"\0\0\0\1k" + b"\0\0\0\1" + bytes([number])
    head = offset.to_bytes(8, "big") + (4 + len(after)).to_bytes(4, "big")
    return head + zlib.crc32(after).to_bytes(4, "big") + after


def three_records() -> Bare:
    pair = Bare()
    for number in range(3):
        pair.wrote(number)
        pair.copied(number)
    return pair


@pytest.mark.parametrize("place", [0, 1, 2])
def test_messages_of_older_formats_are_held_against_what_they_became(place: int) -> None:
    pair = three_records()
    older = pair.source.batches[place]._replace(data=message(place, place))
    pair.source.batches[place] = older
    assert pair.goes_on() == GoOn(Offset(3), 3, LeaderEpoch(-1 if place == 2 else 0))  # type: ignore[arg-type]
    pair.source.batches[place] = older._replace(data=message(place, 9))
    assert pair.stop() == (StopKind.SOURCE_TRUNCATED if place else StopKind.SOURCE_REPLACED, place)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_messages_of_older_formats_on_the_target_are_not_ours(place: int) -> None:
    pair = three_records()
    pair.target.batches[place] = pair.target.batches[place]._replace(data=message(place, place))
    assert pair.stop() == (StopKind.FOREIGN_WRITE, place)


def test_what_cannot_be_read_is_waited_for() -> None:
    pair = Bare()
    pair.wrote(0)
    pair.source.write(seal(b"?", attributes=GZIP, last_offset_delta=0, record_count=1))
    pair.copied(0, 1)
    for _ in range(3):
        assert "offset 1 cannot be read" in pair.unclear()


# ── what compaction removes while we copy ─────────────────────────────────────────────────────────────────────────


def test_a_record_that_the_source_no_longer_holds_is_excused_when_it_was_seen_twice() -> None:
    pair = Pair()
    compact(pair.source, 2, 6)
    assert "once more" in pair.unclear()
    standing = pair.standing()
    assert (standing.tail.compared, standing.tail.excused, standing.tail.differs_at) == (4, 4, None)
    assert decide(standing) == GoOn(Offset(8), 8, LeaderEpoch(0))  # type: ignore[arg-type]


def test_a_hole_before_the_end_has_no_epoch() -> None:
    pair = Pair()
    compact(pair.source, 6, 8)
    assert pair.goes_on().epoch == -1


def test_a_hole_up_to_the_last_stable_offset_is_known_at_once() -> None:
    pair = Pair(batches=4)
    compact(pair.source, 6, 8)
    pair.goes_on()
    assert pair.fetches()[0] <= 8, "two looks in two stages, each with an answer of batches and one without"


def test_an_emptied_batch_keeps_its_epoch() -> None:
    pair = Pair(batches=4)
    last = pair.source.batches[-1]
    emptied = with_holes({}, length=2, leader_epoch=0)
    pair.source.batches[-1] = last._replace(data=(6).to_bytes(8, "big") + emptied[8:])
    assert pair.goes_on().epoch == 0


# ── windows without anything to compare ───────────────────────────────────────────────────────────────────────────


def behind_markers(count: int) -> Bare:
    """One record, and then only what no consumer sees."""
    pair = Bare()
    pair.wrote(0)
    pair.copied(0)
    for _ in range(count):
        pair.source.write(marker(7))
    pair.filled(count)
    return pair


def test_a_window_of_markers_is_widened_until_there_is_a_record() -> None:
    pair = behind_markers(FIRST_WINDOW)
    assert pair.standing().tail.compared == 1
    assert pair.fetches() == (3, 3)


def test_a_record_behind_many_markers_that_differs_is_found() -> None:
    pair = behind_markers(FIRST_WINDOW)
    pair.replace(range(1))
    assert pair.stop() == (StopKind.SOURCE_REPLACED, 0)


def test_a_window_is_not_widened_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inquiry, "WIDEST_WINDOW", FIRST_WINDOW)
    pair = behind_markers(FIRST_WINDOW)
    assert pair.standing().tail.compared == 0
    assert pair.fetches() == (2, 2)


def test_a_partition_of_markers_only_is_looked_through_once() -> None:
    pair = Bare()
    for _ in range(8):
        pair.source.write(marker(7))
    pair.filled(8)
    assert pair.standing().tail.compared == 0
    assert pair.fetches() == (2, 2)


# ── log starts ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("side", list(Side))
def test_what_lies_below_a_log_start_inside_a_batch_is_not_compared(side: Side) -> None:
    pair = Bare()
    pair.wrote(0, 1, 2, 3)
    pair.wrote(4, 5)
    pair.copied(9, 9, 2, 3)
    pair.copied(4, 5, codec=GZIP)
    (pair.source if side is Side.SOURCE else pair.target).delete_records(2)
    standing = pair.standing()
    assert standing.tail.differs_at is None
    assert (standing.source_start, standing.target_start) == ((2, 0) if side is Side.SOURCE else (0, 2))


@pytest.mark.parametrize("side", list(Side))
def test_what_lies_above_a_log_start_inside_a_batch_is_compared(side: Side) -> None:
    pair = Bare()
    pair.wrote(0, 1, 2, 3)
    pair.copied(0, 1, 2, 9)
    (pair.source if side is Side.SOURCE else pair.target).delete_records(2)
    assert pair.stop() == (StopKind.SOURCE_TRUNCATED, 3)


def test_a_target_that_was_brought_to_the_sources_log_start_is_compared_from_there() -> None:
    pair = Pair(batches=4, copied=0)
    pair.source.delete_records(4)
    pair.target.write(make_batch([Record(NOW_MS, None, None)] * 4, producer_id=OURS, base_sequence=0))
    pair.target.delete_records(4)
    assert pair.standing().tail.compared == 0
    for base in (4, 6):
        pair.target.write(pair.ours(base))
    assert pair.standing()[:4] == (4, 8, 4, 8)
    assert (pair.standing().tail.compared, pair.standing().tail.differs_at) == (2, None)


def test_filler_that_came_back_is_not_compared() -> None:
    pair = Pair(batches=4, copied=0)
    pair.source.delete_records(4)
    pair.target.write(make_batch([Record(NOW_MS, None, None)] * 4, producer_id=OURS, base_sequence=0))
    for base in (4, 6):
        pair.target.write(pair.ours(base))
    standing = pair.standing()
    assert (standing.target_start, standing.tail.compared, standing.tail.differs_at) == (0, 2, None)


# ── markers, and the last stable offset ───────────────────────────────────────────────────────────────────────────


def test_somebody_elses_marker_is_a_foreign_write() -> None:
    pair = behind_markers(2)
    pair.filled(producer_id=44)
    assert pair.stop() == (StopKind.FOREIGN_WRITE, 3)


def test_the_marker_id_can_be_told() -> None:
    pair = Bare()
    pair.wrote(0)
    pair.source.write(marker(7))
    pair.copied(0)
    pair.filled(producer_id=55)
    pair.inquiry = Inquiry(pair.clock, OURS, DAY_MS // 2, marker_id=ProducerId(55))  # type: ignore[arg-type]
    assert pair.standing().tail.foreign_at is None


def test_a_standing_tells_the_coordinator_epoch_of_our_last_marker() -> None:
    pair = Pair()
    assert pair.standing().marker_epoch == -1
    pair.target_link.listed = (
        calls.ProducerState(ProducerId(44), 0, -1, NOW_MS, 99),
        calls.ProducerState(MARKERS, 0, -1, NOW_MS, 12),
    )
    assert (pair.standing().marker_epoch, pair.standing().last_sequence) == (12, 7)


def test_a_source_that_has_not_decided_what_was_copied_is_waited_for() -> None:
    pair = Pair()
    pair.source_link.stable = 7
    assert "last stable offset" in pair.unclear()


def test_open_transactions_leave_the_sources_end_where_it_is() -> None:
    pair = Pair()
    pair.source_link.stable = 8
    standing = pair.standing()
    assert (standing.source_end, standing.source_stable) == (12, 8)
