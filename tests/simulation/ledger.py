"""What was ever written to a source partition, and whether what lands on the target follows from it.

The law, record by record: what is visible on the target is a record that the source held at the same offset and that
its consumers could see, with the timestamp that they saw; and everything that they had to see between it and the record
before it on the target lies there too. That forbids loss, repetition, shift and disorder at once, and records past a
divergence: each source batch has a parent, the batch before it in the log when it was written, and what lies between
two records is looked up along the parents. A marker may stand only where the source has, or once had, a gap.

The ledger follows transactions by itself, and forgets nothing that the cleaner takes away. Batches that are on the
target byte for byte need no decoding.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

from tests.simulation.batches import CONTROL, MAGIC_AT, TRANSACTIONAL, StoredBatch, StoredRecord, decode, read_marker
from tests.simulation.log import PartitionLog


class BrokenLawError(AssertionError):
    """A run showed something that the design forbids."""


class Place(NamedTuple):
    """One record of a source batch."""

    origin: Origin
    offset: int


class Origin:
    """A source batch as it was written, and what became of its records.

    `seen`: they were decided and visible at some time; `hidden`: they were aborted, or are a marker. `gone`
    are the offsets whose records the cleaner took at some time, on some replica.
    """

    __slots__ = ("gone", "header", "hidden", "parent", "seen", "stored")

    def __init__(self, stored: StoredBatch, parent: Origin | None) -> None:
        self.stored = stored
        self.header = _header(stored)
        self.parent = parent
        self.seen = self.hidden = False
        self.gone: frozenset[int] = frozenset()

    def must_be_seen(self, after: int, before: int) -> bool:
        """Whether a consumer has to meet a record of this batch in the offsets between these two."""
        if self.hidden or after >= self.stored.next - 1:
            return False
        return any(after < each.offset < before and each.offset not in self.gone for each in records_of(self.stored))

    def may_be_gap(self, offset: int) -> bool:
        """Whether consumers met no record at this offset, at some time."""
        return self.hidden or offset in self.gone or all(each.offset != offset for each in records_of(self.stored))


def content(stored: StoredBatch) -> bytes:
    """The records of a batch as bytes."""
    return stored.data[61:]


def _header(stored: StoredBatch) -> bytes:
    """What must not change on the way, of a header: codec, last offset delta, timestamps, record count."""
    return bytes([stored.data[22] & 0x0F]) + stored.data[23:43] + stored.data[57:61]


def is_control(stored: StoredBatch) -> bool:
    """Whether this is a control batch; older formats know none."""
    return stored.data[MAGIC_AT] >= 2 and bool(stored.data[22] & CONTROL)


def records_of(stored: StoredBatch) -> Sequence[StoredRecord]:
    """The records of a batch as consumers see them, if they see them."""
    return _decoded(stored.data)


@lru_cache(maxsize=512)
def _decoded(data: bytes) -> Sequence[StoredRecord]:
    return tuple(decode(data))


class Ledger:
    """The history of one source partition."""

    def __init__(self) -> None:
        self._origins: dict[bytes, Origin] = {}
        self._all: list[Origin] = []
        self._chain: list[Origin] = []
        self._open: dict[int, list[Origin]] = {}
        self._trimmed = 0
        self._indexed = 0
        self._places: dict[tuple[object, ...], list[Place]] = {}
        self._covering: dict[int, list[Origin]] = {}

    # ── what happens on the source ────────────────────────────────────────────────────────────────────────────

    def wrote(self, stored: StoredBatch) -> None:
        """An application wrote this at the end of the source's log, or a coordinator did."""
        origin = Origin(stored, self._chain[-1] if self._chain else None)
        self._origins[content(stored)] = origin
        self._all.append(origin)
        self._chain.append(origin)
        self._decide(origin)

    def _decide(self, origin: Origin) -> None:
        """What the newest batch of the log makes known: whether it is visible, or what it ends."""
        stored = origin.stored
        if stored.producer_id < 0 or not stored.data[22] & TRANSACTIONAL:
            origin.seen = True
        elif not is_control(stored):
            self._open.setdefault(stored.producer_id, []).append(origin)
        else:
            origin.hidden = True
            marker = read_marker(stored.data)
            assert marker is not None, "only the cleaner empties a marker"
            for each in self._open.pop(stored.producer_id, []):
                each.seen, each.hidden = each.seen or marker.committed, each.hidden or not marker.committed

    def cut(self, batches: Sequence[StoredBatch]) -> None:
        """The source's log was cut; this is what is left of it. What it had not decided by then is open again."""
        end = batches[-1].next if batches else 0
        while self._chain and self._chain[-1].stored.next > end:
            self._chain.pop()
        self._open.clear()
        for origin in self._chain:
            self._decide(origin)

    def cleaned(self, batches: Sequence[StoredBatch]) -> None:
        """The source's log was cleaned; this is what is left of it."""
        left = {record.offset for stored in batches for record in records_of(stored)}
        for origin in self._chain:
            held = {each.offset for each in records_of(origin.stored) if each.offset >= self._trimmed}
            origin.gone |= held - left

    def trimmed(self, log_start: int) -> None:
        """The source's log begins here now: nobody needs to see what lay below, unless it was copied already."""
        self._trimmed = max(self._trimmed, log_start)

    # ── what lands on the target ──────────────────────────────────────────────────────────────────────────────

    def misplaced(self, batches: Sequence[StoredBatch]) -> str | None:
        """Why the newest batch of a target log does not follow from the source; None if it does.

        Raises BrokenLawError for what the source never held.
        """
        stored = batches[-1]
        if is_control(stored):
            return self._misplaced_marker(batches)
        origin = self._origins.get(content(stored))
        if origin is not None and self.is_next(origin, batches):
            return None
        return self._misplaced_records(batches)

    def on_source(self, offset: int) -> int:
        """The source offset that one of the target stands for."""
        return offset

    def _placed(self, records: Sequence[StoredRecord]) -> Sequence[StoredRecord]:
        """Records of the target at the source offsets that they stand for."""
        return [record._replace(offset=self.on_source(record.offset)) for record in records]

    def is_next(self, origin: Origin, batches: Sequence[StoredBatch]) -> bool:
        """Whether the newest batch is this one of the source, as it was, and lies behind its parent."""
        stored, parent = batches[-1], origin.parent
        if not origin.seen or stored.base != origin.stored.base or _header(stored) != origin.header:
            return False
        if len(batches) == 1 or parent is None:
            return len(batches) == 1 and parent is None
        return batches[-2].base == parent.stored.base and content(batches[-2]) == content(parent.stored)

    def was_gap(self, offset: int) -> bool:
        """Whether consumers met no record at this offset of the source, at some time or on some replica."""
        self._index()
        return any(origin.may_be_gap(offset) for origin in self._covering.get(offset, ()))

    def _misplaced_marker(self, batches: Sequence[StoredBatch]) -> str | None:
        offset = self.on_source(batches[-1].base)
        if self.was_gap(offset):
            return None
        if offset < self._trimmed and not self._last_places(batches[:-1]):
            return None
        return f"a marker landed at {offset}, where the source has no gap"

    def _misplaced_records(self, batches: Sequence[StoredBatch]) -> str | None:
        try:
            records = self._placed(decode(batches[-1].data))
        except ValueError as error:
            raise BrokenLawError(f"what landed at {batches[-1].base} is damaged: {error}") from error
        last = self._last_places(batches[:-1])
        for record in records:
            places = self.find(record)
            if not places and record.offset < self._trimmed and _is_null(record) and not last:
                continue  # filler, which must go before anybody reads
            if not places:
                raise BrokenLawError(f"offset {record.offset} holds what the source never held: {_shown(record)}")
            places = [place for place in places if place.origin.seen]
            if not places:
                raise BrokenLawError(f"offset {record.offset} holds what nobody may see: {_shown(record)}")
            here = [place for place in places if place.offset == record.offset]
            if not here:
                return f"the source's record of offset {places[0].offset} landed at {record.offset}"
            after = [place for place in here if any(self._follows(each, place) for each in last or [None])]
            if not after:
                return f"the source's record of offset {record.offset} lies behind {last[0].offset if last else 'none'}"
            last = after
        return None

    def find(self, record: StoredRecord) -> list[Place]:
        """Where the source ever held such a record."""
        self._index()
        return self._places.get(record[1:], [])

    def _index(self) -> None:
        for origin in self._all[self._indexed :]:
            for record in records_of(origin.stored):
                self._places.setdefault(record[1:], []).append(Place(origin, record.offset))
            for offset in range(origin.stored.base, origin.stored.next):
                self._covering.setdefault(offset, []).append(origin)
        self._indexed = len(self._all)

    def _last_places(self, batches: Sequence[StoredBatch]) -> list[Place]:
        """Where the last visible record of a target log lies on the source; nowhere if there is only filler.

        What is not the source's at all stands for itself: nothing follows it.
        """
        for stored in reversed(batches):
            if is_control(stored):
                continue
            (record,) = self._placed(records_of(stored)[-1:])
            here = [place for place in self.find(record) if place.offset == record.offset]
            if here or not _is_null(record):
                return here or [Place(Origin(stored, None), record.offset)]
        return []

    def _follows(self, last: Place | None, place: Place) -> bool:
        """Whether a consumer meets nothing between the two; `last` None stands for the beginning of the target."""
        origin: Origin | None = place.origin
        before = place.offset
        while origin is not None:
            if last is not None and origin is last.origin:
                return not origin.must_be_seen(last.offset, before)
            if origin.must_be_seen(-1 if last is not None else self._trimmed - 1, before):
                return False
            origin, before = origin.parent, 1 << 62
        return last is None

    def batch_at(self, offset: int) -> StoredBatch | None:
        """The batch, as it was written, that holds an offset of the source's log."""
        return next((each.stored for each in self._chain if each.stored.base <= offset < each.stored.next), None)

    def holds_between(self, start: int, end: int) -> bool:
        """Whether consumers have to meet a record in these offsets, of those that the source's log reached."""
        return any(
            origin.must_be_seen(start - 1, end)
            for origin in self._chain
            if origin.stored.base < end and origin.stored.next > start
        )

    # ── the end ───────────────────────────────────────────────────────────────────────────────────────────────

    def agree(self, source: PartitionLog, target: PartitionLog, start: int = 0) -> bool:
        """Whether consumers of both sides see the same, as far as the source still holds it and the target reaches.

        Below `start` nothing of the source is wanted.

        What the cleaner took from the source meanwhile may still be on the target, or not; filler may not.
        """
        here = {batch.base: (_header(batch), content(batch)) for batch in source.batches}
        as_it_was = all(
            here.get(batch.base) == (_header(batch), content(batch))
            if batch.base >= source.log_start
            else content(batch) in self._origins
            for batch in target.batches
        )
        return (as_it_was and not start) or self.agree_by_record(source, target, start)

    def agree_by_record(self, source: PartitionLog, target: PartitionLog, start: int) -> bool:
        """The same, record by record."""
        on_target = {
            record.offset: record
            for stored in target.batches
            if not is_control(stored)
            for record in self._placed([each for each in decode(stored.data) if each.offset >= target.log_start])
        }
        end = self.on_source(target.end)
        on_source = {
            record.offset: record
            for record in self.visible([batch for batch in source.batches if batch.base < end])
            if max(source.log_start, start) <= record.offset < end
        }
        for offset in on_source.keys() | on_target.keys():
            there, here = on_source.get(offset), on_target.get(offset)
            if there != here and not (self._went(offset, there, here) or self._was_trimmed(offset, here, source)):
                return False
        return True

    def _went(self, offset: int, there: StoredRecord | None, here: StoredRecord | None) -> bool:
        """Whether a record that lies on one side only was cleaned from the source at some time."""
        record = here if there is None else there if here is None else None
        places = self.find(record) if record is not None else []
        return any(place.offset == offset and offset in place.origin.gone for place in places)

    def _was_trimmed(self, offset: int, here: StoredRecord | None, source: PartitionLog) -> bool:
        """Whether a record of the target lay where the source's log no longer reaches."""
        if here is None or offset >= source.log_start:
            return False
        return any(place.offset == offset for place in self.find(here))

    def visible(self, batches: Sequence[StoredBatch]) -> Iterator[StoredRecord]:
        """What consumers of the source see now: neither markers nor what is aborted or undecided."""
        committed: set[int] = set()
        deciders: dict[int, bool] = {}
        for origin in reversed(self._chain):
            stored = origin.stored
            marker = read_marker(stored.data) if is_control(stored) else None
            if marker is not None:
                deciders[stored.producer_id] = marker.committed
            elif stored.producer_id < 0 or not stored.data[22] & TRANSACTIONAL or deciders.get(stored.producer_id):
                committed.update(range(stored.base, stored.next))
        for stored in batches:
            if not is_control(stored):
                yield from (record for record in decode(stored.data) if record.offset in committed)


def _is_null(record: StoredRecord) -> bool:
    return record.key is None and record.value is None and not record.headers


def _shown(record: StoredRecord) -> str:
    return repr(record if len(record.value or b"") < 50 else record._replace(value=(record.value or b"")[:40] + b"..."))
