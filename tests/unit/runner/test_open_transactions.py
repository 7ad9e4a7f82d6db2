"""Who holds a partition back follows from what leaders and coordinators tell; what moves is not asked about."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kmigrate.copy.progress import PartitionProgress
from kmigrate.copy.states import PartitionState, Stop, StopKind
from kmigrate.kafka_types import LeaderEpoch, Offset, Partition, ProducerId, TopicName, TopicPartition
from kmigrate.runner.open_transactions import (
    HELD_SECONDS,
    NOT_NAMED,
    TOGETHER,
    Coordinators,
    HeldBack,
    Known,
    describe_holder,
    find_holder,
)
from kmigrate.runner.status import OpenTransaction
from kmigrate.wire.calls import ProducerState
from kmigrate.wire.transaction_calls import DescribedTransaction

ORDERS = TopicName("orders")
PLACE = TopicPartition(ORDERS, Partition(0))
OTHER = TopicPartition(ORDERS, Partition(1))
STOP = Stop(kind=StopKind.FOREIGN_WRITE, offset=Offset(4), evidence="producer 7 wrote")
FOUND = OpenTransaction(producer_id=4, producer_epoch=2, first_offset=50)
DESCRIBED = DescribedTransaction(
    error=0,
    state="Ongoing",
    timeout_ms=60_000,
    start_ms=1_790_000_000_000,
    producer_id=ProducerId(4),
    producer_epoch=2,
    partitions=frozenset({PLACE}),
)


def producer(producer_id: int, start: int) -> ProducerState:
    return ProducerState(ProducerId(producer_id), 2, 9, 1_000, 0, Offset(start))


def progress(
    partition: TopicPartition = PLACE, *, held_back: int = 7, end: int = 50, stop: Stop | None = None
) -> PartitionProgress:
    return PartitionProgress(
        partition=partition,
        state=PartitionState.STOPPED if stop else PartitionState.IN_SYNC,
        position=Offset(end),
        source_start=Offset(0),
        source_end=Offset(end),
        source_epoch=LeaderEpoch(0),
        records=0,
        bytes=0,
        newest_ms=-1,
        crc_errors=0,
        reason="",
        stop=stop,
        held_back=held_back,
    )


def latest(*words: PartitionProgress) -> dict[TopicPartition, PartitionProgress]:
    return {each.partition: each for each in words}


# -- the holder


def test_the_transaction_that_began_first_holds_the_end() -> None:
    producers = [producer(1, -1), producer(2, 70), producer(3, 50), producer(4, 60)]
    assert find_holder(producers, Offset(50)) == producer(3, 50)


def test_a_transaction_behind_the_end_does_not_hold_it() -> None:
    assert find_holder([producer(1, -1), producer(2, 51)], Offset(50)) is None
    assert find_holder([], Offset(50)) is None


def test_a_transaction_whose_first_records_were_deleted_begins_before_the_end() -> None:
    producers = [producer(1, 60), producer(2, 45), producer(3, 40)]
    assert find_holder(producers, Offset(50)) == producer(3, 40)


# -- what is told of it


def test_a_transaction_that_its_coordinator_knows_is_told_whole() -> None:
    coordinators = Coordinators({ProducerId(4): Known("billing", "Ongoing", DESCRIBED)})
    assert describe_holder(PLACE, producer(4, 50), coordinators) == replace(
        FOUND,
        transactional_id="billing",
        since=1_790_000_000_000,
        state="Ongoing",
        timeout_ms=60_000,
        hanging=False,
    )


@pytest.mark.parametrize(
    "described",
    [
        replace(DESCRIBED, partitions=frozenset({OTHER})),
        replace(DESCRIBED, state="CompleteCommit", partitions=frozenset()),
        replace(DESCRIBED, producer_id=ProducerId(5)),
    ],
)
def test_what_the_coordinator_denies_is_hanging(described: DescribedTransaction) -> None:
    coordinators = Coordinators({ProducerId(4): Known("billing", "Ongoing", described)})
    told = describe_holder(PLACE, producer(4, 50), coordinators)
    assert told == replace(FOUND, transactional_id="billing", state=described.state, hanging=True)


def test_a_producer_that_nobody_names_may_hang_or_be_unreadable() -> None:
    told = describe_holder(PLACE, producer(4, 50), Coordinators({}))
    assert told == replace(FOUND, note=NOT_NAMED)
    assert told.hanging is None


def test_a_coordinator_that_cannot_be_read_is_told() -> None:
    told = describe_holder(PLACE, producer(4, 50), Coordinators({}, "UNSUPPORTED_VERSION"))
    assert told == replace(FOUND, note="not readable: UNSUPPORTED_VERSION")


def test_a_transactional_id_without_its_details_is_told_without_them() -> None:
    known = Known("billing", "Ongoing", None, "TRANSACTIONAL_ID_AUTHORIZATION_FAILED")
    told = describe_holder(PLACE, producer(4, 50), Coordinators({ProducerId(4): known}, "another one is silent"))
    note = "not readable: TRANSACTIONAL_ID_AUTHORIZATION_FAILED"
    assert told == replace(FOUND, transactional_id="billing", state="Ongoing", note=note)


def test_a_start_that_the_coordinator_does_not_tell_is_not_known() -> None:
    known = Known("billing", "Ongoing", replace(DESCRIBED, start_ms=-1))
    assert describe_holder(PLACE, producer(4, 50), Coordinators({ProducerId(4): known})).since is None


# -- who is asked about


def test_what_is_held_for_a_moment_is_not_asked_about() -> None:
    held = HeldBack()
    held.look(latest(progress()), 100.0)
    held.look(latest(progress(held_back=9)), 100.0 + HELD_SECONDS - 1)
    assert held.take_due(100.0 + HELD_SECONDS - 1) == {}
    assert held.take_due(100.0 + HELD_SECONDS) == {PLACE: 50}


def test_an_end_that_moves_begins_anew() -> None:
    held = HeldBack()
    held.look(latest(progress()), 100.0)
    held.look(latest(progress(end=60)), 109.0)
    assert held.take_due(110.0) == {}
    assert held.take_due(119.0) == {PLACE: 60}


def test_stopped_partitions_and_those_not_held_are_not_asked_about() -> None:
    held = HeldBack()
    for now in (0.0, 100.0):
        held.look(latest(progress(stop=STOP), progress(OTHER, held_back=0)), now)
    assert held.take_due(100.0) == {}


def test_everybody_has_a_turn_longest_held_first() -> None:
    number = TOGETHER + 10
    partitions = [TopicPartition(ORDERS, Partition(each)) for each in range(number)]
    held = HeldBack()
    for now in range(number):  # one more is held with each look
        held.look(latest(*map(progress, partitions[number - 1 - now :])), float(now))
    first, second = held.take_due(1_000.0), held.take_due(1_010.0)
    assert list(first) == partitions[: number - 1 - TOGETHER : -1]
    assert list(second)[:10] == partitions[9::-1]
    assert len(first) == len(second) == TOGETHER


def test_what_is_known_is_forgotten_when_the_end_moves_or_nothing_is_held() -> None:
    for later in (latest(progress(end=60)), latest(progress(held_back=0)), {}):
        held = HeldBack()
        held.look(latest(progress()), 0.0)
        held.adopt(held.take_due(10.0), {PLACE: FOUND})
        held.look(latest(progress(held_back=9)), 10.0)
        assert held.transactions == {PLACE: FOUND}
        held.look(later, 11.0)
        assert held.transactions == {}


def test_a_late_answer_about_another_end_does_not_count() -> None:
    held = HeldBack()
    held.look(latest(progress()), 0.0)
    asked = held.take_due(10.0)
    held.look(latest(progress(end=60)), 11.0)
    held.adopt(asked, {PLACE: FOUND})
    assert held.transactions == {}
    held.look({}, 12.0)
    held.adopt(asked, {PLACE: FOUND})
    assert held.transactions == {}


def test_a_transaction_that_ended_is_told_no_longer_and_one_without_an_answer_stays() -> None:
    held = HeldBack()
    held.look(latest(progress()), 0.0)
    asked = held.take_due(10.0)
    held.adopt(asked, {PLACE: FOUND})
    held.adopt(asked, {})
    assert held.transactions == {PLACE: FOUND}
    held.adopt(asked, {PLACE: None})
    assert held.transactions == {}
