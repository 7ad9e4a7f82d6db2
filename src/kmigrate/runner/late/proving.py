"""Proves late records: reads both sides again, compares batch by batch, and keeps which batches are the same.

Rule: what was compared once is not compared again; what cannot be read leaves the rest for another time.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from kmigrate.errors import KmigrateError, Refused
from kmigrate.kafka_types import ProducerId, Side, TopicId, TopicName, TopicPartition
from kmigrate.late.comparing import NOT_OURS, Seen, compare_batch
from kmigrate.late.values import Batch
from kmigrate.records.batch import LOG_APPEND_TIME
from kmigrate.runner.leaders import ClusterLeaders
from kmigrate.runner.log_pieces import LogPieces, Span
from kmigrate.runner.reach import Reach
from kmigrate.state.late_book import LateBook
from kmigrate.verify.pieces import CannotTakeApart, Damaged, Piece, Trimmed, crc_holds, read_piece

MOST_BATCHES = 200
"""Compared together: their records are in memory as digests."""
TOGETHER_OFFSETS = 100_000
"""Batches whose places on the target lie no further apart are read in one go."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LateProof:
    """Compares what was appended; each call has its own connections. `ignored` are not applications' ids."""

    book: LateBook
    reach: Mapping[Side, Reach]
    producer_id: ProducerId
    ignored: Collection[ProducerId]

    def prove(self, partitions: Sequence[TopicPartition]) -> None:
        """Compares all batches of these partitions that were not compared yet; raises Refused where one differs,
        KmigrateError where one cannot be read."""
        wanted = [tp for tp in sorted(partitions) if self.book.uncompared(tp, 1)]
        if not wanted:
            return
        ids = self._ids({tp.topic for tp in wanted})
        leaders = {side: ClusterLeaders(reach) for side, reach in self.reach.items()}
        try:
            for tp in wanted:
                while batches := self.book.uncompared(tp, MOST_BATCHES):
                    some = _together(batches)
                    self._compare(tp, some, ids, leaders)
                    self.book.mark_compared(tp, some)
        finally:
            for each in leaders.values():
                each.close()

    def _ids(self, topics: Collection[TopicName]) -> dict[tuple[Side, TopicName], TopicId]:
        found: dict[tuple[Side, TopicName], TopicId] = {}
        for side, reach in self.reach.items():
            client = reach.client()
            try:
                for name, topic in client.metadata(sorted(topics)).topics.items():
                    found[side, name] = topic.topic_id
            finally:
                client.close()
        return found

    def _compare(
        self,
        tp: TopicPartition,
        batches: Sequence[Batch],
        ids: Mapping[tuple[Side, TopicName], TopicId],
        leaders: Mapping[Side, ClusterLeaders],
    ) -> None:
        here, there = leaders[Side.SOURCE], leaders[Side.TARGET]
        ranges = [range(base, base + each.records) for each in batches if (base := each.target_base) is not None]
        source = LogPieces(
            here,
            Span(
                partition=tp,
                topic_id=ids[Side.SOURCE, tp.topic],
                start=batches[0].source_from,
                end=batches[-1].source_next,
            ),
            lambda: here.log_start(tp),
        )
        target = LogPieces(
            there,
            Span(partition=tp, topic_id=ids[Side.TARGET, tp.topic], start=ranges[0].start, end=ranges[-1].stop),
            lambda: here.log_start(tp),
        )
        on_source, on_target = self._read_source(source), self._read_target(target, ranges)
        for batch, places in zip(batches, ranges, strict=True):
            found = compare_batch(
                batch,
                {at: on_source[at] for at in range(batch.source_from, batch.source_next) if at in on_source},
                {at: on_target[at] for at in places if at in on_target},
            )
            if found.difference:
                raise Refused(
                    f"late records of {tp}: {found.difference}",
                    hint="`kmigrate message diff -f FILE` shows both sides; find out why before you go on",
                )

    def _read_source(self, pieces: LogPieces) -> dict[int, Seen]:
        """By offset what applications wrote there."""
        found: dict[int, Seen] = {}
        for piece in _whole(pieces):
            if piece.header is None or piece.header.producer_id not in self.ignored:
                for record in read_piece(Side.SOURCE, piece):
                    found[record.offset] = Seen.of(record)
        return found

    def _read_target(self, pieces: LogPieces, ranges: Sequence[range]) -> dict[int, Seen]:
        """By offset what lies at these places, which rise: what is not ours is not looked into."""
        found: dict[int, Seen] = {}
        starts = [places.start for places in ranges]
        for piece in _whole(pieces):
            if piece.header is not None and piece.header.producer_id == self.producer_id:
                own_time = bool(piece.header.attributes & LOG_APPEND_TIME)
                for record in read_piece(Side.TARGET, piece):
                    found[record.offset] = Seen.of(record, is_own_time=own_time)
                continue
            for places in ranges[max(0, bisect_right(starts, piece.base) - 1) :]:
                if places.start >= piece.next:
                    break
                inside = range(max(places.start, piece.base), min(places.stop, piece.next))
                found |= dict.fromkeys(inside, NOT_OURS)
        return found


def _whole(pieces: LogPieces) -> Iterator[Piece]:
    """The pieces that consumers see; raises KmigrateError for one that cannot be read."""
    try:
        for piece in pieces:
            if not isinstance(piece, Trimmed) and not piece.hidden:
                if not crc_holds(piece):
                    raise KmigrateError(f"the batch at offset {piece.base} of {pieces.span.partition} is damaged")
                yield piece
    except (Damaged, CannotTakeApart) as error:
        raise KmigrateError(f"{pieces.span.partition} cannot be compared: {error}") from error
    finally:
        pieces.close()


def _together(batches: Sequence[Batch]) -> Sequence[Batch]:
    """The first batches whose places on the target are not far from each other."""
    for number, (one, other) in enumerate(pairwise(batches), start=1):
        if (other.target_base or 0) - (one.target_base or 0) - one.records > TOGETHER_OFFSETS:
            return batches[:number]
    return batches
