"""Records per minute: exact where they are read, and honest where they are estimated."""

from __future__ import annotations

from kmigrate.kafka_types import Offset, Side
from kmigrate.query.counting import Counting, Rates
from kmigrate.query.minutes import MINUTE_MS, between, minutes_before
from tests.simulation.batches import Record, make_batch, with_append_time
from tests.simulation.readers import commit, partition_of

from .conftest import Clusters

ONE = partition_of("orders", 0)
BEGINS = [MINUTE_MS * number for number in (10, 11, 12, 13)]


def at(minute: int, second: int = 0) -> Record:
    return Record(MINUTE_MS * minute + 1_000 * second, None, b"v")


def rates(clusters: Clusters, *, exact: bool | None) -> tuple[Rates, list[str]]:
    sides = clusters.sides()
    counting = Counting({each.side: each for each in sides}, clusters.partitions(sides), clusters.places_of, BEGINS)
    found = counting.run(exact=exact)
    return found, [*counting.notes]


def test_the_minutes_are_whole_but_for_the_last() -> None:
    now = 12 * MINUTE_MS + 7_000
    assert minutes_before(now, 2) == BEGINS


def test_every_record_counts_in_its_minute(clusters: Clusters) -> None:
    for log in clusters.both(ONE):
        log.write(make_batch([at(9), at(10), at(11, 59), at(10, 59)]))
        commit(log, [at(11)] * 2, marked_at=MINUTE_MS * 12)
        commit(log, [at(11)] * 5, committed=False, marked_at=MINUTE_MS * 12)
        log.write(with_append_time(make_batch([at(3)] * 3), MINUTE_MS * 12 + 5))
    clusters.logs[Side.SOURCE][ONE].write(make_batch([at(12)]))
    found, notes = rates(clusters, exact=None)
    assert found.totals(Side.SOURCE) == [2, 3, 4]
    assert found.totals(Side.TARGET) == [2, 3, 3]
    assert not found.is_estimated
    assert notes == []


def test_the_estimate_counts_offsets_by_the_time_index(clusters: Clusters) -> None:
    for log in clusters.both(ONE):
        log.write(make_batch([at(9), at(10), at(10, 59), at(11)]))
        commit(log, [at(11)] * 2, marked_at=MINUTE_MS * 11)
    clusters.logs[Side.SOURCE][ONE].write(make_batch([at(12)]))
    found, _ = rates(clusters, exact=False)
    assert found.totals(Side.SOURCE) == [2, 4, 1]
    assert found.totals(Side.TARGET) == [2, 4, 0]
    assert found.is_estimated


def test_markers_with_the_time_of_copying_do_not_lead_the_estimate_astray(clusters: Clusters) -> None:
    source, target = clusters.both(ONE)
    for minute in (9, 10, 11, 12):
        commit(source, [at(minute)] * 3, marked_at=MINUTE_MS * minute)
        target.write(make_batch([at(minute)] * 3))
        target.write_marker(9, 0, 0, now_ms=MINUTE_MS * 50)
    found, notes = rates(clusters, exact=False)
    assert found.totals(Side.SOURCE) == found.totals(Side.TARGET) == [4, 4, 4]
    assert notes == ["3 times of the target were taken from the source: markers stand there"]


def test_a_topic_that_one_side_lacks_counts_nothing_there(clusters: Clusters) -> None:
    clusters.log(Side.SOURCE, ONE).write(make_batch([at(10)]))
    for exact in (True, False):
        found, _ = rates(clusters, exact=exact)
        assert found.totals(Side.SOURCE) == [1, 0, 0]
        assert found.totals(Side.TARGET) == [0, 0, 0]


def test_what_cannot_be_read_is_told(clusters: Clusters) -> None:
    source, _ = clusters.both(ONE)
    for _ in range(2):
        source.write(make_batch([at(10)]))
    data = source.batches[1].data
    source.batches[1] = source.batches[1]._replace(data=data[:8] + bytes(4) + data[12:])
    found, notes = rates(clusters, exact=True)
    assert found.totals(Side.SOURCE) == [1, 0, 0]
    assert notes == ["orders-0@1 on the source cannot be read: not counted from there"]


def test_an_index_out_of_order_counts_nothing_twice() -> None:
    assert between([Offset(each) for each in (5, 9, 7, 12)]) == [4, 0, 3]
