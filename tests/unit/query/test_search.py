"""A search finds what a naive reader finds, in order, with the right twin, whatever the windows are."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kmigrate.errors import ClusterError, UsageError
from kmigrate.kafka_types import Offset, Side, TopicName
from kmigrate.offsets.classes import OffsetClass
from kmigrate.query import ordering, scanning
from kmigrate.query.conditions import Condition, Field, Filter, Operator
from kmigrate.query.pairing import Outcome, Row
from kmigrate.query.places import Pair, Places
from kmigrate.query.search import UNTIL_NOTE, Question, Search
from kmigrate.query.sides import known_partitions
from kmigrate.wire.error_codes import ErrorCode
from tests.simulation.batches import Record, make_batch
from tests.simulation.readers import commit, partition_of, visible

from .conftest import Clusters

ONE, TWO = partition_of("orders", 0), partition_of("orders", 1)
EVERYTHING = Filter()


def contains(text: bytes) -> Filter:
    return Filter(conditions=(Condition(field=Field.VALUE, operator=Operator.CONTAINS, wanted=text),))


def search(
    clusters: Clusters,
    wanted: Filter = EVERYTHING,
    *,
    sides: Sequence[Side] = (Side.SOURCE, Side.TARGET),
    newest_first: bool = True,
    limit: int = 100,
    offset: int | None = None,
    offset_of: Side = Side.SOURCE,
) -> Search:
    question = Question(
        wanted=wanted,
        newest_first=newest_first,
        limit=limit,
        offset=None if offset is None else Offset(offset),
        offset_of=offset_of,
    )
    readers = [clusters.side(side) for side in sides]
    found = Search(question, readers, clusters.partitions(readers), clusters.places_of)
    found.run()
    return found


def told(rows: Sequence[Row]) -> list[tuple[int | None, int | None, Outcome]]:
    return [(row.source_offset, row.target_offset, row.outcome) for row in rows]


def test_each_record_stands_beside_its_twin(clusters: Clusters) -> None:
    source, target = clusters.both(ONE)
    for number in range(5):
        source.write(make_batch([Record(number, b"k", b"%d" % number)]))
    for number in (0, 7, 2):
        target.write(make_batch([Record(number, b"k", b"%d" % number)]))
    found = search(clusters)
    assert told(found.rows) == [
        (4, 4, Outcome.NOT_COPIED),
        (3, 3, Outcome.NOT_COPIED),
        (2, 2, Outcome.SAME),
        (1, 1, Outcome.DIFFERS),
        (0, 0, Outcome.SAME),
    ]
    assert found.rows[3].other is not None
    assert found.rows[3].other.contents.value == b"7"


def test_a_twin_that_the_conditions_leave_out_is_looked_up(clusters: Clusters) -> None:
    source, target = clusters.both(ONE)
    source.write(make_batch([Record(1, None, b"wanted"), Record(1, None, b"wanted"), Record(1, None, b"else")]))
    target.write(make_batch([Record(1, None, b"wanted"), Record(1, None, b"other"), Record(1, None, b"wanted")]))
    rows = search(clusters, contains(b"wanted")).rows
    assert told(rows) == [(2, 2, Outcome.DIFFERS), (1, 1, Outcome.DIFFERS), (0, 0, Outcome.SAME)]
    assert [row.record.contents.value for row in rows] == [b"else", b"wanted", b"wanted"]


def test_what_lies_on_one_side_only_is_told(clusters: Clusters) -> None:
    source, target = clusters.both(ONE)
    commit(source, [Record(1, None, b"aborted")], committed=False)
    source.write(make_batch([Record(2, None, b"a"), Record(3, None, b"b")]))
    target.write(make_batch([Record(1, None, b"not aborted")]))
    commit(target, [Record(2, None, b"a")], committed=False)
    target.write(make_batch([Record(3, None, b"b")]))
    assert told(search(clusters).rows) == [
        (3, 3, Outcome.SAME),
        (2, 2, Outcome.SOURCE_ONLY),
        (0, 0, Outcome.TARGET_ONLY),
    ]


@pytest.mark.parametrize("offset_of", list(Side))
def test_an_offset_is_where_it_begins_on_both_sides_of_a_mapped_partition(clusters: Clusters, offset_of: Side) -> None:
    source, target = clusters.both(ONE)
    for number in range(4):
        commit(source, [Record(number, None, b"%d" % number)])  # records at 0, 2, 4, 6
        target.write(make_batch([Record(number, None, b"%d" % number)]))

    def ask(offset: Offset, side: Side) -> Pair | None:
        pair = (offset, Offset(-(-offset // 2))) if side is Side.SOURCE else (Offset(offset * 2), offset)
        return Pair(*pair, offset % 2 == 0 or side is Side.TARGET)

    clusters.places[ONE] = Places(OffsetClass.MAPPED, ask)
    offset = 4 if offset_of is Side.SOURCE else 2
    found = search(clusters, newest_first=False, offset=offset, offset_of=offset_of)
    assert told(found.rows) == [(4, 2, Outcome.SAME), (6, 3, Outcome.SAME)]


def test_an_offset_outside_of_the_log_is_told(clusters: Clusters) -> None:
    source, _ = clusters.both(ONE)
    for _ in range(3):
        source.write(make_batch([Record(1, None, b"a")]))
    source.delete_records(2)
    below, beyond = (search(clusters, offset=offset, newest_first=False) for offset in (1, 7))
    assert [*below.notes] == ["orders-0@1 on the source is below its log start 2: begins there"]
    assert told(below.rows) == [(2, 2, Outcome.NOT_COPIED)]
    assert [*beyond.notes] == ["orders-0@7 on the source is not below its end 3: nothing is there yet"]
    assert beyond.rows == []


def test_times_bound_both_sides_also_where_markers_carry_the_time_of_copying(clusters: Clusters) -> None:
    source, target = clusters.both(ONE)
    for number in range(1, 7):
        commit(source, [Record(number, None, b"")], marked_at=number)
        target.write(make_batch([Record(number, None, b"")]))
        target.write_marker(9, 0, 0, now_ms=1_000)
    found = search(clusters, Filter(since_ms=3, until_ms=5))
    assert told(found.rows) == [(6, 6, Outcome.SAME), (4, 4, Outcome.SAME)]
    assert [*found.notes] == [UNTIL_NOTE]


def test_one_side_alone_is_not_compared(clusters: Clusters) -> None:
    source, _ = clusters.both(ONE)
    source.write(make_batch([Record(1, None, b"a")]))
    assert told(search(clusters, sides=[Side.SOURCE]).rows) == [(0, 0, Outcome.UNKNOWN)]
    assert search(clusters, sides=[Side.TARGET]).rows == []


def test_what_was_found_before_an_interrupt_is_there(clusters: Clusters) -> None:
    source, _ = clusters.both(ONE)
    for _ in range(3):
        source.write(make_batch([Record(1, None, b"a")]))
    readers = clusters.sides()

    def interrupt(_progress: object) -> None:
        raise KeyboardInterrupt

    question = Question(wanted=EVERYTHING, newest_first=True, limit=2)
    found = Search(question, readers, clusters.partitions(readers), clusters.places_of, interrupt)
    with pytest.raises(KeyboardInterrupt):
        found.run()
    assert told(found.rows) == [(2, 2, Outcome.UNKNOWN), (1, 1, Outcome.UNKNOWN)]


def test_a_damaged_place_ends_its_partition_only_and_is_told(clusters: Clusters) -> None:
    for partition in (ONE, TWO):
        source, _ = clusters.both(partition)
        for number in range(3):
            source.write(make_batch([Record(number, None, b"a")]))
    log = clusters.logs[Side.SOURCE][ONE]
    data = log.batches[1].data
    log.batches[1] = log.batches[1]._replace(data=data[:8] + bytes(4) + data[12:])
    found = search(clusters, newest_first=False)
    assert [(row.partition, row.source_offset) for row in found.rows] == [(ONE, 0), (TWO, 0), (TWO, 1), (TWO, 2)]
    assert [*found.notes] == ["orders-0@1 on the source begins something that is no record batch: left out from there"]


def test_a_refused_partition_ends_the_search_with_the_place_and_a_way_out(clusters: Clusters) -> None:
    source, _ = clusters.both(ONE)
    source.write(make_batch([Record(1, None, b"a")]))
    reader = clusters.side(Side.SOURCE)
    partitions = clusters.partitions([reader])
    reader.fetch_some({ONE: Offset(0)}, 1)
    link = reader._client.link(0)
    link.error = lambda _what, _partition: ErrorCode.TOPIC_AUTHORIZATION_FAILED  # type: ignore[attr-defined]
    question = Question(wanted=EVERYTHING, newest_first=True, limit=2)
    with pytest.raises(ClusterError, match=r"source cluster: orders-0@0 cannot be read: TOPIC_AUTH") as raised:
        Search(question, [reader], partitions, clusters.places_of).run()
    assert "READ" in raised.value.hint


def test_a_leader_that_moved_is_followed(clusters: Clusters) -> None:
    source, _ = clusters.both(ONE)
    source.write(make_batch([Record(1, None, b"a")]))
    reader = clusters.side(Side.SOURCE)
    partitions = clusters.partitions([reader])
    reader.fetch_some({ONE: Offset(0)}, 1)
    answers = iter([ErrorCode.NOT_LEADER_OR_FOLLOWER, 0, 0])
    reader._client.link(0).error = lambda _what, _partition: next(answers)  # type: ignore[attr-defined]
    found = Search(Question(wanted=EVERYTHING, newest_first=True, limit=2), [reader], partitions, clusters.places_of)
    found.run()
    assert len(found.rows) == 1


def test_a_topic_or_partition_that_there_is_not_is_named(clusters: Clusters) -> None:
    clusters.both(ONE)
    with pytest.raises(UsageError, match="topic 'other' is not on the source and target"):
        known_partitions(clusters.sides(), [TopicName("other")])
    with pytest.raises(UsageError, match="topic 'orders' has no partition 7"):
        known_partitions(clusters.sides(), [TopicName("orders")], [7])


@st.composite
def filled(draw: st.DrawFn) -> list[list[tuple[str, list[Record]]]]:
    """What is written to some partitions; times rise from batch to batch."""
    partitions = []
    for _ in range(draw(st.integers(1, 3))):
        steps = []
        for time in range(draw(st.integers(0, 8))):
            kind = draw(st.sampled_from(["plain", "committed", "aborted", "hole"]))
            values = draw(st.lists(st.sampled_from([b"a", b"b", b"ab"]), min_size=1, max_size=4))
            steps.append((kind, [Record(10 * time + at, None, value) for at, value in enumerate(values)]))
        partitions.append(steps)
    return partitions


@settings(max_examples=60)
@given(filled(), st.booleans(), st.integers(1, 12), st.sampled_from([EVERYTHING, contains(b"b")]), st.integers(1, 3))
def test_the_newest_and_the_oldest_are_those_of_a_naive_reader(
    written: list[list[tuple[str, list[Record]]]],
    newest_first: bool,
    limit: int,
    wanted: Filter,
    window: int,
) -> None:
    clusters = Clusters()
    for number, steps in enumerate(written):
        log = clusters.log(Side.SOURCE, partition_of("orders", number))
        for kind, records in steps:
            match kind:
                case "plain":
                    log.write(make_batch(records))
                case "hole":
                    log.write(make_batch(records))
                    log.batches.pop()  # compaction took it
                case _:
                    commit(log, records, committed=kind == "committed")
    everything = [record for partition, log in clusters.logs[Side.SOURCE].items() for record in visible(log, partition)]
    if wanted is not EVERYTHING:
        everything = [each for each in everything if b"b" in (each.contents.value or b"")]
    sign = -1 if newest_first else 1
    by_time = len([log for log in clusters.logs[Side.SOURCE].values() if log.log_start < log.last_stable_offset]) > 1
    everything.sort(key=lambda each: (each.timestamp_ms * sign * by_time, each.partition, each.offset * sign))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scanning, "FIRST_OFFSETS", window)
        patch.setattr(scanning, "WINDOW_BYTES", 100 * window)
        patch.setattr("kmigrate.query.walking._EMPTY_ANSWERS", 3)
        found = search(clusters, wanted, sides=[Side.SOURCE], newest_first=newest_first, limit=limit)
    assert [(row.partition, row.source_offset) for row in found.rows] == [
        (each.partition, each.offset) for each in everything[:limit]
    ]
    assert [*found.notes] == []


def test_no_more_is_read_than_the_newest_need(clusters: Clusters) -> None:
    for number in range(2):
        log = clusters.log(Side.SOURCE, partition_of("orders", number))
        for time in range(500):
            log.write(make_batch([Record(time, None, b"x" * 1_000)]))
    reader = clusters.side(Side.SOURCE)
    partitions = clusters.partitions([reader])
    found = Search(Question(wanted=EVERYTHING, newest_first=True, limit=5), [reader], partitions, clusters.places_of)
    found.run()
    assert [row.record.timestamp_ms for row in found.rows] == [499, 499, 498, 498, 497]
    assert found.scanned_bytes < 20_000


def test_what_does_not_fit_into_memory_is_told(clusters: Clusters, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ordering.Ordering.__init__, "__kwdefaults__", {"kept_bytes": 5_000})
    source, _ = clusters.both(ONE)
    for _ in range(10):
        source.write(make_batch([Record(1, None, b"x" * 1_000)]))
    found = search(clusters, sides=[Side.SOURCE])
    assert len(found.rows) == 4
    assert [*found.notes] == ["only 4 records of the source fit into memory: a lower --limit"]
