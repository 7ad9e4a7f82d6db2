"""`demo` shows a whole migration between two clusters of its own."""

from __future__ import annotations

from pathlib import Path

import click

from kmigrate.cli.options import message_options


@click.command(epilog="Example:  kmigrate demo")
@click.option(
    "--kafka-home",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where Kafka's jars are kept, or fetched to.  [default: $KMIGRATE_KAFKA_HOME or .kafka]",
)
@click.option("--keep", is_flag=True, help="Keep the folder with manifest, state and logs.")
@message_options
@click.pass_context
def demo(ctx: click.Context, kafka_home: Path | None, keep: bool, no_color: bool) -> None:
    """Watch a whole migration between two embedded clusters.

    Starts two Kafka clusters on this machine with a live producer, copies one to the other, kills the copier in
    the middle and starts it again, and lets an independent client compare every record. Takes about a minute,
    needs Java 17 (and Maven the first time), and removes what it made. Exit 3 if a difference was found.
    """
    from kmigrate.demo.story import run_demo  # starts processes; nothing else of the command line needs it

    ctx.exit(run_demo(color=not no_color, kafka_home=kafka_home, keep=keep))
