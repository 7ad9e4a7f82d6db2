"""`apply` brings the target to what the plan says beside the copy: topics, settings, rules, quotas, users."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console

from kmigrate.cli.action_lines import action_lines
from kmigrate.cli.applies import open_doer
from kmigrate.cli.options import Named, message_options, migration_options
from kmigrate.errors import Blocked, KmigrateError, UsageError
from kmigrate.manifest import load_manifest, read_passwords
from kmigrate.plan.actions import Kind, PlannedAction, Verb, When

if TYPE_CHECKING:
    from kmigrate.runner.applying import Applied

KINDS = (Kind.TOPICS, Kind.CONFIGS, Kind.ACLS, Kind.QUOTAS, Kind.USERS)
ALL_KINDS = ",".join(each.value for each in KINDS)

EXAMPLES = """\b
Examples:
  kmigrate apply -f orders.yaml --dry-run    what would be done
  kmigrate apply -f orders.yaml --only topics,configs
  kmigrate apply -f orders.yaml --yes        for scripts: without a question
"""


def _kinds(ctx: click.Context, parameter: click.Parameter, value: str) -> tuple[Kind, ...]:
    names = [name.strip() for name in value.split(",") if name.strip()]
    wrong = [name for name in names if name not in {each.value for each in KINDS}]
    if wrong or not names:
        raise click.BadParameter(f"{', '.join(wrong) or 'nothing'} is none of {ALL_KINDS}")
    return tuple(each for each in KINDS if each.value in names)


@click.command(epilog=EXAMPLES)
@migration_options
@click.option("--dry-run", is_flag=True, help="Show what would be done, and write nothing.")
@click.option("--only", metavar="KINDS", default=ALL_KINDS, callback=_kinds, help=f"Only some of {ALL_KINDS}.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
@message_options
@click.pass_context
def apply(
    ctx: click.Context,
    file: Path,
    state: Path | None,
    dry_run: bool,
    only: tuple[Kind, ...],
    yes: bool,
    output: str,
    no_color: bool,
) -> None:
    """Create topics, settings, rules, quotas and users on the target, as planned.

    It only adds: what the target has stays as it is, and what differs is told. Topics are created under hold; their
    settings are recorded for the end of it. Rights to change a topic are recorded and take effect when the topic is
    promoted. Ending it at any moment is safe: a second one does what is missing. While `run` copies, its owner does it.
    """
    named = Named.by(ctx, file, state)
    manifest = load_manifest(file)
    passwords = read_passwords(manifest) if Kind.USERS in only and not dry_run else {}
    from kmigrate.runner.apply import Applying  # the network side is imported last: usage errors come at once

    console = Console(no_color=no_color or None, highlight=False)
    with contextlib.ExitStack() as stack:
        applying = stack.enter_context(Applying(manifest))
        if dry_run:
            actions = applying.look().of_kinds(only)
            _show(actions, console, output)
            ctx.exit(Blocked.exit_code if _blocked(actions) else 0)
        doer = stack.enter_context(
            open_doer(
                named.folder(manifest.name), manifest, applying, named.client(), tell=_tell, debug=ctx.obj["debug"]
            )
        )
        actions = [each for each in doer.actions if each.kind in only]
        if output == "table":
            _show(actions, console, output)
        _confirm(actions, manifest.name, yes=yes)
        troubles: list[Applied] = []
        done: list[Applied] = []
        for each in stack.enter_context(contextlib.closing(doer.carry_out(only, passwords))):
            (troubles if each.trouble else done).append(each)
            if output == "table":
                _tell(f"{'failed' if each.trouble else 'done':<6} {each.kind.value}  {each.name}: {each.what}")
                if each.trouble:
                    _tell(f"       {each.trouble}")
        if output == "json":
            click.echo(json.dumps({"done": [_row(each) for each in done], "failed": [_row(each) for each in troubles]}))
    if troubles:
        raise KmigrateError(
            f"{len(troubles)} of {len(troubles) + len(done)} were not done; {troubles[0].name}: {troubles[0].trouble}",
            hint="mend that and run `kmigrate apply -f FILE` again: it does what is missing",
        )
    if _blocked(actions):
        raise Blocked("; ".join(f"{each.name}: {each.reason}" for each in _blocked(actions)), hint="the rest is done")


def _blocked(actions: Iterable[PlannedAction]) -> list[PlannedAction]:
    return [each for each in actions if each.action is Verb.BLOCKED]


def _confirm(actions: Iterable[PlannedAction], name: str, *, yes: bool) -> None:
    """Asks, where there is something to do and somebody to ask."""
    number = sum(each.is_change or each.when is When.PROMOTION for each in actions)
    if yes or not number:
        return
    if not sys.stdin.isatty():
        raise UsageError(f"{number} things of {name} would be changed, and nobody can be asked", hint="add --yes")
    if not click.confirm(f"do these {number} things on the target of {name}?", err=True):
        raise click.Abort


def _show(actions: list[PlannedAction], console: Console, output: str) -> None:
    if output == "json":
        click.echo(json.dumps({"actions": list(_values(actions))}))
        return
    for line in action_lines(actions, each=False):
        console.print(line, crop=False)
    if not actions:
        click.echo("nothing to do")


def _values(actions: Iterable[PlannedAction]) -> Iterator[dict[str, Any]]:
    for each in actions:
        yield {
            "kind": each.kind.value,
            "name": each.name,
            "action": each.action.value,
            "what": each.what,
            "when": each.when.value,
            "reason": each.reason,
        }


def _row(applied: Applied) -> dict[str, str]:
    return {
        "kind": applied.kind.value,
        "name": applied.name,
        "what": applied.what,
        **({"reason": applied.trouble} if applied.trouble else {}),
    }


def _tell(sentence: str) -> None:
    click.echo(sentence, err=True)
