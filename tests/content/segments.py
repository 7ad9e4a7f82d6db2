"""What the bytes of segment files say, read by kafka-python.

librdkafka hands out no header whose name is not UTF-8, and Java and kafka-python insist on UTF-8 as well. Here
kafka-python reads a buffer whose pieces decode such names to surrogates, which give the bytes back.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from confluent_kafka.admin import AdminClient
from kafka.record.memory_records import MemoryRecords

from kmigrate.demo.embedded import EmbeddedCluster
from tests.kafka_tools import list_segments

Headers = tuple[tuple[bytes, bytes | None], ...]
_ATTEMPTS = 50


def read_headers(cluster: EmbeddedCluster, topic: str, partition: int, offsets: Collection[int]) -> dict[int, Headers]:
    """The headers of the records at these offsets, from the files of the partition's leader."""
    found: dict[int, Headers] = {}
    for batch in _read_batches(cluster, topic, partition):
        covered = range(batch.base_offset, batch.next_offset)
        if any(offset in covered for offset in offsets):
            found |= {record.offset: _encode(record.headers) for record in _leniently(batch)}
    missing = set(offsets) - set(found)
    assert not missing, f"{topic}-{partition}: no records at {sorted(missing)} in the segment files"
    return {offset: found[offset] for offset in offsets}


def read_newest_format(cluster: EmbeddedCluster, topic: str, partition: int = 0) -> int:
    """The message format (magic) of the last batch of a partition."""
    return _read_batches(cluster, topic, partition)[-1].magic


def count_markers(cluster: EmbeddedCluster, topic: str, partition: int = 0) -> int:
    """How many transaction markers a partition of format v2 has."""
    batches = _read_batches(cluster, topic, partition)
    return sum(batch.records_count for batch in batches if batch.is_control_batch)


def _read_batches(cluster: EmbeddedCluster, topic: str, partition: int) -> list[Any]:
    """Every batch of a partition on its leader; once more where the cleaner replaced a segment meanwhile."""
    metadata = AdminClient({"bootstrap.servers": cluster.direct_bootstrap}).list_topics(topic, timeout=30)
    leader = metadata.topics[topic].partitions[partition].leader
    folder = cluster.data_dir(leader) / f"{topic}-{partition}"
    for _ in range(_ATTEMPTS):
        try:
            segments = list_segments(folder)
            batches = [batch for path, _ in segments for batch in MemoryRecords(path.read_bytes())]
            if list_segments(folder) == segments:
                return batches
        except FileNotFoundError:
            continue
    raise AssertionError(f"the segments of {topic}-{partition} change all the time")


def _leniently(batch: Any) -> Any:
    iter(batch)  # inflates the records
    batch._buffer = _LenientBuffer(batch._buffer)
    return batch


def _encode(headers: list[tuple[str, bytes | None]]) -> Headers:
    return tuple((name.encode("utf-8", "surrogateescape"), value) for name, value in headers)


class _LenientBuffer(bytearray):
    def __getitem__(self, key: Any) -> Any:
        found = super().__getitem__(key)
        return _LenientPiece(found) if isinstance(key, slice) else found


class _LenientPiece(bytes):
    def decode(self, encoding: str = "utf-8", errors: str = "surrogateescape") -> str:
        return super().decode(encoding, errors)
