"""`plan` shows what a migration would do, and writes nothing."""

from __future__ import annotations

import sys
from pathlib import Path

import click
import yaml
from rich.console import Console

from kmigrate.cli.options import Named, message_options, migration_options
from kmigrate.cli.plan_screen import plan_csv, plan_screen
from kmigrate.manifest import load_manifest
from kmigrate.plan.document import PlanDocument, make_plan
from kmigrate.plan.kinds import list_actions
from kmigrate.plan.surroundings import decide_surroundings
from kmigrate.preflight.findings import found, refuse_blockers
from kmigrate.preflight.registry import FindingId

SOMETHING_TO_DO = 3

EXAMPLES = """\b
Examples:
  kmigrate plan -f orders.yaml
  kmigrate plan -f orders.yaml -o wide           every partition
  kmigrate plan -f orders.yaml -o json | jq .totals
"""


@click.command(epilog=EXAMPLES)
@migration_options
@click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "wide", "json", "yaml", "csv"]),
    default="table",
    show_default=True,
    help="Topics, partitions, everything, or partitions for a spreadsheet.",
)
@click.option(
    "--detailed-exitcode", is_flag=True, help="Exit 3 if something would be created or copied, 0 if nothing would."
)
@message_options
@click.pass_context
def plan(
    ctx: click.Context, file: Path, state: Path | None, output: str, detailed_exitcode: bool, no_color: bool
) -> None:
    """Show what a copy would do, and what it would cost.

    For every partition: which offset class it gets (identical, shifted or mapped) and why, the filler and markers
    that identical offsets take, bytes and time, and what samples of its content showed. Then what becomes of
    everything beside, the steps of the cutover if the manifest has a scheme, what may surprise, and what must be
    mended first (exit 4).

    Reads only, from both clusters: it takes no lock and no lease, and works beside a running owner.
    """
    Named.by(ctx, file, state)
    manifest = load_manifest(file)
    for notice in manifest.notices:
        _tell(f"note: {notice}")
    from kmigrate.runner.cutover.waves import plan_of
    from kmigrate.runner.survey import survey  # the network side is imported last: usage errors come at once

    seen = survey(manifest, _tell if sys.stderr.isatty() else lambda _sentence: None)
    cutover = plan_of(manifest, seen.surroundings)
    actions = list_actions(decide_surroundings(seen.surroundings, manifest), cutover)
    document = make_plan(manifest, seen.facts, seen.findings, actions, cutover.waves)
    _show(document, output, no_color=no_color)
    refuse_blockers(
        [found(FindingId.CLASS_IMPOSSIBLE, reason=each.what, remedy=each.hint) for each in document.blockers]
    )
    ctx.exit(SOMETHING_TO_DO if detailed_exitcode and document.changes else 0)


def _show(document: PlanDocument, output: str, *, no_color: bool) -> None:
    match output:
        case "json":
            click.echo(document.to_json(indent=2))
        case "yaml":
            click.echo(yaml.safe_dump(document.to_value(), sort_keys=False, allow_unicode=True), nl=False)
        case "csv":
            click.echo(plan_csv(document), nl=False)
        case _:
            console = Console(no_color=no_color or None, highlight=False)
            console.print(plan_screen(document, console.width, each_partition=output == "wide"), crop=False)


def _tell(sentence: str) -> None:
    click.echo(sentence, err=True)
