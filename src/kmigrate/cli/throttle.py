"""`throttle` limits the bytes copied a second."""

from __future__ import annotations

from pathlib import Path

import click

from kmigrate.cli.amounts import parse_limit, show_rate
from kmigrate.cli.options import Named, message_options, migration_options
from kmigrate.cli.pause import when_it_counts
from kmigrate.errors import UsageError

EXAMPLES = """\b
Examples:
  kmigrate throttle -f orders.yaml 50MB               fifty million a second
  kmigrate throttle -f orders.yaml none               as fast as it goes
  kmigrate throttle -f orders.yaml 9M --each-broker  of a broker
  kmigrate throttle -f orders.yaml 1MB -t clicks      of one topic
"""


@click.command(epilog=EXAMPLES)
@migration_options
@click.argument("limit", metavar="BYTES_PER_SECOND|none")
@click.option("--each-broker", is_flag=True, help="The limit is for each broker that is read from or written to.")
@click.option("-t", "--topic", "topics", metavar="TOPIC", multiple=True, help="It is for this topic; may be repeated.")
@message_options
@click.pass_context
def throttle(
    ctx: click.Context,
    file: Path,
    state: Path | None,
    limit: str,
    each_broker: bool,
    topics: tuple[str, ...],
    no_color: bool,
) -> None:
    """Limit the bytes copied a second, at once: all topics together, each broker, or single topics.

    Limits of several kinds hold together. K, M, G count in thousands, Ki, Mi, Gi in 1024. It wins over what the
    manifest says under limits, until the manifest says something else there than it says now.
    """
    if each_broker and topics:
        raise UsageError("--each-broker and --topic are two limits", hint="give one after the other")
    bytes_per_second = parse_limit(limit)
    client = Named.by(ctx, file, state).client()
    if each_broker:
        client.throttle_brokers(bytes_per_second)
    elif topics:
        client.throttle_topics(topics, bytes_per_second)
    else:
        client.throttle(bytes_per_second)
    told = "no limit" if bytes_per_second is None else f"at most {show_rate(bytes_per_second)}"
    of = " for each broker" if each_broker else f" for {', '.join(topics)}" if topics else ""
    click.echo(f"throttle: {told}{of}{when_it_counts(client)}", err=True)
