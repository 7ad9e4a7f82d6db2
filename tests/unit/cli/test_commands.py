"""Commands end with the exit codes, messages and hints that the docs promise."""

import csv
import io
import json
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import click
import pytest
import yaml
from click.testing import CliRunner

from kmigrate import __version__
from kmigrate.cli import main
from kmigrate.cli.group import COMMANDS, commands
from kmigrate.cli.options import default_state_root
from kmigrate.copy.states import Choice, PartitionState
from kmigrate.errors import Refused
from kmigrate.runner.status import Flow, PartitionStatus, TopicStatus

from .conftest import DOCUMENT, World


def test_help_says_what_there_is_and_what_is_not() -> None:
    result = CliRunner().invoke(commands, ["--help"])
    assert result.exit_code == 0
    for word in (*COMMANDS, "cutover", "under hold", "consumer groups", "kmigrate run -f orders.yaml"):
        assert word in " ".join(result.output.split())
    assert CliRunner().invoke(commands, ["--version"]).output == f"kmigrate {__version__}\n"


MESSAGE = tuple(f"message {each}" for each in ("query", "tail", "diff", "rate"))


@pytest.mark.parametrize("name", [*COMMANDS, "offsets translate", "offsets export", *MESSAGE])
def test_the_help_of_every_command_has_an_example_that_fits_80_columns(name: str) -> None:
    result = CliRunner().invoke(commands, [*name.split(), "-h"], terminal_width=80)
    assert result.exit_code == 0
    assert "Example" in result.output
    assert f"kmigrate {name}" in result.output.split("Example")[1]
    assert max(map(len, result.output.splitlines())) <= 80


@pytest.mark.parametrize("arguments", [["dance"], ["run"], ["status", "-f", "x", "-o", "xml"], ["throttle", "-f", "x"]])
def test_wrong_usage_ends_with_2(arguments: list[str]) -> None:
    assert CliRunner().invoke(commands, arguments).exit_code == 2


def test_the_entry_point_ends_with_the_same_codes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["kmigrate", "status", "-f", "/nowhere.yaml"])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2
    assert "/nowhere.yaml" in capsys.readouterr().err


def test_a_wrong_manifest_is_told_with_all_its_problems(world: World) -> None:
    world.file.write_text(world.file.read_text().replace("Migration", "Excursion") + "  frobnicate: 1\n")
    result = world.call("status")
    assert result.exit_code == 2
    assert "Excursion" in result.stderr or "kind" in result.stderr
    assert "frobnicate" in result.stderr
    assert result.stdout == ""


def test_status_of_a_migration_that_never_ran(world: World) -> None:
    result = world.call("status")
    assert result.exit_code == 0
    assert result.stdout.startswith("orders  NOT_STARTED  no run of orders is recorded in")
    assert "kmigrate run -f" in result.stdout
    assert json.loads(world.call("status", "-o", "json").stdout)["state"] == "NOT_STARTED"


def test_status_needs_no_secrets(world: World) -> None:
    text = world.file.read_text()
    world.file.write_text(text.replace('"source:9092"}', '"source:9092", sasl.jaas.config: "${env:UNSET_HERE}"}'))
    assert world.call("status").exit_code == 0


def test_status_shows_stops_with_commands_that_can_be_pasted(world: World) -> None:
    world.left_behind()
    result = world.call("status")
    assert result.exit_code == 0
    flat = " ".join(result.stdout.split())
    assert "ENDED" in flat
    assert "TARGET_REJECTED at offset 4: the target refused a batch" in flat
    place = f"-f {world.file} --state {world.root / 'state'}"
    unbroken = "".join(flat.split())  # a long path may be broken anywhere
    assert f"kmigrate resume {place} -t pay --recreate".replace(" ", "") in unbroken
    assert f"kmigrate run {place} goes on".replace(" ", "") in unbroken


def test_status_as_json_is_the_document(world: World) -> None:
    world.left_behind()
    told = json.loads(world.call("status", "-o", "json").stdout)
    assert (told["kind"], told["state"]) == ("Status", "ENDED")
    assert told["partitions"][0]["stop"]["kind"] == "TARGET_REJECTED"


def test_status_as_yaml_and_csv_has_what_the_json_has(world: World) -> None:
    world.left_behind()
    told = json.loads(world.call("status", "-o", "json").stdout)
    assert yaml.safe_load(world.call("status", "-o", "yaml").stdout) == told
    rows = list(csv.DictReader(io.StringIO(world.call("status", "-o", "csv").stdout)))
    assert [(row["topic"], int(row["partition"]), row["state"]) for row in rows] == [
        (each["topic"], each["partition"], each["state"]) for each in told["partitions"]
    ]
    first = told["partitions"][0]
    assert (rows[0]["stop"], rows[0]["evidence"]) == ("TARGET_REJECTED", first["stop"]["evidence"])
    assert (rows[0]["reason"], rows[0]["waived"]) == (first["reason"], "false")


def test_status_wide_shortens_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    topic, reason = "a-topic-with-a-long-name-" * 4, "it waits, and why takes many words to say " * 5
    waiting = PartitionStatus(topic=topic, partition=0, state=PartitionState.WAITING, position=4711, reason=reason)
    topics = (TopicStatus(topic=topic, partitions=1, flow=Flow(lag_records=815), states={PartitionState.WAITING: 1}),)
    told = replace(DOCUMENT, topics=topics, partitions=(waiting,))
    monkeypatch.setattr("kmigrate.api.client.Client.status", lambda client: told)
    shown = world.call("status", "-o", "wide").stdout
    for each in (f"{topic}-0", "WAITING", "4711", reason.strip(), "815"):
        assert each in shown
    assert "…" not in shown
    assert "…" in world.call("status").stdout


