"""The rest is verified as soon as it is shown that it is copied, and not before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from kmigrate.copy.states import PartitionState
from kmigrate.kafka_types import Offset, Partition, TopicName, TopicPartition
from kmigrate.runner.cutover import verifying
from kmigrate.runner.status import MigrationState, PartitionStatus, StatusDocument
from kmigrate.runner.verification import PartitionVerification, Verdict
from kmigrate.runner.verify_partition import Mode

ONE, TWO = (TopicPartition(TopicName("orders"), Partition(number)) for number in range(2))


class Memory:
    """Shows one more copied record of each partition whenever it is looked at."""

    def __init__(self, *, up_to: int) -> None:
        self.up_to = up_to
        self.shown = 0
        self.verified = 0

    def status(self) -> StatusDocument:
        self.shown = min(self.up_to, self.shown + 1)
        return StatusDocument(
            name="orders",
            state=MigrationState.IN_SYNC,
            partitions=tuple(
                PartitionStatus(
                    topic=tp.topic, partition=tp.partition, state=PartitionState.IN_SYNC, position=self.shown
                )
                for tp in (ONE, TWO)
            ),
        )

    def verifications(self, mode: Mode) -> Sequence[PartitionVerification]:
        return [
            PartitionVerification(
                topic=tp.topic,
                partition=tp.partition,
                target_topic=tp.topic,
                mode=mode,
                verdict=Verdict.EQUAL,
                end=self.verified,
            )
            for tp in (ONE, TWO)
        ]


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How much was shown when it was verified, each time."""
    made: list[int] = []

    def verify(_manifest: Any, memory: Memory, _topics: Any) -> None:
        made.append(memory.shown)
        memory.verified = memory.shown

    monkeypatch.setattr(verifying, "_verify", verify)
    monkeypatch.setattr(verifying, "SHOWN_SECONDS", 0.3)
    return made


def check(memory: Memory, end: int) -> str:
    return verifying.verify_here(None, memory, {ONE: Offset(end), TWO: Offset(end)})  # type: ignore[arg-type]


def test_one_pass_is_enough_where_the_status_lags(passes: list[int]) -> None:
    memory = Memory(up_to=9)
    assert check(memory, 5) == ""
    assert passes == [5]
    assert check(memory, 5) == ""
    assert passes == [5], "what is verified is not read again"


def test_what_is_never_shown_is_told_as_missing(passes: list[int]) -> None:
    assert "orders-0 is verified, but not up to where it was frozen yet" in check(Memory(up_to=3), 5)
    assert passes == [3]
