"""The owner's end of the process that copies back: it is started, heard, and ended.

Rule: what was told counts only while the process runs; of what nobody tells nothing is known.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import subprocess
import sys
import threading
from multiprocessing.connection import Connection

from kmigrate.copy.child_environment import child_environment
from kmigrate.kafka_types import TopicPartition
from kmigrate.runner.back_messages import BackSettings, Failed, Logged, Told, Word

COMMAND = (sys.executable, "-P", "-c", "from kmigrate.runner.back_process import main; main()")
"""-P: a folder named `kafka` in the working directory must not be imported. Not -m: what the main module of a process
sends is not known by its name here."""
END_SECONDS = 20.0


class BackChild:
    """One process; may be used by many threads."""

    def __init__(self, settings: BackSettings) -> None:
        """Raises OSError if no process can be started."""
        self._lock = threading.Lock()
        self._words: dict[TopicPartition, Word] = {}
        self._state = ("", "the process that copies back is starting")
        self._failed: Failed | None = None
        self._is_ending = False
        self._ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [*COMMAND, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                env=child_environment(),
                process_group=0,  # a Ctrl-C at the terminal reaches it through the owner only
            )
        self._connection = Connection(os.dup(self._ours.fileno()))
        self._reader = threading.Thread(target=self._read, name="back", daemon=True)
        with contextlib.suppress(OSError):  # one that is gone shows when it is listened to
            self._connection.send(settings)
        self._reader.start()

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    @property
    def trouble(self) -> tuple[str, str]:
        """Why it ended, and what helps; empty while it runs."""
        exit_code = self._process.poll()
        if exit_code is None:
            return "", ""
        with self._lock:
            return self._failed or (f"the process that copied back ended with exit code {exit_code}", "")

    @property
    def state(self) -> tuple[str, str]:
        """How it stands as a whole, as `status` says it: state and reason."""
        with self._lock:
            return self._state

    def words(self) -> dict[TopicPartition, Word]:
        """The last word on every partition; nothing once it has ended."""
        if not self.is_alive:
            return {}
        with self._lock:
            return dict(self._words)

    def end(self) -> None:
        """Ends it: what was sent is finished first, and the lease is left; returns when it is gone."""
        self._is_ending = True
        with contextlib.suppress(OSError):
            self._ours.shutdown(socket.SHUT_WR)
        try:
            self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
        self._reader.join(END_SECONDS)
        self._ours.close()

    def kill(self) -> None:
        """Ends it at once; its workers notice."""
        self._process.kill()
        self._process.wait()

    def _read(self) -> None:
        with contextlib.suppress(EOFError, OSError):
            while True:
                self._take(self._connection.recv())
        self._connection.close()
        exit_code = self._process.wait()
        if not self._is_ending:
            logging.getLogger(__name__).warning("the process that copied back ended with exit code %d", exit_code)

    def _take(self, message: Told | Logged | Failed) -> None:
        match message:
            case Told(words, state, reason):
                with self._lock:
                    self._words |= words
                    self._state = state, reason
            case Logged(name, level, text):
                logging.getLogger(f"{name} (back)").log(level, "%s", text)
            case Failed():
                with self._lock:
                    self._failed = message
