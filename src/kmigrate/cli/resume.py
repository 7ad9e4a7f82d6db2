"""`resume` ends a pause, or answers the stops of a topic."""

from __future__ import annotations

from pathlib import Path

import click

from kmigrate.cli.options import Named, confirm_topic, message_options, migration_options
from kmigrate.cli.pause import when_it_counts
from kmigrate.copy.states import Choice
from kmigrate.errors import UsageError

EXAMPLES = """\b
Examples:
  kmigrate resume -f orders.yaml                        end a pause
  kmigrate resume -f orders.yaml -t pay -p 3            look again
  kmigrate resume -f orders.yaml -t pay -p 3 --ignore   leave it stopped
  kmigrate resume -f orders.yaml -t pay -p 3 --accept   go on with a loss
  kmigrate resume -f orders.yaml -t pay --recreate      delete, copy anew
  kmigrate resume -f orders.yaml -t pay --class mapped  go on in another class
"""


@click.command(epilog=EXAMPLES)
@migration_options
@click.option("-t", "--topic", metavar="TOPIC", help="Answer the stops of this topic.")
@click.option("-p", "--partition", metavar="N", type=click.IntRange(min=0), help="Only of this partition.")
@click.option("--recreate", is_flag=True, help="Delete the topic on the target, create it, copy it anew.")
@click.option("--accept", is_flag=True, help="Go on with what may have been lost; it stays recorded.")
@click.option("--ignore", is_flag=True, help="Leave it stopped, listed as waived.")
@click.option(
    "--class",
    "offset_class",
    type=click.Choice([Choice.SHIFTED.value, Choice.MAPPED.value]),
    help="Go on in this offset class.",
)
@click.option("--yes", is_flag=True, help="Do not ask for the topic's name before --recreate.")
@message_options
@click.pass_context
def resume(
    ctx: click.Context,
    file: Path,
    state: Path | None,
    topic: str | None,
    partition: int | None,
    recreate: bool,
    accept: bool,
    ignore: bool,
    offset_class: str | None,
    yes: bool,
    no_color: bool,
) -> None:
    """End a pause, or answer a stop.

    `kmigrate status` lists the stops, each with its evidence and the command lines that answer it.
    """
    named = Named.by(ctx, file, state)
    flags = {Choice.RECREATE: recreate, Choice.ACCEPT: accept, Choice.IGNORE: ignore}
    choice = _choice(topic, partition, [each for each, is_set in flags.items() if is_set], offset_class)
    client = named.client()
    if topic is None:
        client.resume_all()
        click.echo(f"resumed{when_it_counts(client)}", err=True)
        return
    if choice is Choice.RECREATE and not yes:
        confirm_topic(topic, f"This deletes the topic {topic} on the target, with all its records, and copies it anew.")
    answered = client.answer(topic, partition, choice)
    click.echo(f"{choice.value}: {', '.join(answered)}{when_it_counts(client)}", err=True)


def _choice(topic: str | None, partition: int | None, flags: list[Choice], offset_class: str | None) -> Choice:
    chosen = flags if offset_class is None else [*flags, Choice(offset_class)]
    if len(chosen) > 1:
        raise UsageError("--recreate, --accept, --ignore and --class are different answers", hint="choose one of them")
    if topic is None and (chosen or partition is not None):
        raise UsageError("which topic?", hint="name it with -t TOPIC")
    if Choice.RECREATE in chosen and partition is not None:
        raise UsageError(
            "Kafka deletes topics, not partitions: --recreate copies all partitions anew", hint="leave -p out"
        )
    return chosen[0] if chosen else Choice.RESUME
