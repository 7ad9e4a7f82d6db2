"""`run` makes this process the owner of a migration and shows how it goes."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import NoReturn

import click
from rich.console import Console

from kmigrate import __version__
from kmigrate.api.server import ApiServer
from kmigrate.cli.group import INTERRUPTED
from kmigrate.cli.logfile import logging_to
from kmigrate.cli.options import Named, message_options, migration_options
from kmigrate.cli.view import View, open_view, show_closing
from kmigrate.errors import Blocked, KmigrateError
from kmigrate.manifest import Manifest, load_manifest
from kmigrate.runner.desk import Desk
from kmigrate.runner.folder import Ownership
from kmigrate.runner.lookup import Lookup
from kmigrate.runner.status import MigrationState, StatusDocument, ended
from kmigrate.state.store import Store

log = logging.getLogger(__name__)

NEXT_RUN = "kmigrate run -f FILE follows new records; the target's topics stay under hold"

EXAMPLES = """\b
Examples:
  kmigrate run -f orders.yaml                    copy until Ctrl-C
  kmigrate run -f orders.yaml --until in-sync    end once it is in sync
"""


@click.command(epilog=EXAMPLES)
@migration_options
@click.option(
    "--until",
    type=click.Choice(["in-sync"]),
    help="End when everything that could be read at the start is copied; exit 4 if a partition stopped.",
)
@message_options
@click.pass_context
def run(ctx: click.Context, file: Path, state: Path | None, until: str | None, no_color: bool) -> None:
    """Copy, in the foreground, until it is ended.

    Creates the selected topics on the target, holds them, and copies records to identical offsets. Ctrl-C ends
    cleanly; a second run goes on from what the target holds. Topics stay under hold when it ends.
    """
    named = Named.by(ctx, file, state)
    manifest = load_manifest(file)
    console = Console(stderr=True, no_color=no_color or None, highlight=False)
    view = open_view(console, named.spell)
    for notice in manifest.notices:
        view.tell(f"note: {notice}")
    folder = named.folder(manifest.name)
    with contextlib.ExitStack() as stack:
        ownership = stack.enter_context(folder.take_ownership(waiting=view.tell))
        stack.enter_context(logging_to(folder.log, debug=ctx.obj["debug"]))
        store = stack.enter_context(contextlib.closing(Store.open(folder.path)))
        # the owner looks at the desk several times a second: there is nobody to wake
        desk = Desk(store, lambda: None, manifest_limit=manifest.limits.bytes_per_second)
        log.info("kmigrate %s runs %s from %s", __version__, manifest.name, file)
        exit_code = _own(manifest, ownership, store, desk, view, until_in_sync=until is not None)
        document = desk.status()
        if document is not None and until is not None:
            document = _reached(document, exit_code)
        if document is not None:
            interrupted = exit_code == INTERRUPTED
            left = _leave(desk, document, "interrupted" if interrupted else "ended")
            show_closing(console, left if interrupted else document, named.spell, str(folder.log))
    ctx.exit(exit_code)


def _own(manifest: Manifest, ownership: Ownership, store: Store, desk: Desk, view: View, *, until_in_sync: bool) -> int:
    """Runs the owner until its end; returns the exit code."""
    from kmigrate.runner.owner import Owner  # the copying side is imported last: usage errors come at once

    owner = Owner(manifest=manifest, folder=ownership, store=store, desk=desk, report=view.tell)
    if desk.status() is None:
        desk.publish(_starting(manifest.name))
    with _signals_interrupt(), ApiServer(desk, Lookup(store, desk.status), ownership):
        try:
            owner.start()
            return owner.wait(until_in_sync, view.show)
        except KeyboardInterrupt:
            _next_signal_ends()
            view.close()
            view.tell("ending: what was sent is finished first; once more ends at once")
            return INTERRUPTED
        except KmigrateError as error:
            log.error("%s", error)
            document = desk.status()
            if document is not None:
                _leave(desk, document, str(error))
            raise
        finally:
            view.close()
            owner.stop()


def _reached(document: StatusDocument, exit_code: int) -> StatusDocument:
    """What the owner found at its end, which partitions may say a moment later."""
    stopped = len(document.stopped)
    if exit_code == 0:
        reason = "everything that was there when it was asked for is copied"
        return replace(document, state=MigrationState.IN_SYNC, reason=reason, next_step=NEXT_RUN)
    if exit_code == Blocked.exit_code and stopped:
        reason = f"{stopped:,} stopped; everything else that was there when it was asked for is copied"
        return replace(document, state=MigrationState.STOPPED, reason=reason)
    return document


def _starting(name: str) -> StatusDocument:
    now_ms = time.time_ns() // 1_000_000
    return StatusDocument(
        name=name,
        state=MigrationState.WAITING,
        reason="the owner is starting",
        started_at=now_ms,
        updated_at=now_ms,
    )


def _leave(desk: Desk, document: StatusDocument, reason: str) -> StatusDocument:
    """Leaves word for who asks when no owner runs; returns it."""
    if document.state not in (MigrationState.ENDED, MigrationState.SUPERSEDED):
        before = f"; it was {document.state.value}: {document.reason}" if document.topics else ""
        document = ended(document, reason + before)
        desk.publish(document)
    desk.save()
    return document


@contextlib.contextmanager
def _signals_interrupt() -> Iterator[None]:
    """Makes the polite signals end a run as Ctrl-C does; SIGHUP only where nobody chose to ignore it."""
    wanted = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        wanted.append(signal.SIGHUP)
    before = {number: signal.signal(number, signal.default_int_handler) for number in wanted}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _next_signal_ends() -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _end_at_once)


def _end_at_once(number: int, frame: FrameType | None) -> NoReturn:
    sys.stderr.write("ended at once: a second run resumes from what the target holds\n")
    os._exit(INTERRUPTED)
