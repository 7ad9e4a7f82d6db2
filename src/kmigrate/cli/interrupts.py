"""Signals that ask a command to end: what they raise is not always what arrives, so that they are noted as well.

A handler's KeyboardInterrupt comes up wherever the main thread is. Inside a library's callback it may arrive as that
library's own error (pydantic's serializer does that), or leave half a step done.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import NoReturn

INTERRUPTED = 130


class Interrupts:
    """Whether somebody asked for the end; the first signal raises KeyboardInterrupt at once unless told to wait.

    Once `waits`, a first signal is only noted, `check` raises where it suits, and a second one ends the process.
    """

    def __init__(self) -> None:
        self.asked = False
        self.waits = False

    def check(self) -> None:
        """Raises KeyboardInterrupt if the end was asked for."""
        if self.asked:
            raise KeyboardInterrupt

    def note(self, number: int, frame: FrameType | None) -> None:
        """The signals' handler."""
        if self.asked and self.waits:
            _end_at_once()
        self.asked = True
        if not self.waits:
            raise KeyboardInterrupt


@contextlib.contextmanager
def polite_signals(interrupts: Interrupts) -> Iterator[None]:
    """Makes the polite signals end a run as Ctrl-C does; SIGHUP only where nobody chose to ignore it."""
    wanted = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        wanted.append(signal.SIGHUP)
    with _handling(wanted, interrupts):
        yield


@contextlib.contextmanager
def noted_interrupts() -> Iterator[Interrupts]:
    """Notes Ctrl-C where it is Python's to handle: neither ignored nor somebody else's."""
    interrupts = Interrupts()
    in_main_thread = threading.current_thread() is threading.main_thread()  # it alone may set handlers
    ours = in_main_thread and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    with _handling([signal.SIGINT] if ours else [], interrupts):
        yield interrupts


@contextlib.contextmanager
def _handling(numbers: list[signal.Signals], interrupts: Interrupts) -> Iterator[None]:
    before = {number: signal.signal(number, interrupts.note) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end_at_once() -> NoReturn:
    sys.stderr.write("ended at once: a second run resumes from what the target holds\n")
    os._exit(INTERRUPTED)
