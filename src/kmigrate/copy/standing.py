"""What both clusters say about one partition right now, and what follows from it.  (pure)

A standing is collected after every doubt (`inquiry` does it, in the order that is written there). Here the tails of
both logs are compared, and `decide_standing` says whether copying goes on, and from where, or how it stops.

Tails are compared in two stages. Where every batch of ours has a twin on the source, the headers and a fingerprint
prove it (`compare_batches`), and nothing is decoded. Elsewhere, where batches were cut, converted or stamped otherwise,
and around gaps, what consumers see is compared offset by offset (`compare_records`).
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from kmigrate.copy.course import Place
from kmigrate.copy.identity import filler_producer_id
from kmigrate.copy.judge import SPECIAL_BITS
from kmigrate.copy.orders import Remembered
from kmigrate.copy.states import Stop, StopKind
from kmigrate.kafka_types import UNKNOWN_EPOCH, LeaderEpoch, Offset, ProducerId
from kmigrate.kafka_types import Sequence as BatchSequence
from kmigrate.offsets.classes import OffsetClass
from kmigrate.records.batch import CONTROL, SEQUENCES, Header, same_content
from kmigrate.records.visible import ABSENT, HIDDEN, UNSEEN, Visible

Batch = tuple[Header, memoryview]


class Tail(NamedTuple):
    """The comparison of the last records of both logs at the same offsets.

    `compared` counts what was held against each other: batches, or offsets where a consumer sees something on either
    side, up to the first difference. `differs_at` is the first offset that is not the same there (None: all are).
    `foreign_at` is the first batch that another producer wrote, `foreign_by`. `equal_before` says that something before
    the first difference was the same. `source_epoch` is the leader epoch of the source's record before the end,
    `next_sequence` follows our last batch. `excused` counts records that the source no longer holds.
    `filler_end` and `filler_sequence` follow our last batch of filler. `shows_nothing`: all of the target was looked
    at, and neither side shows a record there. `marked_at`: from there on our markers end the log where the source
    shows records. `at_edge`: a batch of the source ends where the target does. `last_base` is where our last batch of
    data begins on the target (None: none was seen).
    """

    compared: int
    differs_at: Offset | None
    foreign_at: Offset | None
    foreign_by: ProducerId | None
    equal_before: bool
    source_epoch: LeaderEpoch
    next_sequence: BatchSequence | None
    excused: int = 0
    filler_end: Offset | None = None
    filler_sequence: BatchSequence | None = None
    shows_nothing: bool = False
    marked_at: Offset | None = None
    at_edge: bool = False
    last_base: Offset | None = None


EMPTY_TAIL = Tail(0, None, None, None, False, UNKNOWN_EPOCH, None)


class Unreadable(NamedTuple):
    """The records at this offset are damaged or too large on one side, and not the same bytes on the other."""

    offset: Offset


class Bounds(NamedTuple):
    """Log starts and true log ends."""

    source_start: Offset
    source_end: Offset
    target_start: Offset
    target_end: Offset

    @property
    def first(self) -> Offset:
        """The first offset that both sides may hold …"""
        return max(self.source_start, self.target_start)

    @property
    def end(self) -> Offset:
        """… and the one behind the last."""
        return min(self.source_end, self.target_end)


class Writers:
    """Who wrote the target's batches; they are shown in order."""

    def __init__(self, data_id: ProducerId, marker_id: ProducerId, own_from: int = 0) -> None:
        """Nothing below `own_from` is foreign: others may write there, and did."""
        self.foreign: tuple[Offset, ProducerId] | None = None
        """The first batch that is not ours and should be: where, and whose."""
        self.next_sequence: BatchSequence | None = None
        """Behind our last batch of data."""
        self.last_base: Offset | None = None
        """Where that batch begins."""
        self.filler: tuple[Offset, BatchSequence] | None = None
        """Behind our last batch of filler: offset and sequence."""
        self._data_id = data_id
        self._marker_id = marker_id
        self._filler_id = filler_producer_id(data_id)
        self._own_from = own_from

    def add(self, header: Header) -> None:
        """Shows one batch."""
        control = header.attributes & CONTROL
        if header.producer_id == self._data_id:
            if not control:
                self.next_sequence, self.last_base = _following(header), Offset(header.base_offset)
        elif header.producer_id == self._filler_id:
            self.filler = Offset(header.next_offset), _following(header)
        elif not (control and header.producer_id == self._marker_id):
            self.add_foreign(Offset(header.base_offset), ProducerId(header.producer_id))

    def add_foreign(self, offset: Offset, producer_id: ProducerId) -> None:
        """Shows something that cannot be ours."""
        if offset >= self._own_from:
            self.foreign = self.foreign or (offset, producer_id)

    def tail(self) -> Tail:
        """What is known of a tail before anything is compared."""
        at, by = self.foreign or (None, None)
        end, sequence = self.filler or (None, None)
        return EMPTY_TAIL._replace(
            foreign_at=at,
            foreign_by=by,
            next_sequence=self.next_sequence,
            filler_end=end,
            filler_sequence=sequence,
            last_base=self.last_base,
        )


