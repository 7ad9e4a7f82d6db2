"""`fence` keeps applications from writing to topics for a while, and lets them write again."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import click
import yaml
from pydantic import TypeAdapter
from rich.console import Console

from kmigrate.cli.fence_screen import COLUMNS, fences_screen, put_words, rows
from kmigrate.cli.fence_wish import (
    bootstrap_of,
    check_wish,
    chosen_topics,
    decide_plan,
    open_cluster,
    tell_standing,
)
from kmigrate.cli.logfile import logging_to
from kmigrate.cli.options import Named, confirm_migration, message_options, migration_name, migration_options
from kmigrate.errors import Refused, UsageError
from kmigrate.kafka_types import Side
from kmigrate.manifest import load_manifest
from kmigrate.runner.fence_notice import read_fences
from kmigrate.runner.fence_status import FencesDocument
from kmigrate.runner.fence_watch import LOG_NAME, FenceWatch, start_watch
from kmigrate.runner.fences import (
    PERIOD_SECONDS,
    SHORTEST_SECONDS,
    FenceOrder,
    enter_fence,
    find_same,
    put_fence,
)
from kmigrate.runner.fencing import Fencer
from kmigrate.runner.reach import Reach
from kmigrate.security.fence import EVERYONE, FenceKind
from kmigrate.security.fence_plan import FencePlan, FenceWish
from kmigrate.state.fence_book import FenceBook

LONGEST_SECONDS = 86_400.0
_DOCUMENT: TypeAdapter[FencesDocument] = TypeAdapter(FencesDocument)

EXAMPLES = """\b
Examples:
  kmigrate fence put -f orders.yaml --kind acl
  kmigrate fence status -f orders.yaml
  kmigrate fence lift -f orders.yaml
"""
PUT_EXAMPLES = """\b
Examples:
  kmigrate fence put -f orders.yaml --kind acl --dry-run
  kmigrate fence put -f orders.yaml --kind acl -t orders \\
      --principal User:shop
  kmigrate fence put -f orders.yaml --kind min-isr --acks-all-attested
"""
LIFT_EXAMPLES = """\b
Examples:
  kmigrate fence lift -f orders.yaml
  kmigrate fence lift -f orders.yaml --number 2
"""
STATUS_EXAMPLES = """\b
Examples:
  kmigrate fence status -f orders.yaml
  kmigrate fence status -f orders.yaml -o json | jq '.fences[].removal'
"""
WATCH_EXAMPLES = """\b
Example:
  kmigrate fence watch -f orders.yaml
