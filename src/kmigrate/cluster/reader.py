"""Reads stretches of partitions from one broker, whole batches at a time, for looking and comparing; never for copying.

Bounded: an answer is at most ANSWER_BYTES (or one batch, if that is larger), and its batches are shown where they lie:
whoever keeps more than a fingerprint of them sees to it that this stays small.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from kmigrate.cluster.network import Link
from kmigrate.errors import ProtocolError
from kmigrate.kafka_types import Offset, Side, TopicId, TopicPartition
from kmigrate.records.batch import HEADER_BYTES, MAGIC, MAGIC_OFFSET, Header, iterate_batches
from kmigrate.records.message_set import entry_bytes
from kmigrate.wire import fetch
from kmigrate.wire.calls import READ_COMMITTED, READ_UNCOMMITTED
from kmigrate.wire.error_codes import ErrorCode

ANSWER_BYTES = 4 << 20
PARTITION_BYTES = 256 << 10
SMALL_ANSWER_BYTES = 64 << 10
"""What is set aside for an answer; a larger one brings memory of its own."""
MAX_WAIT_MS = 100
_EMPTY_ANSWERS = 50

Wanted = Mapping[TopicPartition, tuple[TopicId, Offset, Offset]]
"""Of each partition: topic id, and the offsets from ≤ o < to."""
Aborted = Sequence[tuple[int, int]]
"""(producer id, first offset) of aborted transactions that may reach into an answer's batches."""


class Stored(NamedTuple):
    """A batch where it lies in an answer; one message of an older format (v0, v1) has no header."""

    header: Header | None
    next_offset: int
    view: memoryview


class ReadStretch(NamedTuple):
    """The batches that hold the wanted offsets, or the error code that came instead."""

    error: int
    batches: list[tuple[Header, memoryview]]


def copied(batch: memoryview) -> memoryview:
    """The batch in memory of its own."""
    return memoryview(bytes(batch))


def fingerprint(batch: memoryview) -> memoryview:
    """The header, and a digest in place of the records: enough to tell whether two batches hold the same."""
    return memoryview(bytes(batch[:HEADER_BYTES]) + hashlib.blake2b(batch[HEADER_BYTES:], digest_size=32).digest())


class _Looked(NamedTuple):
    """One partition of an answer, walked."""

    partition: TopicPartition
    error: int
    readable: int
    size: int
    batches: list[Stored]
    damaged: bool
    aborted: Aborted


class Fetched(NamedTuple):
    """What one Fetch brought of one partition; `aborted` as `wire.fetch.FetchedPartition` has it.

    `readable` is the offset below which its isolation level reads.
    """

    partition: TopicPartition
    error: int
    readable: int
    records: memoryview
    aborted: Aborted


class FetchUnderWay(NamedTuple):
    """A Fetch whose answer was not received yet: what it takes to read that."""

    version: int
    isolation_level: int
    names: Mapping[tuple[bytes, int], TopicPartition]


def fetch_once(
    side: Side,
    link: Link,
    at: Mapping[TopicPartition, tuple[TopicId, Offset]],
    *,
    partition_bytes: int,
    max_wait_ms: int,
    isolation_level: int = READ_UNCOMMITTED,
) -> list[Fetched]:
    """One request and its answer, in memory of its own, over a link that nobody else uses meanwhile.

    A partition of which nothing fits comes without bytes, unless it is the first; one that is throttled may be missing.
    """
    under_way = send_fetch(
        link, at, partition_bytes=partition_bytes, max_wait_ms=max_wait_ms, isolation_level=isolation_level
    )
    return receive_fetch(side, link, under_way, bytearray(SMALL_ANSWER_BYTES))[1]


def send_fetch(
    link: Link,
    at: Mapping[TopicPartition, tuple[TopicId, Offset]],
    *,
    partition_bytes: int,
    max_wait_ms: int,
    isolation_level: int,
) -> FetchUnderWay:
    """The first half of `fetch_once`: asks."""
    version = fetch.BY_ID if link.highest_version(fetch.API_KEY) >= fetch.BY_ID else fetch.BY_NAME
    wishes: dict[bytes, list[fetch.Wish]] = {}
    names: dict[tuple[bytes, int], TopicPartition] = {}
    for tp, (topic_id, offset) in at.items():
        key = fetch.topic_key(version, tp.topic, topic_id)
        names[key, tp.partition] = tp
        wishes.setdefault(key, []).append(fetch.Wish(tp.partition, -1, offset, -1, partition_bytes))
    request = fetch.serialize_fetch(
        version=version,
        correlation_id=link.next_correlation_id(),
        client_id=link.client_id,
        max_wait_ms=max_wait_ms,
        max_bytes=ANSWER_BYTES,
        isolation_level=isolation_level,
        session_id=0,
        session_epoch=-1,
        wishes=wishes,
        forgotten={},
    )
    link.send([request])
    return FetchUnderWay(version, isolation_level, names)


