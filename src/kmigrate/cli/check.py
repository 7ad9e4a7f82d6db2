"""`check` finds what would go wrong, and writes nothing."""

from __future__ import annotations

import sys
from pathlib import Path

import click
import yaml
from rich.console import Console

from kmigrate.cli.check_screen import Spell, check_screen
from kmigrate.cli.options import Named, message_options, optional_migration_options
from kmigrate.errors import Blocked, UsageError
from kmigrate.manifest import load_client_file, load_manifest
from kmigrate.preflight.document import CheckDocument

EXAMPLES = """\b
Examples:
  kmigrate check -f orders.yaml
  kmigrate check -f orders.yaml -o wide          everything, and what it means
  kmigrate check -f orders.yaml -o json | jq .counts
  kmigrate check --as-client client.properties -t orders
"""


@click.command(epilog=EXAMPLES)
@optional_migration_options
@click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "wide", "json", "yaml"]),
    default="table",
    show_default=True,
    help="What matters, or everything.",
)
@click.option(
    "--as-client",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="An application's client.properties: what would it meet, from this host?",
)
@click.option("-t", "--topic", "topics", metavar="TOPIC", multiple=True, help="With --as-client: a topic it uses.")
@message_options
@click.pass_context
def check(
    ctx: click.Context,
    file: Path | None,
    state: Path | None,
    output: str,
    as_client: Path | None,
    topics: tuple[str, ...],
    no_color: bool,
) -> None:
    """Find what would go wrong, and what to do about it.

    Reaches every advertised broker of both sides, asks for every right (and prints the line that grants a missing
    one), and looks at versions, clocks, limits, room on disks, retention against the predicted time of the copy,
    transactions, quotas and groups. Everything is told at once; what cannot be examined is told as UNKNOWN.

    With --as-client it runs on an application's host instead, without a manifest, with the application's own
    properties: bootstrap, every advertised listener, and what may be done with its topics and its group.

    Reads only. Exit 0, or 4 with blockers.
    """
    if as_client is not None:
        document, spell = _as_client(as_client, topics), _unchanged
    elif file is None or topics:
        raise UsageError(
            "check what?", hint="-f FILE for a migration, or --as-client FILE, with -t, for an application"
        )
    else:
        spell = Named.by(ctx, file, state).spell
        document = _of_migration(file)
    _show(document, output, spell, no_color=no_color)
    ctx.exit(Blocked.exit_code if document.blocked else 0)


def _of_migration(file: Path) -> CheckDocument:
    manifest = load_manifest(file)
    for notice in manifest.notices:
        _tell(f"note: {notice}")
    from kmigrate.runner.examine import examine  # the network side is imported last: usage errors come at once

    return examine(manifest, _tell if sys.stderr.isatty() else lambda _sentence: None)


def _as_client(properties: Path, topics: tuple[str, ...]) -> CheckDocument:
    cluster = load_client_file(properties)
    from kmigrate.runner.examine_client import examine_as_client

    return examine_as_client(cluster, properties.name, topics)


def _unchanged(text: str) -> str:
    return text


def _show(document: CheckDocument, output: str, spell: Spell, *, no_color: bool) -> None:
    match output:
        case "json":
            click.echo(document.to_json(indent=2))
        case "yaml":
            click.echo(yaml.safe_dump(document.to_value(), sort_keys=False, allow_unicode=True), nl=False)
        case _:
            console = Console(no_color=no_color or None, highlight=False)
            console.print(check_screen(document, console.width, spell, everything=output == "wide"), crop=False)


def _tell(sentence: str) -> None:
    click.echo(sentence, err=True)
