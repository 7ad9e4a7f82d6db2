"""`group` shows consumer groups on both sides, and takes decisions about them."""

from __future__ import annotations

import csv
import json
import sys
import time
from dataclasses import replace
from pathlib import Path

import click
import yaml
from rich.console import Console

from kmigrate.cli.group_screen import (
    COLUMNS,
    behind_first,
    differences,
    groups_screen,
    progress_screen,
    reset_table,
    rows,
    wide_screen,
)
from kmigrate.cli.moments import parse_time
from kmigrate.cli.options import Named, message_options, migration_options
from kmigrate.errors import GateNotReached, KmigrateError, UsageError
from kmigrate.runner.groups_document import GroupsDocument, GroupStatus

POLL_SECONDS = 2.0

EXAMPLES = """\b
Examples:
  kmigrate group list -f orders.yaml
  kmigrate group progress -f orders.yaml --until drained --timeout 600
  kmigrate group sync -f orders.yaml --release billing
  kmigrate group reset -f orders.yaml -g billing -t orders --to-earliest
"""
LIST_EXAMPLES = """\b
Examples:
  kmigrate group list -f orders.yaml
  kmigrate group list -f orders.yaml -g billing -o wide
  kmigrate group list -f orders.yaml -o csv > groups.csv
  kmigrate group list -f orders.yaml -o json | jq .summary
"""
PROGRESS_EXAMPLES = """\b
Examples:
  kmigrate group progress -f orders.yaml
  kmigrate group progress -f orders.yaml -g billing \\
      --until drained --timeout 600
"""
SYNC_EXAMPLES = """\b
Examples:
  kmigrate group sync -f orders.yaml
  kmigrate group sync -f orders.yaml --release billing
"""

RESET_EXAMPLES = """\b
Examples:
  kmigrate group reset -f orders.yaml -g billing --shift-by -100
  kmigrate group reset -f orders.yaml -g billing -t orders:0,3 \\
      --to-datetime 2024-05-01T00:00:00Z --execute
  kmigrate group reset -f orders.yaml -g billing --undo --execute
"""

_group_option = click.option(
    "-g", "--group", "names", metavar="GROUP", multiple=True, help="Only this group; repeatable."
)


@click.group(epilog=EXAMPLES)
def group() -> None:
    """Show consumer groups on both sides, wait for them, and decide about them.

    While `run` copies, what groups commit on the source appears on the target, translated exactly, until the group is
    used there.
    """


@group.command("list", epilog=LIST_EXAMPLES)
@migration_options
@_group_option
@click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "wide", "json", "yaml", "csv"]),
    default="table",
    show_default=True,
    help="wide tells members and partitions; csv has a row for every partition.",
)
@message_options
@click.pass_context
def list_(
    ctx: click.Context, file: Path, state: Path | None, names: tuple[str, ...], output: str, no_color: bool
) -> None:
    """Show every group: both sides, lag, outcome, and whether it is safe to move.

    Safe to move means: nobody is a member of it on the source, and every commit on the target is what the source's
    translates to, and was read back. Without a running owner it shows how things stood when the last one ended.
    """
    document = _chosen(Named.by(ctx, file, state).client().groups(details=True), names)
    match output:
        case "json":
            click.echo(document.to_json(indent=2))
        case "yaml":
            click.echo(yaml.safe_dump(document.to_value(), sort_keys=False, allow_unicode=True), nl=False)
        case "csv":
            writer = csv.writer(sys.stdout, lineterminator="\n")
            writer.writerow(COLUMNS)
            writer.writerows(rows(document))
        case _:
            console = Console(no_color=no_color or None, highlight=False)
            console.print(wide_screen(document) if output == "wide" else groups_screen(document, console.width))


