"""Compacted partitions, made by the broker's own cleaner: holes inside batches, between them, and at the very start.

A segment is closed where the next batch's timestamps are so much younger, not by waiting. The cleaner leaves the last
segment alone, so every log ends in a *seal*, a record with a key of its own. What must survive is computed from what
was written; a maker returns when readers see exactly that.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from kmigrate.demo.embedded import EmbeddedCluster
from tests.content.content import Content, Place
from tests.content.judging import read_records
from tests.content.raw_produce import append_batch
from tests.content.segments import count_markers
from tests.content.transactional import start_writers
from tests.kafka_tools import TIMEOUT_SECONDS, SentRecord, create_topic, produce
from tests.simulation.batches import GZIP, NONE, SNAPPY, ZSTD, Record, make_batch

PATIENCE_SECONDS = 60.0
COMMITS = 14
"""So many transactions of `compacted_transactional` are committed, and nearly as many aborted."""
_BATCHES = 60
_HOT_KEYS = 12
_STEP_MS = 20_000
_SEGMENT_MS = 10_000
_SEGMENT_BYTES = 1_500
_AGE_MS = _DAY_MS = 24 * 3_600_000
_NEVER_HANDED_OUT = 1_000_000_000


class _Keyed(NamedTuple):
    place: Place
    key: bytes
    is_tombstone: bool


def compacted(cluster: EmbeddedCluster, *, delete_retention_ms: int | None = None) -> Content:
    """Two partitions, of which the second has producer ids: its emptied batches stay where they are an id's last.

    Tombstones are among the survivors; with `delete_retention_ms` they, too, have been removed, which takes a cleaner
    since 3.1: it gives every batch with a tombstone its delete horizon (KIP-534).
    """
    topic = _create_topic(cluster, partitions=2, delete_retention_ms=delete_retention_ms)
    partitions = [
        _Partition(cluster, topic, 0),
        _Partition(cluster, topic, 1, producer_ids=range(_NEVER_HANDED_OUT, _NEVER_HANDED_OUT + 5)),
    ]
    _write(partitions, codecs=(NONE, GZIP, SNAPPY, ZSTD))
    content = _wait_until_compacted(cluster, topic, partitions, tombstones=delete_retention_ms is None)
    if delete_retention_ms is not None:
        _keep_tombstones(cluster, topic)
    return content


def compacted_old_format(cluster: EmbeddedCluster, config: Mapping[str, str]) -> Content:
    """A partition in the message format that `config` names; the cleaner takes compressed messages apart as well."""
    topic = _create_topic(cluster, partitions=1, config={"segment.bytes": str(_SEGMENT_BYTES)} | dict(config))
    partitions = [_Partition(cluster, topic, 0, seal_bytes=_SEGMENT_BYTES - 100)]
    _write(partitions, codecs=(NONE, GZIP, SNAPPY))
    return _wait_until_compacted(cluster, topic, partitions, tombstones=True)


def compacted_transactional(cluster: EmbeddedCluster) -> Content:
    """Committed and aborted transactions; the cleaner has removed the aborted data and markers of both kinds.

    That takes a cleaner since 3.1, as above.
    """
    topic = _create_topic(cluster, partitions=1, delete_retention_ms=100)
    chance = random.Random(3)
    writers = start_writers(cluster, topic, {"first": "none", "second": "lz4"})
    committed: list[_Keyed] = []
    clock = _Clock(age_ms=0)  # records that are older than a marker, which bears the broker's time, close no segment

    def write(keys: Sequence[bytes], *, commit: bool) -> None:
        writer = chance.choice(writers)
        writer.begin()
        places = writer.write_keys(0, keys, clock.next_ms())
        if commit:
            writer.commit()
            committed.extend(_Keyed(place, key, False) for place, key in zip(places, keys, strict=True))
        else:
            writer.abort()

    write([b"hot %d" % number for number in range(_HOT_KEYS)], commit=True)  # of which nothing will be left
    for number in range(2 * (COMMITS - 2)):
        write(_draw_keys(chance), commit=number % 2 == 0)
    write([b"hot %d" % number for number in range(_HOT_KEYS)], commit=True)

    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        seal = SentRecord(key=b"seal %d" % len(committed), value=b"", timestamp=clock.next_ms())
        (place,) = produce(cluster.direct_bootstrap, topic, [seal])
        committed.append(_Keyed(place, seal.key, False))
        survivors = _find_survivors(committed, tombstones=True)
        if _comes_to_show(cluster, topic, survivors) and count_markers(cluster, topic) < COMMITS:
            _keep_tombstones(cluster, topic)
            return Content(topic, survivors)
        assert time.monotonic() < deadline, f"{topic} was not compacted"


def _write(partitions: Iterable[_Partition], *, codecs: Sequence[int]) -> None:
    chance = random.Random(2)
    for partition in partitions:
        partition.write([(b"hot 0", b"first"), (b"hot 1", b"second")])  # so that there is a hole at the start
        for _ in range(_BATCHES):
            partition.write(_draw_records(chance), chance.choice(codecs))
        partition.seal()


def _wait_until_compacted(
    cluster: EmbeddedCluster, topic: str, partitions: Iterable[_Partition], *, tombstones: bool
) -> Content:
    """Waits until readers see the last record of every key, tombstones or not."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        written = [record for partition in partitions for record in partition.written]
        survivors = _find_survivors(written, tombstones=tombstones)
        if _comes_to_show(cluster, topic, survivors):
            return Content(topic, survivors)
        assert time.monotonic() < deadline, f"{topic} was not compacted"
        for partition in partitions:
            partition.seal()  # the cleaner returns to a log only when something was written


