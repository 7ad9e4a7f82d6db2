"""Real processes: a serve and owners that only look like some, killed in every way."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from kmigrate.api.service_client import ServiceClient
from kmigrate.runner.folder import MigrationFolder, OwnerNote
from kmigrate.serve.document import MigrationsDocument
from kmigrate.serve.machine import Phase
from kmigrate.serve.roster import Roster

from .conftest import manifest

SECONDS = 120.0
"""How long anything may take on a busy machine; nothing is judged by it."""

PROGRAM = """
from functools import partial
import kmigrate.cli.serve as cli
from kmigrate.cli import main
from kmigrate.serve.child import start_owner
from kmigrate.serve.supervisor import Supervisor
cli.Supervisor = partial(Supervisor, start_owner=partial(start_owner, module="tests.unit.serve.fake_owner"))
main()
"""


def wait_for(look: Callable[[], object]) -> None:
    deadline = time.monotonic() + SECONDS
    while not look():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


class Serve:
    """A serve in a process of its own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.errors = root / "serve.stderr"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.errors.open("wb") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-c", PROGRAM, "serve", "--state", str(self.root), "--listen", "127.0.0.1:0"],
                stderr=errors,
                env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            )
        wait_for(lambda: b"API: " in self.errors.read_bytes())

    def end(self, number: int) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(SECONDS)

    @property
    def client(self) -> ServiceClient:
        return ServiceClient(self.root, start_seconds=SECONDS)

    def owner(self, name: str) -> OwnerNote | None:
        return MigrationFolder(self.root, name).find_owner()

    def owned_by_another(self, name: str, pid: int) -> bool:
        owner = self.owner(name)
        return owner is not None and owner.pid != pid

    def wait_for_owners(self, *names: str) -> dict[str, int]:
        wait_for(lambda: all(self.owner(name) for name in names))
        owners = {name: self.owner(name) for name in names}
        return {name: owner.pid for name, owner in owners.items() if owner is not None}

    def list_all(self) -> MigrationsDocument:
        return self.client.list_all()


@pytest.fixture
def serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    serve = Serve(tmp_path / "state")
    serve.root.mkdir(mode=0o700)
    yield serve
    if serve.process is not None and serve.process.poll() is None:
        serve.process.kill()
        serve.process.wait()


def test_a_killed_owner_is_replaced_and_a_killed_serve_leaves_none_and_the_next_goes_on(serve: Serve) -> None:
    serve.start()
    for name in ("orders", "pay"):
        assert serve.client.add(manifest(name), serve.root / f"{name}.yaml", replace=False, run=True).served
    owners = serve.wait_for_owners("orders", "pay")

    os.kill(owners["orders"], signal.SIGKILL)
    wait_for(lambda: serve.owned_by_another("orders", owners["orders"]))
    owner = serve.owner("pay")
    assert owner is not None
    assert owner.pid == owners["pay"], "it was not disturbed"
    orders, _ = serve.list_all().migrations
    assert orders.served is not None
    assert orders.served.restarts == 1
    assert orders.served.last_exit is not None
    assert "SIGKILL" in orders.served.last_exit.reason

    owners = serve.wait_for_owners("orders", "pay")
    assert serve.end(signal.SIGKILL) == -signal.SIGKILL
    wait_for(lambda: all(map(is_gone, owners.values())))
    assert Roster(serve.root).served_by() is None

    serve.start()
    again = serve.wait_for_owners("orders", "pay")
    assert not {*again.values()} & {*owners.values()}
    serve.client.stop("pay")
    wait_for(lambda: [each.served and each.served.phase for each in serve.list_all().migrations][1] is Phase.STOPPED)
    assert is_gone(again["pay"])
    assert serve.end(signal.SIGTERM) == 0
    assert is_gone(again["orders"])
    assert serve.owner("orders") is None
    assert not Roster(serve.root).socket_path.exists()


def test_requests_reach_an_owner_over_tcp_with_the_token_alone(serve: Serve) -> None:
    serve.start()
    serve.client.add(manifest("orders"), serve.root / "orders.yaml", replace=False, run=True)
    serve.wait_for_owners("orders")
    port = serve.errors.read_text().partition("http://127.0.0.1:")[2].split()[0]
    url = f"http://127.0.0.1:{port}/v1/migrations/orders/status"
    assert httpx.get(url).status_code == 401
    token = Roster(serve.root).token.read_text().strip()
    answer = httpx.get(url, headers={"Authorization": f"Bearer {token}"}, timeout=SECONDS)
    assert answer.json()["reason"] == "as if"
    assert serve.end(signal.SIGINT) == 130
    told = serve.errors.read_text() + Roster(serve.root).log.read_text()
    assert token not in told


def test_a_second_serve_is_refused_and_names_the_first(serve: Serve) -> None:
    serve.start()
    assert serve.process is not None
    second = subprocess.run(
        [sys.executable, "-m", "kmigrate", "serve", "--state", str(serve.root)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        timeout=SECONDS,
    )
    assert second.returncode == 6
    assert f"already served by process {serve.process.pid} " in second.stderr
