"""The supervisor keeps a decision before it acts, and an owner for each migration that is to run."""

import json
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from kmigrate.errors import KmigrateError, ManifestError, Refused, UsageError
from kmigrate.runner.folder import MigrationFolder
from kmigrate.serve import supervisor as module
from kmigrate.serve.machine import END_SECONDS, LOOK_SECONDS, Phase, Wanted
from kmigrate.serve.roster import MAX_MANIFEST_BYTES, RECORD

from .conftest import World, manifest


def phase(world: World, name: str) -> Phase | None:
    found = world.supervisor.holding(name)
    assert found is not None
    return found.phase


def test_what_is_added_is_kept_and_run(world: World) -> None:
    assert world.add("orders") == "orders"
    record = world.root / "orders" / RECORD
    assert stat.S_IMODE(record.stat().st_mode) == 0o600
    assert json.loads(record.read_text())["manifest"] == manifest("orders")
    world.turn()
    assert [each.name for each in world.owners] == ["orders"]
    assert phase(world, "orders") is Phase.RUNNING
    world.turn(100.0)
    assert len(world.owners) == 1


def test_a_death_disturbs_no_other(world: World) -> None:
    for name in ("orders", "pay"):
        world.add(name)
    world.turn()
    world.owners[0].fail(-9)
    world.turn()
    assert phase(world, "orders") is Phase.WAITING
    assert "orders: ended with -9; started again in 1 s" in world.told
    world.turn(1.0)
    assert [each.name for each in world.owners] == ["orders", "pay", "orders"]
    assert world.owners[1].calls == []
    holding = world.supervisor.holding("orders")
    assert holding is not None
    assert (holding.restarts, holding.pid) == (1, 1002)


def test_few_are_started_at_once(world: World) -> None:
    for number in range(5):
        world.add(f"m{number}")
    world.turn()
    assert len(world.owners) == module.STARTS_A_TURN
    world.turn()
    world.turn()
    assert len(world.owners) == 5


def test_one_that_is_not_tried_again_stays_so_in_the_next_serve_until_it_is_started(world: World) -> None:
    world.add("orders")
    world.turn()
    world.owners[0].fail(4, again=False)
    world.turn()
    assert phase(world, "orders") is Phase.ENDED
    world.begin()
    world.turn(100.0)
    holding = world.supervisor.holding("orders")
    assert holding is not None
    assert (holding.phase, holding.kept.wanted) == (Phase.ENDED, Wanted.RUNNING)
    assert holding.last is not None
    assert holding.last.reason == "ended with 4"
    assert len(world.owners) == 1
    world.supervisor.start("orders")
    world.turn()
    assert len(world.owners) == 2
    world.begin()
    world.turn()
    assert len(world.owners) == 3, "the reason is forgotten with the start"


def test_a_new_serve_goes_on_with_what_was_to_run(world: World) -> None:
    for name in ("orders", "pay", "stock"):
        world.add(name)
    world.supervisor.stop("pay")
    world.supervisor.remove("stock")
    world.begin()
    world.turn()
    assert [each.name for each in world.owners] == ["orders"]
    assert phase(world, "pay") is Phase.STOPPED
    assert world.supervisor.holding("stock") is None


def test_a_removal_that_was_decided_is_finished_by_the_next_serve(world: World) -> None:
    world.add("orders")
    world.turn()
    world.owners[0].deaf = True
    world.supervisor.remove("orders")
    assert (world.root / "orders" / RECORD).exists(), "its owner still runs"
    with pytest.raises(UsageError, match="being removed"):
        world.supervisor.start("orders")
    with pytest.raises(UsageError, match="being removed"):
        world.add("orders")
    world.begin()  # the one before was killed
    world.turn()
    assert not (world.root / "orders" / RECORD).exists()
    assert (world.root / "orders").is_dir()
    assert len(world.owners) == 1


def test_stop_ends_the_owner_and_kills_one_that_does_not_hear(world: World) -> None:
    world.add("orders")
    world.turn()
    world.owners[0].deaf = True
    world.supervisor.stop("orders")
    world.turn()
    assert phase(world, "orders") is Phase.ENDING
    world.turn(END_SECONDS)
    assert world.owners[0].calls == ["end", "kill"]
    world.turn()
    assert phase(world, "orders") is Phase.STOPPED
    world.supervisor.start("orders")
    world.turn()
    assert len(world.owners) == 2


def test_the_end_of_serve_ends_all_and_decides_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TURN_SECONDS", 0.0)
    for name in ("orders", "pay"):
        world.add(name)
    world.turn()
    world.supervisor.close()
    assert [each.calls for each in world.owners] == [["end"], ["end"]]
    world.begin()
    world.turn()
    assert len(world.owners) == 4


def test_whoever_is_in_a_hurry_has_them_killed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TURN_SECONDS", 0.0)
    world.add("orders")
    world.turn()
    world.owners[0].deaf = True
    world.supervisor.close(hurry=lambda: True)
    assert world.owners[0].calls == ["end", "kill"]