def _following(header: Header) -> BatchSequence:
    return BatchSequence((header.base_sequence + header.record_count) % SEQUENCES)


class Quiet(enum.Enum):
    """Whether the target's log end must stand still first, because a request of ours may still be on its way."""

    NEEDLESS = "needless"
    """Nothing can be on its way."""
    UNLESS_GUARDED = "unless guarded"
    """Quick where the target certainly keeps our id: then the sequence refuses what comes late."""
    NEEDED = "needed"
    """Slow and sure: what is sent next may make the target forget our id."""
    BRIEF = "brief"
    """Five seconds, guarded or not: before markers, where the source shows that nothing but a gap was ever there."""


class Standing(NamedTuple):
    """One partition on both clusters: log starts, true log ends, our last sequence there (None: id not listed).

    `source_start` is where what is wanted begins: the source's log start, or above it where the order says so.
    `quiet` says that the target's log end stood still for so long that nothing of ours can be on its way any more: that
    may be longer than `Quiet.BRIEF` waits. `source_stable` is the source's last stable offset, which is never above its
    high watermark: what is below is decided, and can be copied. `marker_epoch` is the coordinator epoch of our last
    marker there (-1: none is listed); a lower one would be refused. `filler_sequence` is the last one of our filler.
    `place` is the source offset that the target's end stands for (None: the offset map does not tell).
    """

    source_start: Offset
    source_end: Offset
    target_start: Offset
    target_end: Offset
    last_sequence: int | None
    tail: Tail
    quiet: bool
    source_stable: Offset
    marker_epoch: int
    filler_sequence: int | None = None
    place: Place | None = None

    @property
    def at_edge(self) -> bool:
        """Whether a batch of the source is known to end where copying goes on."""
        place = self.place
        return self.tail.at_edge and place is not None and place.source == self.target_end - place.shift


class GoOn(NamedTuple):
    """Copying goes on at `offset` with `sequence`; `epoch` is the source's leader epoch just before it."""

    offset: Offset
    sequence: BatchSequence
    epoch: LeaderEpoch


class Align(NamedTuple):
    """The target is empty, or holds nothing but filler: more of it is needed, up to the source's log start."""

    to: Offset
    sequence: BatchSequence


class Trim(NamedTuple):
    """The filler is whole: the target's log start must move behind it before copying begins."""

    to: Offset


Decision = GoOn | Align | Trim | Stop


def compare_batches(
    source: Sequence[Batch], target: Sequence[Batch], start: Offset, bounds: Bounds, shift: int, writers: Writers
) -> Tail | None:
    """Holds the target's batches from `start` on against the source's, without decoding them.

    None where that proves nothing, so that the records must be compared: something is not the same, not ours, or not
    what is copied as it is. Target batches that begin below the source's log start are passed over. `shift` is added
    to the source's offsets; `writers` are those of the target's batches.
    """
    tail = writers.tail()
    if not _follow_each_other(target, start, bounds.target_end):
        return None
    if bounds.first >= bounds.end:
        return tail  # there is nothing to compare, however far one looks
    if tail.foreign_at is not None or any(header.attributes & SPECIAL_BITS for header, _ in source):
        return None
    at_source = {
        header.base_offset + shift: (header._replace(base_offset=header.base_offset + shift), view)
        for header, view in source
    }
    compared, epoch = 0, UNKNOWN_EPOCH
    for batch in target:
        header = batch[0]
        if header.base_offset < bounds.source_start:
            continue
        twin = at_source.get(header.base_offset)
        if header.attributes & SPECIAL_BITS or twin is None or not same_content(twin, batch):
            return None
        compared += 1
        epoch = LeaderEpoch(twin[0].leader_epoch)
    if not compared:
        return None
    return tail._replace(compared=compared, equal_before=True, source_epoch=epoch, at_edge=True)


