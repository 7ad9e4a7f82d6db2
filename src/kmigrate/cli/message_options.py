"""What records are looked for, as the commands of `message` spell it."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from kmigrate.cli.amounts import show_bytes
from kmigrate.cli.message_lines import Views
from kmigrate.cli.moments import parse_moment
from kmigrate.errors import UsageError
from kmigrate.kafka_types import Side
from kmigrate.query.conditions import Condition, Field, Filter, Operator
from kmigrate.query.views import View
from kmigrate.query.walking import Progress

F = TypeVar("F", bound=Callable[..., Any])
MOST_RECORDS = 10_000
HEX = "hex:"
HEADER = "header:"
_TELL_SECONDS = 0.2
_TELL_LINE_SECONDS = 10.0

side_option = click.option(
    "--side",
    type=click.Choice(["both", *(side.value for side in Side)]),
    default="both",
    show_default=True,
    help="Only look at one cluster.",
)
isolation_option = click.option(
    "--isolation",
    type=click.Choice(["read_committed", "read_uncommitted"]),
    default="read_committed",
    show_default=True,
    help="Whether records of aborted and of open transactions are left out.",
)
partition_option = click.option(
    "-p", "--partition", "numbers", metavar="N", multiple=True, type=click.IntRange(min=0),
    help="Only this partition; repeatable.",
)  # fmt: skip


def filter_options(command: F) -> F:
    """--where, --key, --text, --header, --since and --until."""
    options = [
        click.option(
            "--where",
            metavar="FIELD OPERATOR TEXT",
            nargs=3,
            multiple=True,
            help="FIELD is key, value, text (key or value) or header:NAME; OPERATOR equals, contains or starts-with. "
            "TEXT may be hex:00ff. Repeatable: all must hold.",
        ),
        click.option("--key", metavar="TEXT", help="Short for --where key equals TEXT."),
        click.option("--text", metavar="TEXT", help="Short for --where text contains TEXT."),
        click.option("--header", metavar="NAME[=TEXT]", multiple=True, help="Has this header, or it equals TEXT."),
        click.option("--since", metavar="TIME", help="At or after 2024-05-01T00:00:00Z, or 10m ago (30s, 2h, 1d)."),
        click.option("--until", metavar="TIME", help="Before this time, written likewise."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def view_options(command: F) -> F:
    """--key-view and --value-view."""
    for name in ("value", "key"):
        command = click.option(
            f"--{name}-view",
            type=click.Choice([view.value for view in View]),
            default=View.TEXT.value,
            show_default=True,
            help=f"What the {name} is shown as; what it is not is shown as text, and else as hex.",
        )(command)
    return command


def views_of(key_view: str, value_view: str) -> Views:
    """The views that were chosen."""
    return Views(key=View(key_view), value=View(value_view))


def filter_of(
    where: Sequence[tuple[str, str, str]],
    key: str | None,
    text: str | None,
    header: Sequence[str],
    since: str | None,
    until: str | None,
) -> Filter:
    """The filter that a command line spells; raises UsageError."""
    conditions = [_condition(*each) for each in where]
    if key is not None:
        conditions.append(Condition(field=Field.KEY, operator=Operator.EQUALS, wanted=to_bytes(key)))
    if text is not None:
        conditions.append(Condition(field=Field.TEXT, operator=Operator.CONTAINS, wanted=to_bytes(text)))
    for each in header:
        name, equals, wanted = each.partition("=")
        conditions.append(
            Condition(
                field=Field.HEADER,
                operator=Operator.EQUALS,
                wanted=to_bytes(wanted) if equals else None,
                name=os.fsencode(name),
            )
        )
    now_ms = time.time_ns() // 1_000_000
    since_ms = None if since is None else parse_moment(since, now_ms)
    until_ms = None if until is None else parse_moment(until, now_ms)
    if since_ms is not None and until_ms is not None and since_ms >= until_ms:
        raise UsageError(f"--since {since} is not before --until {until}", hint="exchange them")
    return Filter(conditions=tuple(conditions), since_ms=since_ms, until_ms=until_ms)


def _condition(field: str, operator: str, wanted: str) -> Condition:
    name = ""
    if field.startswith(HEADER):
        field, name = Field.HEADER.value, field.removeprefix(HEADER)
    try:
        kind = Field(field)
    except ValueError:
        kind = None
    if kind is None or (kind is Field.HEADER and not name):
        raise UsageError(f"--where {field!r}: there is no such field", hint="key, value, text or header:NAME")
    try:
        compared = Operator(operator)
    except ValueError:
        raise UsageError(
            f"--where {field} {operator!r}: there is no such operator", hint="equals, contains or starts-with"
        ) from None
    return Condition(field=kind, operator=compared, wanted=to_bytes(wanted), name=os.fsencode(name))


def to_bytes(text: str) -> bytes:
    """What was typed, byte by byte; `hex:00ff` are these bytes. Raises UsageError."""
    if not text.startswith(HEX):
        return os.fsencode(text)
    try:
        return bytes.fromhex(text.removeprefix(HEX))
    except ValueError:
        raise UsageError(f"{text!r} is not hexadecimal", hint="two digits a byte: hex:00ff") from None


class Meter:
    """Progress on standard error: one line that is written anew, or one every ten seconds where that is no terminal."""

    def __init__(self) -> None:
        self._is_terminal = sys.stderr.isatty()
        self._next = time.monotonic() + (_TELL_SECONDS if self._is_terminal else _TELL_LINE_SECONDS)
        self._is_shown = False

    def scanned(self, progress: Progress) -> None:
        """Tells how far a scan is."""
        self.tell(
            f"{progress.side}: {progress.share:.0%} looked through, {show_bytes(progress.scanned_bytes)}, "
            f"{progress.found:,} found"
        )

    def tell(self, text: str) -> None:
        """Shows it, if the last time is long enough ago."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + (_TELL_SECONDS if self._is_terminal else _TELL_LINE_SECONDS)
        if self._is_terminal:
            sys.stderr.write(f"\r{text}\x1b[K")
            sys.stderr.flush()
            self._is_shown = True
        else:
            click.echo(text, err=True)

    def clear(self) -> None:
        """Takes the line away."""
        if self._is_shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
            self._is_shown = False
