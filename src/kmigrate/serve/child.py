"""One owner as a child process: started, heard until its end, asked to end, killed.

Rule: nothing here waits, and of what a child prints only the end is kept. It has a process group of its own, so that a
Ctrl-C at the terminal reaches it through serve only, and it dies with the thread that started it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Protocol

from kmigrate.serve.exits import Exit, exit_of

TAIL_BYTES = 16_384
_READ_BYTES = 65_536
_READS_A_LOOK = 16

_PROGRAM = "import sys; from {module} import main; sys.exit(main())"
OWNER = "kmigrate.cli.held"


class OwnerProcess(Protocol):
    """What the supervisor needs of a process that it started."""

    @property
    def pid(self) -> int:
        """Its process."""

    def look(self) -> Exit | None:
        """How it ended; None while it runs."""

    def end(self) -> None:
        """Asks it to end."""

    def kill(self) -> None:
        """Ends it at once."""


def start_owner(root: Path, name: str, *, module: str = OWNER) -> OwnerProcess:
    """Starts the owner of a migration; raises OSError if there can be no more processes."""
    return Child([sys.executable, "-P", "-c", _PROGRAM.format(module=module), str(os.getpid()), str(root), name])


class Child:
    """The process of one owner; belongs to one thread, which must live as long as the child is to."""

    def __init__(self, command: Sequence[str]) -> None:
        """Raises OSError if no process can be started."""
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            process_group=0,
        )
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._said, self._printed = _Tail(self._process.stdout), _Tail(self._process.stderr)

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    def look(self) -> Exit | None:
        """Takes up what it printed; tells how it ended once it has."""
        exit_code = self._process.poll()
        self._said.read()
        self._printed.read()
        if exit_code is None:
            return None
        self._said.close()
        self._printed.close()
        return exit_of(exit_code, self._said.content, self._printed.content, time.time_ns() // 1_000_000)

    def end(self) -> None:
        """Asks it to end: what was sent is finished first."""
        if self._process.poll() is None:
            self._process.terminate()

    def kill(self) -> None:
        """Ends it, and whatever it started, at once."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)


class _Tail:
    """The end of what comes through a pipe."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self.content = b""
        self._pipe = pipe
        os.set_blocking(pipe.fileno(), False)

    def read(self) -> None:
        """Takes up what is there, as far as that is not too much for one look."""
        for _ in range(_READS_A_LOOK):
            try:
                piece = os.read(self._pipe.fileno(), _READ_BYTES)
            except BlockingIOError:
                return
            if not piece:
                return
            self.content = (self.content + piece)[-TAIL_BYTES:]

    def close(self) -> None:
        self._pipe.close()
