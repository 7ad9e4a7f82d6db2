"""`run` owns the migration for as long as it lasts, and always ends its owner."""

import json
import logging
import os
import signal
import socket
import stat
from collections.abc import Callable
from dataclasses import replace

import httpx
import pytest

from kmigrate.api.client import Client
from kmigrate.cli.logfile import FILE_BYTES, FILES, logging_to
from kmigrate.errors import Blocked, Superseded
from kmigrate.runner.folder import MigrationFolder
from kmigrate.runner.status import MigrationState, StatusDocument

from .conftest import DOCUMENT, FakeOwner, World

Tick = Callable[[StatusDocument], None]


def test_an_owner_is_started_waited_for_and_stopped(world: World) -> None:
    result = world.call("run")
    assert result.exit_code == 0, result.output
    assert world.owner.calls == ["start", "wait until_in_sync=False", "stop"]
    assert result.stdout == ""
    assert "copied  12 records, 3.40 kB in 10s" in result.stderr
    assert str(world.folder / "kmigrate.log") in "".join(result.stderr.split("\n"))


def test_metrics_are_served_while_it_runs(world: World) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"

    def scrape(owner: FakeOwner, tick: Tick) -> int:
        assert 'kmigrate_migration_state{migration="orders"' in httpx.get(f"http://{address}/metrics").text
        return 0

    world.owner.act = scrape
    result = world.call("run", "--metrics", address)
    assert result.exit_code == 0
    assert f"metrics: http://{address}/metrics" in result.stderr
    refused = world.call("run", "--metrics", "0.0.0.0:9404")
    assert refused.exit_code == 2
    assert "not a loopback address" in refused.stderr


def test_the_exit_code_is_the_owners(world: World) -> None:
    world.owner.act = lambda owner, tick: 4
    result = world.call("run", "--until", "in-sync")
    assert result.exit_code == 4
    assert "wait until_in_sync=True" in world.owner.calls


def test_the_owner_gets_the_lock_and_the_manifests_limit(world: World) -> None:
    def look(owner: FakeOwner, tick: Tick) -> int:
        assert owner.folder is not None
        assert owner.desk is not None
        assert owner.folder.folder.owner_alive()
        assert os.get_inheritable(owner.folder.workers_fd)
        assert owner.desk.decisions().limits.total == 900
        assert owner.store is not None
        assert owner.store.is_new
        return 0

    world.owner.act = look
    assert world.call("run").exit_code == 0
    assert not MigrationFolder(world.root / "state", "orders").owner_alive()


def test_commands_reach_a_running_owner(world: World) -> None:
    seen: list[object] = []

    def ask(owner: FakeOwner, tick: Tick) -> int:
        client = Client(MigrationFolder(world.root / "state", "orders"))
        seen.append(client.status().state)
        client.pause()
        assert owner.desk is not None
        seen.append(owner.desk.decisions().paused)
        return 0

    world.owner.act = ask
    assert world.call("run").exit_code == 0
    assert seen == [MigrationState.RUNNING, True]
    assert "woken" in world.owner.calls


def test_a_second_run_is_refused_and_names_the_first(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with MigrationFolder(world.root / "state", "orders").take_ownership():
        result = world.call("run")
    assert result.exit_code == 6
    assert f"process {os.getpid()}" in result.stderr
    assert world.owner.calls == []


def test_a_blocker_ends_the_run_and_is_remembered(world: World) -> None:
    world.owner.fail_start = Blocked("the target has no topic rights", hint="grant CREATE")
    result = world.call("run")
    assert result.exit_code == 4
    assert result.stderr.endswith("kmigrate: the target has no topic rights\nhint: grant CREATE\n")
    assert world.owner.calls == ["start", "stop"]
    status = world.call("status").stdout
    assert "NOT_STARTED  the target has no topic rights" in status


def test_a_superseded_owner_ends_with_6(world: World) -> None:
    def lose(owner: FakeOwner, tick: Tick) -> int:
        raise Superseded("the lease is held by somebody else now")

    world.owner.act = lose
    assert world.call("run").exit_code == 6
    assert world.owner.calls[-1] == "stop"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_polite_signal_ends_cleanly(world: World, number: signal.Signals) -> None:
    def be_interrupted(owner: FakeOwner, tick: Tick) -> int:
        os.kill(os.getpid(), number)  # ends it between turns
        return 0

    world.owner.act = be_interrupted
    before = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    result = world.call("run")
    assert result.exit_code == 130
    assert world.owner.calls[-1] == "stop"
    assert "once more ends at once" in result.stderr
    assert "orders ENDED interrupted" in " ".join(result.stderr.split())
    assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before
    assert "interrupted; it was RUNNING: copying" in " ".join(world.call("status").stdout.split())


def test_how_it_ended_is_what_status_tells(world: World) -> None:
    world.owner.document = replace(DOCUMENT, state=MigrationState.IN_SYNC, reason="everything is copied")
    assert world.call("run", "--until", "in-sync").exit_code == 0
    told = json.loads(world.call("status", "-o", "json").stdout)
    assert told["state"] == "ENDED"
    assert told["reason"] == "ended; it was IN_SYNC: everything that was there when it was asked for is copied"


def test_stops_are_counted_when_everything_else_is_copied(world: World) -> None:
    world.owner.act = lambda owner, tick: 4
    shown = " ".join(world.call("run", "--until", "in-sync").stderr.split())
    assert "orders STOPPED 1 stopped; everything else that was there when it was asked for is copied" in shown


def test_a_superseded_state_is_left_as_it_is(world: World) -> None:
    world.owner.document = replace(DOCUMENT, state=MigrationState.SUPERSEDED)
    world.call("run")
    assert json.loads(world.call("status", "-o", "json").stdout)["state"] == "SUPERSEDED"


def test_notices_of_the_manifest_are_told(world: World) -> None:
    source = '{bootstrap.servers: "source:9092"'
    world.file.write_text(world.file.read_text().replace(source, source + ", sasl.mechanism: PLAIN"))
    assert "note: source: sasl.mechanism: not used" in " ".join(world.call("run").stderr.split())


def test_the_log_is_private_json_and_limited(world: World) -> None:
    world.call("run")
    path = world.folder / "kmigrate.log"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    (first, *_) = [json.loads(line) for line in path.read_text().splitlines()]
    assert set(first) == {"time", "level", "logger", "message"}
    assert "runs orders" in first["message"]
    assert FILES * FILE_BYTES == 500_000_000


def test_errors_are_logged_with_their_traceback_and_other_libraries_from_warning_on(world: World) -> None:
    path = world.root / "a.log"
    with logging_to(path, debug=False):
        log = logging.getLogger("kmigrate.somewhere")
        log.debug("not this")
        logging.getLogger("httpx").info("nor this")
        try:
            raise ValueError("ü")
        except ValueError:
            log.exception("failed")
    logging.getLogger("kmigrate.somewhere").error("after the end")
    (line,) = path.read_text().splitlines()
    assert "ValueError: ü" in json.loads(line)["error"]
