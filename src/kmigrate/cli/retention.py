"""`retention` keeps records on the source until they are copied; beside `fence` the one command that writes there."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import click

from kmigrate.api.client import Client
from kmigrate.cli.options import Named, confirm_topic, message_options, migration_options
from kmigrate.cluster.client import ClusterClient
from kmigrate.errors import Blocked, KmigrateError, Refused, UsageError
from kmigrate.kafka_types import Side, TopicName
from kmigrate.manifest import Manifest, load_manifest
from kmigrate.preflight.guards import guard_cluster
from kmigrate.runner.reach import Reach
from kmigrate.runner.retention import RAISE, RESTORE, Raised
from kmigrate.topics.create import Failed, Later
from kmigrate.topics.retention import FOR_EVER, RETENTION_KEYS, alter_retention, read_retention, show_retention

PATIENCE_SECONDS = 15.0
_AGAIN_SECONDS = 0.5

EXAMPLES = """\b
Examples:
  kmigrate retention raise -f orders.yaml -t orders
  kmigrate retention restore -f orders.yaml -t orders
"""
RAISE_EXAMPLES = """\b
Examples:
  kmigrate retention raise -f orders.yaml -t orders            keep everything
  kmigrate retention raise -f orders.yaml -t orders --hours 48
"""
RESTORE_EXAMPLES = """\b
Example:
  kmigrate retention restore -f orders.yaml -t orders
"""


@click.group(epilog=EXAMPLES)
def retention() -> None:
    """Raise how long the source keeps the records of a topic, or restore it.

    Beside `fence`, and `cutover` on its way back, the only command that writes to the source. What the topic had is
    recorded before anything is altered.
    """


@retention.command("raise", epilog=RAISE_EXAMPLES)
@migration_options
@click.option("-t", "--topic", metavar="TOPIC", required=True, help="The topic on the source.")
@click.option("--hours", type=click.IntRange(min=1), help="Keep records so long.  [default: until it is restored]")
@click.option("--yes", is_flag=True, help="Do not ask for the topic's name.")
@message_options
@click.pass_context
def raise_(
    ctx: click.Context, file: Path, state: Path | None, topic: str, hours: int | None, yes: bool, no_color: bool
) -> None:
    """Keep the records of a topic on the source until they are copied.

    Sets retention.ms and retention.bytes of the source's topic (needs ALTER_CONFIGS there); its disks must have room
    for what stays. `restore` gives the topic back what it had of its own.
    """
    manifest = load_manifest(file)
    client = Named.by(ctx, file, state).client()
    wanted = {"retention.ms": FOR_EVER if hours is None else str(hours * 3_600_000), "retention.bytes": FOR_EVER}
    with _source(manifest) as source:
        before = read_retention(source, TopicName(topic))
        if before is None:
            raise Blocked(
                f"the source does not tell the settings of topic {topic}",
                hint="correct the name; or the user has no right to DESCRIBE_CONFIGS of the topic",
            )
        known = client.raised_retention().get(topic)
        if hours is not None and known is None and _keeps_longer(before["retention.ms"], hours):
            raise UsageError(f"topic {topic} keeps its records longer already: {show_retention(before)}")
        if not yes:
            _confirm(topic, f"sets {show_retention(wanted)}; it has {show_retention(before)}")
        change = Raised(before, wanted)
        _carry_out(client, source, RAISE, topic, change)
    click.echo(f"{topic}: {show_retention(wanted)}", err=True)


@retention.command(epilog=RESTORE_EXAMPLES)
@migration_options
@click.option("-t", "--topic", metavar="TOPIC", required=True, help="The topic on the source.")
@click.option("--yes", is_flag=True, help="Do not ask for the topic's name.")
@message_options
@click.pass_context
def restore(ctx: click.Context, file: Path, state: Path | None, topic: str, yes: bool, no_color: bool) -> None:
    """Give a topic of the source back what it had before `raise`.

    A topic whose retention somebody else altered meanwhile is left as it is (exit 6).
    """
    manifest = load_manifest(file)
    client = Named.by(ctx, file, state).client()
    raised = client.raised_retention()
    known = raised.get(topic)
    if known is None:
        others = f"raised are: {', '.join(sorted(raised))}" if raised else "nothing is raised"
        raise UsageError(f"the retention of topic {topic} was not raised by this migration", hint=others)
    if not yes:
        _confirm(topic, f"sets {show_retention(known.before)}")
    with _source(manifest) as source:
        _carry_out(client, source, RESTORE, topic, Raised(known.wanted, known.before))
    click.echo(f"{topic}: {show_retention(known.before)}", err=True)


def _keeps_longer(own_ms: str | None, hours: int) -> bool:
    return own_ms is not None and (int(own_ms) < 0 or int(own_ms) > hours * 3_600_000)


def _carry_out(client: Client, source: ClusterClient, kind: str, topic: str, change: Raised) -> None:
    """Journaled before, and again once the source shows it; what may work later is tried for a moment."""
    number = client.plan_retention(kind, topic, change)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        outcome = alter_retention(source, TopicName(topic), before=change.before, wanted=change.wanted)
        if not isinstance(outcome, Later) or time.monotonic() >= deadline:
            break
        time.sleep(_AGAIN_SECONDS)
    match outcome:
        case Failed(reason):
            raise Refused(
                f"the source's topic {topic} was not altered: {reason}",
                hint=f"the right ALTER_CONFIGS on the topic, or set {', '.join(RETENTION_KEYS)} there by hand",
            )
        case Later(reason):
            raise KmigrateError(
                f"it is not certain that the source's topic {topic} was altered: {reason}",
                hint="the same command again",
            )
    client.end_retention(number)


@contextlib.contextmanager
def _source(manifest: Manifest) -> Iterator[ClusterClient]:
    """A client of the source, and of no other cluster."""
    source = Reach.of(Side.SOURCE, manifest.source, manifest.name).client()
    with contextlib.closing(source):
        found = source.metadata([]).cluster_id
        guard_cluster(Side.SOURCE, found, wanted=manifest.source.cluster_id, remembered=None)
        yield source


def _confirm(topic: str, what: str) -> None:
    confirm_topic(topic, f"This writes to the SOURCE: topic {topic}, {what}.")
