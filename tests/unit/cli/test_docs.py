"""The docs name every command, option, state and stop, as the code has them."""

import re
from pathlib import Path

import click

from kmigrate.cli.group import COMMANDS, HELP, commands
from kmigrate.copy.states import STOPS, PartitionState
from kmigrate.manifest import OffsetsClass
from kmigrate.plan.notices import NoticeKind
from kmigrate.runner.status import MIGRATION_STATES, EtaBasis

DOCS = Path(__file__).parents[3] / "docs"
STATUS = (DOCS / "understanding-status.md").read_text()
PLAN = (DOCS / "plan.md").read_text()
COMMAND_DOC = (DOCS / "commands.md").read_text()
SECTIONS = dict(re.findall(r"^## `?(.+?)`?\n(.*?)(?=^## |\Z)", COMMAND_DOC, re.MULTILINE | re.DOTALL))
EVERYWHERE = SECTIONS["Options of every command"]


def tree(group: click.Group = commands, path: tuple[str, ...] = ()) -> dict[str, click.Command]:
    """Every command and what is below it, by the words that call it."""
    context, found = click.Context(group), {}
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        found[" ".join((*path, name))] = command
        if isinstance(command, click.Group):
            found |= tree(command, (*path, name))
    return found


def test_every_command_and_option_is_documented() -> None:
    assert {name for name in tree() if " " not in name} == set(COMMANDS)
    for name, command in tree().items():
        for parameter in command.params:
            for option in parameter.opts if isinstance(parameter, click.Option) else ():
                assert f"`{option}" in SECTIONS[name] + EVERYWHERE, (name, option)


def test_the_docs_name_no_option_that_is_not_there() -> None:
    there = {
        option
        for command in tree().values()
        for each in command.params
        for option in (*each.opts, *each.secondary_opts)
    }
    there |= {"-h", "--help", "--version", "--unix-socket"}
    named = set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", COMMAND_DOC))
    assert named <= there


def test_every_stop_is_documented_as_the_table_has_it() -> None:
    for kind, (meaning, choices) in STOPS.items():
        answers = ", ".join(f"`{choice.value}`" for choice in choices)
        assert f"| `{kind.value}` | {meaning} | {answers} |" in STATUS


def test_every_state_is_documented() -> None:
    for state, meaning in MIGRATION_STATES.items():
        assert f"| `{state.value}` | {meaning} |" in STATUS
    for partition_state in PartitionState:
        assert f"| `{partition_state.value}` | " in STATUS
    for basis in EtaBasis:
        assert f"| {basis.value} | " in STATUS


def test_every_class_and_notice_of_a_plan_is_documented() -> None:
    for offset_class in set(OffsetsClass) - {OffsetsClass.AUTO}:
        assert f"| `{offset_class.value}` | " in PLAN
    for kind in NoticeKind:
        assert f"| `{kind.value}` | " in PLAN


def test_the_exit_codes_of_the_help_are_those_of_the_docs() -> None:
    documented = re.findall(r"^\| (\d+) \|", SECTIONS["Exit codes"], re.MULTILINE)
    told = re.findall(r"(?:^|\s{2,})(\d+) [a-z]", HELP[HELP.index("Exit codes:") :])
    assert sorted(told, key=int) == documented
