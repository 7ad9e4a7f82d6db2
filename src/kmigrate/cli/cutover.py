"""`cutover` leads the service over: where each wave stands, and the commands that move it on, or back."""

from __future__ import annotations

import getpass
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
import yaml
from rich.console import Console
from rich.live import Live

from kmigrate.cli.cutover_screen import cutover_screen, wave_lines
from kmigrate.cli.options import Named, confirm_migration, message_options, migration_name, migration_options
from kmigrate.errors import UsageError
from kmigrate.runner.cutover.desk import CommandKind
from kmigrate.runner.cutover.document import CutoverDocument, WaveStatus
from kmigrate.schemes.events import LateChoice

F = TypeVar("F", bound=Callable[..., Any])
WATCH_SECONDS = 1.0

EXAMPLES = """\b
Examples:
  kmigrate cutover status -f orders.yaml   where it stands, what is missing
  kmigrate cutover next -f orders.yaml     leave the step: its gates are open
  kmigrate cutover abort -f orders.yaml    back, while that loses nothing
"""
STATUS_EXAMPLES = """\b
Examples:
  kmigrate cutover status -f orders.yaml --watch
  kmigrate cutover status -f orders.yaml -o json | jq '.waves[].evidence'
"""
NEXT_EXAMPLES = """\b
Examples:
  kmigrate cutover next -f orders.yaml
  kmigrate cutover next -f orders.yaml --wave pay --attest
  kmigrate cutover next -f orders.yaml --late append
"""
ABORT_EXAMPLES = """\b
Example:
  kmigrate cutover abort -f orders.yaml
"""
ROLLBACK_EXAMPLES = """\b
Example:
  kmigrate cutover rollback -f orders.yaml
"""
FINISH_EXAMPLES = """\b
Example:
  kmigrate cutover finish -f orders.yaml
"""


LATE_WARNING = (
    "{records:,} late records are appended to the target, each once, behind what is there by now.\n"
    "Cannot be undone: they stay there, and what was written to both clusters meanwhile is in no order."
)

FORGO_WARNING = (
    "These partitions are given up: what lies behind their stop stays on the source, and is listed.\n{stopped}\n"
    "Cannot be undone once the step goes on."
)


@click.group(epilog=EXAMPLES)
def cutover() -> None:
    """Lead the service over, step by step, and back.

    spec.scheme of the manifest says how. Each step has gates, which `status` shows with their evidence; `next` leaves
    it when they are open. It needs a running owner (`kmigrate run` or `serve`), and goes on by itself after a restart,
    also in the middle of a step.
    """


def wave_option(command: F) -> F:
    """--wave."""
    return click.option("--wave", metavar="NAME", help="Which one, where there are several.")(command)


def approve_option(command: F) -> F:
    """--approve."""
    return click.option(
        "--approve", metavar="MIGRATION", help="The migration's name, instead of typing it when it is asked for."
    )(command)


@cutover.command(epilog=STATUS_EXAMPLES)
@migration_options
@wave_option
@click.option("--watch", is_flag=True, help="Go on showing it, until Ctrl-C.")
@click.option("--steps/--no-steps", default=True, show_default=True, help="Show all steps of the way.")
@click.option(
    "-o", "--output", type=click.Choice(["table", "json", "yaml"]), default="table", show_default=True, help="How."
)
@message_options
@click.pass_context
def status(
    ctx: click.Context,
    file: Path,
    state: Path | None,
    wave: str | None,
    watch: bool,
    steps: bool,
    output: str,
    no_color: bool,
) -> None:
    """Show where each wave stands: its step, the gates with their evidence, who has to do what, and the way back."""
    named = Named.by(ctx, file, state)
    client = named.client()
    console = Console(no_color=no_color or None, highlight=False)
    if watch and output != "table":
        raise UsageError("--watch draws a screen", hint="leave out -o, or --watch")
    if watch:
        with Live(console=console, auto_refresh=False) as live:
            while True:
                document = client.cutover(wave, fresh=True)
                live.update(cutover_screen(document, named.spell, steps=steps), refresh=True)
                time.sleep(WATCH_SECONDS)
    _show(client.cutover(wave, fresh=True), named, console, output, steps=steps)


def _show(document: CutoverDocument, named: Named, console: Console, output: str, *, steps: bool) -> None:
    match output:
        case "json":
            click.echo(json.dumps(document.to_value(), indent=2, ensure_ascii=False))
        case "yaml":
            click.echo(yaml.safe_dump(document.to_value(), sort_keys=False, allow_unicode=True), nl=False)
        case _:
            console.print(cutover_screen(document, named.spell, steps=steps))


