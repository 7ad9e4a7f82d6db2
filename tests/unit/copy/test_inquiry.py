"""A standing is asked in the one order that is safe, and what cannot be told yet is said to be unclear."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from kmigrate.copy import inquiry
from kmigrate.copy.inquiry import FIRST_WINDOW, QUIET_SECONDS, Denied, Finding, Inquiry, Question, Unclear
from kmigrate.copy.standing import Quiet, Standing, decide_standing
from kmigrate.copy.states import Stop, StopKind
from kmigrate.kafka_types import LeaderEpoch, Offset, Partition, ProducerId, Side, TopicId, TopicName, TopicPartition
from tests.simulation.batches import Record, make_batch
from tests.simulation.links import LogLink
from tests.simulation.log import DAY_MS, PartitionLog, Served
from tests.simulation.wire import FetchPart

TP = TopicPartition(TopicName("orders"), Partition(0))
OTHER = TopicPartition(TopicName("orders"), Partition(1))
OURS = ProducerId(2**62 + 9)
NOW_MS = 1_760_000_000_000
SOURCE_ID, TARGET_ID = "aa" * 16, "bb" * 16


class Clock:
    """Both clocks, moved by hand."""

    def __init__(self) -> None:
        self.seconds = 50.0

    def steady_seconds(self) -> float:
        return self.seconds

    def wall_ms(self) -> int:
        return NOW_MS + int(self.seconds * 1000)


class Link(LogLink):
    """A link with a list of errors and a hook before each request."""

    def __init__(self, logs: dict[TopicPartition, PartitionLog]) -> None:
        super().__init__(logs)
        self.errors: dict[tuple[str, TopicPartition], int] = {}
        self.happens: Callable[[str], None] = lambda what: None
        self.serves: Callable[[Served], Served] = lambda served: served

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

    def ask(self, quiet: Quiet = Quiet.NEEDLESS) -> Finding:
        question = Question(
            partition=TP,
            source_topic_id=TopicId(SOURCE_ID),
            target_topic_id=TopicId(TARGET_ID),
            source_epoch=LeaderEpoch(self.source.leader_epoch),
            target_epoch=LeaderEpoch(self.target.leader_epoch),
            quiet=quiet,
        )
        return self.inquiry.ask(self.source_link, self.target_link, [question])[TP]

    def stop(self) -> tuple[StopKind, int]:
        """What follows from a standing that was asked until it is clear."""
        for _ in range(4):
            finding = self.ask()
            if isinstance(finding, Standing):
                decision = decide_standing(finding, Offset(0), None, True)
                assert isinstance(decision, Stop)
                return decision.kind, decision.offset
        pytest.fail(f"never clear: {finding}")

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
    assert "source's high watermark" in pair.unclear()


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


def test_the_window_widens_until_something_is_equal() -> None:
    pair = Pair(batches=200, copied=100)
    for place in range(50, 100):
        stored = pair.target.batches[place]
        pair.target.batches[place] = stored._replace(data=stored.data[:-2] + b"?" + stored.data[-1:])
    assert pair.stop() == (StopKind.SOURCE_TRUNCATED, 100)


def test_a_partition_of_large_records_is_not_read_far_back(monkeypatch: pytest.MonkeyPatch) -> None:
    pair = Pair(batches=200, copied=200, count=1)
    pair.target.batches = [each._replace(data=each.data[:-2] + b"?" + each.data[-1:]) for each in pair.target.batches]
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
    assert pair.standing().tail.differs_at == 6


def test_two_different_differences_are_not_the_same_seen_twice() -> None:
    pair = Pair()
    pair.source.high_watermark = 8
    pair.source_link.serves = flip_last
    pair.unclear()
    pair.source_link.serves = lambda served: served._replace(data=served.data[:70] + b"?" + served.data[71:])
    pair.unclear()


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
    pair.clock.seconds += QUIET_SECONDS - 0.1
    assert "stand still" in pair.unclear(Quiet.UNLESS_GUARDED)
    pair.clock.seconds += 0.1
    pair.standing(Quiet.UNLESS_GUARDED)


def test_an_id_in_the_second_half_of_its_life_is_old() -> None:
    pair = Pair(age_ms=DAY_MS // 2)
    assert "stand still" in pair.unclear(Quiet.UNLESS_GUARDED)


def test_a_late_request_begins_the_quiet_period_anew() -> None:
    pair = Pair(age_ms=30 * DAY_MS)
    pair.unclear(Quiet.UNLESS_GUARDED)
    pair.clock.seconds += QUIET_SECONDS - 0.5
    pair.copy(5)
    pair.clock.seconds += 0.5
    assert "stand still" in pair.unclear(Quiet.UNLESS_GUARDED)
    pair.clock.seconds += QUIET_SECONDS
    assert pair.standing(Quiet.UNLESS_GUARDED).target_end == 10


def test_where_quiet_is_needed_a_guarded_id_does_not_spare_it() -> None:
    pair = Pair()
    assert "stand still" in pair.unclear(Quiet.NEEDED)
    pair.clock.seconds += QUIET_SECONDS
    assert pair.standing(Quiet.NEEDED).quiet


def test_a_standing_says_whether_the_log_end_stood_still() -> None:
    assert not Pair().standing(Quiet.NEEDLESS).quiet
    assert not Pair().standing(Quiet.UNLESS_GUARDED).quiet


@pytest.mark.parametrize("cut", [0, 1])
def test_a_target_whose_last_records_cannot_be_read_proves_nothing(cut: int) -> None:
    pair = Pair()
    place = len(pair.target.batches) - 1 - cut
    stored = pair.target.batches[place]
    pair.target.batches[place] = stored._replace(data=stored.data[:16] + b"\1" + stored.data[17:])
    for _ in range(3):
        assert "cannot be read" in pair.unclear()


def test_each_doubt_has_a_quiet_period_of_its_own() -> None:
    pair = Pair(age_ms=30 * DAY_MS)
    pair.unclear(Quiet.UNLESS_GUARDED)
    pair.clock.seconds += QUIET_SECONDS
    pair.standing(Quiet.UNLESS_GUARDED)
    assert "stand still" in pair.unclear(Quiet.UNLESS_GUARDED)


def test_a_partition_given_up_takes_its_quiet_period_with_it() -> None:
    pair = Pair(age_ms=30 * DAY_MS)
    pair.unclear(Quiet.UNLESS_GUARDED)
    pair.inquiry.forget(TP)
    pair.clock.seconds += QUIET_SECONDS
    assert "stand still" in pair.unclear(Quiet.UNLESS_GUARDED)
