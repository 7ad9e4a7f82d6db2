"""A diff finds what differs, and takes neither lag nor cleaning for it."""

from __future__ import annotations

import pytest

from kmigrate.kafka_types import Offset, Side
from kmigrate.offsets.classes import OffsetClass
from kmigrate.offsets.offset_map import Ends
from kmigrate.query.comparing import Comparing
from kmigrate.query.contents import Contents, FoundRecord
from kmigrate.query.differences import DifferenceKind, PartitionDiff, has_differences, shape_of
from kmigrate.query.places import Pair, Places
from kmigrate.wire.error_codes import ErrorCode
from tests.simulation.batches import ZSTD, Record, make_batch
from tests.simulation.log import PartitionLog
from tests.simulation.readers import commit, partition_of

from .conftest import Clusters

ONE = partition_of("orders", 0)


def compare(clusters: Clusters, newest: int = 100) -> PartitionDiff:
    source, target = clusters.sides()
    comparing = Comparing(source, target, clusters.places_of, newest)
    comparing.run(clusters.partitions([source, target]))
    (found,) = comparing.done
    return found


def write(log: PartitionLog, *values: bytes, codec: int = 0) -> None:
    log.write(make_batch([Record(1, b"k", value) for value in values], codec=codec))


def test_the_same_records_in_other_batches_are_the_same(clusters: Clusters) -> None:
    source, target = clusters.both(ONE)
    write(source, b"a", b"b", b"c", codec=ZSTD)
    write(target, b"a")
    write(target, b"b", b"c")
    found = compare(clusters)
    assert (found.outcome, found.compared, found.lag_offsets) == ("same", 3, 0)
    assert not has_differences([found])


def test_what_is_not_copied_yet_is_lag(clusters: Clusters) -> None:
    source, target = clusters.both(ONE)
    write(source, b"a", b"b", b"c")
    write(target, b"a")
    found = compare(clusters)
    assert (found.outcome, found.compared, found.lag_offsets) == ("same, lags", 1, 2)


@pytest.mark.parametrize(
    ("other", "fields"),
    [
        (Record(1, b"k", b"x"), ("value",)),
        (Record(1, b"k", None), ("value",)),
        (Record(1, b"", b"b"), ("key",)),
        (Record(2, b"k", b"b"), ("timestamp",)),
        (Record(1, b"k", b"b", ((b"h", None),)), ("headers",)),
    ],
)
def test_a_record_that_differs_is_named_with_what_differs(
    clusters: Clusters, other: Record, fields: tuple[str, ...]
) -> None:
    source, target = clusters.both(ONE)
    write(source, b"a", b"b")
    target.write(make_batch([Record(1, b"k", b"a"), other]))
    found = compare(clusters)
    assert [(each.kind, each.source_offset, each.fields) for each in found.differences] == [
        (DifferenceKind.DIFFERS, 1, fields)
    ]
    assert found.outcome == "differs"


def test_a_missing_record_and_one_of_an_aborted_transaction_are_differences(clusters: Clusters) -> None:
    source, target = clusters.both(ONE)
    commit(source, [Record(1, b"k", b"aborted")], committed=False)
    write(source, b"a", b"b")
    write(target, b"aborted")
    target.write_marker(9, 0, 0, now_ms=5)
    target.write_marker(9, 0, 0, now_ms=5)
    write(target, b"b")
    assert [(each.kind, each.source_offset) for each in compare(clusters).differences] == [
        (DifferenceKind.MISSING, 2),
        (DifferenceKind.ONLY_TARGET, 0),
    ]


def test_what_the_source_cleaned_is_no_difference(clusters: Clusters) -> None:
    source, target = clusters.both(ONE)
    for log in (source, target):
        for value in (b"a", b"b", b"c"):
            write(log, value)
    del source.batches[1]
    found = compare(clusters)
    assert (found.outcome, found.gone) == ("same", 1)


