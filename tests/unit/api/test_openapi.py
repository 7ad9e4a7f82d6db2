"""What is published of the API is what it answers."""

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from kmigrate.api.app import create_app
from kmigrate.api.openapi import OWNERS, UNDER, join, to_text, whole_document
from kmigrate.copy.spending import Cause
from kmigrate.copy.states import PartitionState, Stop, StopKind
from kmigrate.kafka_types import Offset, Side
from kmigrate.offsets.classes import OffsetClass
from kmigrate.offsets.translation import Place
from kmigrate.runner.cutover.place import WavePlace
from kmigrate.runner.fence_status import FenceStatus
from kmigrate.runner.groups_document import GroupsDocument, GroupsSummary
from kmigrate.runner.lookup import Mark, PartitionRuns, RunsPage, Translation
from kmigrate.runner.status import (
    AcceptedStatus,
    Flow,
    LatencyStatus,
    LeftOut,
    MigrationState,
    OpenTransaction,
    PartitionStatus,
    StatusDocument,
    StopStatus,
    TimeShare,
    TopicStatus,
    WorkerStatus,
)
from kmigrate.security.fence import FenceKind, FencePhase
from kmigrate.serve.document import MigrationsDocument, MigrationSummary, OwnerStatus, Served
from kmigrate.serve.exits import Exit
from kmigrate.serve.machine import Phase, Wanted
from tests.unit.report.accounts import whole_account

from .schema_check import check

COMMITTED = Path(__file__).parents[3] / "docs" / "openapi.json"

STOP = Stop(kind=StopKind.UNAUTHORIZED, offset=Offset(4), evidence="WRITE")
PARTITION = PartitionStatus(
    topic="orders",
    partition=2,
    state=PartitionState.STOPPED,
    position=4,
    source_start=0,
    source_end=9,
    target_end=4,
    offset_class=OffsetClass.IDENTICAL,
    lag_records=5,
    lag_seconds=1.5,
    reason="no right",
    stop=StopStatus.of(STOP, "orders", 2),
    held_back_records=1,
    open_transaction=OpenTransaction(producer_id=1, producer_epoch=0, first_offset=8, hanging=True),
    accepted=AcceptedStatus(kind=StopKind.GAP_LOST, offset=1, evidence="0 to 1", at=7),
    loss_seconds=60.0,
)
FENCE = FenceStatus(
    number=1,
    side=Side.SOURCE,
    kind=FenceKind.ACL,
    phase=FencePhase.STANDING,
    topics=("orders",),
    principals=("User:app",),
    since=1,
    deadline=2,
    seconds_left=0.5,
    is_watched=True,
    removal=("kafka-acls --remove",),
)
STATUS = StatusDocument(
    name="orders",
    state=MigrationState.STOPPED,
    reason="1 stopped",
    next_step="answer it",
    started_at=1,
    updated_at=2,
    source_cluster_id="a",
    target_cluster_id="b",
    term=3,
    lease_seconds_left=9.5,
    workers=(WorkerStatus(number=0, pid=7, alive=True),),
    throttle_bytes_per_second=5,
    broker_bytes_per_second=6,
    topic_bytes_per_second={"orders": 7},
    produce_latency_ms=8,
    notices=("mind",),
    state_lost="lost",
    totals=Flow(records_copied=4, lag_records=5, lag_seconds=1.5, eta_seconds=2.0, done=0.5),
    throttled_seconds={next(iter(Cause)): 1.0},
    topics=(
        TopicStatus(
            topic="orders",
            partitions=1,
            flow=Flow(),
            states={PartitionState.STOPPED: 1},
            loss_seconds=60.0,
            latency=LatencyStatus(counts=(1,)),
        ),
    ),
    partitions=(PARTITION,),
    left_out=(LeftOut(topic="__consumer_offsets", reason="internal"),),
    held=("orders",),
    target_full=True,
    groups=GroupsSummary(),
    time_shares=(TimeShare(cause=next(iter(Cause)), share=0.5),),
    fences=(FENCE,),
    waves=(WavePlace(wave="all", way="back", phase="over", begun=True, step=2, steps=8, name="freeze", seconds=0.5),),
)
ENDED = Exit(exit_code=4, reason="no right", hint="grant it", again=False, at=9)
SUMMARY = MigrationSummary(
    name="orders",
    state=MigrationState.STOPPED,
    reason="1 stopped",
    owner=OwnerStatus(pid=1, host="here", started_at=2),
    served=Served(
        file="/orders.yaml", wanted=Wanted.RUNNING, phase=Phase.WAITING, again_in_seconds=0.5, last_exit=ENDED
    ),
    totals=Flow(),
)
DOCUMENTS: dict[str, list[str]] = {
    "StatusDocument": [
        STATUS.to_json(),
        StatusDocument(name="new", state=MigrationState.NOT_STARTED).to_json(),
    ],
    "MigrationsDocument": [
        MigrationsDocument(state_folder="/state", served_by=SUMMARY.owner, migrations=(SUMMARY,)).to_json(),
        MigrationsDocument(
            state_folder="/state", migrations=(MigrationSummary(name="pay", state=None, reason="silent"),)
        ).to_json(),
    ],
    "GroupsDocument": [GroupsDocument(name="orders").to_json()],
    "Translation": [
        Translation(
            topic="orders",
            partition=1,
            offset_class=OffsetClass.MAPPED,
            from_side=Side.SOURCE,
            source_offset=3,
            target_offset=2,
            place=next(iter(Place)),
        ).to_json(),
        Translation(topic="orders", partition=1, offset_class=None, from_side=Side.TARGET).to_json(),
    ],
    "ReportDocument": [whole_account().to_json()],
    "RunsPage": [
        RunsPage(
            partitions=(
                PartitionRuns(topic="orders", partition=1, offset_class=OffsetClass.MAPPED, runs=((1, 0, 3),)),
            ),
            next=Mark(topic="orders", partition=1, run=5),
        ).to_json(),
        RunsPage(partitions=(), next=None).to_json(),
    ],
}


