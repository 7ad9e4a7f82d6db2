"""The application hands requests to the desk and errors back as JSON."""

import asyncio
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from kmigrate import __version__
from kmigrate.api.app import create_app
from kmigrate.copy.rates import RateLimits
from kmigrate.copy.states import Choice, PartitionState, Stop, StopKind
from kmigrate.kafka_types import Offset, Partition, TopicName, TopicPartition
from kmigrate.offsets.classes import OffsetClass
from kmigrate.offsets.offset_map import OffsetMap, Run
from kmigrate.runner.desk import Desk
from kmigrate.runner.lookup import Lookup
from kmigrate.runner.status import MigrationState, PartitionStatus, StatusDocument, StopStatus
from kmigrate.state.store import RunsFrom, Store

STOP = StopStatus.of(Stop(kind=StopKind.UNAUTHORIZED, offset=Offset(4), evidence="WRITE"), "orders", 2)
DOCUMENT = StatusDocument(
    name="orders",
    state=MigrationState.RUNNING,
    partitions=(
        PartitionStatus(topic="orders", partition=1, state=PartitionState.IN_SYNC),
        PartitionStatus(topic="orders", partition=2, state=PartitionState.STOPPED, stop=STOP),
    ),
)


class InProcess:
    """Asks the application without a socket."""

    def __init__(self, desk: Desk, store: Store) -> None:
        self._transport = httpx.ASGITransport(create_app(desk, Lookup(store, desk.status)))

    def get(self, path: str) -> httpx.Response:
        return self._ask("GET", path, None)

    def post(self, path: str, json: dict[str, object] | None = None) -> httpx.Response:
        return self._ask("POST", path, json)

    def _ask(self, method: str, path: str, json: dict[str, object] | None) -> httpx.Response:
        async def ask() -> httpx.Response:
            async with httpx.AsyncClient(transport=self._transport) as http:
                return await http.request(method, f"http://kmigrate{path}", json=json)

        return asyncio.run(ask())


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store.open(tmp_path)
    yield store
    store.close()


@pytest.fixture
def desk(store: Store) -> Desk:
    return Desk(store, lambda: None, manifest_limits=RateLimits(9))


@pytest.fixture
def http(desk: Desk, store: Store) -> InProcess:
    return InProcess(desk, store)


def test_health_names_process_and_version(http: InProcess) -> None:
    assert http.get("/v1/health").json() == {"pid": os.getpid(), "version": __version__}


def test_status_is_the_desks_document(http: InProcess, desk: Desk) -> None:
    assert http.get("/v1/status").status_code == 204
    desk.publish(DOCUMENT)
    reply = http.get("/v1/status")
    assert reply.headers["content-type"] == "application/json"
    assert StatusDocument.from_json(reply.text) == DOCUMENT


def test_pause_resume_and_throttle_reach_the_desk(http: InProcess, desk: Desk) -> None:
    assert http.post("/v1/pause").json()["paused"] is True
    assert desk.decisions().paused
    assert http.post("/v1/resume", json={}).json()["paused"] is False
    assert not desk.decisions().paused
    assert http.post("/v1/throttle", json={"bytesPerSecond": 5}).json()["bytesPerSecond"] == 5
    assert http.post("/v1/throttle", json={"bytesPerSecond": None}).json()["bytesPerSecond"] is None
    assert desk.decisions().limits.total is None


def test_a_stop_is_answered(http: InProcess, desk: Desk) -> None:
    desk.publish(DOCUMENT)
    reply = http.post("/v1/resume", json={"topic": "orders", "partition": 2, "choice": "ignore"})
    assert reply.json()["answered"] == ["orders-2"]
    (answer,) = desk.decisions().answers.values()
    assert answer.choice is Choice.IGNORE


@pytest.mark.parametrize(
    ("path", "body", "error"),
    [
        ("/v1/resume", {"topic": "orders", "partition": 1}, "orders-1 is not stopped"),
        ("/v1/resume", {"topic": "orders", "choice": "recreate"}, "recreate is no answer to UNAUTHORIZED"),
        ("/v1/resume", {"choice": "ignore"}, "ignore of which topic?"),
        ("/v1/resume", {"topic": "orders", "choice": "dance"}, "not understood: body.choice"),
        ("/v1/resume", {"topics": "orders"}, "not understood: body.topics"),
        ("/v1/throttle", {}, "not understood: body.bytesPerSecond"),
        ("/v1/throttle", {"bytesPerSecond": 0}, "would copy nothing"),
    ],
)
def test_what_cannot_be_done_is_told_with_hint_and_exit_code(
    http: InProcess, desk: Desk, path: str, body: dict[str, object], error: str
) -> None:
    desk.publish(DOCUMENT)
    reply = http.post(path, json=body)
    assert reply.status_code == 400
    told = reply.json()
    assert set(told) == {"error", "hint", "exitCode"}
    assert error in told["error"]
    assert told["hint"]
    assert told["exitCode"] == 2


