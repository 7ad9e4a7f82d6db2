"""What the producer knows: which record was acknowledged at which place, with a digest of what was sent.

The producer writes one entry for each acknowledgement, in a file of fixed-size entries that a crash may cut
short; the comparison reads it when everything has ended.
"""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import BinaryIO, NamedTuple

from kmigrate.demo.shapes import SHAPES

CREATE_TIME = 1
"""What librdkafka calls the timestamp type CreateTime."""

DIGEST_BYTES = 16
_ENTRY = struct.Struct(f">HIQQ{DIGEST_BYTES}s")
_LENGTH = struct.Struct(">q")
_TIME = struct.Struct(">qq")
_NULL = _LENGTH.pack(-1)
_TOPICS = tuple(shape.name for shape in SHAPES)
_NO_OFFSET = 2**64 - 1


class Entry(NamedTuple):
    """One acknowledged record.

    `offset` is None where the broker knew the record already, from a request whose answer was lost: librdkafka
    then reports success without an offset (DUPLICATE_SEQUENCE_NUMBER).
    """

    offset: int | None
    number: int
    digest: bytes


@dataclass(frozen=True, slots=True)
class Ledger:
    """All acknowledged records, by topic and partition."""

    entries: dict[tuple[str, int], list[Entry]]

    def of(self, topic: str, partition: int) -> Sequence[Entry]:
        """The acknowledged records of one partition."""
        return self.entries.get((topic, partition), ())

    @property
    def places(self) -> Iterable[tuple[str, int]]:
        """The partitions that have acknowledged records."""
        return self.entries.keys()

    def __len__(self) -> int:
        return sum(map(len, self.entries.values()))


class LedgerWriter:
    """Appends entries to a file."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._indexes = {topic: index for index, topic in enumerate(_TOPICS)}

    def write(self, topic: str, partition: int, entry: Entry) -> None:
        """Notes one acknowledgement."""
        offset = _NO_OFFSET if entry.offset is None else entry.offset
        self._file.write(_ENTRY.pack(self._indexes[topic], partition, offset, entry.number, entry.digest))


def read_ledger(path: Path) -> Ledger:
    """What a producer wrote; an entry that was cut short at the end does not count."""
    entries: defaultdict[tuple[str, int], list[Entry]] = defaultdict(list)
    with path.open("rb") as file:
        for topic, partition, entry in _entries(file):
            entries[topic, partition].append(entry)
    return Ledger(dict(entries))


def digest_of(
    key: bytes | None,
    value: bytes | None,
    headers: Iterable[tuple[str, bytes | None]],
    *,
    timestamp_ms: int,
    timestamp_type: int = CREATE_TIME,
) -> bytes:
    """A digest of everything that a reader sees of a record, apart from its place; null is not empty."""
    digest = blake2b(_TIME.pack(timestamp_type, timestamp_ms), digest_size=DIGEST_BYTES)
    pieces = [key, value]
    for name, content in headers:
        pieces += [name.encode(), content]
    for piece in pieces:
        if piece is None:
            digest.update(_NULL)
        else:
            digest.update(_LENGTH.pack(len(piece)))
            digest.update(piece)
    return digest.digest()


def _entries(file: BinaryIO) -> Iterator[tuple[str, int, Entry]]:
    while len(packed := file.read(_ENTRY.size)) == _ENTRY.size:
        index, partition, offset, number, digest = _ENTRY.unpack(packed)
        yield _TOPICS[index], partition, Entry(None if offset == _NO_OFFSET else offset, number, digest)
