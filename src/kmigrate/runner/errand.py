"""An errand is one piece of work that waits for a cluster, done away from the owner's loop.

Its thread is a daemon: an answer that never comes holds nobody back at the end.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Errand(Generic[T]):
    """Work that has begun; ask `done` before `result`."""

    def __init__(self, work: Callable[[], T], name: str, then: Callable[[], None] = lambda: None) -> None:
        """`then` is called when it is done, in its thread: to wake whoever waits for several things."""
        self._work: Callable[[], T] | None = work
        self._then = then
        self._ended = threading.Event()
        self._result: list[T] = []
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        work, self._work = self._work, None  # what it was given may be secret: nothing of it is kept
        assert work is not None, "a thread runs once"
        try:
            self._result.append(work())
        except BaseException as error:  # noqa: BLE001 - `result` raises it where it is asked for
            self._failure = error
        finally:
            self._ended.set()
            self._then()

    @property
    def done(self) -> bool:
        return self._ended.is_set()

    def wait(self, timeout_seconds: float) -> bool:
        """Waits until it is done, but not for ever."""
        return self._ended.wait(timeout_seconds)

    def result(self) -> T:
        """What the work returned; raises what it raised."""
        if self._failure is not None:
            raise self._failure
        return self._result[0]
