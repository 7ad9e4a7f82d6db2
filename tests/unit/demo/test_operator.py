"""The operator leads every scheme to its end by what the command line says, and does what each step asks for."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from kmigrate.demo.service.commands import Answer, CommandFailed, CutoverCommands
from kmigrate.demo.service.operator import MOST_TIMES, Operator, UnknownStep
from kmigrate.demo.service.plays import PLAYS
from kmigrate.demo.service.situation import Situation, situations_of
from kmigrate.errors import GateNotReached
from kmigrate.kafka_types import Side
from kmigrate.manifest.model import Scheme
from kmigrate.schemes.page import example
from kmigrate.schemes.tables import TABLES, WAY_BACK
from kmigrate.schemes.wave import Ending, History, Wave
from tests.unit.demo.cutover_world import CutoverWorld, is_wrong

SOURCE, TARGET = Side.SOURCE, Side.TARGET
WAVES = [example(scheme, variant) for scheme, variant in TABLES]
CLEAN = example(Scheme.CONSUMERS_FIRST, Ending.CLEAN)


def operator(world: CutoverWorld, **more: Any) -> Operator:
    return Operator(world, world, say=world.said.append, look_seconds=0, clock=lambda: world.now, **more)


def test_there_is_a_play_for_every_step_and_no_other() -> None:
    steps = {step.name for table in (*TABLES.values(), WAY_BACK) for step in table.steps()}
    assert set(PLAYS) == steps


@pytest.mark.parametrize("wave", WAVES, ids=lambda wave: f"{wave.scheme}, {wave.history}, {wave.ending}")
def test_every_scheme_is_led_to_its_end_with_writers_only_where_they_may_be(wave: Wave) -> None:
    world = CutoverWorld(wave)
    wrongs: list[str] = []

    def look(_: Situation) -> bool:
        wrongs.extend(is_wrong(world))
        return False

    assert operator(world).lead(until=look) == {wave.name: "finished"}
    assert wrongs == []
    assert {name: set(sides) for name, sides in world.places.items()} == {name: {TARGET} for name in world.places}


@pytest.mark.parametrize(
    "wave",
    [wave for wave in WAVES if wave.has_way_back],
    ids=lambda wave: f"{wave.scheme}, {wave.history}, {wave.ending}",
)
def test_the_way_back_leads_every_application_to_the_source(wave: Wave) -> None:
    world = CutoverWorld(wave)
    leader = operator(world)
    assert leader.lead(until=lambda situation: situation.step == "watch") == {}
    assert leader.roll_back(wave.name) is Answer.DONE
    assert leader.lead() == {wave.name: "rolled back"}
    assert all(sides == {SOURCE} for sides in world.places.values())


def test_writers_are_stopped_only_when_all_else_is_ready_and_right_before_the_step_is_left() -> None:
    world = CutoverWorld(CLEAN)
    operator(world).lead()
    at = world.log.index("Next at stop-writers")
    assert world.log[at - 2 : at + 1] == ["stop writers-1 source", "stop writers-2 source", "Next at stop-writers"]
    assert world.log.count("stop writers-1 source") == 1


def test_what_is_copied_is_verified_when_nothing_else_is_missing() -> None:
    world = CutoverWorld(CLEAN)
    operator(world).lead()
    assert world.log[:2] == ["verify at replicate", "Next at replicate"]
    assert sum(line.startswith("verify") for line in world.log) == 1


def test_writers_are_restarted_one_after_the_other_where_they_never_wait() -> None:
    world = CutoverWorld(example(Scheme.CONSUMERS_FIRST, Ending.OVERLAP))
    operator(world).lead()
    assert [line for line in world.log if line.startswith("roll")] == [
        "roll writers-1 target",
        "roll writers-2 target",
    ]


def test_groups_run_on_both_clusters_only_while_producers_later_asks_for_it() -> None:
    both: set[str] = set()
    world = CutoverWorld(example(Scheme.PRODUCERS_LATER, History.NONE))

    def look(situation: Situation) -> bool:
        if any(len(sides) == 2 for sides in world.places.values()):
            both.add(situation.step)
        return False

    operator(world).lead(until=look)
    assert both == {"join-readers", "move-writers", "drain", "stop-old-readers"}


def test_after_a_freeze_that_was_taken_back_it_is_tried_again() -> None:
    world = CutoverWorld(CLEAN, failing={"verify-tail"})
    assert operator(world).lead() == {CLEAN.name: "finished"}
    assert any("the disk is full" in line for line in world.said)


def test_a_wave_that_is_thrown_back_again_and_again_is_given_up() -> None:
    world = CutoverWorld(CLEAN)
    fail = world._failing.add

    def always(situation: Situation) -> bool:
        fail("verify-tail")
        return False

    with pytest.raises(GateNotReached, match=f"thrown back {MOST_TIMES} times"):
        operator(world).lead(until=always)


@pytest.mark.parametrize("step", ["stop-readers", "start-readers"])
def test_an_abort_brings_every_application_back(step: str) -> None:
    world = CutoverWorld(CLEAN)
    leader = operator(world)
    leader.lead(until=lambda situation: situation.step == step and not situation.closed)
    assert leader.abort(CLEAN.name) is Answer.DONE
    assert leader.lead() == {CLEAN.name: "aborted"}
    assert all(sides == {SOURCE} for sides in world.places.values())


def test_a_step_that_takes_too_long_ends_it_with_what_is_missing() -> None:
    world = CutoverWorld(CLEAN)
    world.start = lambda names, on: None  # type: ignore[method-assign]
    with pytest.raises(GateNotReached, match=r"start .* on the target") as caught:
        operator(world, step_seconds=20).lead()
    assert "readers-present: " in caught.value.hint


def test_a_step_that_nobody_knows_is_not_guessed() -> None:
    world = CutoverWorld(CLEAN)
    document = world.document()
    document["waves"][0]["step"]["name"] = "dance"
    world.status = lambda: situations_of(document)  # type: ignore[method-assign]
    with pytest.raises(UnknownStep, match="dance"):
        operator(world).lead()


def test_an_owner_that_is_still_starting_is_waited_for() -> None:
    world = CutoverWorld(CLEAN)
    answers: list[object] = [CommandFailed("cutover status ended with 1"), ()]
    status = world.status

    def sometimes() -> tuple[Situation, ...]:
        if not answers:
            return status()
        answer = answers.pop()
        if isinstance(answer, CommandFailed):
            raise answer
        return ()

    world.status = sometimes  # type: ignore[method-assign]
    assert operator(world).lead() == {CLEAN.name: "finished"}


def test_where_no_wave_is_ever_shown_it_ends() -> None:
    world = CutoverWorld(CLEAN)
    seconds = iter(range(100))
    world.status = lambda: ()  # type: ignore[method-assign]
    with pytest.raises(CommandFailed, match="shows no wave"):
        Operator(world, world, look_seconds=0, silence_seconds=5, clock=lambda: next(seconds)).lead()
    assert next(seconds) == 7


# -- the command line

FAKE = """
import json, sys
from pathlib import Path
folder = Path({folder!r})
with (folder / "calls").open("a") as calls:
    calls.write(json.dumps(sys.argv[1:]) + "\\n")