def test_an_offset_is_translated_and_runs_are_listed(http: InProcess, desk: Desk, store: Store) -> None:
    orders_1 = TopicPartition(TopicName("orders"), Partition(1))
    kept = OffsetMap()
    kept.add(Run(Offset(10), Offset(0)))
    kept.add(Run(Offset(40), Offset(20)))
    store.decide_classes({orders_1: OffsetClass.MAPPED}, {orders_1: RunsFrom(0, kept.to_bytes())})
    there = replace(DOCUMENT.partitions[0], position=90, target_end=50, source_start=10)
    desk.publish(replace(DOCUMENT, partitions=(there,)))
    assert http.get("/v1/offsets/translation?topic=orders&partition=1&offset=35").json() == {
        "apiVersion": "kmigrate/v1",
        "kind": "Translation",
        "topic": "orders",
        "partition": 1,
        "offsetClass": "mapped",
        "fromSide": "source",
        "sourceOffset": 35,
        "targetOffset": 20,
        "place": "gap",
        "reason": "",
        "sourceStart": 10,
        "position": 90,
        "targetEnd": 50,
    }
    back = http.get("/v1/offsets/translation?topic=orders&partition=1&offset=25&from=target")
    assert back.json()["sourceOffset"] == 45
    beyond = http.get("/v1/offsets/translation?topic=orders&partition=1&offset=91")
    assert beyond.status_code == 200
    assert (beyond.json()["targetOffset"], beyond.json()["reason"][:8]) == (None, "orders-1")
    runs = [{"topic": "orders", "partition": 1, "offsetClass": "mapped", "runs": [[10, 0, 20], [40, 20, 30]]}]
    assert http.get("/v1/offsets/runs").json() == {"partitions": runs, "next": None}
    assert http.get("/v1/offsets/runs?fromTopic=orders&fromPartition=2&fromRun=0").json()["partitions"] == []


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("/v1/offsets/translation?topic=orders&partition=7&offset=1", "no partition orders-7"),
        ("/v1/offsets/translation?topic=orders&partition=1&offset=-1", "not understood: query.offset"),
        ("/v1/offsets/translation?topic=orders&partition=1&offset=9223372036854775808", "not understood: query.offset"),
        ("/v1/offsets/translation?topic=orders&partition=1&offset=1&from=moon", "not understood: query.from"),
        ("/v1/offsets/translation?topic=orders", "not understood: query.partition"),
        ("/v1/offsets/runs?topic=pay", "no topic 'pay'"),
    ],
)
def test_a_lookup_that_cannot_be_done_is_told(http: InProcess, desk: Desk, path: str, error: str) -> None:
    desk.publish(DOCUMENT)
    reply = http.get(path)
    assert reply.status_code == 400
    assert error in reply.json()["error"]
    assert reply.json()["exitCode"] == 2


def test_a_broken_store_is_an_error_and_not_a_traceback(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    http = InProcess(Desk(store), store)
    store.close()
    reply = http.post("/v1/pause")
    assert reply.status_code == 500
    assert reply.json()["exitCode"] == 1


def test_the_report_is_made_of_what_the_store_and_the_desk_have(http: InProcess, desk: Desk, store: Store) -> None:
    assert http.get("/v1/report").json()["notKnown"][0]["why"] == "no owner ever saved a status"
    desk.publish(DOCUMENT)
    desk.answer("orders", 2, Choice.RESUME)
    store.end_effect(store.plan_effect("raise-limit", TopicName("orders"), {"bytes": 5}))
    told = http.get("/v1/report").json()
    assert (told["kind"], told["name"], told["totals"]["partitions"]) == ("Report", store.path.parent.name, 2)
    assert [each["kind"] for each in told["journal"]] == ["answer", "effects-planned", "effect-done"]
    assert told["journal"][0]["detail"]["stops"] == [[2, "UNAUTHORIZED", 4]]
    assert told["effects"][0]["payload"] == {"bytes": 5}
    assert told["chain"]["holds"]
    assert told["chain"]["headHash"] == told["journal"][-1]["hash"]


def test_openapi_describes_the_contract(http: InProcess) -> None:
    told = http.get("/openapi.json").json()
    decisions = {"/v1/pause", "/v1/resume", "/v1/throttle", "/v1/retention", "/v1/retention/done"}
    decisions |= {"/v1/groups/sync", "/v1/groups/reset"}
    decisions |= {"/v1/apply/plan", "/v1/apply/begin", "/v1/apply/stop"}
    assert set(told["paths"]) - decisions == {
        "/v1/health",
        "/v1/status",
        "/v1/groups",
        "/v1/apply",
        "/v1/apply/actions",
        "/v1/cutover",
        "/v1/offsets/translation",
        "/v1/offsets/classes",
        "/v1/offsets/runs",
        "/v1/verifications",
        "/v1/report",
    }
    assert decisions <= set(told["paths"])
    assert {"Translation", "RunsPage"} <= set(told["components"]["schemas"])
    assert "StatusDocument" in told["components"]["schemas"]
    assert "leaseSecondsLeft" in told["components"]["schemas"]["StatusDocument"]["properties"]
