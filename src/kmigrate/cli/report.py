"""`report` accounts for everything that a migration did, and says whether its journal is as it was written."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from kmigrate.cli.options import Named, message_options, migration_options
from kmigrate.errors import KmigrateError, Refused
from kmigrate.report.account import ReportDocument

EXAMPLES = """\b
Examples:
  kmigrate report -f orders.yaml                 Markdown
  kmigrate report -f orders.yaml -o html --output orders.html
  kmigrate report -f orders.yaml -o json | jq .chain
"""


@click.command(epilog=EXAMPLES)
@migration_options
@click.option(
    "-o",
    "form",
    type=click.Choice(["md", "html", "json"]),
    default="md",
    show_default=True,
    help="Markdown, one HTML file that needs nothing else, or everything as a contract.",
)
@click.option(
    "--output",
    metavar="PATH",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write it to this file, in place of what it holds.  [default: standard output]",
)
@message_options
@click.pass_context
def report(ctx: click.Context, file: Path, state: Path | None, form: str, output: Path | None, no_color: bool) -> None:
    """Account for everything that was done: every topic, partition, group and setting, with the evidence.

    What was copied, verified, stopped, answered and put on hold, when, and what is not known. It reads what the
    migration keeps, asks no cluster, and works while it runs and after it ended. It ends with 6 if the journal is not
    as it was written, and names the first entry that does not follow.
    """
    account = Named.by(ctx, file, state).client().report()
    _write(_render(account, form), output)
    if not account.chain.holds:
        raise Refused(
            f"the journal of {account.name} is not as it was written, from entry {account.chain.broken_at} on: "
            f"{account.chain.reason}",
            hint="compare it with an earlier report or a backup of its folder; "
            "`kmigrate verify -f FILE --again` reads both clusters anew",
        )


def _render(account: ReportDocument, form: str) -> str:
    from kmigrate.report.as_html import to_html
    from kmigrate.report.as_markdown import to_markdown
    from kmigrate.report.page import make_page

    match form:
        case "json":
            return account.to_json(indent=2) + "\n"
        case "html":
            return to_html(f"Report of the migration {account.name}", make_page(account))
        case _:
            return to_markdown(make_page(account))


def _write(text: str, output: Path | None) -> None:
    if output is None:
        sys.stdout.write(text)
        sys.stdout.flush()
        return
    new = output.with_name(f"{output.name}.new")
    try:
        new.write_text(text, encoding="utf-8")
        os.replace(new, output)
    except OSError as error:
        raise KmigrateError(
            f"cannot write {output}: {error.strerror}", hint="look at the folder's rights and its disk's free space"
        ) from error
