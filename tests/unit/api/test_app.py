"""The application hands requests to the desk and errors back as JSON."""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from kmigrate import __version__
from kmigrate.api.app import create_app
from kmigrate.copy.states import Choice, PartitionState, Stop, StopKind
from kmigrate.kafka_types import Offset
from kmigrate.runner.desk import Desk
from kmigrate.runner.status import MigrationState, PartitionStatus, StatusDocument, StopStatus
from kmigrate.state.store import Store

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

    def __init__(self, desk: Desk) -> None:
        self._transport = httpx.ASGITransport(create_app(desk))

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
def desk(tmp_path: Path) -> Iterator[Desk]:
    store = Store.open(tmp_path)
    yield Desk(store, lambda: None, manifest_limit=9)
    store.close()


@pytest.fixture
def http(desk: Desk) -> InProcess:
    return InProcess(desk)


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
    assert desk.decisions().bytes_per_second is None


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


def test_a_broken_store_is_an_error_and_not_a_traceback(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    http = InProcess(Desk(store))
    store.close()
    reply = http.post("/v1/pause")
    assert reply.status_code == 500
    assert reply.json()["exitCode"] == 1


def test_openapi_describes_the_contract(http: InProcess) -> None:
    told = http.get("/openapi.json").json()
    assert set(told["paths"]) == {"/v1/health", "/v1/status", "/v1/pause", "/v1/resume", "/v1/throttle"}
    assert "StatusDocument" in told["components"]["schemas"]
    assert "leaseSecondsLeft" in told["components"]["schemas"]["StatusDocument"]["properties"]
