"""The reader brings whole batches of the wanted stretch, and never more trouble than the stretch holds."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Mapping, Sequence

import pytest

from kmigrate.cluster import reader
from kmigrate.cluster.reader import Aborted, Stored, TailReader, fingerprint
from kmigrate.kafka_types import Offset, Partition, Side, TopicId, TopicName, TopicPartition
from kmigrate.wire.calls import READ_COMMITTED, READ_UNCOMMITTED
from kmigrate.wire.error_codes import ErrorCode
from tests.simulation.batches import Record, make_batch
from tests.simulation.committed import CommittedLink, compact
from tests.simulation.links import LogLink
from tests.simulation.log import PartitionLog, Served
from tests.simulation.wire import FetchPart

TOPIC = TopicId("ab" * 16)
ONE, TWO = (TopicPartition(TopicName("orders"), Partition(n)) for n in (0, 1))

Shown = tuple[list[tuple[bool, int]], list[tuple[int, int]]]


def filled(*counts: int, size: int = 10) -> PartitionLog:
    log = PartitionLog(TOPIC)
    for count in counts:
        log.write(make_batch([Record(1000, None, bytes([log.end % 256]) * size)] * count))
    return log


def message(offset: int) -> bytes:
    """A message of format v1 without key and value."""
    after = struct.pack(">bbqii", 1, 0, 1_000, -1, -1)
    return struct.pack(">qiI", offset, 4 + len(after), zlib.crc32(after)) + after


def damage(log: PartitionLog, place: int) -> None:
    """This batch claims a length of 0."""
    data = log.batches[place].data
    log.batches[place] = log.batches[place]._replace(data=data[:8] + bytes(4) + data[12:])


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


def test_a_batch_of_an_older_format_is_passed_over() -> None:
    log = filled(3, 1, 2)
    log.batches[1] = log.batches[1]._replace(data=message(3))
    assert read(Link({ONE: log}), one=(0, 6)) == {"one": (0, [0, 4])}
    assert read(Link({ONE: log}), one=(3, 4)) == {"one": (0, [])}


def test_what_lies_beyond_the_stretch_does_not_matter() -> None:
    log = filled(3, 1)
    log.batches[1] = log.batches[1]._replace(data=b"?" * 100)
    assert read(Link({ONE: log}), one=(0, 3)) == {"one": (0, [0])}


def test_an_impossible_length_is_an_error_of_its_own_partition_only() -> None:
    damaged = filled(1, 1)
    damage(damaged, 0)
    assert read(Link({ONE: damaged, TWO: filled(2)}), one=(0, 2), two=(0, 2)) == {
        "one": (ErrorCode.CORRUPT_MESSAGE, []),
        "two": (0, [0]),
    }


def test_an_impossible_length_beyond_the_stretch_does_not_matter() -> None:
    log = filled(1, 1, 1)
    damage(log, 2)
    assert read(Link({ONE: log}), one=(0, 2)) == {"one": (0, [0, 1])}


# ── holes ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_hole_inside_is_read_across() -> None:
    log = filled(2, 2, 2)
    compact(log, 2, 4)
    assert read(Link({ONE: log}), one=(0, 6)) == {"one": (0, [0, 4])}


def test_a_batch_behind_a_hole_ends_the_stretch_and_is_not_in_it() -> None:
    log = filled(2, 2, 2)
    compact(log, 2, 4)
    link = Link({ONE: log})
    assert read(link, one=(0, 3)) == {"one": (0, [0])}
    assert link.asked == ["Fetch"]


def test_a_hole_at_the_end_is_known_by_an_answer_without_anything() -> None:
    log = filled(2, 2)
    compact(log, 2, 4)
    link = Link({ONE: log})
    assert read(link, one=(0, 4)) == {"one": (0, [0])}
    assert link.asked == ["Fetch", "Fetch"]


def test_nothing_below_the_high_watermark_is_a_hole_nothing_above_it_is_not() -> None:
    log = filled(2, 2)
    compact(log, 2, 4)
    log.high_watermark = 3
    assert read(Link({ONE: log}), one=(2, 3)) == {"one": (0, [])}
    assert read(Link({ONE: log}), one=(2, 4)) == {"one": (ErrorCode.OFFSET_NOT_AVAILABLE, [])}


def test_a_partition_for_which_there_was_no_room_has_no_hole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "ANSWER_BYTES", 150_000)
    logs = {ONE: filled(1, 1, size=100_000), TWO: filled(1, 1, size=100_000)}
    assert read(Link(logs), one=(0, 2), two=(0, 2)) == {"one": (0, [0, 1]), "two": (0, [0, 1])}


def test_a_batch_that_seems_cut_leaves_no_hole() -> None:
    def lengthened(served: Served) -> Served:
        return served._replace(data=served.data[:8] + b"\1" + served.data[9:])

    assert read(Link({ONE: filled(2)}, lengthened), one=(0, 2)) == {"one": (ErrorCode.OFFSET_NOT_AVAILABLE, [])}


# ── decided data ──────────────────────────────────────────────────────────────────────────────────────────────────


def show(link: CommittedLink, start: int, end: int, isolation_level: int) -> tuple[list[Shown], int]:
    """What was shown, an answer at a time, and the error."""
    answers: list[Shown] = []

    def take(_: TopicPartition, stored: Sequence[Stored], aborted: Aborted) -> None:
        answers.append(([(each.header is not None, each.next_offset) for each in stored], list(aborted)))

    errors = TailReader(Side.SOURCE, link, isolation_level).show({ONE: (TOPIC, Offset(start), Offset(end))}, take)
    return answers, errors.get(ONE, 0)


@pytest.mark.parametrize("level", [READ_UNCOMMITTED, READ_COMMITTED])
def test_the_isolation_level_is_asked_for(level: int) -> None:
    link = CommittedLink({ONE: filled(1)})
    assert show(link, 0, 1, level) == ([([(True, 1)], [])], 0)
    assert link.isolation == [level]


def test_what_is_not_decided_is_not_available_to_a_reader_of_decided_data() -> None:
    log = filled(2, 2)
    compact(log, 2, 4)
    link = CommittedLink({ONE: log})
    link.stable = 3
    assert show(link, 2, 3, READ_COMMITTED)[1] == 0
    assert show(link, 2, 4, READ_COMMITTED)[1] == ErrorCode.OFFSET_NOT_AVAILABLE
    assert show(link, 2, 4, READ_UNCOMMITTED)[1] == 0


def test_every_answer_comes_with_the_aborted_transactions_of_its_own_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    log = filled(1, 1, 1, 1, size=40)
    monkeypatch.setattr(reader, "PARTITION_BYTES", 2 * len(log.batches[0].data))
    link = CommittedLink({ONE: log})
    link.aborted = [(7, 0, 1), (8, 1, 2), (9, 3, 3)]
    assert show(link, 0, 4, READ_COMMITTED)[0] == [
        ([(True, 1), (True, 2)], [(8, 1), (7, 0)]),
        ([(True, 3), (True, 4)], [(9, 3), (8, 1)]),
    ]


def test_messages_of_older_formats_are_shown_between_batches() -> None:
    log = filled(3, 1, 2)
    log.batches[1] = log.batches[1]._replace(data=message(3))
    link = CommittedLink({ONE: log})
    assert show(link, 0, 6, READ_COMMITTED) == ([([(True, 3), (False, 4), (True, 6)], [])], 0)


def test_messages_beyond_the_stretch_are_not_shown() -> None:
    log = filled(3, 1)
    log.batches[1] = log.batches[1]._replace(data=message(3))
    assert show(CommittedLink({ONE: log}), 0, 3, READ_COMMITTED) == ([([(True, 3)], [])], 0)


def test_a_message_shorter_than_a_batch_header_may_come_last_and_be_cut() -> None:
    log = filled(1, 1)
    log.batches[0] = log.batches[0]._replace(data=message(0))
    log.batches[1] = log.batches[1]._replace(data=message(1))
    link = CommittedLink({ONE: log})
    assert show(link, 0, 2, READ_COMMITTED) == ([([(False, 1), (False, 2)], [])], 0)


@pytest.mark.parametrize("room", [1, 16, 17, 25])
def test_a_message_that_is_cut_comes_with_the_next_answer(room: int, monkeypatch: pytest.MonkeyPatch) -> None:
    log = filled(1, 1)
    for offset in (0, 1):
        log.batches[offset] = log.batches[offset]._replace(data=message(offset))
    monkeypatch.setattr(reader, "PARTITION_BYTES", len(message(0)) + room)
    assert show(CommittedLink({ONE: log}), 0, 2, READ_COMMITTED) == ([([(False, 1)], []), ([(False, 2)], [])], 0)