class _Clock:
    """Timestamps of which each closes the segment of the one before."""

    def __init__(self, *, age_ms: int) -> None:
        self._last_ms = int(time.time() * 1000) - age_ms

    def next_ms(self) -> int:
        self._last_ms += _STEP_MS
        return self._last_ms


class _Partition:
    """A partition that is written batch by batch, each in a segment of its own by its timestamps.

    Format v0 has none: there a seal of `seal_bytes` needs a segment of its own.
    """

    def __init__(
        self,
        cluster: EmbeddedCluster,
        topic: str,
        partition: int,
        *,
        producer_ids: Sequence[int] = (),
        seal_bytes: int = 0,
    ) -> None:
        self.written: list[_Keyed] = []
        self._cluster = cluster
        self._topic = topic
        self._partition = partition
        self._seal_bytes = seal_bytes
        self._next_sequences = dict.fromkeys(producer_ids, 0)
        self._clock = _Clock(age_ms=_AGE_MS)

    def write(self, records: Sequence[tuple[bytes, bytes | None]], codec: int = NONE) -> None:
        now_ms = self._clock.next_ms()
        batch = make_batch(
            [Record(now_ms + at, key, value) for at, (key, value) in enumerate(records)],
            codec=codec,
            **self._sequence(len(records)),
        )
        offsets = append_batch(self._cluster, self._topic, batch, self._partition)
        for offset, (key, value) in zip(offsets, records, strict=True):
            self.written.append(_Keyed((self._partition, offset), key, value is None))

    def seal(self) -> None:
        self.write([(b"seal %d" % len(self.written), bytes(self._seal_bytes))])

    def _sequence(self, count: int) -> dict[str, int]:
        """Producer id, epoch and sequence for so many records: each id writes some batches in a row."""
        if not self._next_sequences:
            return {}
        ids = list(self._next_sequences)
        producer_id = ids[min(len(self.written) // 50, len(ids) - 1)]
        sequence = self._next_sequences[producer_id]
        self._next_sequences[producer_id] += count
        return {"producer_id": producer_id, "producer_epoch": 0, "base_sequence": sequence}


def _create_topic(
    cluster: EmbeddedCluster,
    *,
    partitions: int,
    delete_retention_ms: int | None = None,
    config: Mapping[str, str] | None = None,
) -> str:
    settings = {
        "cleanup.policy": "compact",
        "min.cleanable.dirty.ratio": "0.001",
        "segment.ms": str(_SEGMENT_MS),
        "segment.index.bytes": "65536",
    }
    if delete_retention_ms is not None:
        settings["delete.retention.ms"] = str(delete_retention_ms)
    return create_topic(cluster.direct_bootstrap, partitions=partitions, config=settings | dict(config or {}))


def _keep_tombstones(cluster: EmbeddedCluster, topic: str) -> None:
    """Those that come later stay for a day again: a copier stops where they may vanish before it reads them."""
    entry = ConfigEntry("delete.retention.ms", str(_DAY_MS), incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
    admin = AdminClient({"bootstrap.servers": cluster.direct_bootstrap})
    admin.incremental_alter_configs([resource])[resource].result(TIMEOUT_SECONDS)


def _draw_keys(chance: random.Random) -> list[bytes]:
    """Keys of one batch: all hot, so that it will vanish, or some that stay between some that do not."""
    count = chance.randint(1, 8)
    share_of_hot = chance.choice([1.0, 0.5, 0.5, 0.2])
    return [
        b"hot %d" % chance.randrange(_HOT_KEYS) if chance.random() < share_of_hot else chance.randbytes(6)
        for _ in range(count)
    ]


def _draw_records(chance: random.Random) -> list[tuple[bytes, bytes | None]]:
    return [(key, None if chance.random() < 0.15 else chance.randbytes(20) * 4) for key in _draw_keys(chance)]


def _find_survivors(written: Iterable[_Keyed], *, tombstones: bool) -> frozenset[Place]:
    """The last record of every key and partition."""
    last = {(record.place[0], record.key): record for record in written}
    return frozenset(record.place for record in last.values() if tombstones or not record.is_tombstone)


def _comes_to_show(cluster: EmbeddedCluster, topic: str, wanted: frozenset[Place], seconds: float = 3.0) -> bool:
    """Whether readers see exactly these places before the time is over."""
    deadline = time.monotonic() + seconds
    while set(read_records(cluster, topic)) != wanted:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True