def test_what_a_run_owns_is_left_alone_and_taken_over_when_that_ends(world: World) -> None:
    world.add("orders")
    with MigrationFolder(world.root, "orders").take_ownership() as ownership:
        world.turn()
        assert phase(world, "orders") is Phase.ELSEWHERE
        assert f"orders: owned by {ownership.note}; it is left alone" in world.told
        world.turn(LOOK_SECONDS)
        assert not world.owners
    world.turn(LOOK_SECONDS)
    assert len(world.owners) == 1


def test_a_command_that_reads_is_no_owner(world: World) -> None:
    world.add("orders")
    with MigrationFolder(world.root, "orders").briefly_locked():
        world.turn()
    assert len(world.owners) == 1


def test_the_same_manifest_again_changes_nothing_and_another_has_to_be_meant(world: World) -> None:
    world.add("orders")
    world.turn()
    world.add("orders")
    world.turn()
    assert world.owners[0].calls == []
    other = manifest("orders", limit="5")
    with pytest.raises(UsageError, match="held already, with another manifest"):
        world.supervisor.add(other, world.root / "orders.yaml")
    world.supervisor.add(other, world.root / "orders.yaml", is_new=False)
    world.turn()
    assert world.owners[0].calls == ["end"]
    world.turn()
    assert len(world.owners) == 2
    holding = world.supervisor.holding("orders")
    assert holding is not None
    assert holding.kept.manifest == other


def test_a_wrong_manifest_is_not_kept(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ManifestError, match=r"/somewhere/orders.yaml:5: .*'NOT_SET' is not set"):
        world.supervisor.add(manifest("orders", source="${env:NOT_SET}"), Path("/somewhere/orders.yaml"))
    assert world.supervisor.holdings() == {}
    monkeypatch.setenv("NOT_SET", "secret-host:1")
    world.supervisor.add(manifest("orders", source="${env:NOT_SET}"), Path("/somewhere/orders.yaml"))
    assert "secret-host" not in (world.root / "orders" / RECORD).read_text(), "a reference stays a reference"
    with pytest.raises(UsageError, match="no absolute path"):
        world.supervisor.add(manifest("orders"), Path("orders.yaml"))
    with pytest.raises(UsageError, match="bytes"):
        world.supervisor.add(" " * (MAX_MANIFEST_BYTES + 1), None)


def test_the_number_is_limited(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_MIGRATIONS", 1)
    world.add("orders")
    with pytest.raises(Refused, match="held already"):
        world.add("pay")
    world.add("orders")


def test_a_damaged_record_is_told_and_holds_up_no_other(world: World) -> None:
    world.add("orders")
    world.add("pay")
    (world.root / "pay" / RECORD).write_text("{")
    world.begin()
    assert list(world.supervisor.holdings()) == ["orders"]
    assert "it is damaged" in world.supervisor.troubles["pay"]
    with pytest.raises(KmigrateError, match="it is damaged"):
        world.add("pay")


def test_where_no_process_can_be_started_it_is_tried_again(world: World) -> None:
    world.add("orders")
    world.fail_start = OSError(11, "Resource temporarily unavailable")
    world.turn()
    assert phase(world, "orders") is Phase.WAITING
    assert "orders: no process can be started: Resource temporarily unavailable; started again in 1 s" in world.told
    world.fail_start = None
    world.turn(1.0)
    assert phase(world, "orders") is Phase.RUNNING


def test_a_folder_that_cannot_be_written_holds_up_no_other(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.add("orders")
    world.add("pay")
    world.turn()

    def fail(kept: object) -> None:
        raise KmigrateError("the disk is full")

    monkeypatch.setattr(world.supervisor.roster, "save", fail)
    with pytest.raises(KmigrateError, match="full"):
        world.supervisor.stop("orders")
    assert world.supervisor.holdings()["orders"].kept.wanted is Wanted.RUNNING, "not decided, not done"
    world.owners[0].fail(4, again=False)
    world.owners[1].fail(-9)
    world.turn()
    assert (phase(world, "orders"), phase(world, "pay")) == (Phase.ENDED, Phase.WAITING)


def test_a_record_says_everything(world: World) -> None:
    world.add("orders", run=False)
    roster = world.supervisor.roster
    kept = roster.load("orders")
    assert kept is not None
    assert (kept.wanted, kept.file) == (Wanted.STOPPED, world.root / "orders.yaml")
    roster.save(replace(kept, wanted=Wanted.RUNNING))
    assert roster.load("orders") == replace(kept, wanted=Wanted.RUNNING)
    assert roster.load("..") is None
    assert roster.load("nobody") is None


def test_one_serve_holds_a_folder(world: World) -> None:
    roster = world.supervisor.roster
    assert roster.served_by() is None
    with roster.owned(Path("/somewhere.sock")) as note:
        assert roster.served_by() == note
        assert stat.S_IMODE(roster.lock.stat().st_mode) == 0o600
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("kmigrate.serve.roster.PATIENCE_SECONDS", 0.0)
            with pytest.raises(Refused, match=f"already served by process {note.pid}"), roster.owned(Path("/x")):
                pass
    assert roster.served_by() is None
