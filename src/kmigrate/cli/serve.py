"""`serve` holds any number of migrations in one place, each with an owner of its own, and answers for all of them."""

from __future__ import annotations

import contextlib
import logging
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import click
from rich.console import Console

from kmigrate import __version__
from kmigrate.api.service_client import ServiceClient
from kmigrate.cli.interrupts import INTERRUPTED
from kmigrate.cli.lists import list_output_option, print_migrations
from kmigrate.cli.logfile import logging_to
from kmigrate.cli.options import message_options, state_option, state_root
from kmigrate.errors import GateNotReached, ManifestError, Problem
from kmigrate.manifest.files import read_limited
from kmigrate.serve.document import MigrationSummary
from kmigrate.serve.machine import END_SECONDS, Phase
from kmigrate.serve.roster import Roster
from kmigrate.serve.supervisor import Supervisor

if TYPE_CHECKING:
    from kmigrate.api.metrics import MetricsServer

log = logging.getLogger(__name__)

WAIT_SECONDS = END_SECONDS + 15.0
"""How long `stop` and `remove` wait for an owner's end: it is killed before that."""
_POLL_SECONDS = 0.3

EXAMPLES = """\b
Examples:
  kmigrate serve                          hold what was added; Ctrl-C ends
  kmigrate serve --metrics 127.0.0.1:9404 --listen 127.0.0.1:8470
  kmigrate serve add orders.yaml          from another terminal
  kmigrate serve list
"""
ADD_EXAMPLES = """\b
Examples:
  kmigrate serve add orders.yaml
  kmigrate serve add orders.yaml --replace      the manifest has changed
"""
REMOVE_EXAMPLES = """\b
Example:
  kmigrate serve remove orders
"""
START_EXAMPLES = """\b
Example:
  kmigrate serve start orders
"""
STOP_EXAMPLES = """\b
Example:
  kmigrate serve stop orders
"""
LIST_EXAMPLES = """\b
Examples:
  kmigrate serve list
  kmigrate serve list -o json | jq '.migrations[] | {name, state}'
"""


@click.group(epilog=EXAMPLES, invoke_without_command=True)
@state_option
@click.option(
    "--listen",
    metavar="HOST:PORT",
    help="Answer the API at this address of this machine, too; clients bring the token of DIR/serve.token.",
)
@click.option(
    "--metrics",
    metavar="HOST:PORT",
    help="Serve Prometheus metrics of all migrations at this address of this machine.",
)
@message_options
@click.pass_context
def serve(ctx: click.Context, state: Path | None, listen: str | None, metrics: str | None, no_color: bool) -> None:
    """Hold any number of migrations as a service, each in a process of its own.

    Answers the REST API of all of them on a unix socket. An owner that dies is started again; one that a check blocks,
    or that is refused, stays ended with its reason. A second serve goes on with everything that was to run. Every
    command with -f FILE works as with `run`. Without a running serve, `add` and the others decide for the next one.
    """
    ctx.obj["state"] = state
    if ctx.invoked_subcommand is None:
        ctx.exit(_serve(state_root(state), listen, metrics, debug=ctx.obj["debug"]))