"""


@click.group(epilog=EXAMPLES)
def fence() -> None:
    """Keep applications from writing to topics for a while, and let them write again.

    What was there before is recorded before anything is put. A fence has a deadline: a process of its own lifts it when
    nobody confirms it any more.
    """


@fence.command(epilog=PUT_EXAMPLES)
@migration_options
@click.option("--kind", type=click.Choice([each.value for each in FenceKind]), required=True, help="See above.")
@click.option("-t", "--topic", "topics", metavar="TOPIC", multiple=True, help="Only this topic; repeatable.")
@click.option(
    "--side",
    type=click.Choice([each.value for each in Side]),
    default=Side.SOURCE.value,
    show_default=True,
    help="Whose topics.",
)
@click.option(
    "--principal",
    "principals",
    metavar="User:NAME",
    multiple=True,
    help="acl: deny only this writer; repeatable.  [default: everybody]",
)
@click.option("--acks-all-attested", is_flag=True, help="min-isr: your word that every writer uses acks=all.")
@click.option(
    "--everyone-without-rules",
    type=click.Choice(["true", "false"]),
    help="acl: what allow.everyone.if.no.acl.found is there; asked for if it matters.",
)
@click.option(
    "--deadline",
    metavar="SECONDS",
    type=click.FloatRange(min=SHORTEST_SECONDS, max=LONGEST_SECONDS),
    default=PERIOD_SECONDS,
    show_default=True,
    help="Lifted after so long, unless `put` is called again.",
)
@click.option("--dry-run", is_flag=True, help="Only say what would be put, and what speaks against it.")
@click.option("--yes", is_flag=True, help="Do not ask for the migration's name.")
@message_options
@click.pass_context
def put(
    ctx: click.Context,
    file: Path,
    state: Path | None,
    kind: str,
    topics: tuple[str, ...],
    side: str,
    principals: tuple[str, ...],
    acks_all_attested: bool,
    everyone_without_rules: str | None,
    deadline: float,
    dry_run: bool,
    yes: bool,
    no_color: bool,
) -> None:
    """Put a fence around topics: all that the migration copies, or those named.

    acl denies WRITE (needs ALTER on the cluster). Clients see TOPIC_AUTHORIZATION_FAILED; most do not try again and
    must be restarted. Super users pass.

    min-isr sets min.insync.replicas above the replica count (needs ALTER_CONFIGS). Clients see NOT_ENOUGH_REPLICAS and
    retry. Only before Kafka 3.7, which caps the setting, and only where all writers use acks=all.

    The same command again sets the deadline anew. Exit 4: something speaks against it, nothing was put. Exit 5: the
    fence stands and log ends still move.
    """
    named = Named.by(ctx, file, state)
    manifest = load_manifest(file)
    folder = named.folder(manifest.name)
    book = FenceBook(folder.path)
    wish = FenceWish(
        kind=FenceKind(kind),
        principals=principals or (EVERYONE,),
        acks_all=acks_all_attested,
        everyone_without_rules=None if everyone_without_rules is None else everyone_without_rules == "true",
    )
    check_wish(wish, principals)
    with open_cluster(manifest, Side(side)) as (client, settings, metadata):
        order = FenceOrder(
            side=Side(side),
            kind=wish.kind,
            topics=chosen_topics(manifest, metadata, topics),
            principals=wish.principals,
            cluster_id=metadata.cluster_id,
            bootstrap=bootstrap_of(settings),
            is_secured=settings.security.tls is not None or settings.security.sasl is not None,
            period_seconds=deadline,
        )
        known = find_same(book, order)
        plan = FencePlan() if known is not None else decide_plan(wish, order, manifest, settings, client, metadata)
        for note in plan.notes:
            click.echo(f"note: {note}", err=True)
        if dry_run:
            click.echo(
                put_words(order.kind, order.topics, order.side, deadline).replace("This writes", "It would write")
            )
            return
        if known is None and not yes:
            confirm_migration(manifest.name, put_words(order.kind, order.topics, order.side, deadline))
        entered = enter_fence(book, order, plan)
        arguments = ["-f", str(file.absolute()), "--state", str(folder.path.parent.absolute())]
        standing = put_fence(book, client, entered, lambda: start_watch(book, folder.path, arguments))
        growth = Fencer(client, book).watch_ends(order.topics)
    tell_standing(standing, growth)


@fence.command(epilog=LIFT_EXAMPLES)
@migration_options
@click.option("--number", type=click.IntRange(min=1), help="Only this one.  [default: every fence that stands]")
@click.option("--yes", is_flag=True, help="Do not ask for the migration's name.")
@message_options
@click.pass_context
def lift(ctx: click.Context, file: Path, state: Path | None, number: int | None, yes: bool, no_color: bool) -> None:
    """Lift fences: give the topics back exactly what they had before.

    A rule that was there before the fence stays. A setting that somebody else changed meanwhile is left as it is (exit
    6).
    """
    named = Named.by(ctx, file, state)
    manifest = load_manifest(file)
    book = FenceBook(named.folder(manifest.name).path)
    wanted = [each for each in book.standing() if number in (None, each.number)]
    if not wanted:
        which = "no fence stands" if number is None else f"fence {number} does not stand"
        raise UsageError(f"{which}: there is nothing to lift", hint="`kmigrate fence status -f FILE` lists them")
    if not yes:
        names = ", ".join(f"fence {each.number} ({each.kind.value}, {each.side})" for each in wanted)
        confirm_migration(manifest.name, f"This lifts {names}: applications may write again.")
    left: list[str] = []
    for each in wanted:
        with open_cluster(manifest, each.side, wanted=each.cluster_id) as (client, _, _):
            lifted = Fencer(client, book).lift(each.number, "on the operator's command")
        click.echo(f"fence {each.number} is lifted", err=True)
        left += [f"fence {each.number}: {what}" for what in lifted.left]
    if left:
        raise Refused(f"what somebody changed meanwhile was left: {'; '.join(left)}", hint="set it by hand if need be")


@fence.command(epilog=STATUS_EXAMPLES)
@migration_options
@click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "wide", "json", "yaml", "csv"]),
    default="table",
    show_default=True,
    help="wide tells the story of each; csv has a row for each.",
)
@message_options
@click.pass_context
def status(ctx: click.Context, file: Path, state: Path | None, output: str, no_color: bool) -> None:
    """Show the fences: since when, their deadline, and how to remove them by hand.

    It shows what was recorded, and does not ask the clusters.
    """
    named = Named.by(ctx, file, state)
    name = migration_name(file)
    fences = read_fences(named.folder(name).path, lifted=True)
    value = _DOCUMENT.dump_python(FencesDocument(name=name, fences=fences), mode="json", by_alias=True)
    match output:
        case "json":
            click.echo(json.dumps(value, indent=2, ensure_ascii=False))
        case "yaml":
            click.echo(yaml.safe_dump(value, sort_keys=False, allow_unicode=True), nl=False)
        case "csv":
            writer = csv.writer(sys.stdout, lineterminator="\n")
            writer.writerow(COLUMNS)
            writer.writerows(rows(fences))
        case _:
            console = Console(no_color=no_color or None, highlight=False)
            console.print(fences_screen(fences, wide=output == "wide"))


@fence.command(epilog=WATCH_EXAMPLES)
@migration_options
@message_options
@click.pass_context
def watch(ctx: click.Context, file: Path, state: Path | None, no_color: bool) -> None:
    """Lift every fence that nobody confirms any more; ends when none is left.

    `put` starts this by itself, and it outlives whoever called it. Start one by hand after the machine was restarted.
    What it does stands in fence-watch.log in the migration's folder.
    """
    named = Named.by(ctx, file, state)
    manifest = load_manifest(file)
    folder = named.folder(manifest.name)
    reach = {
        Side.SOURCE: Reach.of(Side.SOURCE, manifest.source, manifest.name),
        Side.TARGET: Reach.of(Side.TARGET, manifest.target, manifest.name),
    }
    clients = {side: each.client for side, each in reach.items()}
    is_by_hand = sys.stderr.isatty()
    with logging_to(folder.path / LOG_NAME, debug=False):
        watcher = FenceWatch(
            FenceBook(folder.path), clients, tell=lambda text: click.echo(text, err=True) if is_by_hand else None
        )
        watcher.run()