if sys.argv[2] == "status":
    print((folder / "status.json").read_text())
    sys.exit(0)
print("Error: the gate in-sync is closed", file=sys.stderr)
sys.exit(int((folder / "exit").read_text()))
"""


@pytest.fixture
def commands(tmp_path: Path) -> CutoverCommands:
    program = tmp_path / "kmigrate.py"
    program.write_text(FAKE.format(folder=str(tmp_path)))
    (tmp_path / "status.json").write_text(json.dumps(CutoverWorld(CLEAN).document()))
    fake = (sys.executable, "-S", "-E", str(program))
    return CutoverCommands(Path("demo.yaml"), "demo", arguments=("--state", "s"), program=fake)


def calls(folder: Path) -> list[list[str]]:
    return [json.loads(line) for line in (folder / "calls").read_text().splitlines()]


def test_status_is_read_from_the_command_line(commands: CutoverCommands, tmp_path: Path) -> None:
    (situation,) = commands.status()
    assert (situation.wave, situation.step, situation.phase) == (CLEAN.name, "replicate", "waiting")
    assert {gate.name for gate in situation.gates} >= {"in-sync", "verified"}
    assert calls(tmp_path) == [["cutover", "status", "-f", "demo.yaml", "--state", "s", "-o", "json"]]


@pytest.mark.parametrize(("code", "answer"), [(0, Answer.DONE), (5, Answer.CLOSED), (6, Answer.REFUSED)])
def test_the_exit_code_is_the_answer(commands: CutoverCommands, tmp_path: Path, code: int, answer: Answer) -> None:
    (tmp_path / "exit").write_text(str(code))
    assert commands.next("all", approve=True) is answer
    assert commands.next("all", approve=False, attest=True) is answer
    assert commands.finish("all") is answer
    assert commands.rollback("all") is answer
    assert commands.abort("all") is answer
    place = ["-f", "demo.yaml", "--state", "s", "--wave", "all"]
    assert calls(tmp_path) == [
        ["cutover", "next", *place, "--approve", "demo"],
        ["cutover", "next", *place, "--attest"],
        ["cutover", "finish", *place, "--approve", "demo"],
        ["cutover", "rollback", *place, "--approve", "demo"],
        ["cutover", "abort", *place],
    ]


def test_verify_is_a_command_of_its_own_and_a_difference_is_a_failure(
    commands: CutoverCommands, tmp_path: Path
) -> None:
    (tmp_path / "exit").write_text("0")
    commands.verify()
    assert calls(tmp_path) == [["verify", "-f", "demo.yaml", "--state", "s", "--mode", "records"]]
    (tmp_path / "exit").write_text("3")
    with pytest.raises(CommandFailed, match="verify ended with 3"):
        commands.verify()


def test_any_other_exit_is_a_failure_with_what_was_said(commands: CutoverCommands, tmp_path: Path) -> None:
    (tmp_path / "exit").write_text("1")
    with pytest.raises(CommandFailed, match="cutover abort ended with 1") as caught:
        commands.abort("all")
    assert caught.value.hint == "Error: the gate in-sync is closed"


@pytest.mark.parametrize("text", ["", "[]", '{"waves": [{}]}'])
def test_a_status_that_is_none_is_a_failure(commands: CutoverCommands, tmp_path: Path, text: str) -> None:
    (tmp_path / "status.json").write_text(text)
    with pytest.raises(CommandFailed, match="is not what it should be"):
        commands.status()
