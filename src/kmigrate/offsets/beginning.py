"""Where the copied part of a source partition begins.  (pure)

It is decided once, before the partition is first ordered, and takes effect as a floor on the source's log start: to the
copy the source begins there, if its log does not start later anyway.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from kmigrate.kafka_types import Offset, TopicId

EARLIEST = "earliest"
LATEST = "latest"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


class Beginning(NamedTuple):
    """What is decided of one partition of the source topic with this id.

    `start` is the first offset that is wanted; None: that is still to be decided. `filler` is what the partition has of
    padBudgetTotal; None: it needs filler, and nothing was left for it. From the target offset `own_from` on the log is
    the copy's; None: all of it.
    """

    source_topic_id: TopicId
    start: Offset | None
    filler: int | None = 0
    own_from: Offset | None = None


def time_of(start: str) -> int | None:
    """The time that a manifest's `start` names, in milliseconds, rounded up; None for `earliest` and `latest`.

    A time before 1970 is 1970: ListOffsets gives negative ones a meaning of their own.
    """
    if start in (EARLIEST, LATEST):
        return None
    return max(0, -((_EPOCH - datetime.fromisoformat(start)) // _MILLISECOND))


def first_wanted(start: str, last_stable: Offset, at_time: Offset | None) -> Offset:
    """The first offset that is wanted of a partition with this last stable offset.

    `at_time` is the first record at or after the time, if there is one; the last stable offset was asked before it.
    Nothing is ever begun above that: no open transaction is cut in two, and no record that is not decided is left out.
    """
    if start == EARLIEST:
        return Offset(0)
    return last_stable if at_time is None else min(at_time, last_stable)
