"""A bell ends a wait on sockets from another thread: something has come that is not from them."""

from __future__ import annotations

import contextlib
import os


class Bell:
    """Rung by any thread, heard by one, which waits for it as for a connection."""

    def __init__(self) -> None:
        self._heard, self._rung = os.pipe()
        for each in (self._heard, self._rung):
            os.set_blocking(each, False)

    def fileno(self) -> int:
        """For polling: it can be read while the bell was rung and not silenced."""
        return self._heard

    def ring(self) -> None:
        with contextlib.suppress(BlockingIOError):  # it rings as loud as it can
            os.write(self._rung, b"!")

    def silence(self) -> None:
        """What was rung so far is heard."""
        with contextlib.suppress(BlockingIOError):
            os.read(self._heard, 1024)

    def close(self) -> None:
        """Nobody may ring it any more."""
        for each in (self._heard, self._rung):
            os.close(each)