def test_a_log_start_that_moved_on_is_no_difference(clusters: Clusters) -> None:
    source, target = clusters.both(ONE)
    for log in (source, target):
        for value in (b"a", b"b", b"c"):
            write(log, value)
    source.delete_records(2)
    found = compare(clusters)
    assert (found.outcome, found.compared) == ("same", 1)


def test_only_the_newest_are_compared(clusters: Clusters) -> None:
    source, target = clusters.both(ONE)
    for log, first in ((source, b"a"), (target, b"x")):
        for value in (first, b"b", b"c"):
            write(log, value)
    assert compare(clusters, newest=2).outcome == "same"
    assert compare(clusters, newest=3).outcome == "differs"


def test_a_target_that_goes_beyond_its_source_differs(clusters: Clusters) -> None:
    source, target = clusters.both(ONE)
    write(source, b"a")
    write(target, b"a", b"foreign")
    assert [each.kind for each in compare(clusters).differences] == [DifferenceKind.BEYOND]


def test_a_topic_that_the_target_lacks_differs(clusters: Clusters) -> None:
    write(clusters.log(Side.SOURCE, ONE), b"a")
    assert [each.kind for each in compare(clusters).differences] == [DifferenceKind.NO_PARTITION]


def test_a_mapped_partition_is_compared_through_its_map_as_far_as_that_goes(clusters: Clusters) -> None:
    source, target = clusters.both(ONE)
    for value in (b"a", b"b", b"c"):
        commit(source, [Record(1, b"k", value)])  # records at 0, 2, 4
        write(target, value)

    def ask(offset: Offset, side: Side) -> Pair | None:
        return Pair(Offset(offset * 2), offset, True) if side is Side.TARGET else None

    clusters.places[ONE] = Places(OffsetClass.MAPPED, ask, Ends(Offset(4), Offset(2)))
    found = compare(clusters)
    assert (found.outcome, found.compared, found.lag_offsets) == ("same, lags", 2, 2)
    target.batches[1] = target.batches[1]._replace(data=target.batches[0].data[:7] + b"\1" + target.batches[0].data[8:])
    assert [(each.source_offset, each.target_offset) for each in compare(clusters).differences] == [(2, 1)]


def test_a_partition_that_cannot_be_read_is_unknown_and_holds_up_no_other(clusters: Clusters) -> None:
    for number in range(2):
        for log in clusters.both(partition_of("orders", number)):
            write(log, b"a")
    source, target = clusters.sides()
    partitions = clusters.partitions([source, target])
    source.fetch_some({ONE: Offset(0)}, 1)
    link = source._client.link(0)
    link.error = lambda _what, _partition: ErrorCode.TOPIC_AUTHORIZATION_FAILED  # type: ignore[attr-defined]
    comparing = Comparing(source, target, clusters.places_of, 10)
    comparing.run(partitions)
    assert [each.outcome for each in comparing.done] == ["unknown", "same"]
    assert "orders-0@0 cannot be read: TOPIC_AUTHORIZATION_FAILED" in comparing.done[0].failure


def test_a_damaged_batch_is_unknown_not_the_same(clusters: Clusters) -> None:
    for log in clusters.both(ONE):
        write(log, b"a")
        data = bytearray(log.batches[0].data)
        data[-2] ^= 1
        log.batches[0] = log.batches[0]._replace(data=bytes(data))
    assert "CRC" in compare(clusters).failure


def test_null_empty_and_the_order_of_headers_are_told_apart() -> None:
    contents = [
        Contents(None, b""),
        Contents(b"", None),
        Contents(None, None),
        Contents(None, None, ((b"a", None),)),
        Contents(None, None, ((b"a", b""),)),
        Contents(None, None, ((b"a", b""), (b"b", b""))),
        Contents(None, None, ((b"b", b""), (b"a", b""))),
        Contents(None, None, ((b"a", b"\0\0\0\1b\1\0\0\0\0"),)),
    ]
    assert len({shape_of(FoundRecord(ONE, Offset(0), 1, each)) for each in contents}) == len(contents)
