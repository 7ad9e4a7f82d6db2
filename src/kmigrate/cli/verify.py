"""`verify` reads both clusters again, and says whether they hold the same."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import NoReturn

import click
import yaml
from rich.console import Console

from kmigrate.cli.options import Named, message_options, migration_options
from kmigrate.cli.verify_screen import progress_line, verify_screen
from kmigrate.errors import KmigrateError, UsageError
from kmigrate.manifest import Manifest, load_manifest
from kmigrate.runner.verification import VerificationDocument
from kmigrate.runner.verify import Progress, Report, Scope, Verifier, stored_document
from kmigrate.runner.verify_pairs import PairVerifier
from kmigrate.runner.verify_partition import Mode
from kmigrate.runner.verify_processes import MOST_PROCESSES
from kmigrate.runner.verify_rows import Wish

DIFFERENCE_FOUND = 3
_ON_TERMINAL_SECONDS = 0.5
_IN_LOG_SECONDS = 30.0
_RATE_SECONDS = 5.0

EXAMPLES = """\b
Examples:
  kmigrate verify -f orders.yaml                 every record that is copied
  kmigrate verify -f orders.yaml --mode ends     log starts and ends, at once
  kmigrate verify -f orders.yaml -t pay -p 3 --again --show-contents
  kmigrate verify -f orders.yaml --stored        what was verified when
"""


@click.command(epilog=EXAMPLES)
@migration_options
@click.option("-t", "--topic", metavar="TOPIC", help="Only this topic.")
@click.option("-p", "--partition", metavar="N", type=click.IntRange(min=0), help="Only this partition of the topic.")
@click.option(
    "--mode",
    type=click.Choice([mode.value for mode in Mode]),
    default=Mode.RECORDS.value,
    show_default=True,
    help="Log starts and ends; records of each stretch of time; or every record.",
)
@click.option("--again", is_flag=True, help="Read also what was verified before.")
@click.option("--digest", is_flag=True, help="With records: make a digest of each partition, too; takes longer.")
@click.option("--show-contents", is_flag=True, help="Show the records at a difference, not only their sizes.")
@click.option("--stored", is_flag=True, help="Show what was verified before, and how stale it is; reads nothing.")
@click.option(
    "--processes",
    metavar="N",
    type=click.IntRange(1, MOST_PROCESSES),
    help="How many read at the same time, each taking a core.  [default: as many as there are cores]",
)
@click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "wide", "json", "yaml"]),
    default="table",
    show_default=True,
    help="Topics, partitions, or everything.",
)
@message_options
@click.pass_context
def verify(
    ctx: click.Context,
    file: Path,
    state: Path | None,
    topic: str | None,
    partition: int | None,
    mode: str,
    again: bool,
    digest: bool,
    show_contents: bool,
    stored: bool,
    processes: int | None,
    output: str,
    no_color: bool,
) -> None:
    """Read both clusters again, and say whether they hold the same.

    What is on the target when it begins is compared with the source, as a consumer of committed data sees both. It ends
    with 3 if something differs, and names the first offset of each partition that does; with 1 if something could
    not be compared. A copy that is behind is no difference, nor is what the source deletes meanwhile.

    What was verified stays verified: the next time only what was copied since is read. It works beside a running owner
    and without one, keeps to the limit of `throttle`, and writes to no cluster.

    Where the manifest has spec.pairs, copies that another tool made are verified: records are compared in order, as
    their offsets differ, and what is missing, additional, repeated or out of order is told.
    """
    if partition is not None and topic is None:
        raise UsageError("partition of which topic?", hint="give its topic with -t")
    wish = Wish(mode=Mode(mode), again=again, digest=digest, show_contents=show_contents)
    if digest and wish.mode is not Mode.RECORDS:
        raise UsageError("a digest is made of records", hint="leave out --mode, or --digest")
    named, scope = Named.by(ctx, file, state), Scope(topic, partition)
    manifest = load_manifest(file, takes_pairs=True)
    if digest and manifest.pairs:
        raise UsageError("a digest is made of records at the same offsets", hint="leave out --digest")
    if stored:
        document = stored_document(manifest.name, named.client(), scope, wish.mode)
    else:
        ticker = _Ticker(is_terminal=sys.stderr.isatty())
        verifier = _verifier(manifest, named, ticker.tell, processes)
        try:
            document = verifier.run(scope, wish)
        finally:
            ticker.end()
    _show(document, output, no_color=no_color)
    _end(ctx, document)


def _verifier(manifest: Manifest, named: Named, report: Report, processes: int | None) -> Verifier | PairVerifier:
    """Who verifies this manifest: what kmigrate copies, or pairs that another tool does."""
    if not manifest.pairs:
        return Verifier(manifest=manifest, memory=named.client(), report=report, processes=processes)
    if not named.has_state(manifest.name):
        return PairVerifier(manifest=manifest, report=report, processes=processes)
    keep = named.client().save_verifications
    return PairVerifier(manifest=manifest, report=report, processes=processes, keep=keep)


def _show(document: VerificationDocument, output: str, *, no_color: bool) -> None:
    match output:
        case "json":
            click.echo(document.to_json(indent=2))
        case "yaml":
            click.echo(yaml.safe_dump(document.to_value(), sort_keys=False, allow_unicode=True), nl=False)
        case _:
            console = Console(no_color=no_color or None, highlight=False)
            console.print(verify_screen(document, each_partition=output == "wide"), crop=False)


def _end(ctx: click.Context, document: VerificationDocument) -> NoReturn:
    if document.different:
        ctx.exit(DIFFERENCE_FOUND)
    if document.unknown and not document.stored:
        first = document.unknown[0]
        raise KmigrateError(
            f"{len(document.unknown):,} partitions could not be compared, the first is {first.name}: {first.reason}",
            hint=first.hint,
        )
    ctx.exit(0)


class _Ticker:
    """Tells on stderr how it goes: on a terminal in place, in a log now and then."""

    def __init__(self, *, is_terminal: bool) -> None:
        self._is_terminal = is_terminal
        self._every = _ON_TERMINAL_SECONDS if is_terminal else _IN_LOG_SECONDS
        self._told_at = self._rated_at = time.monotonic()
        self._rated_bytes = 0
        self._rate: float | None = None
        self._shown = False

    def tell(self, progress: Progress) -> None:
        now = time.monotonic()
        if now - self._told_at < self._every:
            return
        self._told_at = now
        if now - self._rated_at >= min(_RATE_SECONDS, self._every):
            self._rate = (progress.source_bytes - self._rated_bytes) / (now - self._rated_at)
            self._rated_at, self._rated_bytes = now, progress.source_bytes
        line = progress_line(progress, self._rate)
        click.echo(f"\r\x1b[2K{line}" if self._is_terminal else line, err=True, nl=not self._is_terminal)
        self._shown = True

    def end(self) -> None:
        if self._shown and self._is_terminal:
            click.echo("\r\x1b[2K", err=True, nl=False)