@serve.command(epilog=ADD_EXAMPLES)
@click.argument("file", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--replace", is_flag=True, help="It may be held already, with another manifest.")
@click.option("--stopped", is_flag=True, help="Do not start its owner.")
@state_option
@message_options
@click.pass_context
def add(ctx: click.Context, file: Path, replace: bool, stopped: bool, state: Path | None, no_color: bool) -> None:
    """Hold a migration from now on.

    The manifest is kept in the state folder, as it is now; references to secrets stay references, and are resolved in
    serve's environment. Files that it names are looked for beside FILE.
    """
    client = _client(ctx, state)
    summary = client.add(_read(file), file.absolute(), replace=replace, run=not stopped)
    _tell(client, summary.name, "is held" if stopped else "is held, and its owner starts")


@serve.command(epilog=REMOVE_EXAMPLES)
@click.argument("name", metavar="NAME")
@state_option
@message_options
@click.pass_context
def remove(ctx: click.Context, name: str, state: Path | None, no_color: bool) -> None:
    """End a migration's owner, and forget its manifest.

    The migration's folder stays, and both clusters stay as they are: `run`, or adding it again, goes on with it.
    """
    client = _client(ctx, state)
    client.remove(name)
    _wait(lambda: all(each.name != name or each.served is None for each in client.list_all().migrations), name)
    click.echo(f"{name} is held no longer")


@serve.command(epilog=START_EXAMPLES)
@click.argument("name", metavar="NAME")
@state_option
@message_options
@click.pass_context
def start(ctx: click.Context, name: str, state: Path | None, no_color: bool) -> None:
    """Start a migration's owner, also one that ended for good."""
    client = _client(ctx, state)
    client.start(name)
    _tell(client, name, "its owner starts")


@serve.command(epilog=STOP_EXAMPLES)
@click.argument("name", metavar="NAME")
@state_option
@message_options
@click.pass_context
def stop(ctx: click.Context, name: str, state: Path | None, no_color: bool) -> None:
    """End a migration's owner, until `start`.

    What was sent is finished first. `pause` is for a pause: it keeps the owner, and groups in step.
    """
    client = _client(ctx, state)
    client.stop(name)
    if client.reached_serve:
        _wait(lambda: _is_stopped(client.show(name)), name)
    _tell(client, name, "no owner runs")


@serve.command("list", epilog=LIST_EXAMPLES)
@list_output_option
@state_option
@message_options
@click.pass_context
def list_(ctx: click.Context, output: str, state: Path | None, no_color: bool) -> None:
    """Show all migrations of the state folder, held or not, as `status` without -f does."""
    console = Console(no_color=no_color or None, highlight=False)
    print_migrations(_client(ctx, state).list_all(), console, output)


def _serve(root: Path, listen: str | None, metrics: str | None, *, debug: bool) -> int:
    """Serves until a signal; returns the exit code."""
    from kmigrate.api.service_server import check_listen, serving

    if listen is not None:
        check_listen(listen)
    if metrics is not None:
        from kmigrate.api.loopback import parse_address

        parse_address(metrics)
    roster = Roster(root)
    with roster.owned(roster.socket_path) as note, logging_to(roster.log, debug=debug), _signals() as signals:
        supervisor = Supervisor(roster, tell=_say)
        log.info("kmigrate %s serves %s as process %d", __version__, root, note.pid)
        _say(f"{len(supervisor.holdings())} migrations in {root}")
        for trouble in supervisor.troubles.values():
            log.error("%s", trouble)
            _say(trouble)
        try:
            with contextlib.ExitStack() as stack:
                port = stack.enter_context(serving(supervisor, note, listen=listen))
                _say(f"API: {note.socket}" + ("" if listen is None else f" and {_url(listen, port)}"))
                if metrics is not None:
                    server = stack.enter_context(_serve_metrics(metrics, supervisor))
                    _say(f"metrics: {_url(metrics, server.port)}/metrics")
                supervisor.run(signals.check)
        except _Ended:
            log.info("ending")
            _say("ending: owners finish what was sent; once more ends them at once")
        finally:
            supervisor.close(hurry=signals.is_impatient)
    return INTERRUPTED if signals.first == signal.SIGINT else 0


def _serve_metrics(address: str, supervisor: Supervisor) -> MetricsServer:
    from kmigrate.api.metrics import MetricsServer, families_of_all

    return MetricsServer(address, lambda: families_of_all(supervisor))


def _url(address: str, port: int | None) -> str:
    return f"http://{address.rpartition(':')[0]}:{port}"


class _Ended(Exception):
    """A signal asked for the end."""


class _Signals:
    """Counts the signals that ask for the end."""

    def __init__(self) -> None:
        self.first: int | None = None
        self._number = 0

    def note(self, number: int, frame: FrameType | None) -> None:
        self.first = self.first or number
        self._number += 1

    def check(self) -> None:
        if self._number:
            raise _Ended

    def is_impatient(self) -> bool:
        return self._number > 1


@contextlib.contextmanager
def _signals() -> Iterator[_Signals]:
    signals = _Signals()
    wanted = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        wanted.append(signal.SIGHUP)
    before = {number: signal.signal(number, signals.note) for number in wanted}
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _client(ctx: click.Context, state: Path | None) -> ServiceClient:
    return ServiceClient(state_root(state or ctx.obj.get("state")))


def _read(file: Path) -> str:
    try:
        return read_limited(file).decode("utf-8-sig")
    except OSError as error:
        message = f"cannot be read: {error.strerror}"
    except UnicodeDecodeError:
        message = "is not UTF-8 text"
    raise ManifestError([Problem(file=str(file), line=None, message=message)])


def _is_stopped(summary: MigrationSummary) -> bool:
    return summary.served is None or summary.served.phase in (Phase.STOPPED, None)


def _wait(done: Callable[[], bool], name: str) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not done():
        if time.monotonic() >= deadline:
            raise GateNotReached(
                f"the owner of {name} has not ended after {WAIT_SECONDS:.0f} s", hint="`kmigrate serve list` shows it"
            )
        time.sleep(_POLL_SECONDS)


def _tell(client: ServiceClient, name: str, outcome: str) -> None:
    if not client.reached_serve:
        outcome = "decided; no serve runs here, and the next `kmigrate serve` goes by it"
    click.echo(f"{name}: {outcome}")


def _say(message: str) -> None:
    with contextlib.suppress(BrokenPipeError):  # nobody reads it any more: owners are worth more than words
        click.echo(message, err=True)
