"""`run` makes this process the owner of a migration and shows how it goes."""

from __future__ import annotations

import contextlib
import logging
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console

from kmigrate import __version__
from kmigrate.api.loopback import parse_address
from kmigrate.cli.logfile import logging_to
from kmigrate.cli.options import Named, message_options, migration_options
from kmigrate.cli.owning import own
from kmigrate.cli.view import View, open_view, show_closing
from kmigrate.manifest import load_manifest
from kmigrate.runner.desk import Desk

if TYPE_CHECKING:
    from kmigrate.api.metrics import MetricsServer

log = logging.getLogger(__name__)

EXAMPLES = """\b
Examples:
  kmigrate run -f orders.yaml                    copy until Ctrl-C
  kmigrate run -f orders.yaml --until in-sync    end once it is in sync
  kmigrate run -f orders.yaml --metrics 127.0.0.1:9404
"""


@click.command(epilog=EXAMPLES)
@migration_options
@click.option(
    "--until",
    type=click.Choice(["in-sync"]),
    help="End when everything that could be read at the start is copied; exit 4 if a partition stopped.",
)
@click.option(
    "--metrics",
    metavar="HOST:PORT",
    help="Serve Prometheus metrics at this address of this machine, for example 127.0.0.1:9404.",
)
@click.option(
    "--recover",
    "recover_from",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE",
    help="Begin with an exported state (a copy of export.jsonl), where this folder's is lost.",
)
@message_options
@click.pass_context
def run(
    ctx: click.Context,
    file: Path,
    state: Path | None,
    until: str | None,
    metrics: str | None,
    recover_from: Path | None,
    no_color: bool,
) -> None:
    """Copy, in the foreground, until it is ended.

    Creates the selected topics on the target, holds them, and copies records to identical offsets. Ctrl-C ends
    cleanly; a second run goes on from what the target holds. Topics stay under hold when it ends. What no cluster
    can tell is mirrored to the topic __kmigrate.NAME on the target, and recovered from it where the folder is lost.
    """
    named = Named.by(ctx, file, state)
    manifest = load_manifest(file)
    if metrics is not None:
        parse_address(metrics)
    console = Console(stderr=True, no_color=no_color or None, highlight=False)
    view = open_view(console, named.spell)
    for notice in manifest.notices:
        view.tell(f"note: {notice}")
    folder = named.folder(manifest.name)
    with contextlib.ExitStack() as stack:
        ownership = stack.enter_context(folder.take_ownership(waiting=view.tell))
        stack.enter_context(logging_to(folder.log, debug=ctx.obj["debug"]))
        log.info("kmigrate %s runs %s from %s", __version__, manifest.name, file)
        exit_code, document = own(
            manifest,
            ownership,
            view,
            until_in_sync=until is not None,
            beside=lambda desk: contextlib.nullcontext() if metrics is None else _serve_metrics(metrics, desk, view),
            recover_from=recover_from,
        )
        if document is not None:
            show_closing(console, document, named.spell, str(folder.log))
    ctx.exit(exit_code)


def _serve_metrics(address: str, desk: Desk, view: View) -> MetricsServer:
    from kmigrate.api.metrics import MetricsServer, families_of  # only who asks for metrics waits for their library

    server = MetricsServer(address, lambda: families_of(desk.status))
    view.tell(f"metrics: http://{address.rpartition(':')[0]}:{server.port}/metrics")
    return server
