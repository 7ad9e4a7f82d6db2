"""The topics of the demo and what their records look like.  (pure)

Every record carries a number that no other record has, so that a reader can tell a record that arrived twice
from two equal ones: as the first digits of the value or, where there is no value to carry it, in a header.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

Headers: TypeAlias = tuple[tuple[str, bytes | None], ...]

NUMBER_HEADER = "record"
_DIGITS = 10
LARGE_EVERY = 500
"""One record of so many is a large one."""
_LARGEST_BYTES = 500_000
_POOL = random.Random(1).randbytes(1_000_000)
_TEXT = b"all work and no play makes a dull log; " * 26_000


class Record(NamedTuple):
    """What a producer sends, apart from its time."""

    key: bytes | None
    value: bytes | None
    headers: Headers = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicShape:
    """One topic of the demo; `share` of the small records goes to it, `make` takes chance and a number."""

    name: str
    partitions: int
    codec: str
    what: str
    share: float = 0.0
    make: Callable[[random.Random, int], Record] | None = None


def _order(chance: random.Random, number: int) -> Record:
    value = b'%010d {"customer": %d, "amount": %d, "currency": "EUR", "lines": [%s]}' % (
        number,
        chance.randrange(5_000),
        chance.randrange(100_000),
        b", ".join(b"%d" % chance.randrange(1_000) for _ in range(chance.randrange(12))),
    )
    return Record(b"customer-%d" % chance.randrange(5_000), value)


def _click(chance: random.Random, number: int) -> Record:
    return Record(None, number_text(number) + b"/page/"[: chance.randrange(7)])


def _payment(chance: random.Random, number: int) -> Record:
    headers = (
        ("trace", chance.randbytes(8)),
        ("trace", b"\xff\xfe\x00not UTF-8\x80"),
        ("schritt-ä", b""),
        ("trace", None),
    )
    value = number_text(number) + chance.randbytes(chance.randrange(200))
    return Record(chance.randbytes(16), value, headers[: chance.randrange(5)])


def _audit(chance: random.Random, number: int) -> Record:
    key = chance.choice((None, b"", b"account-%d" % chance.randrange(100)))
    value = chance.choice((None, None, b"", b"changed " * 20))
    return Record(key, value, ((NUMBER_HEADER, number_text(number)), ("who", None), ("who", b"\xc3\x28")))


def _document(chance: random.Random, number: int) -> Record:
    size = chance.randrange(1_000, _LARGEST_BYTES - _DIGITS)
    begin = chance.randrange(len(_POOL) - size)
    half = _POOL[begin : begin + size // 2]  # a codec can do nothing with it, and much with the text
    return Record(b"document-%d" % number, number_text(number) + half + _TEXT[: size - len(half)])


DOCUMENTS = TopicShape(
    name="documents", partitions=3, codec="zstd", what="up to 500 kB each, half of it random", make=_document
)
SHAPES: tuple[TopicShape, ...] = (
    TopicShape(
        name="orders", partitions=24, codec="snappy", what="JSON with keys, many partitions", share=0.45, make=_order
    ),
    TopicShape(name="clicks", partitions=12, codec="lz4", what="tiny, without keys", share=0.33, make=_click),
    TopicShape(
        name="payments",
        partitions=6,
        codec="none",
        what="headers with repeated names and bytes that are no text",
        share=0.15,
        make=_payment,
    ),
    TopicShape(
        name="audit", partitions=4, codec="gzip", what="null and empty keys and values", share=0.07, make=_audit
    ),
    DOCUMENTS,
    TopicShape(name="archive", partitions=4, codec="none", what="empty"),
)


def make_record(chance: random.Random, number: int) -> tuple[TopicShape, Record]:
    """The record of this number and the topic it belongs to."""
    if number % LARGE_EVERY == LARGE_EVERY - 1:
        shape = DOCUMENTS
    else:
        (shape,) = chance.choices(_SMALL, _SHARES)
    assert shape.make is not None, "only topics with a share are chosen"
    return shape, shape.make(chance, number)


def number_text(number: int) -> bytes:
    """A record's number as it carries it."""
    return b"%0*d" % (_DIGITS, number)


def find_number(value: bytes | None, headers: Iterable[tuple[str, bytes | None]]) -> int | None:
    """The number that a record carries; None if it carries none, so no producer of the demo sent it."""
    text = next((content for name, content in headers if name == NUMBER_HEADER), value) or b""
    digits = text[:_DIGITS]
    return int(digits) if len(digits) == _DIGITS and digits.isdigit() else None


_SMALL = tuple(shape for shape in SHAPES if shape.share)
_SHARES = tuple(shape.share for shape in _SMALL)