@pytest.fixture(scope="module")
def published() -> dict[str, Any]:
    return whole_document()


def test_the_committed_file_is_what_is_published(published: dict[str, Any]) -> None:
    assert COMMITTED.read_text(encoding="utf-8") == to_text(published), "run `make docs`"


@pytest.mark.parametrize("name", DOCUMENTS)
def test_documents_are_what_their_schemas_say(published: dict[str, Any], name: str) -> None:
    schema = published["components"]["schemas"][name]
    for text in DOCUMENTS[name]:
        value = json.loads(text)
        assert check(value, schema, published) == []
        assert value.keys() == schema["properties"].keys(), "nothing is left out, and nothing is new"


def test_the_full_status_leaves_nothing_at_its_default() -> None:
    bare = StatusDocument(name="orders", state=MigrationState.STOPPED)
    unset = {each.name for each in fields(STATUS) if getattr(STATUS, each.name) == getattr(bare, each.name)}
    assert unset <= {"api_version", "kind", "name", "state", "groups"}


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"state": "DANCING"}, "is none of"),
        ({"term": "three"}, "is none of"),
        ({"workers": {}}, "is no array"),
        ({"partitions": [{}]}, "is missing"),
        ({"kind": "Statue"}, "is not 'Status'"),
    ],
)
def test_what_is_no_status_is_noticed(published: dict[str, Any], change: dict[str, Any], problem: str) -> None:
    value = json.loads(STATUS.to_json()) | change
    assert problem in "".join(check(value, published["components"]["schemas"]["StatusDocument"], published))


def test_every_path_of_an_owner_is_there_under_the_migration(published: dict[str, Any]) -> None:
    owner = create_app(None, None).openapi()  # type: ignore[arg-type]
    for path, operations in owner["paths"].items():
        if path == "/v1/health":
            continue
        there = published["paths"][UNDER + path.removeprefix(OWNERS)]
        assert there.keys() == operations.keys()
        for method, operation in operations.items():
            assert there[method]["responses"] == operation["responses"]
            assert there[method]["parameters"][0]["name"] == "name"
    names = [operation["operationId"] for each in published["paths"].values() for operation in each.values()]
    assert len(names) == len(set(names))


def test_one_path_or_schema_for_two_things_is_refused() -> None:
    service = {"paths": {f"{UNDER}status": {}}, "components": {"schemas": {"A": {"type": "string"}}}}
    with pytest.raises(ValueError, match="is serve's own"):
        join(service, {"paths": {"/v1/status": {}}})
    with pytest.raises(ValueError, match="two schemas named A"):
        join(service, {"paths": {}, "components": {"schemas": {"A": {"type": "integer"}}}})
    assert join(service, {"paths": {}}) == service


def test_a_brief_status_keeps_what_somebody_must_answer() -> None:
    going = replace(PARTITION, partition=1, stop=None, state=PartitionState.IN_SYNC)
    brief = replace(STATUS, partitions=(going, PARTITION)).brief
    assert brief.partitions == (PARTITION,)
    assert (brief.topics, brief.totals) == ((), STATUS.totals)
