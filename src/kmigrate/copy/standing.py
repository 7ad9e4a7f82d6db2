"""What both clusters say about one partition right now, and what follows from it.  (pure)

A standing is collected after every doubt (`inquiry` does it, in the order that is written there). Here the tails of
both logs are compared, and `decide_standing` says whether copying goes on, and from where, or how it stops.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from kmigrate.copy.orders import Remembered
from kmigrate.copy.states import Stop, StopKind
from kmigrate.kafka_types import UNKNOWN_EPOCH, LeaderEpoch, Offset, ProducerId
from kmigrate.kafka_types import Sequence as BatchSequence
from kmigrate.records.batch import SEQUENCES, Header, same_content

Batch = tuple[Header, memoryview]


class Tail(NamedTuple):
    """The comparison of the last records of both logs at the same offsets.

    `compared` counts target batches that were held against the source's. `differs_at` is the base offset of the first
    one that is not the same there (None: all are). `foreign_at` is the first batch that another
    producer wrote, `foreign_by`. `equal_before` says that something before the first difference was the same.
    `source_epoch` is the leader epoch of the source's batch before the end, `next_sequence` follows our last batch.
    """

    compared: int
    differs_at: Offset | None
    foreign_at: Offset | None
    foreign_by: ProducerId | None
    equal_before: bool
    source_epoch: LeaderEpoch
    next_sequence: BatchSequence | None


EMPTY_TAIL = Tail(0, None, None, None, False, UNKNOWN_EPOCH, None)


class Quiet(enum.Enum):
    """Whether the target's log end must stand still first, because a request of ours may still be on its way."""

    NEEDLESS = "needless"
    """Nothing can be on its way."""
    UNLESS_GUARDED = "unless guarded"
    """Quick where the target certainly keeps our id: then the sequence refuses what comes late."""
    NEEDED = "needed"
    """Slow and sure: what is sent next may make the target forget our id."""


class Standing(NamedTuple):
    """One partition on both clusters: log starts, true log ends, our last sequence there (None: id not listed).

    `quiet` says that the target's log end stood still for so long that nothing of ours can be on its way any more.
    """

    source_start: Offset
    source_end: Offset
    target_start: Offset
    target_end: Offset
    last_sequence: int | None
    tail: Tail
    quiet: bool


class GoOn(NamedTuple):
    """Copying goes on at `offset` with `sequence`; `epoch` is the source's leader epoch just before it."""

    offset: Offset
    sequence: BatchSequence
    epoch: LeaderEpoch


def compare_tails(source: Iterable[Batch], target: Sequence[Batch], source_start: int, producer_id: ProducerId) -> Tail:
    """Holds the target's last batches against the source's at the same offsets.

    Target batches that begin below the source's log start cannot be compared and are passed over.
    """
    at_source = {header.base_offset: (header, view) for header, view in source}
    compared = 0
    equal_before = False
    differs: Offset | None = None
    foreign: tuple[Offset, ProducerId] | None = None
    epoch = UNKNOWN_EPOCH
    next_sequence: BatchSequence | None = None
    for batch in target:
        header = batch[0]
        if header.producer_id == producer_id:
            next_sequence = BatchSequence((header.base_sequence + header.record_count) % SEQUENCES)
        elif foreign is None:
            foreign = Offset(header.base_offset), ProducerId(header.producer_id)
        if header.base_offset < source_start:
            continue
        compared += 1
        twin = at_source.get(header.base_offset)
        if twin is not None and same_content(twin, batch):
            epoch = LeaderEpoch(twin[0].leader_epoch)
            equal_before = equal_before or differs is None
        elif differs is None:
            differs = Offset(header.base_offset)
    return Tail(
        compared=compared,
        differs_at=differs,
        foreign_at=foreign[0] if foreign else None,
        foreign_by=foreign[1] if foreign else None,
        equal_before=equal_before,
        source_epoch=epoch,
        next_sequence=next_sequence,
    )


def decide_standing(standing: Standing, floor: Offset, remembered: Remembered | None, began: bool) -> GoOn | Stop:
    """Where copying goes on, or why it stops.

    `floor` is what the target is known to have acknowledged; `remembered` what an earlier run wrote down; `began`
    says that this copier has seen the partition start at 0. The rules are tried in this order: lost, foreign, trimmed,
    different, truncated, nothing to compare, go on. A source that ends below the copy and differs before that end is
    told as different: that is where the logs part.
    """
    end, tail = standing.target_end, standing.tail
    if end < floor:
        evidence = f"the target ends at {end}, but had acknowledged everything below {floor}"
        return Stop(kind=StopKind.TARGET_LOST, offset=end, evidence=evidence)
    if tail.foreign_at is not None:
        evidence = f"the target holds records of producer id {tail.foreign_by} there, not of this migration"
        return Stop(kind=StopKind.FOREIGN_WRITE, offset=tail.foreign_at, evidence=evidence)
    if standing.source_start > end:
        return _trimmed(standing, began or end > 0)
    if tail.differs_at is not None and tail.differs_at < standing.source_end:
        return _different(tail.differs_at, tail.equal_before, remembered)
    if standing.source_end < end:
        evidence = f"the source ends at {standing.source_end}, but records up to {end - 1} were copied from it"
        return Stop(kind=StopKind.SOURCE_TRUNCATED, offset=standing.source_end, evidence=evidence)
    if end > 0 and tail.compared == 0 and remembered is None:
        evidence = "the source holds none of the copied records any more, and nothing remembers which topic they were"
        return Stop(kind=StopKind.STATE_LOST, offset=end, evidence=evidence)
    if standing.last_sequence is not None and standing.last_sequence >= 0:
        sequence = BatchSequence((standing.last_sequence + 1) % SEQUENCES)
    else:
        sequence = tail.next_sequence or BatchSequence(0)
    epoch = tail.source_epoch
    if epoch == UNKNOWN_EPOCH and remembered is not None and remembered.appended == end:
        epoch = remembered.source_epoch
    return GoOn(end, sequence, epoch)


def _trimmed(standing: Standing, began: bool) -> Stop:
    start, end = standing.source_start, standing.target_end
    if began:
        evidence = f"offsets {end} to {start - 1} ({start - end} offsets) are gone from the source"
        return Stop(kind=StopKind.GAP_LOST, offset=end, evidence=evidence)
    return Stop(kind=StopKind.UNSUPPORTED, offset=Offset(0), evidence=f"a log that starts at offset {start}, above 0")


def _different(offset: Offset, equal_before: bool, remembered: Remembered | None) -> Stop:
    if remembered is None and not equal_before:
        evidence = "no compared record of the target is the source's: this is another topic's content"
        return Stop(kind=StopKind.SOURCE_REPLACED, offset=offset, evidence=evidence)
    evidence = "from there on the source holds other records than those that were copied"
    return Stop(kind=StopKind.SOURCE_TRUNCATED, offset=offset, evidence=evidence)
