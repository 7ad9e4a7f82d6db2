"""The status document is a contract in JSON."""

import json
from dataclasses import replace

import pytest

from kmigrate.copy.states import STOPS, Choice, PartitionState, Stop, StopKind
from kmigrate.errors import KmigrateError
from kmigrate.kafka_types import Offset
from kmigrate.runner.status import (
    MIGRATION_STATES,
    EtaBasis,
    Flow,
    LeftOut,
    MigrationState,
    OpenTransaction,
    PartitionStatus,
    StatusDocument,
    StopStatus,
    TopicStatus,
    WorkerStatus,
    before_first_look,
    ended,
    left_by_owner,
)

OPEN = OpenTransaction(
    producer_id=4,
    producer_epoch=2,
    first_offset=50,
    transactional_id="billing",
    since=1_790_000_000_000,
    state="Ongoing",
    timeout_ms=60_000,
    hanging=False,
)


def held_back(partition: int, records: int, found: OpenTransaction | None) -> PartitionStatus:
    return PartitionStatus(
        topic="orders",
        partition=partition,
        state=PartitionState.IN_SYNC,
        held_back_records=records,
        open_transaction=found,
    )


def full_document() -> StatusDocument:
    stop = Stop(kind=StopKind.FOREIGN_WRITE, offset=Offset(42), evidence="producer 7 wrote 42")
    flow = Flow(records_copied=3, lag_records=7, eta_seconds=1.5, eta_basis=EtaBasis.RATE, done=0.3)
    return StatusDocument(
        name="orders",
        state=MigrationState.RUNNING,
        reason="copying",
        next_step="answer",
        started_at=1,
        updated_at=2,
        source_cluster_id="s",
        target_cluster_id="t",
        term=4,
        lease_seconds_left=12.5,
        workers=(WorkerStatus(number=0, pid=77, alive=True),),
        throttle_bytes_per_second=50,
        notices=("a notice",),
        state_lost="the database was gone",
        totals=flow,
        topics=(TopicStatus(topic="orders", partitions=1, flow=flow, states={PartitionState.STOPPED: 1}),),
        partitions=(
            PartitionStatus(
                topic="orders",
                partition=0,
                state=PartitionState.STOPPED,
                position=42,
                lag_seconds=0.5,
                stop=StopStatus.of(stop, "orders", 0),
            ),
            held_back(1, 12, OPEN),
        ),
        left_out=(LeftOut(topic="__consumer_offsets", reason="internal"),),
        held=("orders", "pay"),
    )


def test_a_document_survives_its_json() -> None:
    document = full_document()
    assert StatusDocument.from_json(document.to_json()) == document
    empty = StatusDocument(name="x", state=MigrationState.NOT_STARTED)
    assert StatusDocument.from_json(empty.to_json(indent=2)) == empty


def test_the_json_has_the_words_of_the_contract() -> None:
    told = json.loads(full_document().to_json())
    assert told["apiVersion"] == "kmigrate/v1"
    assert told["kind"] == "Status"
    assert told["state"] == "RUNNING"
    assert told["throttleBytesPerSecond"] == 50
    assert told["totals"]["etaBasis"] == "at the rate of the last 30 s"
    assert told["topics"][0]["states"] == {"STOPPED": 1}
    assert told["held"] == ["orders", "pay"]
    assert told["partitions"][0]["sourceEnd"] is None
    assert told["partitions"][0]["stop"] == {
        "kind": "FOREIGN_WRITE",
        "offset": 42,
        "evidence": "producer 7 wrote 42",
        "meaning": "somebody else wrote to the target partition",
        "choices": [
            {"choice": "recreate", "command": "kmigrate resume -f FILE -t orders --recreate"},
            {"choice": "ignore", "command": "kmigrate resume -f FILE -t orders -p 0 --ignore"},
        ],
    }


