"""`demo` shows a whole migration between two clusters of its own."""

from __future__ import annotations

from pathlib import Path

import click

from kmigrate.cli.options import message_options
from kmigrate.errors import UsageError

_SCHEMES = ("producers-first", "producers-later", "consumers-first")


@click.command(epilog="Example:  kmigrate demo --scheme consumers-first")
@click.option("--scheme", type=click.Choice(_SCHEMES), help="Move a whole service by this scheme, to its end.")
@click.option(
    "--ending",
    type=click.Choice(("clean", "overlap")),
    help="How the writers of consumers-first move.  [default: clean]",
)
@click.option(
    "--kafka-home",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where Kafka's jars are kept, or fetched to.  [default: $KMIGRATE_KAFKA_HOME or .kafka]",
)
@click.option("--keep", is_flag=True, help="Keep the folder with manifest, state and logs.")
@message_options
@click.pass_context
def demo(
    ctx: click.Context,
    scheme: str | None,
    ending: str | None,
    kafka_home: Path | None,
    keep: bool,
    no_color: bool,
) -> None:
    """Watch a whole migration between two embedded clusters.

    Starts two Kafka clusters on this machine with a live producer, copies one to the other, kills the copier in
    the middle and starts it again, and lets an independent client compare every record. Takes about a minute,
    needs Java 17 (and Maven the first time), and removes what it made. Exit 3 if a difference was found.

    With --scheme producers and consumers are at work, an operator leads them to the target step by step, and a
    judge counts what was lost, repeated or out of order, and how long anybody waited. Exit 3 if that is not what
    the scheme promises.
    """
    if ending is not None and scheme != "consumers-first":
        raise UsageError("only consumers-first has endings", hint="add --scheme consumers-first, or leave out --ending")
    if scheme is None:
        from kmigrate.demo.story import run_demo  # starts processes; nothing else of the command line needs it

        ctx.exit(run_demo(color=not no_color, kafka_home=kafka_home, keep=keep))
    from kmigrate.demo.scheme_story import run_scheme_demo
    from kmigrate.manifest.model import Ending, Scheme

    ctx.exit(
        run_scheme_demo(
            Scheme(scheme), color=not no_color, kafka_home=kafka_home, keep=keep, ending=Ending(ending or "clean")
        )
    )
