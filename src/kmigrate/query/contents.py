"""What a record holds: the opaque body of a moved record taken apart, for whoever looks at it.  (pure)

Everything stays bytes: keys, values and header names need not be UTF-8, names may repeat, and null is not empty.

Source: DefaultRecord.java, for the order `key · value · headers` behind what depends on the batch.
"""

from __future__ import annotations

from typing import NamedTuple

from kmigrate.kafka_types import Offset, TopicPartition
from kmigrate.records.record import read_varint

Headers = tuple[tuple[bytes, bytes | None], ...]


class Contents(NamedTuple):
    """Key, value and headers, the headers in their order."""

    key: bytes | None
    value: bytes | None
    headers: Headers = ()

    @property
    def size(self) -> int:
        """About how many bytes of memory it takes."""
        named = sum(len(name) + len(value or b"") + 160 for name, value in self.headers)
        return len(self.key or b"") + len(self.value or b"") + named + 200


class FoundRecord(NamedTuple):
    """A record of one side, where it lies there, and when it was made (milliseconds since the epoch, or -1)."""

    partition: TopicPartition
    offset: Offset
    timestamp_ms: int
    contents: Contents


def parse_contents(body: bytes) -> Contents:
    """The contents of `records.record.RawRecord.body`; raises ValueError if it is damaged."""
    try:
        key, at = _field(body, 0)
        value, at = _field(body, at)
        count, at = read_varint(body, at)
        if count < 0:
            raise ValueError(f"a record claims {count} headers")
        headers = []
        for _ in range(count):
            name, at = _field(body, at)
            if name is None:
                raise ValueError("a header without a name")
            content, at = _field(body, at)
            headers.append((name, content))
    except IndexError:
        raise ValueError("a record ends early") from None
    if at != len(body):
        raise ValueError(f"{len(body) - at} bytes follow the headers of a record")
    return Contents(key, value, tuple(headers))


def _field(body: bytes, at: int) -> tuple[bytes | None, int]:
    size, at = read_varint(body, at)
    if size == -1:
        return None, at
    if size < 0 or at + size > len(body):
        raise ValueError(f"a field claims {size} bytes of {len(body) - at}")
    return body[at : at + size], at + size