def receive_fetch(side: Side, link: Link, under_way: FetchUnderWay, buffer: bytearray) -> tuple[int, list[Fetched]]:
    """The second half: the error of the whole answer, and what it brought, in the buffer if that is large enough."""
    answer = link.receive(buffer)
    try:
        parsed = fetch.parse_fetch(answer, under_way.version)
    except ValueError as error:
        raise ProtocolError(str(error), side=side) from error
    names = under_way.names
    return parsed.error, [
        Fetched(
            names[part.topic, part.partition],
            part.error or parsed.error,
            part.last_stable_offset if under_way.isolation_level == READ_COMMITTED else part.high_watermark,
            answer[part.start : part.end],
            part.aborted,
        )
        for part in parsed.partitions
        if (part.topic, part.partition) in names
    ]


class TailReader:
    """Reads over a link that nobody else uses meanwhile."""

    def __init__(self, side: Side, link: Link, isolation_level: int = READ_UNCOMMITTED) -> None:
        """READ_COMMITTED reads to the last stable offset, and is told which transactions were aborted."""
        self._side = side
        self._link = link
        self._isolation_level = isolation_level

    def read(
        self, wanted: Wanted, keep: Callable[[memoryview], memoryview] = copied
    ) -> dict[TopicPartition, ReadStretch]:
        """For each partition all batches of format v2 that hold wanted offsets, as `keep` leaves them."""
        batches: dict[TopicPartition, list[tuple[Header, memoryview]]] = {tp: [] for tp in wanted}

        def take(partition: TopicPartition, shown: Sequence[Stored], _: Aborted) -> None:
            batches[partition].extend((each.header, keep(each.view)) for each in shown if each.header is not None)

        errors = self.show(wanted, take)
        return {tp: ReadStretch(errors.get(tp, 0), [] if tp in errors else batches[tp]) for tp in wanted}

    def show(
        self, wanted: Wanted, take: Callable[[TopicPartition, Sequence[Stored], Aborted], None]
    ) -> dict[TopicPartition, int]:
        """Shows all batches that hold wanted offsets, in order, those of one answer at a time.

        Returns an error code for each partition that could not be shown to its end: what the broker said,
        CORRUPT_MESSAGE where something lies that is no batch, OFFSET_NOT_AVAILABLE where nothing comes.
        """
        errors: dict[TopicPartition, int] = {}
        at = {tp: start for tp, (_, start, end) in wanted.items() if start < end}
        empty = 0
        while at and empty < _EMPTY_ANSWERS:
            before = dict(at)
            answer = self._fetch({tp: (wanted[tp][0], offset) for tp, offset in at.items()})
            # Where no partition brought anything, none was cut short for its size: what is left of them is a hole.
            silent = not any(part.size for part in answer)
            for part in answer:
                tp, end = part.partition, wanted[part.partition][2]
                if part.error:
                    errors[tp] = part.error
                else:
                    inside, at[tp] = _inside(part.batches, at[tp], end)
                    take(tp, inside, part.aborted)
                    if at[tp] < end and part.damaged:
                        errors[tp] = ErrorCode.CORRUPT_MESSAGE
                if tp in errors or at[tp] >= end or (silent and part.readable >= end):
                    del at[tp]
            empty = empty + 1 if at == before else 0
            at = {tp: at[tp] for tp in [*list(at)[1:], *list(at)[:1]]}  # another one comes first
        return errors | dict.fromkeys(at, ErrorCode.OFFSET_NOT_AVAILABLE)

    def _fetch(self, at: Mapping[TopicPartition, tuple[TopicId, Offset]]) -> list[_Looked]:
        fetched = fetch_once(
            self._side,
            self._link,
            at,
            partition_bytes=PARTITION_BYTES,
            max_wait_ms=MAX_WAIT_MS,
            isolation_level=self._isolation_level,
        )
        return [
            _Looked(
                part.partition, part.error, part.readable, len(part.records), *whole_batches(part.records), part.aborted
            )
            for part in fetched
        ]


def _inside(batches: Sequence[Stored], at: Offset, end: Offset) -> tuple[list[Stored], Offset]:
    """The batches that hold offsets from `at` below `end`, and where to go on; that may be beyond a hole."""
    inside = []
    for batch in batches:
        if at < batch.next_offset and at < end:
            at = Offset(batch.next_offset)
            if batch.header is None or batch.header.base_offset < end:
                inside.append(batch)
    return inside, at


def whole_batches(records: memoryview) -> tuple[list[Stored], bool]:
    """The whole batches where they lie, and whether something that is no batch follows them."""
    batches: list[Stored] = []
    try:
        batches.extend(_walk(records))
    except ValueError:
        return batches, True
    return batches, False


def _walk(records: memoryview) -> Iterator[Stored]:
    """Every whole batch, and every whole message of an older format; a last one that is cut is left out."""
    at = 0
    while at + MAGIC_OFFSET < len(records):
        while _is_older(records, at):
            size = entry_bytes(records, at)
            if at + size > len(records):
                return
            yield Stored(None, int.from_bytes(records[at : at + 8], "big", signed=True) + 1, records[at : at + size])
            at += size
        for header, view in iterate_batches(records[at:]):
            yield Stored(header, header.next_offset, view)
            at += header.size
            if _is_older(records, at):
                break
        else:
            return


def _is_older(records: memoryview, at: int) -> bool:
    return at + MAGIC_OFFSET < len(records) and records[at + MAGIC_OFFSET] < MAGIC
