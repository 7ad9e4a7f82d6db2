"""Reads stretches of partitions from one broker, whole batches at a time, for looking and comparing; never for copying.

Bounded: an answer is at most ANSWER_BYTES (or one batch, if that is larger), and batches are copied out of it, or only
their fingerprints.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import NamedTuple

from kmigrate.cluster.network import Link
from kmigrate.errors import ProtocolError
from kmigrate.kafka_types import Offset, Side, TopicId, TopicPartition
from kmigrate.records.batch import HEADER_BYTES, Header, iterate_batches
from kmigrate.wire import fetch
from kmigrate.wire.error_codes import ErrorCode

ANSWER_BYTES = 4 << 20
PARTITION_BYTES = 256 << 10
SMALL_ANSWER_BYTES = 64 << 10
"""What is set aside for an answer; a larger one brings memory of its own."""
MAX_WAIT_MS = 100
_EMPTY_ANSWERS = 50


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


class TailReader:
    """Reads over a link that nobody else uses meanwhile."""

    def __init__(self, side: Side, link: Link) -> None:
        self._side = side
        self._link = link

    def read(
        self,
        wanted: Mapping[TopicPartition, tuple[TopicId, Offset, Offset]],
        keep: Callable[[memoryview], memoryview] = copied,
    ) -> dict[TopicPartition, ReadStretch]:
        """For each partition (topic id, from, to): all batches that hold offsets from ≤ o < to, as `keep` leaves them.

        What is not a batch of format v2 (older formats, impossible lengths) ends the stretch with what was read so far.
        """
        found = {tp: ReadStretch(0, []) for tp in wanted}
        at = {tp: start for tp, (_, start, end) in wanted.items() if start < end}
        empty = 0
        while at and empty < _EMPTY_ANSWERS:
            progressed = False
            for tp, error, batches, cut_off in self._fetch({tp: (wanted[tp][0], offset) for tp, offset in at.items()}):
                if error:
                    found[tp] = ReadStretch(error, [])
                    del at[tp]
                    continue
                end = wanted[tp][2]
                for header, view in batches:
                    if header.base_offset < end and header.next_offset > at[tp]:
                        found[tp].batches.append((header, keep(view)))
                        at[tp] = Offset(header.next_offset)
                        progressed = True
                if at[tp] >= end or cut_off:
                    del at[tp]
            empty = 0 if progressed else empty + 1
            at = {tp: at[tp] for tp in [*list(at)[1:], *list(at)[:1]]}  # another one comes first
        for tp in at:
            found[tp] = ReadStretch(ErrorCode.OFFSET_NOT_AVAILABLE, [])
        return found

    def _fetch(
        self, at: Mapping[TopicPartition, tuple[TopicId, Offset]]
    ) -> list[tuple[TopicPartition, int, list[tuple[Header, memoryview]], bool]]:
        version = fetch.BY_ID if self._link.highest_version(fetch.API_KEY) >= fetch.BY_ID else fetch.BY_NAME
        wishes: dict[bytes, list[fetch.Wish]] = {}
        names: dict[tuple[bytes, int], TopicPartition] = {}
        for tp, (topic_id, offset) in at.items():
            key = fetch.topic_key(version, tp.topic, topic_id)
            names[key, tp.partition] = tp
            wishes.setdefault(key, []).append(fetch.Wish(tp.partition, -1, offset, -1, PARTITION_BYTES))
        request = fetch.serialize_fetch(
            version=version,
            correlation_id=self._link.next_correlation_id(),
            client_id=self._link.client_id,
            max_wait_ms=MAX_WAIT_MS,
            max_bytes=ANSWER_BYTES,
            isolation_level=0,
            session_id=0,
            session_epoch=-1,
            wishes=wishes,
            forgotten={},
        )
        self._link.send([request])
        answer = self._link.receive(bytearray(SMALL_ANSWER_BYTES))
        try:
            parsed = fetch.parse_fetch(answer, version)
        except ValueError as error:
            raise ProtocolError(str(error), side=self._side) from error
        return [
            (names[part.topic, part.partition], part.error or parsed.error, *_whole(answer[part.start : part.end]))
            for part in parsed.partitions
            if (part.topic, part.partition) in names
        ]


def _whole(records: memoryview) -> tuple[list[tuple[Header, memoryview]], bool]:
    """The whole batches where they lie, and whether something that is no batch follows them."""
    batches: list[tuple[Header, memoryview]] = []
    try:
        batches.extend(iterate_batches(records))
    except ValueError:
        return batches, True
    return batches, False
