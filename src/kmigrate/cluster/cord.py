"""A cord can be cut: whatever a thread has open to brokers then ends, and it opens nothing more.

For work that is no longer wanted and waits for an answer that may not come: a thread cannot be ended from outside, but
what it waits for can. A request that was sent may still be carried out, as when this process dies.

Rule: CutOff is no ClusterError, so that whoever tries again when a cluster fails does not try again here.
"""

from __future__ import annotations

import contextlib
import threading
import weakref
from collections.abc import Iterator
from typing import Protocol

from kmigrate.errors import CutOff


class Severable(Protocol):
    """What a cord holds."""

    def sever(self) -> None:
        """Ends what is waited for there, from any thread; whoever waits is told that the connection is lost."""


class Cord:
    """What one piece of work has open; `cut` is for any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: weakref.WeakSet[Severable] = weakref.WeakSet()
        self._is_cut = False

    @property
    def is_cut(self) -> bool:
        return self._is_cut

    def check(self) -> None:
        """Raises CutOff once it is cut."""
        if self._is_cut:
            raise CutOff("it is no longer wanted")

    def hold(self, severable: Severable) -> None:
        """From now on this ends with it; raises CutOff if it is cut already."""
        with self._lock:
            self.check()
            self._held.add(severable)

    def cut(self) -> None:
        """Ends everything that it holds, and lets nothing more be opened."""
        with self._lock:
            self._is_cut = True
            held = list(self._held)
        for each in held:
            each.sever()


_local = threading.local()


def current_cord() -> Cord | None:
    """The cord that the calling thread works on; None for most."""
    found: Cord | None = getattr(_local, "cord", None)
    return found


@contextlib.contextmanager
def working_on(cord: Cord) -> Iterator[None]:
    """Meanwhile every connection that the calling thread opens hangs on this cord."""
    before = current_cord()
    _local.cord = cord
    try:
        yield
    finally:
        _local.cord = before
