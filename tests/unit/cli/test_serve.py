"""`serve` and its commands decide about all migrations of a state folder; `status` without -f shows them."""

import csv
import io
import json
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from kmigrate.cli import held
from kmigrate.cli.group import commands
from kmigrate.cli.serve_screen import COLUMNS
from kmigrate.errors import Blocked, ClustersAway
from kmigrate.runner.folder import MigrationFolder
from kmigrate.serve.exits import exit_of
from kmigrate.serve.machine import Wanted
from kmigrate.serve.roster import Roster

from .conftest import FakeOwner, World


def call(world: World, *arguments: str) -> Result:
    return CliRunner().invoke(commands, [*arguments, "--state", str(world.root / "state")])


def test_without_a_serve_decisions_are_for_the_next(world: World) -> None:
    added = call(world, "serve", "add", str(world.file))
    assert added.exit_code == 0, added.output
    assert added.stdout == "orders: decided; no serve runs here, and the next `kmigrate serve` goes by it\n"
    roster = Roster(world.root / "state")
    kept = roster.load("orders")
    assert kept is not None
    assert (kept.manifest, kept.file, kept.wanted) == (world.file.read_text(), world.file, Wanted.RUNNING)
    assert call(world, "serve", "stop", "orders").exit_code == 0
    assert call(world, "serve", "stop", "orders").exit_code == 0
    kept = roster.load("orders")
    assert kept is not None
    assert kept.wanted is Wanted.STOPPED
    assert call(world, "serve", "start", "orders").exit_code == 0
    removed = call(world, "serve", "remove", "orders")
    assert (removed.exit_code, removed.stdout) == (0, "orders is held no longer\n")
    assert roster.load("orders") is None
    assert (world.root / "state" / "orders").is_dir()


def test_errors_end_as_everywhere(world: World) -> None:
    missing = call(world, "serve", "add", str(world.root / "nothing.yaml"))
    assert (missing.exit_code, "cannot be read" in missing.stderr) == (2, True)
    world.file.write_text(world.file.read_text().replace("900", "-1"))
    wrong = call(world, "serve", "add", str(world.file))
    assert wrong.exit_code == 2
    assert f"{world.file}:10: " in wrong.stderr
    nobody = call(world, "serve", "start", "nobody")
    assert (nobody.exit_code, "no migration nobody" in nobody.stderr) == (2, True)
    abroad = call(world, "serve", "--listen", "0.0.0.0:1")
    assert (abroad.exit_code, "the API is served to this machine only" in abroad.stderr) == (2, True)


def test_status_without_a_file_lists_all_migrations(world: World) -> None:
    nothing = call(world, "status")
    assert nothing.exit_code == 0
    assert "".join(nothing.stdout.splitlines()) == f"no migration in {world.root / 'state'}"
    world.left_behind()
    (world.root / "state" / "notes").mkdir()
    call(world, "serve", "add", str(world.file))
    table = call(world, "status")
    assert table.exit_code == 0, table.output
    assert [line.split()[:3] for line in table.stdout.splitlines()[:2]] == [
        ["Migration", "State", "Serve"],
        ["orders", "ENDED", "to"],
    ]
    assert "no serve runs here" in table.stdout
    document = json.loads(call(world, "status", "-o", "json").stdout)
    assert [each["name"] for each in document["migrations"]] == ["orders"], "what is no migration is left out"
    assert document["migrations"][0]["nextStep"] == "kmigrate serve goes on with it"
    assert yaml.safe_load(call(world, "serve", "list", "-o", "yaml").stdout) == document
    rows = list(csv.reader(io.StringIO(call(world, "status", "-o", "csv").stdout)))
    assert rows[0] == list(COLUMNS)
    assert (rows[1][0], rows[1][1], rows[1][4]) == ("orders", "ENDED", "to run")
    wide = call(world, "serve", "list", "-o", "wide").stdout
    assert f"manifest from {world.file}" in "".join(wide.splitlines())
    assert not (world.root / "state" / "notes" / "owner.lock").exists(), "a look leaves no trace"


def test_what_cannot_be_watched_says_so(world: World) -> None:
    assert "is for one migration" in call(world, "status", "--watch").stderr
    watched = world.call("status", "--watch", "-o", "csv")
    assert (watched.exit_code, "--watch does not show csv" in watched.stderr) == (2, True)


@pytest.mark.parametrize(
    ("error", "again"), [(Blocked("no right", hint="grant it"), False), (ClustersAway("a broker is away"), True)]
)
def test_an_owner_of_serve_says_why_it_ended(
    world: World, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, error: Blocked, again: bool
) -> None:
    call(world, "serve", "add", str(world.file))
    world.owner.fail_start = error
    _as_parent_of_itself(monkeypatch, world)
    assert held.main() == 4
    told = exit_of(4, capfd.readouterr().out.encode(), b"", 0)
    assert (told.reason, told.hint, told.again) == (str(error), error.hint, again)
    row = json.loads(call(world, "status", "-o", "json").stdout)["migrations"][0]
    assert (row["state"], row["reason"]) == ("NOT_STARTED", str(error))


def test_an_owner_of_serve_runs_as_run_does(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    call(world, "serve", "add", str(world.file))

    def look(owner: FakeOwner, tick: object) -> int:
        note = MigrationFolder(world.root / "state", "orders").find_owner()
        assert note is not None
        shown = world.call("status", "-o", "json")
        assert json.loads(shown.stdout)["state"] == "RUNNING"
        return 0

    world.owner.act = look
    _as_parent_of_itself(monkeypatch, world)
    assert held.main() == 0
    assert world.owner.calls == ["start", "wait until_in_sync=False", "stop"]
    assert "for serve" in (world.folder / "kmigrate.log").read_text()


def _as_parent_of_itself(monkeypatch: pytest.MonkeyPatch, world: World) -> None:
    monkeypatch.setattr("sys.argv", ["held", "1", str(world.root / "state"), "orders"])
    monkeypatch.setattr(held, "tie_to_parent", lambda parent: None)
    monkeypatch.setattr(held, "watch_parent", lambda parent: None)


def test_paths_in_a_kept_manifest_begin_beside_its_file(world: World, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("pw")
    text = world.file.read_text().replace('"source:9092"}', '"${file:secret}:9092"}')
    world.file.write_text(text)
    assert call(world, "serve", "add", str(world.file)).exit_code == 0
    kept = Roster(world.root / "state").load("orders")
    assert kept is not None
    assert kept.load().source.bootstrap[0][0] == "pw"
    assert "pw" not in (world.root / "state" / "orders" / "served.json").read_text()