def _follow_each_other(batches: Sequence[Batch], start: Offset, end: Offset) -> bool:
    """Whether they take up every offset from start to end."""
    return (
        bool(batches)
        and batches[0][0].base_offset <= start
        and batches[-1][0].next_offset >= end
        and all(before.next_offset == after.base_offset for (before, _), (after, _) in pairwise(batches))
    )


def compare_records(
    source: Visible, target: Visible, offsets: range, target_end: Offset, writers: Writers, own_from: int = 0
) -> Tail | Unreadable:
    """Holds what consumers see on the target against what they see on the source, at each of these offsets.

    Every record of the source must be there. One that only the target has is excused where the source has nothing
    any more, for compaction goes on while we copy; not where the source never showed one. Each replica of a source
    cleans for itself: a new leader may show again what was a gap before. Where something behind it is the same, our
    marker there is excused; at the end of the log it may be one too many, and is told.

    Below `own_from` the target is the older of the two: what lies there was copied from it to the source. So there the
    rules about records that only one side has count the other way round, and compaction excuses on both sides.
    """
    compared = excused = 0
    differs: Offset | None = None
    marked: list[Offset] = []
    copied_from = writers.filler[0] if writers.filler else 0  # a source's crash can show again what it had deleted
    for offset in range(max(offsets.start, copied_from), offsets.stop):
        at_source, at_target = source[offset], target[offset]
        if at_source in UNSEEN and at_target in UNSEEN:
            continue
        is_older = offset < own_from
        if at_source == ABSENT or (is_older and at_target == ABSENT):
            excused += 1
            continue
        if (at_source if is_older else at_target) == HIDDEN:
            marked.append(Offset(offset))
            continue
        if at_source != at_target:
            if not (source.is_readable(offset) and target.is_readable(offset)):
                return Unreadable(Offset(offset))
            differs = Offset(offset)
            break
        compared += 1
        excused += len(marked)
        marked.clear()
    if differs is None and marked and marked[0] < own_from:
        differs = marked[0]  # no marker of ours
    # The epoch of a batch before a hole may have ended inside the hole: with it as the last fetched epoch, the leader
    # would report a divergence that there is not.
    epoch = source.leader_epoch if source.next_offset >= target_end else UNKNOWN_EPOCH
    return writers.tail()._replace(
        compared=compared + (differs is not None),
        differs_at=differs,
        equal_before=compared > 0,
        source_epoch=epoch,
        excused=excused,
        marked_at=marked[0] if marked and differs is None else None,
        at_edge=bool(offsets) and source.next_offset == target_end,
    )