@group.command(epilog=PROGRESS_EXAMPLES)
@migration_options
@_group_option
@click.option("--until", type=click.Choice(["drained"]), help="Wait until everything on the source is read.")
@click.option("--timeout", metavar="SECONDS", type=click.FloatRange(min=0), help="How long to wait; then exit 5.")
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
@message_options
@click.pass_context
def progress(
    ctx: click.Context,
    file: Path,
    state: Path | None,
    names: tuple[str, ...],
    until: str | None,
    timeout: float | None,
    output: str,
    no_color: bool,
) -> None:
    """Show who has not read everything on the source: lag, rate, ETA, and the partitions that hold it up.

    With `--until drained` it waits, and ends with 0 when everybody has, or with 5 at the time-out.
    """
    if timeout is not None and until is None:
        raise UsageError("--timeout without --until: nothing is waited for", hint="add --until drained")
    client = Named.by(ctx, file, state).client()
    console = Console(no_color=no_color or None, highlight=False)
    deadline = None if timeout is None else time.monotonic() + timeout
    while True:
        groups = _with_commits(_chosen(client.groups(), names), names)
        if until is not None and not client.reached_owner:
            raise KmigrateError("no owner runs: nobody looks at the groups", hint="start it: `kmigrate run -f FILE`")
        behind = behind_first(groups)
        if until is None or not behind or (deadline is not None and time.monotonic() >= deadline):
            break
        time.sleep(POLL_SECONDS if deadline is None else max(0.0, min(POLL_SECONDS, deadline - time.monotonic())))
    if output == "json":
        click.echo(json.dumps([_progress(each) for each in groups], indent=2))
    else:
        console.print(progress_screen(groups))
    if until is not None and behind:
        names_behind = ", ".join(each.group for each in behind[:5])
        raise GateNotReached(
            f"{len(behind):,} groups have not drained the source after {timeout:g} s: {names_behind}",
            hint="`kmigrate group list -f FILE -o wide` shows their members",
        )


@group.command(epilog=SYNC_EXAMPLES)
@migration_options
@click.option(
    "--release",
    metavar="GROUP",
    multiple=True,
    help="Let a group that was used on the target follow the source again: its commits there are overwritten.",
)
@message_options
@click.pass_context
def sync(ctx: click.Context, file: Path, state: Path | None, release: tuple[str, ...], no_color: bool) -> None:
    """Look at all groups anew, now, and say how they stand.

    Commits of open transactions are waited for. A released group that still has members on the target is latched again
    at once: stop them first. Ends with 1 if a commit is refused by the target.
    """
    client = Named.by(ctx, file, state).client()
    released = client.sync_groups(release)
    for name in released:
        click.echo(f"{name} follows the source again" + ("" if client.reached_owner else ", from the next run on"))
    document = client.groups()
    click.echo(differences(document.summary))
    again = [each for each in document.groups if each.group in released and each.moved_at is not None]
    if again:
        raise KmigrateError(
            f"{again[0].group} was latched again: {again[0].reason}", hint="stop its members on the target first"
        )
    failed = [each for each in document.groups if each.outcome.value == "Failed"]
    if failed:
        raise KmigrateError(f"{len(failed):,} groups fail; {failed[0].group}: {failed[0].reason}")


