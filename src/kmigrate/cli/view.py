"""The live view of `run`, on stderr: a screen that is drawn again on a terminal, plain lines otherwise."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from rich.console import Console
from rich.live import Live
from rich.text import Text

from kmigrate.cli.panels import Spell, abort_words, held_words
from kmigrate.cli.screens import closing_screen, live_screen, plain_line
from kmigrate.runner.status import OpenTransaction, StatusDocument

LINE_SECONDS = 5.0
DRAW_SECONDS = 0.25
TOLD_HOLDERS = 3


class View(Protocol):
    """Shows how a run goes."""

    def tell(self, message: str) -> None:
        """Shows a message of its own."""

    def show(self, document: StatusDocument) -> None:
        """Shows how things stand; may be called often."""

    def close(self) -> None:
        """Leaves the terminal as it was; safe to call twice."""


def open_view(console: Console, spell: Spell, *, monotonic_seconds: Callable[[], float] = time.monotonic) -> View:
    """The view that suits the console."""
    if console.is_terminal:
        return ScreenView(console, spell, monotonic_seconds)
    return LineView(console, spell, monotonic_seconds)


class ScreenView:
    """Draws the screen in place, a few times a second."""

    def __init__(self, console: Console, spell: Spell, monotonic_seconds: Callable[[], float]) -> None:
        self._console = console
        self._spell = spell
        self._monotonic_seconds = monotonic_seconds
        self._live: Live | None = None
        self._next_draw = 0.0

    def tell(self, message: str) -> None:
        self._console.print(Text(message))

    def show(self, document: StatusDocument) -> None:
        now = self._monotonic_seconds()
        if now < self._next_draw:
            return
        self._next_draw = now + DRAW_SECONDS
        if self._live is None:
            self._live = Live(console=self._console, auto_refresh=False, transient=True)
            self._live.start()
        self._live.update(live_screen(document, self._console, self._spell), refresh=True)

    def close(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None


class LineView:
    """Writes a line every five seconds, and at once when the state or a stop changes.

    What holds a partition back is told when it becomes known, of the worst few.
    """

    def __init__(self, console: Console, spell: Spell, monotonic_seconds: Callable[[], float]) -> None:
        self._console = console
        self._spell = spell
        self._monotonic_seconds = monotonic_seconds
        self._next_line = 0.0
        self._shown: tuple[object, ...] = ()
        self._stops: dict[str, str] = {}
        self._holders: dict[str, OpenTransaction] = {}

    def tell(self, message: str) -> None:
        self._line(message)

    def show(self, document: StatusDocument) -> None:
        now = self._monotonic_seconds()
        stops = {
            each.name: f"{each.stop.kind.value} at offset {each.stop.offset}: {each.stop.evidence}"
            for each in document.stopped
            if each.stop is not None
        }
        shown = (document.state, frozenset(stops.items()))
        if now < self._next_line and shown == self._shown:
            return
        for each in document.stopped:
            if each.stop is not None and self._stops.get(each.name) != stops[each.name]:
                self._line(f"{each.name} stopped: {stops[each.name]}")
                for choice in each.stop.choices:
                    self._line(f"  {choice.choice.value}: {self._spell(choice.command)}")
        self._tell_holders(document)
        self._line(plain_line(document))
        self._next_line = now + LINE_SECONDS
        self._shown, self._stops = shown, stops

    def _tell_holders(self, document: StatusDocument) -> None:
        worst = document.held_back[:TOLD_HOLDERS]
        for partition, found in worst:
            if self._holders.get(partition.name) != found:
                self._line(f"held back: {held_words(partition, found, document.updated_at)}")
                if remedy := abort_words(partition, found):
                    self._line(f"  {remedy}")
        self._holders = {partition.name: found for partition, found in worst}

    def close(self) -> None:
        return

    def _line(self, text: str) -> None:
        self._console.print(Text(text), soft_wrap=True)


def show_closing(console: Console, document: StatusDocument, spell: Spell, log: str) -> None:
    """Leaves the summary of a run."""
    console.print(closing_screen(document, spell, log))
