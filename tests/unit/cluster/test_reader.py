"""The reader brings whole batches of the wanted stretch, and never more trouble than the stretch holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from kmigrate.cluster import reader
from kmigrate.cluster.reader import TailReader, fingerprint
from kmigrate.kafka_types import Offset, Partition, Side, TopicId, TopicName, TopicPartition
from kmigrate.wire.error_codes import ErrorCode
from tests.simulation.batches import Record, make_batch, seal
from tests.simulation.links import LogLink
from tests.simulation.log import PartitionLog, Served
from tests.simulation.wire import FetchPart

TOPIC = TopicId("ab" * 16)
ONE, TWO = (TopicPartition(TopicName("orders"), Partition(n)) for n in (0, 1))


def filled(*counts: int, size: int = 10) -> PartitionLog:
    log = PartitionLog(TOPIC)
    for count in counts:
        log.write(make_batch([Record(1000, None, bytes([log.end % 256]) * size)] * count))
    return log


class Link(LogLink):
    """Counts requests; `change` alters what is served."""

    def __init__(
        self, logs: Mapping[TopicPartition, PartitionLog], change: Callable[[Served], Served] = lambda served: served
    ) -> None:
        super().__init__(logs)
        self.change = change

    def served(self, partition: TopicPartition, part: FetchPart, served: Served) -> Served:
        return self.change(served)


def read(link: LogLink, **spans: tuple[int, int]) -> dict[str, tuple[int, list[int]]]:
    wanted = {
        {"one": ONE, "two": TWO}[name]: (TOPIC, Offset(start), Offset(end)) for name, (start, end) in spans.items()
    }
    found = TailReader(Side.SOURCE, link).read(wanted)
    return {
        name: (
            found[partition].error,
            [header.base_offset for header, _ in found[partition].batches],
        )
        for name, partition in (("one", ONE), ("two", TWO))
        if partition in wanted
    }


def test_all_batches_that_hold_a_wanted_offset_are_read() -> None:
    link = Link({ONE: filled(3, 2, 4, 1)})
    assert read(link, one=(4, 8)) == {"one": (0, [3, 5])}
    assert link.asked == ["Fetch"]


def test_a_batch_is_copied_out_of_the_answer() -> None:
    log = filled(3)
    found = TailReader(Side.SOURCE, Link({ONE: log})).read({ONE: (TOPIC, Offset(0), Offset(3))})
    assert [bytes(view) for _, view in found[ONE].batches] == [log.batches[0].data]


def test_a_fingerprint_tells_batches_apart_and_takes_no_room() -> None:
    log = filled(1, 1, 1, size=50_000)
    same, other = log.batches[0].data, log.batches[1].data
    assert fingerprint(memoryview(same)) == fingerprint(memoryview(bytearray(same)))
    assert fingerprint(memoryview(same))[61:] != fingerprint(memoryview(other))[61:]
    found = TailReader(Side.SOURCE, Link({ONE: log})).read({ONE: (TOPIC, Offset(0), Offset(3))}, fingerprint)
    assert [(bytes(view[:61]), len(view)) for _, view in found[ONE].batches] == [
        (batch.data[:61], 93) for batch in log.batches
    ]


def test_an_empty_stretch_asks_nothing() -> None:
    link = Link({ONE: filled(3)})
    assert read(link, one=(2, 2)) == {"one": (0, [])}
    assert link.asked == []


def test_several_partitions_share_requests_however_large_they_are() -> None:
    logs = {ONE: filled(*[1] * 12, size=100_000), TWO: filled(*[1] * 12, size=100_000)}
    found = read(Link(logs), one=(0, 12), two=(3, 12))
    assert found == {"one": (0, list(range(12))), "two": (0, list(range(3, 12)))}


def test_a_batch_larger_than_a_partitions_share_is_read_too() -> None:
    logs = {ONE: filled(1, 1, size=reader.PARTITION_BYTES * 2), TWO: filled(1, 1)}
    assert read(Link(logs), one=(0, 2), two=(0, 2)) == {"one": (0, [0, 1]), "two": (0, [0, 1])}


def test_an_error_ends_its_own_partition_only() -> None:
    found = read(Link({ONE: filled(3), TWO: filled(3)}), one=(9, 12), two=(0, 3))
    assert found == {"one": (ErrorCode.OFFSET_OUT_OF_RANGE, []), "two": (0, [0])}


def test_offsets_that_never_come_are_not_available() -> None:
    link = Link({ONE: filled(3)})
    assert read(link, one=(0, 5)) == {"one": (ErrorCode.OFFSET_NOT_AVAILABLE, [])}
    assert len(link.asked) < 100


def test_an_older_format_ends_the_stretch_with_what_was_read() -> None:
    def older(served: Served) -> Served:
        data = bytearray(served.data)
        second = 12 + int.from_bytes(data[8:12], "big")
        data[second + 16] = 1
        return served._replace(data=bytes(data))

    assert read(Link({ONE: filled(3, 2)}, older), one=(0, 5)) == {"one": (0, [0])}


def test_what_lies_beyond_the_stretch_does_not_matter() -> None:
    log = filled(3)
    log.write(seal(b"?", magic=1, last_offset_delta=0, record_count=1))
    assert read(Link({ONE: log}), one=(0, 3)) == {"one": (0, [0])}


def test_an_impossible_length_ends_the_stretch_of_its_own_partition_only() -> None:
    damaged = filled(1, 1)
    first = damaged.batches[0]
    damaged.batches[0] = first._replace(data=first.data[:8] + b"\0\0\0\0" + first.data[12:])
    assert read(Link({ONE: damaged, TWO: filled(2)}), one=(0, 2), two=(0, 2)) == {"one": (0, []), "two": (0, [0])}
