"""Samples are spread over the log, count no offset twice and stay within the budget; what was left out is told."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmigrate.errors import ConnectionLost
from kmigrate.kafka_types import BrokerAddress, Offset, Partition, Side, TopicId, TopicName, TopicPartition
from kmigrate.preflight.samples import PLACE_BYTES, PLACES, TOGETHER, Samples, Span, take_samples, thin_out
from kmigrate.wire.error_codes import ErrorCode
from tests.simulation.batches import Record, make_batch, seal
from tests.simulation.links import LogLink
from tests.simulation.log import PartitionLog, Served
from tests.simulation.wire import FetchPart
from tests.unit.preflight.test_bounds import ONE, THREE, TWO, metadata

TOPIC = TopicId("ab" * 16)


def filled(*batches: tuple[int, int]) -> PartitionLog:
    """A log of batches of so many records of so many bytes."""
    log = PartitionLog(TOPIC)
    for count, size in batches:
        log.write(make_batch([Record(1000, None, b"v" * size)] * count))
    return log


class Link(LogLink):
    """Remembers at which offsets it was asked, each request for itself."""

    def __init__(self, logs: Mapping[TopicPartition, PartitionLog]) -> None:
        super().__init__(logs)
        self.offsets: list[dict[int, int]] = []
        self.closed = False

    def before(self, what: str) -> None:
        self.offsets.append({})

    def served(self, partition: TopicPartition, part: FetchPart, served: Served) -> Served:
        self.offsets[-1][partition.partition] = part.offset
        assert part.max_bytes <= PLACE_BYTES
        return served

    def close(self) -> None:
        self.closed = True


def take(link: LogLink, budget_bytes: int = 1 << 30, **spans: tuple[int, int]) -> Samples:
    names = {"one": ONE, "two": TWO, "three": THREE}
    wanted = {names[name]: Span(TOPIC, Offset(start), Offset(end)) for name, (start, end) in spans.items()}
    return take_samples(lambda _address: link, metadata(dict.fromkeys(names.values(), 0)), wanted, budget_bytes)


def test_a_small_log_is_read_whole_by_one_request() -> None:
    link = Link({ONE: filled((3, 10), (4, 10)), TWO: filled((5, 10))})
    samples = take(link, one=(0, 7), two=(2, 5))
    assert link.offsets == [{0: 0, 1: 2}]
    assert {tp: (each.offsets, each.records) for tp, each in samples.found.items()} == {ONE: (7, 7), TWO: (3, 3)}
    assert [stretch.stands_for for stretch in samples.found[ONE].stretches] == [7]
    assert (samples.failures, samples.skipped, samples.places_left_out, samples.places) == ({}, set(), 0, PLACES)
    assert link.closed


def test_what_is_empty_is_not_asked_for() -> None:
    link = Link({ONE: filled()})
    assert take(link, one=(4, 4)).found == {}
    assert link.offsets == []


def test_a_large_log_is_looked_at_in_places_over_all_of_it() -> None:
    log = filled(*[(10, 3_000)] * 700)
    link = Link({ONE: log})
    (census,) = take(link, one=(0, 7_000)).found.values()
    assert [request[0] for request in link.offsets] == [0, 1000, 2000, 3000, 4000, 5000, 6000, 6999]
    assert [stretch.stands_for for stretch in census.stretches] == [1000] * 6 + [999, 1]
    assert census.stretches[0].offsets == census.stretches[0].records == 30
    assert census.offsets == 7 * 30 + 1


def test_places_that_meet_are_not_counted_twice() -> None:
    log = filled(*[(20, 1_000)] * 20)
    (census,) = take(Link({ONE: log}), one=(0, 400)).found.values()
    assert census.offsets == census.records == sum(stretch.stands_for for stretch in census.stretches) == 400
    assert len(census.stretches) > 1


def test_a_batch_too_large_for_its_share_is_fetched_alone() -> None:
    small, large = filled((5, 10)), filled((1, 200_000), (1, 10))
    link = Link({ONE: small, TWO: large})
    samples = take(link, one=(0, 5), two=(0, 2))
    assert link.offsets[:2] == [{0: 0, 1: 0}, {1: 0}]
    assert samples.found[TWO].offsets == 2
    assert samples.found[TWO].largest_batch_bytes > 200_000


def test_offsets_behind_the_last_batch_hold_nothing() -> None:
    """As after a compaction that left nothing up to the last stable offset."""

    class Emptied(Link):
        def served(self, partition: TopicPartition, part: FetchPart, served: Served) -> Served:
            super().served(partition, part, served)
            return served._replace(data=b"") if part.offset >= 10 else served

    log = filled((10, 10), (90, 10))
    log.batches.pop()
    (census,) = take(Emptied({ONE: log}), one=(0, 100)).found.values()
    assert [(stretch.offsets, stretch.records) for stretch in census.stretches] == [(10, 10), (86, 0)]
    assert sum(stretch.stands_for for stretch in census.stretches) == 100


def test_holes_before_a_batch_count() -> None:
    log = PartitionLog(TOPIC)
    log.write(make_batch([Record(1, None, b"v")] * 5))
    log.write(seal(b"x", last_offset_delta=9, record_count=2))
    del log.batches[0]
    (census,) = take(Link({ONE: log}), one=(0, 15)).found.values()
    assert (census.offsets, census.records, census.holed_batches) == (15, 2, 1)


def test_an_error_ends_its_own_partition_only() -> None:
    class Failing(Link):
        def error(self, what: str, partition: TopicPartition) -> int:
            return ErrorCode.OFFSET_OUT_OF_RANGE if partition == ONE else 0

    samples = take(Failing({ONE: filled((5, 10)), TWO: filled((5, 10))}), one=(0, 5), two=(0, 5))
    assert samples.failures == {ONE: "OFFSET_OUT_OF_RANGE"}
    assert set(samples.found) == {TWO}


def test_a_broker_that_goes_away_is_told_and_what_was_seen_stays() -> None:
    class Lost(Link):
        def before(self, what: str) -> None:
            super().before(what)
            if len(self.offsets) == 2:
                raise ConnectionLost("gone", side=Side.SOURCE, broker="b")

    link = Lost({ONE: filled((5, 10)), TWO: filled(*[(10, 3_000)] * 700), THREE: filled()})
    samples = take(link, one=(0, 5), two=(0, 7_000))
    assert set(samples.found) == {ONE, TWO}
    assert len(samples.found[TWO].stretches) == 1
    assert link.closed


def test_a_broker_that_cannot_be_reached_is_told() -> None:
    def refuse(_address: BrokerAddress) -> LogLink:
        raise ConnectionLost("refused", side=Side.SOURCE, broker="b")

    spans = {ONE: Span(TOPIC, Offset(0), Offset(5)), THREE: Span(TOPIC, Offset(0), Offset(5))}
    samples = take_samples(refuse, metadata({ONE: 0}), spans)
    assert "refused" in samples.failures[ONE]
    assert samples.failures[THREE] == "it has no leader now"


def test_a_throttled_answer_is_not_taken_for_an_empty_log() -> None:
    class Throttled(Link):
        def receive(self, into: bytearray) -> memoryview:
            self._answer = self._answer[:4] + b"\0" + b"\0" * 10 + b"\x01\0" if len(self.offsets) == 1 else self._answer
            return super().receive(into)

    (census,) = take(Throttled({ONE: filled((80, 10))}), one=(0, 80)).found.values()
    assert census.offsets == census.records == 80 - 80 // 7
    assert sum(stretch.stands_for for stretch in census.stretches) == 80 - 80 // 7


def test_many_partitions_are_asked_for_in_requests_that_fit_an_answer() -> None:
    tps = [TopicPartition(TopicName("orders"), Partition(number)) for number in range(TOGETHER + 1)]
    link = Link({tp: filled((2, 10)) for tp in tps})
    spans = {tp: Span(TOPIC, Offset(0), Offset(2)) for tp in tps}
    samples = take_samples(lambda _address: link, metadata(dict.fromkeys(tps, 0)), spans)
    assert [len(request) for request in link.offsets] == [TOGETHER, 1]
    assert len(samples.found) == TOGETHER + 1


def test_large_batches_use_up_the_budget_and_that_is_told() -> None:
    log = filled(*[(1, 200_000)] * 8)
    samples = take(Link({ONE: log}), budget_bytes=8 * PLACE_BYTES, one=(0, 8))
    assert samples.found[ONE].offsets == 3
    assert samples.places_left_out > 0


@pytest.mark.parametrize(
    ("partitions", "affordable", "chosen", "places"),
    [
        (1, 100, 1, PLACES),
        (10, 80, 10, 8),
        (10, 79, 10, 7),
        (10, 10, 10, 1),
        (10, 9, 9, 1),
        (10, 0, 1, 1),
        (0, 5, 0, 5),
    ],
)
def test_the_budget_decides_how_thinly_is_looked(partitions: int, affordable: int, chosen: int, places: int) -> None:
    tps = [TopicPartition(TopicName("t"), Partition(number)) for number in range(partitions)]
    found, each = thin_out(tps, affordable * PLACE_BYTES)
    assert (len(found), each) == (chosen, places)


@given(st.integers(1, 200), st.integers(1, 200))
def test_partitions_are_picked_evenly_and_always_the_same(partitions: int, affordable: int) -> None:
    tps = [TopicPartition(TopicName("t"), Partition(number)) for number in range(partitions)]
    found, places = thin_out(tps, affordable * PLACE_BYTES)
    assert found == thin_out(reversed(tps), affordable * PLACE_BYTES)[0]
    assert len(found) * places <= max(affordable, 1)
    assert len(set(found)) == len(found) == min(partitions, affordable)
    gaps = {after.partition - before.partition for before, after in pairwise(found)}
    assert not gaps or max(gaps) - min(gaps) <= 1


def test_partitions_without_samples_for_want_of_budget_are_told() -> None:
    link = Link({ONE: filled((1, 10)), TWO: filled((1, 10)), THREE: filled((1, 10))})
    samples = take(link, budget_bytes=PLACE_BYTES, one=(0, 1), two=(0, 1), three=(0, 1))
    assert set(samples.found) == {ONE}
    assert samples.skipped == {TWO, THREE}
    assert samples.places == 1
