"""Serve's application decides through the supervisor, and passes on what is asked of a migration."""

import asyncio
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from kmigrate.api import service as module
from kmigrate.api.metrics import families_of_all
from kmigrate.api.server import ApiServer
from kmigrate.api.service import create_service
from kmigrate.copy.rates import RateLimits
from kmigrate.runner.desk import Desk
from kmigrate.runner.folder import MigrationFolder, OwnerNote
from kmigrate.runner.lookup import Lookup
from kmigrate.runner.status import Flow, MigrationState, StatusDocument, TopicStatus
from kmigrate.serve.document import MigrationsDocument
from kmigrate.serve.roster import Roster
from kmigrate.serve.supervisor import Supervisor
from kmigrate.state.store import Store

MANIFEST = """\
apiVersion: kmigrate/v1
kind: Migration
metadata: {name: orders}
spec:
  source: {properties: {bootstrap.servers: "source:9092"}}
  target: {properties: {bootstrap.servers: "target:9092"}}
  limits: {bytesPerSecond: 900}
"""
TOPIC = TopicStatus(topic="pay", partitions=0, flow=Flow(), states={})
DOCUMENT = StatusDocument(name="orders", state=MigrationState.RUNNING, reason="copying", topics=(TOPIC,))


class Service:
    """Serve's application on a state folder, asked in-process; no owner is ever started."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.supervisor = Supervisor(Roster(root))
        self._app = create_service(self.supervisor, None)

    def ask(self, method: str, path: str, json: Any = None) -> httpx.Response:
        async def ask() -> httpx.Response:
            async with httpx.AsyncClient(transport=httpx.ASGITransport(self._app)) as http:
                return await http.request(method, f"http://kmigrate/v1/migrations{path}", json=json)

        return asyncio.run(ask())

    def add(self, **more: object) -> httpx.Response:
        return self.ask("POST", "", {"manifest": MANIFEST, "file": str(self.root / "orders.yaml")} | more)

    @property
    def folder(self) -> MigrationFolder:
        return MigrationFolder(self.root, "orders")


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Service:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return Service(tmp_path / "state")


@pytest.fixture
def desk(service: Service) -> Iterator[Desk]:
    """The desk of an owner that runs beside."""
    with service.folder.take_ownership() as ownership:
        store = Store.open(service.folder.path)
        desk = Desk(store, lambda: None, manifest_limits=RateLimits(900))
        desk.publish(DOCUMENT)
        with ApiServer(desk, Lookup(store, desk.status), ownership):
            yield desk
        store.close()


def test_a_migration_is_added_listed_stopped_started_and_removed(service: Service) -> None:
    added = service.add()
    assert added.status_code == 200, added.text
    assert (added.json()["name"], added.json()["state"]) == ("orders", "NOT_STARTED")
    assert added.json()["served"]["wanted"] == "running"
    listed = MigrationsDocument.from_json(service.ask("GET", "").text)
    assert [each.name for each in listed.migrations] == ["orders"]
    assert listed.served_by is None
    assert service.ask("POST", "/orders/stop").json()["served"]["wanted"] == "stopped"
    assert service.ask("POST", "/orders/start").json()["served"]["wanted"] == "running"
    assert service.ask("GET", "/orders").json() == service.ask("GET", "").json()["migrations"][0]
    assert service.ask("DELETE", "/orders").status_code == 204
    assert service.ask("GET", "").json()["migrations"] == []
    assert service.ask("GET", "/orders").status_code == 404


def test_what_is_wrong_with_a_manifest_is_told_with_its_lines(service: Service) -> None:
    reply = service.add(manifest=MANIFEST.replace("source:9092", "${env:NOT_SET_HERE}").replace("900", "-1"))
    assert (reply.status_code, reply.json()["exitCode"]) == (500, 2)
    assert f"{service.root}/orders.yaml:5: " in reply.json()["error"]
    assert f"{service.root}/orders.yaml:7: " in reply.json()["error"]
    assert service.ask("GET", "").json()["migrations"] == []


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "error"),
    [
        ("POST", "", {"manifest": 5}, 400, "not understood: body.manifest"),
        ("POST", "", {"manifest": MANIFEST, "dance": 1}, 400, "not understood: body.dance"),
        ("POST", "", {"manifest": MANIFEST, "file": "orders.yaml"}, 400, "no absolute path"),
        ("GET", "/nobody/status", None, 404, "no migration nobody"),
        ("GET", "/%2e%2e/status", None, 404, "no migration .."),
        ("POST", "/nobody/start", None, 404, "no migration nobody"),
        ("DELETE", "/nobody", None, 404, "no migration nobody"),
        ("POST", "/orders/pause", [1], 400, "its body is no object"),
        ("POST", "/orders/throttle", {}, 400, "has not been started"),
        ("GET", "/orders/offsets/runs", None, 400, "has not been started"),
    ],
)
def test_what_cannot_be_done_is_told(
    service: Service, method: str, path: str, body: Any, status: int, error: str
) -> None:
    service.add()
    reply = service.ask(method, path, body)
    assert error in reply.json()["error"]
    assert reply.json()["hint"]
    assert (reply.status_code, reply.json()["exitCode"]) == (status, 2)


def test_an_owners_answers_are_passed_on(service: Service, desk: Desk) -> None:
    assert service.ask("GET", "/orders/status").text == DOCUMENT.to_json()
    assert StatusDocument.from_json(service.ask("GET", "/orders/status?brief=true").text).topics == ()
    assert service.ask("POST", "/orders/pause").json()["paused"] is True
    assert desk.decisions().paused
    assert service.ask("POST", "/orders/throttle", {"bytesPerSecond": 5}).json()["bytesPerSecond"] == 5
    refused = service.ask("POST", "/orders/throttle", {"bytesPerSecond": 0})
    assert (refused.status_code, refused.json()["exitCode"]) == (400, 2)
    assert "would copy nothing" in refused.json()["error"]


def test_a_run_elsewhere_is_listed_with_its_owner(service: Service, desk: Desk) -> None:
    (row,) = MigrationsDocument.from_json(service.ask("GET", "").text).migrations
    note = service.folder.owner_note()
    assert note is not None
    assert row.owner is not None
    assert (row.owner.pid, row.state, row.served) == (note.pid, MigrationState.RUNNING, None)
    stopped = service.ask("POST", "/orders/stop")
    assert stopped.status_code == 400
    assert "serve does not hold orders" in stopped.json()["error"]
    assert service.folder.find_owner() == note


def test_without_an_owner_the_store_answers_by_the_kept_manifest(service: Service) -> None:
    store = Store.open(service.folder.path)
    Desk(store, lambda: None, manifest_limits=RateLimits(900)).publish(DOCUMENT)
    store.close()
    refused = service.ask("POST", "/orders/pause")
    assert refused.status_code == 400
    assert "its manifest is not known here" in refused.json()["error"]
    assert service.ask("GET", "/orders/status").json()["state"] == "ENDED"
    service.add(run=False)
    assert service.ask("POST", "/orders/throttle", {"bytesPerSecond": 5}).json()["bytesPerSecond"] == 5
    store = Store.open(service.folder.path)
    assert Desk(store, manifest_limits=RateLimits(900)).decisions().limits.total == 5, "instead of the manifest's limit"
    store.close()


def test_before_the_first_run_there_is_nothing_to_show(service: Service) -> None:
    service.add()
    assert service.ask("GET", "/orders/status").status_code == 204


def test_too_much_at_once_is_refused_and_others_are_answered(
    service: Service, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "AT_ONCE", 1)
    entered, leave = threading.Event(), threading.Event()

    def hang(self: object, method: str, path: str, body: object = None) -> None:
        entered.set()
        assert leave.wait(60)

    monkeypatch.setattr("kmigrate.api.client.Client.ask", hang)
    first = threading.Thread(target=service.ask, args=("GET", "/orders/status"))
    first.start()
    try:
        assert entered.wait(60)
        busy = service.ask("GET", "/orders/status")
        assert (busy.status_code, busy.json()["exitCode"]) == (503, 1)
        assert service.ask("GET", "").status_code == 200
    finally:
        leave.set()
        first.join()
    assert service.ask("GET", "/orders/status").status_code == 204


def test_metrics_are_those_of_all_that_answer(service: Service, desk: Desk) -> None:
    desk.publish(replace(DOCUMENT, state=MigrationState.PAUSED))
    service.supervisor.add(MANIFEST.replace("orders", "stock"), None, run=False)
    service.supervisor.turn()
    samples = {
        (sample.name, *sample.labels.values()): sample.value
        for family in families_of_all(service.supervisor)
        for sample in family.samples
    }
    assert samples["kmigrate_migration_state", "orders", "PAUSED"] == 1.0
    assert ("kmigrate_migration_state", "stock", "ENDED") not in samples
    assert samples["kmigrate_served", "stock", "stopped"] == 1.0
    assert samples["kmigrate_owner_restarts_total", "stock"] == 0.0


def test_an_owner_that_does_not_answer_is_told_and_hides_no_other(service: Service, desk: Desk) -> None:
    silent = MigrationFolder(service.root, "silent")
    with silent.take_ownership():
        rows = {row["name"]: row for row in service.ask("GET", "").json()["migrations"]}
    assert rows["silent"]["state"] is None
    assert "does not answer" in rows["silent"]["reason"]
    assert rows["orders"]["state"] == "RUNNING"


def test_a_note_of_a_dead_process_is_no_owner(service: Service) -> None:
    note = OwnerNote(pid=2**22 + 1, host=service.folder.take_ownership().note.host, started_at_ms=0, socket="/x")
    assert not note.is_alive
    assert replace(note, host="elsewhere").is_alive, "nobody can tell"
