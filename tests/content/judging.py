"""Whether a topic on the target is an exact copy of the source's, judged by clients that know nothing of kmigrate.

librdkafka reads every partition of both sides from the log start to the end as a consumer of committed data does, and
the target's once more as one that reads everything: that must show the same, for nothing aborted may be copied and no
transaction may be open there. Compared are, at every offset: whether there is a record, its key, value, headers in
their order, and timestamp; and for every partition where it begins and ends. The source ends at its last stable
offset: what an open transaction holds back is not copied.

The timestamp's *type* is not copied. Whatever the source says, the target must say CreateTime: a record stamped by
the source's broker (LogAppendTime) reads back with the same value under the other type, and one of format v0, which
has no timestamp, with -1.

Where librdkafka cannot witness a header, whose name is not UTF-8, kafka-python reads it from the segment files. Names
with a NUL are seen up to it.
"""

from __future__ import annotations

import operator
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from confluent_kafka import (
    TIMESTAMP_CREATE_TIME,
    TIMESTAMP_NOT_AVAILABLE,
    IsolationLevel,
    Message,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, OffsetSpec

from kmigrate.demo.embedded import EmbeddedCluster
from tests.content.content import Content, Place
from tests.content.segments import Headers, read_headers
from tests.kafka_tools import TIMEOUT_SECONDS, consume_all

_call_headers = operator.methodcaller("headers")
"""confluent-kafka returns *and* leaves an exception at a name that is not UTF-8: a plain call, which Python 3.11 makes
without looking, would have it come up anywhere later; a call from C is looked after."""
_SHOWN = 20
_SHOWN_CHARACTERS = 80


class Seen(NamedTuple):
    """A record as a reader sees it; names of headers are bytes, the timestamp is in milliseconds."""

    key: bytes | None
    value: bytes | None
    headers: Headers
    timestamp: int
    timestamp_type: int


class Ends(NamedTuple):
    """Where a partition begins and ends: log start, last stable offset and high watermark."""

    start: int
    stable: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a comparison found; `differences` name partition and offset.

    `seen` are the places of the source's visible records, `gaps` the number of its offsets without one between its
    log starts and ends: what was there to be copied.
    """

    differences: tuple[str, ...]
    seen: frozenset[Place]
    gaps: int

    def __str__(self) -> str:
        more = len(self.differences) - _SHOWN
        lines = [*self.differences[:_SHOWN], *([f"and {more} more"] if more > 0 else [])]
        return "\n".join(lines) or f"{len(self.seen)} records and {self.gaps} gaps are the same"


class Sides(NamedTuple):
    """A topic on both clusters, as readers of committed data see it; `everything` is what others see of the target."""

    source_ends: Mapping[int, Ends]
    target_ends: Mapping[int, Ends]
    source: Mapping[Place, Seen]
    target: Mapping[Place, Seen]
    everything: Mapping[Place, Seen]

    def without(self, places: Collection[Place]) -> Sides:
        """The same, but for what lies at these places on either side."""
        source, target, everything = (
            {place: seen for place, seen in records.items() if place not in places}
            for records in (self.source, self.target, self.everything)
        )
        return self._replace(source=source, target=target, everything=everything)


def judge(source: EmbeddedCluster, target: EmbeddedCluster, topic: str) -> Verdict:
    """Compares a topic that nobody writes to on both clusters, past any proxy."""
    return compare(topic, read_sides(source, target, topic))


def read_sides(source: EmbeddedCluster, target: EmbeddedCluster, topic: str) -> Sides:
    """Reads a topic that nobody writes to on both clusters, past any proxy."""
    return Sides(
        read_ends(source, topic),
        read_ends(target, topic),
        read_records(source, topic),
        read_records(target, topic),
        read_records(target, topic, isolation_level="read_uncommitted"),
    )


def compare(topic: str, sides: Sides) -> Verdict:
    """What is not the same on both sides."""
    differences = [
        *_compare_ends(topic, sides.source_ends, sides.target_ends),
        *_compare_records(topic, sides.source, sides.target),
        *_compare_isolation(topic, sides.target, sides.everything),
    ]
    offsets = sum(ends.stable - ends.start for ends in sides.source_ends.values())
    return Verdict(differences=tuple(differences), seen=frozenset(sides.source), gaps=offsets - len(sides.source))


def assert_copied(source: EmbeddedCluster, target: EmbeddedCluster, content: Content) -> Verdict:
    """The target's topic is an exact copy, and the source still shows what its maker left."""
    verdict = judge(source, target, content.topic)
    assert not verdict.differences, f"{content.topic}:\n{verdict}"
    assert verdict.seen == content.visible, (
        f"{content.topic}: the source changed at {sorted(verdict.seen ^ content.visible)[:_SHOWN]}"
    )
    return verdict


def read_ends(cluster: EmbeddedCluster, topic: str) -> Mapping[int, Ends]:
    """Where every partition begins and ends, as its leader answers."""
    admin = AdminClient({"bootstrap.servers": cluster.direct_bootstrap})
    metadata = admin.list_topics(topic, timeout=TIMEOUT_SECONDS).topics[topic]
    assert metadata.error is None, f"{topic}: {metadata.error}"
    ask = _Offsets(admin, topic, sorted(metadata.partitions))
    starts = ask(OffsetSpec.earliest())
    stables = ask(OffsetSpec.latest(), IsolationLevel.READ_COMMITTED)
    ends = ask(OffsetSpec.latest())
    return {partition: Ends(starts[partition], stables[partition], ends[partition]) for partition in starts}


def read_records(
    cluster: EmbeddedCluster, topic: str, *, isolation_level: str = "read_committed"
) -> Mapping[Place, Seen]:
    """Every visible record of a topic by its place."""
    messages = consume_all(cluster.direct_bootstrap, topic, isolation_level=isolation_level)
    unreadable: dict[int, list[int]] = {}
    found: dict[Place, Seen] = {}
    for message in messages:
        place = message.partition(), message.offset()
        assert place not in found, f"{topic}: {place} was read twice"
        headers = _read_headers(message)
        if headers is None:
            unreadable.setdefault(place[0], []).append(place[1])
        found[place] = _read_message(message, headers or ())
    for partition, offsets in unreadable.items():
        for offset, headers in read_headers(cluster, topic, partition, offsets).items():
            found[partition, offset] = found[partition, offset]._replace(headers=headers)
    return found


class _Offsets:
    """Asks for one kind of offset of every partition."""

    def __init__(self, admin: AdminClient, topic: str, partitions: list[int]) -> None:
        self._admin = admin
        self._partitions = [TopicPartition(topic, partition) for partition in partitions]

    def __call__(
        self, kind: OffsetSpec, isolation_level: IsolationLevel = IsolationLevel.READ_UNCOMMITTED
    ) -> dict[int, int]:
        asked = self._admin.list_offsets(
            dict.fromkeys(self._partitions, kind), isolation_level=isolation_level, request_timeout=TIMEOUT_SECONDS
        )
        return {place.partition: answer.result(TIMEOUT_SECONDS).offset for place, answer in asked.items()}


def _read_headers(message: Message) -> Headers | None:
    """The headers, or None where librdkafka has one that Python cannot be given."""
    try:
        headers: Any = _call_headers(message)
    except SystemError:
        return None
    return tuple((name.encode(), value) for name, value in headers or ())


def _read_message(message: Message, headers: Headers) -> Seen:
    timestamp_type, timestamp = message.timestamp()
    if timestamp_type == TIMESTAMP_NOT_AVAILABLE:
        timestamp = -1  # confluent-kafka says 0 then, Java and the format say -1
    return Seen(message.key(), message.value(), headers, timestamp, timestamp_type)


def _compare_ends(topic: str, source: Mapping[int, Ends], target: Mapping[int, Ends]) -> Iterator[str]:
    for partition in sorted(source.keys() | target.keys()):
        place = f"{topic}-{partition}"
        if partition not in source or partition not in target:
            yield f"{place}: only on the {'source' if partition in source else 'target'}"
            continue
        wanted, found = source[partition], target[partition]
        if found.start != wanted.start:
            yield f"{place}: starts at {found.start}, not at {wanted.start}"
        if found.end != wanted.stable:
            yield f"{place}: ends at {found.end}, not at {wanted.stable}"
        if found.stable != found.end:
            yield f"{place}: a transaction is open at {found.stable}"


def _compare_records(topic: str, source: Mapping[Place, Seen], target: Mapping[Place, Seen]) -> Iterator[str]:
    for partition, offset in sorted(source.keys() | target.keys()):
        place = f"{topic}-{partition}@{offset}"
        wanted, found = source.get((partition, offset)), target.get((partition, offset))
        if wanted is None:
            yield f"{place}: only on the target"
            continue
        if found is None:
            yield f"{place}: only on the source"
            continue
        if found == wanted._replace(timestamp_type=TIMESTAMP_CREATE_TIME):
            continue
        for field in ("key", "value", "headers", "timestamp"):
            if (was := getattr(wanted, field)) != (became := getattr(found, field)):
                yield f"{place}: {field} {_show(was)} became {_show(became)}"
        if found.timestamp_type != TIMESTAMP_CREATE_TIME:
            yield f"{place}: timestamp type {found.timestamp_type} is not CreateTime"


def _compare_isolation(topic: str, committed: Mapping[Place, Seen], everything: Mapping[Place, Seen]) -> Iterator[str]:
    for partition, offset in sorted(everything.keys() - committed.keys()):
        yield f"{topic}-{partition}@{offset}: the target shows it to read_uncommitted only"


def _show(what: object) -> str:
    text = repr(what)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]} … ({len(text)} characters)"
