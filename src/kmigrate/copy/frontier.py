"""Where reading stands, and the walk: fetched batches become batches of ours and gaps, in their order.  (pure)

Every batch is looked at once, where it lies. What goes as it is is made ours in place, and so are committed batches of
transactions; a control batch is a gap. Everything else goes to the judge. What was walked and is dropped again, unsent,
is read again: `return_to`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from kmigrate.copy.aborted import AbortedTransactions
from kmigrate.copy.alignment import PRODUCER_EPOCH
from kmigrate.copy.course import Course
from kmigrate.copy.judge import SPECIAL_BITS, Treatment, Verdict, judge
from kmigrate.copy.merging import SCANNED_BYTES, Row
from kmigrate.copy.pieces import Backlog, Batch, Gap
from kmigrate.copy.recast import Stretch, convert_messages, recast_batch
from kmigrate.copy.states import StopKind
from kmigrate.kafka_types import UNKNOWN_EPOCH, LeaderEpoch, Offset, ProducerId
from kmigrate.records.batch import (
    CODEC_MASK,
    CONTROL,
    CRC_START,
    HEADER,
    HEADER_BYTES,
    LOG_APPEND_TIME,
    MAGIC_OFFSET,
    SEQUENCES,
    Header,
    crc32c,
    parse_header,
    stamp,
)
from kmigrate.records.compression import InflatesTooFarError

_OLDER_MAGIC_BYTES = MAGIC_OFFSET + 1
_ANY_NUMBER = 1 << 31


class Refusal(NamedTuple):
    """Why the batch at the frontier cannot be copied."""

    kind: StopKind
    evidence: str


class Frontier:
    """The next offset to read of one partition, and what the batch there will get; `course` says where it goes.

    `epoch` is the leader epoch of the last batch that was walked, `at_edge` says that a batch of the source is known to
    end at `offset`.
    """

    def __init__(self, course: Course, backlog: Backlog, producer_id: ProducerId, row: Row | None = None) -> None:
        self.course = course
        self.offset = -1
        self.sequence = 0
        self.epoch = UNKNOWN_EPOCH
        self.at_edge = False
        self.largest_bytes = 0
        """Of all batches of the source that were walked."""
        self._backlog = backlog
        self._producer_id = producer_id
        self._source_end = -1
        self._split_below = -1
        self._most_records = _ANY_NUMBER
        self._seen_places: tuple[object, ...] = ()
        self._apart_below = -1
        self._row = Row() if row is None else row

    def begin(self, offset: int, sequence: int, epoch: LeaderEpoch, *, at_edge: bool) -> None:
        """Copying goes on here."""
        self.offset, self.sequence, self.epoch, self.at_edge = offset, sequence, epoch, at_edge

    def return_to(self, piece: Batch | Gap, epoch: LeaderEpoch) -> None:
        """What was read from this piece on is dropped, and will be read again; `epoch` is that of what lies before."""
        self.begin(piece.base, piece.sequence, epoch, at_edge=False)
        self.course.return_to(piece.base, piece.target)

    def split(self, batch: Batch) -> None:
        """The target takes no batch so large: its records go into smaller ones."""
        if batch.treatment is Treatment.MERGE:
            self._row.refuse(batch.size)
        else:
            self._split_below, self._most_records = batch.next, batch.records // 2

    def take_apart(self, batch: Batch) -> None:
        """The target refuses something in a merged batch: what it was made of goes as it is, and shows what it is."""
        self._apart_below = batch.next

    def keep_within(self, size: int) -> None:
        """No batch is made larger than this by merging."""
        self._row.limit_bytes = size

    def forget_refusals(self) -> None:
        """What the target refused before is tried again."""
        self._row.forget_refusals()

    def walk(
        self, buffer: memoryview, at: int, end: int, aborted: AbortedTransactions, source_end: int
    ) -> Refusal | None:
        """Takes in the batches that lie in the buffer; a refusal is of the batch at `offset`.

        `source_end` is the offset up to which the source's log is decided, as this answer tells it.
        """
        self._source_end = source_end
        try:
            refusal = self._walk(buffer, at, end, aborted)
        except BaseException:
            self._row.clear()
            raise
        self._put_row()
        return refusal

    def _walk(self, buffer: memoryview, at: int, end: int, aborted: AbortedTransactions) -> Refusal | None:
        start = at
        wanted, sequence = self.offset, self.sequence
        backlog, split_below, row = self._backlog, self._split_below, self._row
        special_bits = SPECIAL_BITS if aborted else LOG_APPEND_TIME  # where nothing was aborted, all is committed
        while at + HEADER_BYTES <= end:
            base, length, epoch, magic, crc, attributes, delta, base_ms, newest_ms, _, _, _, count = HEADER.unpack_from(
                buffer, at
            )
            size = length + 12
            if magic == 2 and size > end - at and at > start:
                break  # the last one may be cut, the first one is always whole
            if (
                magic != 2
                or base != wanted
                or count != delta + 1
                or count <= 0
                or attributes & special_bits
                or length < 49
                or size > end - at
                or wanted < split_below
                or crc32c(buffer[at + CRC_START : at + size]) != crc
            ):
                self.offset, self.sequence = wanted, sequence
                self.at_edge = self.at_edge or at > start
                after = self._walk_special(buffer, at, end, aborted, is_first=at == start)
                if after is None or isinstance(after, Refusal):
                    return after
                at, wanted, sequence = after, self.offset, self.sequence
                continue
            if attributes & CONTROL:
                self.offset, self.sequence = wanted, sequence
                self._skip(base + count, epoch, shown=True)
                wanted = base + count
                self.epoch = epoch
                at += size
                continue
            if backlog.kept and not backlog.has_room(row.kept_bytes + size):
                break
            if size > self.largest_bytes:
                self.largest_bytes = size
            self._take_whole(buffer, at, size, attributes, base_ms, newest_ms, count, base, sequence, epoch)
            wanted = base + count
            sequence = (sequence + count) & 0x7FFFFFFF
            self.epoch = epoch
            at += size
            if size <= SCANNED_BYTES and row.starts and not backlog.kept:
                run = row.scan(buffer, at, end, wanted, special_bits | CONTROL)
                if run is not None:
                    sequence = (sequence + run.next - wanted) & 0x7FFFFFFF
                    at, wanted, self.epoch = run.at, run.next, LeaderEpoch(run.epoch)
                    if run.largest_bytes > self.largest_bytes:
                        self.largest_bytes = run.largest_bytes
        self.offset = wanted
        self.sequence = sequence
        self.at_edge = self.at_edge or at > start
        if end - at >= _OLDER_MAGIC_BYTES and buffer[at + MAGIC_OFFSET] < 2:
            after = self._walk_special(buffer, at, end, aborted, is_first=at == start)
            return after if isinstance(after, Refusal) else None
        return None

    def _take_whole(
        self,
        buffer: memoryview,
        at: int,
        size: int,
        attributes: int,
        base_timestamp_ms: int,
        newest_ms: int,
        count: int,
        base: Offset,
        sequence: int,
        epoch: LeaderEpoch,
    ) -> None:
        """A batch of decided records: small ones wait in a row for others, the rest go as they are."""
        row = self._row
        if base >= self._apart_below and row.takes(size, attributes, count):
            if not row.fits(size, attributes, base_timestamp_ms, count):
                self._put_row()
            row.add(buffer, at, size, attributes, base_timestamp_ms, newest_ms, count, base, sequence)
            return
        self._put_row()
        lent, course = not self._backlog.kept, self.course
        view = buffer[at : at + size] if lent else memoryview(bytearray(buffer[at : at + size]))
        self._add(
            Batch(
                base,
                Offset(base + count),
                Offset(base + course.shift),
                sequence,
                count,
                size,
                newest_ms,
                newest_ms,
                epoch,
                view,
                lent,
                Treatment.AS_IS,
                course.made,
            )
        )

    def _add(self, batch: Batch) -> None:
        """Makes a batch ours, and has it wait to be sent."""
        codec = batch.view[CRC_START + 1] & CODEC_MASK
        stamp(batch.view, 0, batch.size, self._producer_id, PRODUCER_EPOCH, batch.sequence, codec)
        if batch.lent:
            self._backlog.pieces.append(batch)
        else:
            self._backlog.keep(batch)

    def _put_row(self) -> None:
        """The batches in the row wait to be sent from now on."""
        row = self._row
        if row.starts:
            lent = not self._backlog.kept
            for batch in row.take(lent=lent, shift=self.course.shift, entries=self.course.made):
                self._add(batch)

    def _walk_special(
        self, buffer: memoryview, at: int, end: int, aborted: AbortedTransactions, *, is_first: bool
    ) -> int | Refusal | None:
        """Takes in what is not simply copied; returns where it ends, or None where the walk does."""
        verdict = judge(buffer, at, end, self.offset, aborted)
        if verdict.treatment is Treatment.REFUSE:
            assert verdict.case.kind is not None, "a refusal has a name"
            return Refusal(verdict.case.kind, verdict.evidence)
        try:
            if verdict.treatment is Treatment.CONVERT:
                return self._convert(buffer, at, end, is_first=is_first)
            return self._take_in(buffer, at, end, verdict)
        except InflatesTooFarError as error:
            return Refusal(StopKind.UNSUPPORTED, f"records that cannot be laid into new batches: {error}")
        except ValueError as error:
            return Refusal(StopKind.SOURCE_CORRUPT, f"records that cannot be read: {error}")

    def _take_in(self, buffer: memoryview, at: int, end: int, verdict: Verdict) -> int | None:
        header = verdict.suspect.header
        after = at + header.size
        if not self._backlog.has_room(self._row.kept_bytes + header.size):
            return None
        self.largest_bytes = max(self.largest_bytes, header.size)
        if header.next_offset > self._source_end:
            raise ValueError(f"a batch up to offset {header.next_offset - 1} came, above the high watermark")
        if header.base_offset != self.offset:
            self._check_overlap(buffer, after, end, header)
            if not self._is_place_certain(buffer, after, end, header):
                return None
        stretches: Sequence[Stretch] | None = None
        if verdict.treatment is Treatment.REENCODE or self.offset < self._split_below:
            stretches = recast_batch(
                buffer[at:after], header, self.offset, self._most_records, across_holes=not self._fills_gaps
            )
        epoch = LeaderEpoch(header.leader_epoch)
        if header.base_offset > self.offset:
            self._skip(header.base_offset, UNKNOWN_EPOCH, shown=False)
        if verdict.treatment is Treatment.GAP:
            self._skip(header.next_offset, epoch, shown=header.record_count > 0)
        elif stretches is None:
            base, count = Offset(self.offset), header.record_count
            times_ms = header.base_timestamp_ms, header.max_timestamp_ms
            self._take_whole(buffer, at, header.size, header.attributes, *times_ms, count, base, self.sequence, epoch)
            self.offset, self.sequence = base + count, (self.sequence + count) % SEQUENCES
        else:
            self._keep(stretches, header.next_offset, epoch, Treatment.REENCODE)
        self.epoch = epoch
        return after

    def _check_overlap(self, buffer: memoryview, after: int, end: int, header: Header) -> None:
        """Raises ValueError for a batch that begins before the one before it ends, or ends behind the next one's
        beginning: in no log do batches overlap."""
        own = f"the batch of the offsets {header.base_offset} to {header.next_offset - 1}"
        if self.at_edge and header.base_offset < self.offset:
            raise ValueError(f"{own} begins before the batch before it ends, at {self.offset}")
        if after + HEADER_BYTES <= end and (following := parse_header(buffer, after).base_offset) < header.next_offset:
            raise ValueError(f"behind {own} comes one of {following}")

    def _is_place_certain(self, buffer: memoryview, after: int, end: int, header: Header) -> bool:
        """No CRC covers a batch's base offset: one that is not the wanted one counts if the next batch follows it, or
        when it is seen the second time in a row, freshly fetched."""
        if after + HEADER_BYTES <= end and parse_header(buffer, after).base_offset == header.next_offset:
            return True
        return self._was_seen_before(header.base_offset, header.next_offset)

    def _was_seen_before(self, *places: object) -> bool:
        seen, self._seen_places = self._seen_places, (self.offset, *places)
        return seen == self._seen_places

    def _convert(self, buffer: memoryview, at: int, end: int, *, is_first: bool) -> int | None:
        converted = convert_messages(
            buffer, at, end, self.offset, self._most_records, across_holes=not self._fills_gaps
        )
        if converted is None:
            if is_first:
                raise ValueError("a message that came whole claims to be longer")
            return None  # the last one may be cut
        if not self._backlog.has_room(self._row.kept_bytes + converted.end - at):
            return None
        places = [place for stretch in converted.stretches for place in (stretch.base, *stretch.holes)]
        if converted.next_offset > self._source_end:
            raise ValueError(f"messages up to offset {converted.next_offset - 1} came, above the high watermark")
        if not converted.is_dense(self.offset) and not self._was_seen_before(*places, converted.next_offset):
            return None  # no CRC covers the offsets of messages either
        self._keep(converted.stretches, converted.next_offset, UNKNOWN_EPOCH, Treatment.CONVERT)
        self.epoch = UNKNOWN_EPOCH
        return converted.end

    @property
    def _fills_gaps(self) -> bool:
        return self.course.offset_class.fills_gaps

    def _skip(self, to: int, epoch: LeaderEpoch, *, shown: bool) -> None:
        self._put_row()
        base, target = Offset(self.offset), Offset(self.offset + self.course.shift)
        if not self._fills_gaps:
            self.course.skip(base, to)
        self._backlog.skip(Gap(base, Offset(to), target, self.sequence, epoch, shown, self.course.made))
        self.offset = to

    def _keep(self, stretches: Sequence[Stretch], next_offset: int, epoch: LeaderEpoch, how: Treatment) -> None:
        """New batches, gaps where offsets are missing before, between and behind them."""
        for stretch in stretches:
            if stretch.base > self.offset:
                self._skip(stretch.base, epoch, shown=False)
            self._add_batch(stretch, epoch, how)
        if next_offset > self.offset:
            self._skip(next_offset, epoch, shown=False)

    def _add_batch(self, stretch: Stretch, epoch: LeaderEpoch, how: Treatment) -> None:
        self._put_row()
        view, base = memoryview(stretch.data), self.offset
        target, size = base + self.course.shift, len(view)
        for start, end in stretch.holes:
            self.course.skip(start, end)
        batch = Batch(
            base=Offset(base),
            next=Offset(stretch.next),
            target=Offset(target),
            sequence=self.sequence,
            records=stretch.records,
            size=size,
            newest_ms=stretch.newest_ms,
            oldest_ms=stretch.oldest_ms,
            epoch=epoch,
            view=view,
            lent=False,
            treatment=how,
            entries=self.course.made,
        )
        self._add(batch)
        self.offset = stretch.next
        self.sequence = (self.sequence + stretch.records) % SEQUENCES