@cutover.command(name="next", epilog=NEXT_EXAMPLES)
@migration_options
@wave_option
@approve_option
@click.option(
    "--attest", is_flag=True, help="Your word that what the step asks for is done, where Kafka cannot show it."
)
@click.option(
    "--late",
    type=click.Choice([each.value for each in LateChoice]),
    help="What becomes of records that came late to the source.",
)
@click.option(
    "--auto/--manual", default=None, help="Take steps by themselves once their gates have held, or no longer."
)
@message_options
@click.pass_context
def next_step(
    ctx: click.Context,
    file: Path,
    state: Path | None,
    wave: str | None,
    approve: str | None,
    attest: bool,
    late: str | None,
    auto: bool | None,
    no_color: bool,
) -> None:
    """Leave the step that a wave is at, if its gates are open; or try again what failed.

    Exit 5: a gate is closed. Exit 2: the migration's name was not typed, or is another one. Exit 6: somebody else was
    faster, or it does not fit what is being done. The step is not left then.
    """
    named = Named.by(ctx, file, state)
    seen = _wave_of(named, wave)
    if attest:
        seen = _send(named, seen, CommandKind.ATTEST)
    if auto is not None:
        _send(named, seen, CommandKind.AUTO if auto else CommandKind.MANUAL, show=True, no_color=no_color)
        return
    if late == LateChoice.APPEND.value and seen.late_records:
        _confirmed(named, approve, LATE_WARNING.format(records=seen.late_records))
    if late == LateChoice.LIST.value and seen.late_stopped:
        _confirmed(named, approve, FORGO_WARNING.format(stopped="\n".join(seen.late_stopped)))
    approved = seen.needs_approval and late is None and _approved(named, seen, approve)
    _send(named, seen, CommandKind.NEXT, approved=approved, late=late, show=True, no_color=no_color)


@cutover.command(epilog=ABORT_EXAMPLES)
@migration_options
@wave_option
@message_options
@click.pass_context
def abort(ctx: click.Context, file: Path, state: Path | None, wave: str | None, no_color: bool) -> None:
    """Go back: out of a freeze to the step before it, elsewhere to the beginning of the wave.

    Both clusters are as they were before. Not possible any more once an application has written to the target: that is
    what `rollback` is for.
    """
    named = Named.by(ctx, file, state)
    _send(named, _wave_of(named, wave), CommandKind.ABORT, show=True, no_color=no_color)


@cutover.command(epilog=ROLLBACK_EXAMPLES)
@migration_options
@wave_option
@approve_option
@message_options
@click.pass_context
def rollback(
    ctx: click.Context, file: Path, state: Path | None, wave: str | None, approve: str | None, no_color: bool
) -> None:
    """Take the service back to the source, with everything that was written to the target meanwhile."""
    named = Named.by(ctx, file, state)
    seen = _wave_of(named, wave)
    _confirmed(named, approve, f"Wave {seen.wave} goes back to the source: its applications will be stopped once more.")
    _send(named, seen, CommandKind.ROLLBACK, show=True, no_color=no_color)


@cutover.command(epilog=FINISH_EXAMPLES)
@migration_options
@wave_option
@approve_option
@message_options
@click.pass_context
def finish(
    ctx: click.Context, file: Path, state: Path | None, wave: str | None, approve: str | None, no_color: bool
) -> None:
    """End the cutover of a wave, and with it the way back."""
    named = Named.by(ctx, file, state)
    seen = _wave_of(named, wave)
    approved = seen.needs_approval and _approved(named, seen, approve)
    _send(named, seen, CommandKind.FINISH, approved=approved, show=True, no_color=no_color)


# -- inside


def _wave_of(named: Named, wave: str | None) -> WaveStatus:
    document = named.client().cutover(wave, fresh=True)
    if not document.waves:
        raise UsageError("no cutover is planned", hint="spec.scheme of the manifest says how the service moves")
    if len(document.waves) > 1:
        names = ", ".join(each.wave for each in document.waves)
        raise UsageError("which wave?", hint=f"one of {names}, with --wave")
    return document.waves[0]


def _approved(named: Named, seen: WaveStatus, approve: str | None) -> bool:
    """Whether the operator typed the migration's name, knowing what cannot be undone."""
    closed = [each for each in seen.evidence if not each.open and each.gate != "approved"]
    if closed:
        return False  # it would be refused in any case, and an approval expires
    warning = "\n".join(f"Cannot be undone: {each}" for each in seen.cannot_be_undone)
    _confirmed(named, approve, warning)
    return True


def _confirmed(named: Named, approve: str | None, warning: str) -> None:
    name = migration_name(named.file)
    if approve is None:
        confirm_migration(name, warning, without=f"--approve {name}")
    elif approve != name:
        raise UsageError(f"{approve!r} is not {name!r}: nothing was changed")


def _send(
    named: Named,
    seen: WaveStatus,
    kind: CommandKind,
    *,
    approved: bool = False,
    late: str | None = None,
    show: bool = False,
    no_color: bool = False,
) -> WaveStatus:
    reply = named.client().command_cutover(
        {
            "kind": kind.value,
            "wave": seen.wave,
            "number": seen.number,
            "approved": approved,
            "late": late,
            "by": getpass.getuser(),
        }
    )
    wave = WaveStatus.from_value(reply)
    if show:
        console = Console(no_color=no_color or None, highlight=False)
        for line in wave_lines(wave, named.spell, steps=False):
            console.print(line)
    return wave
