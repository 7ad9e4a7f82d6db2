"""The words of the demo go to stderr, what it found to stdout; plain lines where there is no terminal."""

from __future__ import annotations

import contextlib
import sys
import termios
import time
from typing import Any

from rich import box
from rich.console import Console
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from kmigrate.demo.comparison import Comparison, TopicResult

_TABLE_WIDTH = 120
_NARROW = 100
_COLUMNS = (
    "Topic",
    "Parti-\ntions",
    "Records",
    "Bytes",
    "Source\nend",
    "Target\nend",
    "Differ-\nences",
    "Dupli-\ncates",
    "Lost",
)
"""The headings as they stand where there is little room."""


class Narrator:
    """Tells the story."""

    def __init__(self, *, color: bool) -> None:
        self._console = Console(stderr=True, no_color=None if color else True, highlight=False)
        self._began = time.monotonic()
        self._chapters = 0
        self._terminal = _terminal_settings()

    def chapter(self, title: str) -> None:
        """Begins a chapter."""
        self._chapters += 1
        self._console.print()
        self._line(Text(f"{self._chapters}. {title}", style="bold cyan"))

    def say(self, text: str) -> None:
        """Says a sentence."""
        self._line(Text(text))

    def warn(self, text: str) -> None:
        """Says something that went wrong."""
        self._line(Text(text, style="bold red"))

    def praise(self, text: str) -> None:
        """Says that something went well."""
        self._line(Text(text, style="bold green"))

    def show_command(self, command: str) -> None:
        """Shows a command line that is run now."""
        self._line(Text(f"$ {command}", style="bold"))

    def show_yaml(self, text: str) -> None:
        """Shows a file."""
        if self._console.is_terminal:
            self._console.print(Syntax(text.rstrip(), "yaml", theme="ansi_dark", background_color="default"))
        else:
            self.say(text.rstrip())

    def mend_terminal(self) -> None:
        """Undoes what a live view that was killed left behind: a hidden cursor, half a line."""
        if self._console.is_terminal:
            self._console.show_cursor(True)
            self._console.print()
        if self._terminal is not None:
            with contextlib.suppress(termios.error):
                termios.tcsetattr(sys.stderr.fileno(), termios.TCSADRAIN, self._terminal)

    @property
    def seconds(self) -> float:
        """How long the story has taken."""
        return time.monotonic() - self._began

    def _line(self, text: Text) -> None:
        if self._console.is_terminal:
            self._console.print(text)
        else:
            self._console.print(Text(f"[{self.seconds:5.1f} s] ").append(text), soft_wrap=True)


def print_table(comparison: Comparison, *, color: bool) -> None:
    """Prints what the comparison counted, topic by topic, on stdout."""
    console = Console(no_color=None if color else True, highlight=False)
    if not console.is_terminal:
        console = Console(no_color=True, highlight=False, width=_TABLE_WIDTH)
    table = Table(box=box.SIMPLE_HEAD, show_footer=True, pad_edge=False, collapse_padding=True)
    total = comparison.total
    for heading, footer in zip(_COLUMNS, _row(total), strict=True):
        if console.width >= _NARROW:
            heading = heading.replace("-\n", "").replace("\n", " ")
        is_topic = heading == _COLUMNS[0]
        table.add_column(heading, footer, justify="left" if is_topic else "right", overflow="fold")
    for result in comparison.topics.values():
        table.add_row(*_row(result), style=None if result.is_equal else "bold red")
    console.print(table)


def _row(result: TopicResult) -> tuple[str, ...]:
    counts = (
        result.partitions,
        result.records,
        result.source_end,
        result.target_end,
        result.differences,
        result.duplicates,
        result.lost,
    )
    partitions, records, *others = (f"{count:,}" for count in counts)
    return result.topic, partitions, records, f"{result.size_bytes / 1_000_000:,.1f} MB", *others


def _terminal_settings() -> list[Any] | None:
    if not sys.stderr.isatty():
        return None
    with contextlib.suppress(termios.error):
        return termios.tcgetattr(sys.stderr.fileno())
    return None