def decide_standing(
    standing: Standing,
    offset_class: OffsetClass,
    floor: Offset,
    remembered: Remembered | None,
    *,
    began: bool,
    aligning: bool,
    own_from: Offset | None = None,
) -> Decision:
    """Where copying goes on, or what comes before that, or why it stops.

    `floor` is what the target is known to have acknowledged; `remembered` what an earlier run wrote down; `began`
    says that this copier has copied, `aligning` that it has written filler and nothing else. The rules are tried in
    this order: lost, foreign, nothing copied yet, no map, trimmed, different, truncated, filler still visible, nothing
    to compare, go on. A source that ends below the copy and differs before that end is told as different: that is where
    the logs part.

    Where only what lies from `own_from` on is ours, everything from there on is wanted: what the source lacks is lost,
    whatever the target holds, and no filler takes its place.
    """
    end, tail, place = standing.target_end, standing.tail, standing.place
    is_empty = standing.target_start == end
    if own_from is not None and end < own_from:
        evidence = f"the target ends at {end}, but both logs were the same up to {own_from}"
        return Stop(kind=StopKind.TARGET_LOST, offset=end, evidence=evidence)
    if end < floor:
        evidence = f"the target ends at {end}, but had acknowledged everything below {floor}"
        return Stop(kind=StopKind.TARGET_LOST, offset=end, evidence=evidence)
    if tail.foreign_at is not None:
        evidence = f"the target holds records of producer id {tail.foreign_by} there, not of this migration"
        return Stop(kind=StopKind.FOREIGN_WRITE, offset=tail.foreign_at, evidence=evidence)
    if place is None and end == 0 and own_from is None:
        return _ends_too_early(standing) or GoOn(standing.source_start, BatchSequence(0), UNKNOWN_EPOCH)
    if place is None:
        evidence = f"the target ends at {end}, and no offset map tells which source offset that is"
        return Stop(kind=StopKind.STATE_LOST, offset=end, evidence=evidence)
    at = place.source
    if standing.source_start > at:
        is_untouched = end == 0 or tail.filler_end == end or (aligning and is_empty)
        if own_from is None and offset_class.aligns and is_untouched and not began:
            return _ends_too_early(standing) or Align(
                standing.source_start, _next_sequence(standing.filler_sequence, tail.filler_sequence)
            )
        lost = standing.source_start - at
        evidence = f"offsets {at} to {standing.source_start - 1} ({lost} offsets) are gone from the source"
        return Stop(kind=StopKind.GAP_LOST, offset=at, evidence=evidence)
    differs_at = None if tail.differs_at is None else Offset(tail.differs_at - place.shift)
    if differs_at is not None and differs_at < standing.source_end:
        if own_from is not None and tail.differs_at is not None and tail.differs_at < own_from:
            evidence = f"the logs hold other records there, although they were the same up to {own_from}"
            return Stop(kind=StopKind.SOURCE_TRUNCATED, offset=differs_at, evidence=evidence)
        return _different(differs_at, tail.equal_before, remembered)
    if tail.marked_at is not None and floor < end:
        offset = Offset(tail.marked_at - place.shift)
        evidence = f"a marker of ours lies at {tail.marked_at}, where the source shows a record: it may be one too many"
        return Stop(kind=StopKind.GAP_OVERSHOT, offset=offset, evidence=evidence)
    if standing.source_end < at:
        evidence = f"the source ends at {standing.source_end}, but records up to {at - 1} were copied from it"
        return Stop(kind=StopKind.SOURCE_TRUNCATED, offset=standing.source_end, evidence=evidence)
    if end > 0 and tail.filler_end == end and own_from is None:
        if remembered is None and standing.source_start < at and not (began or aligning):
            evidence = (
                f"the target holds filler up to {end} and nothing else, but the source begins at"
                f" {standing.source_start}, and nothing remembers which topic it was made for"
            )
            return Stop(kind=StopKind.STATE_LOST, offset=standing.source_start, evidence=evidence)
        return Trim(end)
    nothing_to_prove = tail.shows_nothing or (is_empty and standing.source_start == at) or end == own_from
    if tail.compared == 0 and remembered is None and not nothing_to_prove:
        evidence = "the source holds none of the copied records any more, and nothing remembers which topic they were"
        return Stop(kind=StopKind.STATE_LOST, offset=at, evidence=evidence)
    epoch = tail.source_epoch
    if standing.source_start == at and remembered is not None and remembered.appended == end:
        epoch = remembered.source_epoch  # the source has nothing before the end; a hole there would say UNKNOWN_EPOCH
    elif at != end - place.shift:
        epoch = UNKNOWN_EPOCH  # a gap lies between the last record and this place
    return GoOn(at, _next_sequence(standing.last_sequence, tail.next_sequence), epoch)


def _ends_too_early(standing: Standing) -> Stop | None:
    """Where a source was truncated before anything was copied, nothing wanted is there."""
    if standing.source_end >= standing.source_start:
        return None
    evidence = f"the source ends at {standing.source_end}, below {standing.source_start}, where the copy is to begin"
    return Stop(kind=StopKind.SOURCE_TRUNCATED, offset=standing.source_end, evidence=evidence)


def _next_sequence(listed: int | None, behind_last: BatchSequence | None) -> BatchSequence:
    """What follows the last sequence that the target lists, or our last batch there, or nothing at all."""
    if listed is not None and listed >= 0:
        return BatchSequence((listed + 1) % SEQUENCES)
    return behind_last or BatchSequence(0)


def _different(offset: Offset, equal_before: bool, remembered: Remembered | None) -> Stop:
    if remembered is None and not equal_before:
        evidence = "no compared record of the target is the source's: this is another topic's content"
        return Stop(kind=StopKind.SOURCE_REPLACED, offset=offset, evidence=evidence)
    evidence = "from there on the source holds other records than those that were copied"
    return Stop(kind=StopKind.SOURCE_TRUNCATED, offset=offset, evidence=evidence)
