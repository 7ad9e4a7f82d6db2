"""A run that was asked to end in sync ends when what was there is copied, and filler is no copy."""

from __future__ import annotations

from typing import cast

import pytest

from kmigrate.copy.progress import PartitionProgress
from kmigrate.copy.states import PartitionState
from kmigrate.kafka_types import Offset, Partition, TopicName, TopicPartition
from kmigrate.runner.copying import Copying
from kmigrate.runner.finish import DONE, SETTLE_SECONDS, Finish, Marks
from tests.unit.copy.fake_worker import position

TP = TopicPartition(TopicName("orders"), Partition(0))


class OnePartition:
    """A migration whose one partition is where a test says."""

    all_ordered = True
    partitions = (TP,)

    def __init__(self, progress: PartitionProgress) -> None:
        self.latest = {TP: progress}

    def is_stopped(self, partition: TopicPartition) -> bool:
        return False


class KnownMarks:
    """The source ended at 20."""

    def __init__(self) -> None:
        self.found = {TP: Offset(20)}

    def step(self, wanted: object, now: float) -> bool:
        return True


def ends_with(state: PartitionState, at: int, start: int) -> int | None:
    """What follows once that has been so for long enough."""
    progress = position(TP, at)._replace(state=state, source_start=Offset(start))
    finish = Finish(cast(Copying, OnePartition(progress)), cast(Marks, KnownMarks()))
    finish.decide(0.0)
    return finish.decide(SETTLE_SECONDS)


@pytest.mark.parametrize("state", [PartitionState.IN_SYNC, PartitionState.CATCHING_UP])
def test_what_is_copied_up_to_its_mark_ends_the_run(state: PartitionState) -> None:
    assert ends_with(state, 20, 20) == DONE
    assert ends_with(state, 19, 0) is None


def test_filler_up_to_the_mark_does_not_end_the_run() -> None:
    assert ends_with(PartitionState.ALIGNING, 20, 20) is None
    assert ends_with(PartitionState.WAITING, 20, 20) is None, "it is still to be deleted"
    assert ends_with(PartitionState.WAITING, 20, 10) == DONE