def test_what_holds_a_partition_back_has_the_words_of_the_contract() -> None:
    stopped, held = json.loads(full_document().to_json())["partitions"]
    assert (stopped["heldBackRecords"], stopped["openTransaction"]) == (None, None)
    assert held["heldBackRecords"] == 12
    assert held["openTransaction"] == {
        "producerId": 4,
        "producerEpoch": 2,
        "transactionalId": "billing",
        "since": 1_790_000_000_000,
        "firstOffset": 50,
        "state": "Ongoing",
        "timeoutMs": 60_000,
        "hanging": False,
        "note": "",
    }
    unknown = replace(full_document(), partitions=(held_back(0, 1, replace(OPEN, transactional_id=None, since=None)),))
    told = json.loads(unknown.to_json())["partitions"][0]["openTransaction"]
    assert (told["transactionalId"], told["since"]) == (None, None)


def test_a_document_of_an_owner_that_knew_no_open_transactions_is_read() -> None:
    told = json.loads(full_document().to_json())
    for partition in told["partitions"]:
        del partition["heldBackRecords"], partition["openTransaction"]
    assert StatusDocument.from_json(json.dumps(told)).held_back == ()


def test_what_nothing_will_end_comes_first_then_what_holds_most() -> None:
    hanging, unclear = replace(OPEN, hanging=True), replace(OPEN, hanging=None)
    partitions = [(0, 9, OPEN), (1, 10, OPEN), (2, 1, unclear), (3, 1, hanging), (4, 99, None), (5, 2, hanging)]
    document = replace(full_document(), partitions=tuple(held_back(*each) for each in partitions))
    assert [partition.partition for partition, _ in document.held_back] == [5, 3, 2, 1, 0]


def test_keys_of_a_newer_version_are_ignored() -> None:
    told = json.loads(full_document().to_json())
    told["fromTheFuture"] = told["totals"]["alsoNew"] = 1
    assert StatusDocument.from_json(json.dumps(told)) == full_document()


def test_a_document_of_an_older_version_lacks_what_came_later() -> None:
    told = json.loads(full_document().to_json())
    del told["held"]
    assert StatusDocument.from_json(json.dumps(told)) == replace(full_document(), held=())


@pytest.mark.parametrize("text", ["", "{}", '{"name": "x", "state": "DANCING"}', "[1]"])
def test_what_is_no_document_is_told(text: str) -> None:
    with pytest.raises(KmigrateError, match="not a status document") as caught:
        StatusDocument.from_json(text)
    assert caught.value.hint


@pytest.mark.parametrize("kind", list(StopKind))
def test_a_stop_carries_its_meaning_and_a_command_for_each_choice(kind: StopKind) -> None:
    stop = StopStatus.of(Stop(kind=kind, offset=Offset(1), evidence="e"), "t", 3)
    meaning, choices = STOPS[kind]
    assert stop.meaning == meaning
    assert tuple(each.choice for each in stop.choices) == choices
    assert all("-t t" in each.command for each in stop.choices)


def test_a_waived_stop_waits_for_no_answer() -> None:
    document = full_document()
    waived = replace(document.partitions[0], waived=True, state=PartitionState.IGNORED)
    assert document.stopped == document.partitions[:1]
    assert document.waived == ()
    document = replace(document, partitions=(waived,))
    assert document.stopped == ()
    assert document.waived == (waived,)


def test_without_an_owner_the_document_says_so() -> None:
    left = left_by_owner(full_document())
    assert left.state is MigrationState.ENDED
    assert "RUNNING" in left.reason
    assert (left.workers, left.lease_seconds_left) == ((), None)
    assert left.stopped == full_document().stopped
    assert left_by_owner(left) == left
    starting = before_first_look(left)
    assert starting.state is MigrationState.WAITING
    assert "starting" in starting.reason


def test_an_owner_that_never_saw_a_topic_did_not_start_the_migration() -> None:
    assert ended(full_document(), "why").state is MigrationState.ENDED
    assert ended(replace(full_document(), topics=()), "why").state is MigrationState.NOT_STARTED


def test_every_state_has_a_meaning() -> None:
    assert set(MIGRATION_STATES) == set(MigrationState)
    assert Choice.RESUME.command("t", 1) == "kmigrate resume -f FILE -t t -p 1"