def test_status_that_is_watched_ends_with_ctrl_c(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.left_behind()
    naps = iter([None])

    def sleep(seconds: float) -> None:
        if next(naps, "over") == "over":
            raise KeyboardInterrupt

    monkeypatch.setattr("kmigrate.cli.status.time.sleep", sleep)
    result = world.call("status", "--watch", "-o", "json")
    assert result.exit_code == 130
    assert [json.loads(line)["name"] for line in result.stdout.splitlines()] == ["orders", "orders"]
    assert world.call("status", "--watch").exit_code == 130


@pytest.mark.parametrize("arguments", [["pause"], ["resume"], ["throttle", "5MB"], ["resume", "-t", "pay", "--ignore"]])
def test_there_is_nothing_to_decide_before_the_first_run(world: World, arguments: list[str]) -> None:
    result = world.call(*arguments)
    assert result.exit_code == 2
    assert "orders has not been started" in result.stderr
    assert "hint:" in result.stderr


def test_decisions_without_an_owner_are_for_the_next(world: World) -> None:
    world.left_behind()
    for arguments in (["pause"], ["throttle", "5MB"], ["resume", "-t", "pay", "-p", "3"]):
        result = world.call(*arguments)
        assert result.exit_code == 0, result.output
        assert "for the next `kmigrate run`" in result.stderr
        assert result.stdout == ""
    decisions = world.desk().decisions()
    assert decisions.paused
    assert decisions.limits.total == 5_000_000
    assert [answer.choice for answer in decisions.answers.values()] == [Choice.RESUME]
    assert world.call("resume").exit_code == 0
    assert world.call("throttle", "none").exit_code == 0
    assert not world.desk().decisions().paused
    assert world.desk().decisions().limits.total is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-p", "3"], "which topic?"),
        (["--ignore"], "which topic?"),
        (["--recreate"], "which topic?"),
        (["--accept"], "which topic?"),
        (["-t", "pay", "--recreate", "--ignore"], "different answers"),
        (["-t", "pay", "--accept", "--class", "mapped"], "different answers"),
        (["-t", "pay", "-p", "3", "--accept"], "accept is no answer to"),
        (["-t", "pay", "-p", "3", "--recreate"], "leave -p out"),
        (["-t", "nobody"], "no topic 'nobody'"),
        (["-t", "pay", "-p", "1"], "pay-1 is not stopped"),
    ],
)
def test_an_answer_must_fit(world: World, arguments: list[str], message: str) -> None:
    world.left_behind()
    result = world.call("resume", *arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert world.desk().decisions().answers == {}


@pytest.mark.parametrize(
    ("arguments", "typed", "exit_code"),
    [([], "pay\n", 0), ([], "Pay\n", 2), ([], "", 2), (["--yes"], None, 0)],
)
def test_recreate_asks_for_the_topics_name(
    world: World, arguments: list[str], typed: str | None, exit_code: int
) -> None:
    world.left_behind()
    result = world.call("resume", "-t", "pay", "--recreate", *arguments, typed=typed)
    assert result.exit_code == exit_code, result.output
    assert world.desk().decisions().recreate == (() if exit_code else ("pay",))
    assert ("Type the topic's name" in result.stderr) == (not arguments)


def test_hints_can_be_pasted(world: World) -> None:
    world.left_behind()
    assert f"kmigrate throttle -f {world.file} --state" in world.call("throttle", "0").stderr


def test_a_limit_that_is_none_is_refused(world: World) -> None:
    world.left_behind()
    for text in ("fast", "0"):
        assert world.call("throttle", text).exit_code == 2


@pytest.mark.parametrize(
    ("raised", "exit_code", "told"),
    [
        (Refused("the lease is held", hint="wait"), 6, "kmigrate: the lease is held\nhint: wait\n"),
        (ZeroDivisionError("oops"), 1, "ZeroDivisionError: oops"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (click.Abort(), 130, "interrupted"),
        (BrokenPipeError(), 0, ""),
    ],
)
def test_whatever_happens_ends_with_a_message_and_a_code(
    world: World, monkeypatch: pytest.MonkeyPatch, raised: BaseException, exit_code: int, told: str
) -> None:
    def fail(client: object) -> None:
        raise raised

    monkeypatch.setattr("kmigrate.api.client.Client.status", fail)
    result = world.call("status")
    assert result.exit_code == exit_code
    assert told in result.stderr
    assert "Traceback" not in result.stderr


def test_debug_shows_the_traceback(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(client: object) -> None:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr("kmigrate.api.client.Client.status", fail)
    assert "Traceback" in world.call("status", "--debug").stderr


def test_the_state_folder_follows_xdg(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/somewhere")
    assert str(default_state_root()) == "/somewhere/kmigrate"
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", "/home/kim")
    assert str(default_state_root()) == "/home/kim/.local/state/kmigrate"


def test_demo_tells_its_story(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[object] = []

    def run_demo(*, color: bool, kafka_home: Path | None, keep: bool) -> int:
        given.extend((color, kafka_home, keep))
        return 5

    module = ModuleType("kmigrate.demo.story")
    module.run_demo = run_demo  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "kmigrate.demo.story", module)
    assert world.call("demo", "--no-color", "--kafka-home", "jars", "--keep").exit_code == 5
    assert given == [False, Path("jars"), True]


def test_the_document_of_these_tests_has_a_stop() -> None:
    assert DOCUMENT.stopped
