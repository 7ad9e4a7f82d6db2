"""The docs name every command, option, state and stop, as the code has them."""

import re
from pathlib import Path

import click

from kmigrate.cli.group import COMMANDS, HELP, commands
from kmigrate.copy.states import STOPS, PartitionState
from kmigrate.runner.status import MIGRATION_STATES, EtaBasis

DOCS = Path(__file__).parents[3] / "docs"
STATUS = (DOCS / "understanding-status.md").read_text()
COMMAND_DOC = (DOCS / "commands.md").read_text()
SECTIONS = dict(re.findall(r"^## `?(.+?)`?\n(.*?)(?=^## |\Z)", COMMAND_DOC, re.MULTILINE | re.DOTALL))
EVERYWHERE = SECTIONS["Options of every command"]


def tree() -> dict[str, click.Command]:
    context = click.Context(commands)
    found = {name: commands.get_command(context, name) for name in commands.list_commands(context)}
    return {name: command for name, command in found.items() if command is not None}


def test_every_command_and_option_is_documented() -> None:
    assert set(tree()) == set(COMMANDS)
    for name, command in tree().items():
        for parameter in command.params:
            for option in parameter.opts if isinstance(parameter, click.Option) else ():
                assert f"`{option}" in SECTIONS[name] + EVERYWHERE, (name, option)


def test_the_docs_name_no_option_that_is_not_there() -> None:
    there = {option for command in tree().values() for each in command.params for option in each.opts}
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


def test_the_exit_codes_of_the_help_are_those_of_the_docs() -> None:
    documented = re.findall(r"^\| (\d+) \|", SECTIONS["Exit codes"], re.MULTILINE)
    told = re.findall(r"(?:^|\s{2,})(\d+) [a-z]", HELP[HELP.index("Exit codes:") :])
    assert sorted(told, key=int) == documented
