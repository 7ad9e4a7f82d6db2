"""`throttle` limits the bytes copied a second."""

from __future__ import annotations

from pathlib import Path

import click

from kmigrate.cli.amounts import parse_limit, show_rate
from kmigrate.cli.options import Named, message_options, migration_options
from kmigrate.cli.pause import when_it_counts

EXAMPLES = """\b
Examples:
  kmigrate throttle -f orders.yaml 50MB    fifty million bytes a second
  kmigrate throttle -f orders.yaml none    as fast as it goes
"""


@click.command(epilog=EXAMPLES)
@migration_options
@click.argument("limit", metavar="BYTES_PER_SECOND|none")
@message_options
@click.pass_context
def throttle(ctx: click.Context, file: Path, state: Path | None, limit: str, no_color: bool) -> None:
    """Limit the bytes copied a second, at once, all topics together.

    K, M, G count in thousands, Ki, Mi, Gi in 1024. It wins over the manifest's limits.bytesPerSecond until the
    manifest says something else than it says now.
    """
    bytes_per_second = parse_limit(limit)
    client = Named.by(ctx, file, state).client()
    client.throttle(bytes_per_second)
    told = "no limit" if bytes_per_second is None else f"at most {show_rate(bytes_per_second)}"
    click.echo(f"throttle: {told}{when_it_counts(client)}", err=True)
