"""The first Ctrl-C ends the demo wherever it is; from then on signals no longer disturb it in tidying up."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from types import FrameType
from typing import Any, TypeAlias

_WATCHED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
Before: TypeAlias = Mapping[signal.Signals, Callable[..., Any] | int | None]


class Interrupted(KeyboardInterrupt):
    """A signal asked the demo to end."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.exit_code = 128 + number


def listen() -> Before:
    """Raises Interrupted in the main thread at the first signal; one that is ignored stays so. Returns how it was."""
    before = {number: signal.getsignal(number) for number in _WATCHED}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, _interrupt)
    return before


def ignore() -> None:
    """Lets no signal interrupt what follows."""
    for number in _WATCHED:
        signal.signal(number, signal.SIG_IGN)


def restore(before: Before) -> None:
    """Gives the signals the effect that they had before `listen`."""
    for number, handler in before.items():
        signal.signal(number, handler)


def _interrupt(number: int, frame: FrameType | None) -> None:
    ignore()
    raise Interrupted(number)