@group.command(epilog=RESET_EXAMPLES)
@migration_options
@click.option("-g", "--group", "name", metavar="GROUP", required=True, help="The group.")
@click.option(
    "-t",
    "--topic",
    "topics",
    metavar="TOPIC[:P,…]",
    multiple=True,
    help="A topic, or some of its partitions; repeatable. Without it everything that the group committed there.",
)
@click.option("--to-earliest", is_flag=True, help="Where the target's log starts.")
@click.option("--to-latest", is_flag=True, help="Where the target's log ends.")
@click.option(
    "--to-datetime",
    metavar="TIME",
    help="The first record at or after 2024-05-01T00:00:00Z, as looked up on the source.",
)
@click.option("--shift-by", metavar="N", type=int, help="So many offsets further, or back.")
@click.option("--to-offset", metavar="OFFSET", type=click.IntRange(min=0), help="This offset of the target.")
@click.option("--undo", is_flag=True, help="Take the last reset of the group back.")
@click.option("--dry-run", is_flag=True, help="Only show what would be done.  [default]")
@click.option("--execute", is_flag=True, help="Do it.")
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
@message_options
@click.pass_context
def reset(
    ctx: click.Context,
    file: Path,
    state: Path | None,
    name: str,
    topics: tuple[str, ...],
    to_earliest: bool,
    to_latest: bool,
    to_datetime: str | None,
    shift_by: int | None,
    to_offset: int | None,
    undo: bool,
    dry_run: bool,
    execute: bool,
    output: str,
    no_color: bool,
) -> None:
    """Move a group's commits on the target, as Kafka's own tool does; shows what it would do unless told to do it.

    The group must have no members there. From then on it is latched as moved, so that it does not follow the source any
    more; `group sync --release` ends that. What was there is kept for `--undo`. The source is never written to.
    """
    if dry_run and execute:
        raise UsageError("--dry-run and --execute exclude each other", hint="choose one")
    modes: dict[str, int] = {}
    if to_earliest:
        modes["to-earliest"] = 0
    if to_latest:
        modes["to-latest"] = 0
    if to_datetime is not None:
        modes["to-datetime"] = parse_time(to_datetime)
    if shift_by is not None:
        modes["shift-by"] = shift_by
    if to_offset is not None:
        modes["to-offset"] = to_offset
    if len(modes) + undo != 1:
        raise UsageError(
            "reset to where?" if not modes else "more than one place to reset to",
            hint="give one of --to-earliest, --to-latest, --to-datetime, --shift-by, --to-offset, --undo",
        )
    request: dict[str, object] = {"group": name, "scope": _scope(topics), "execute": execute, "undo": undo}
    for mode, number in modes.items():
        request |= {"mode": mode, "number": number}
    reply = Named.by(ctx, file, state).client().reset_group(request)
    if output == "json":
        click.echo(json.dumps(reply, indent=2, ensure_ascii=False))
        return
    Console(no_color=no_color or None, highlight=False).print(reset_table(reply["rows"]))
    click.echo("done" if reply["executed"] else "nothing was done yet: add --execute", err=True)


def _scope(topics: tuple[str, ...]) -> dict[str, list[int]]:
    """orders:0,3 → {"orders": [0, 3]}."""
    scope: dict[str, list[int]] = {}
    for each in topics:
        name, _, numbers = each.partition(":")
        if numbers and not all(number.isdigit() for number in numbers.split(",")):
            raise UsageError(f"{each!r} names no partitions", hint="write them as orders:0,3")
        scope[name] = sorted({*scope.get(name, ()), *(int(number) for number in numbers.split(",") if number)})
    return scope


def _chosen(document: GroupsDocument, names: tuple[str, ...]) -> GroupsDocument:
    """The document with these groups only; raises UsageError for one that there is not."""
    if not names:
        return document
    known = {each.group: each for each in document.groups}
    for name in names:
        if name not in known:
            reasons = {each.group: each.reason for each in (*document.left_out, *document.summary.unsupported)}
            why = f": {reasons[name]}" if name in reasons else ""
            raise UsageError(f"no group {name!r} takes part{why}", hint="`kmigrate group list -f FILE` shows which do")
    return replace(document, groups=tuple(known[name] for name in names))


def _with_commits(document: GroupsDocument, names: tuple[str, ...]) -> tuple[GroupStatus, ...]:
    """The groups that can drain anything; those that were named count in any case."""
    return tuple(each for each in document.groups if names or any(p.source_offset is not None for p in each.partitions))


def _progress(each: GroupStatus) -> dict[str, object]:
    return {
        "group": each.group,
        "drained": each.is_drained,
        "lagRecords": each.source.lag_records,
        "recordsPerSecond": each.records_per_second,
        "etaSeconds": each.eta_seconds,
        "blocking": [
            {"topic": p.topic, "partition": p.partition, "lagRecords": p.source_lag}
            for p in sorted(each.partitions, key=lambda p: -(p.source_lag or 0))
            if p.source_lag
        ],
    }
