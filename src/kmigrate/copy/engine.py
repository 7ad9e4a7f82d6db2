"""The engine is the owner's end of the workers: it starts, tells, hears, replaces and ends them.

Nothing here waits for a worker: what goes down waits in one place per worker, where a newer grant replaces
an older one and new Orders are refused until the last were sent; what comes up waits in one limited queue. A
worker counts as dead when its process is gone, not when it is silent: only then is what it held free.
"""

from __future__ import annotations

import contextlib
import os
import queue
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple, TypeAlias

from kmigrate.copy.child_environment import child_environment
from kmigrate.copy.orders import LeaseGrant, MapsSaved, Orders, Saved, SavedMaps, WorkerSettings
from kmigrate.copy.progress import PipelineProgress
from kmigrate.copy.throttle import make_memory
from kmigrate.kafka_types import TopicPartition

WORKER_COMMAND = (sys.executable, "-P", "-m", "kmigrate.copy.worker")
"""-P: a folder named `kafka` in the working directory must not be imported."""

_FIRST_PAUSE_SECONDS = 0.2
_LONGEST_PAUSE_SECONDS = 5.0
_SETTLED_SECONDS = 30.0
_END_SECONDS = 1.5
_DEAF_SECONDS = 20.0
_QUEUE_MESSAGES = 256


class ProgressReceived(NamedTuple):
    """A worker reported on one pipeline."""

    worker: int
    progress: PipelineProgress


class WorkerStarted(NamedTuple):
    """A worker process runs and waits for Orders."""

    worker: int
    pid: int


class WorkerDied(NamedTuple):
    """A worker process is gone; everything it held is free."""

    worker: int
    pid: int
    exit_code: int


Event: TypeAlias = ProgressReceived | WorkerStarted | WorkerDied


class _Child:
    """One worker process: a thread writes to it, a thread reads from it until it is gone."""

    def __init__(self, settings: WorkerSettings, *, command: Sequence[str], workers_fd: int, log_path: Path) -> None:
        self.number = settings.worker
        self.started_seconds = time.monotonic()
        self._filled = threading.Condition()
        self._orders: Orders | None = None
        self._grant: LeaseGrant | None = None
        self._saved: dict[TopicPartition, Saved] = {}
        self._closed = False
        self._sending_since: float | None = None
        ours, theirs = socket.socketpair()
        with ours, theirs, log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [*command, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(theirs.fileno(), workers_fd, *([] if settings.rates_fd is None else [settings.rates_fd])),
                env=child_environment(),
            )
            self._connection = Connection(os.dup(ours.fileno()))
        self._first: WorkerSettings | None = settings

    def start(self, events: queue.Queue[Event], stopping: threading.Event) -> None:
        for work, arguments in ((self._write, ()), (self._read, (events, stopping))):
            threading.Thread(
                target=work, args=arguments, name=f"worker-{self.number}{work.__name__}", daemon=True
            ).start()

    def put_orders(self, orders: Orders) -> bool:
        with self._filled:
            if self._closed or self._orders is not None:
                return False
            self._orders = orders
            self._filled.notify()
            return True

    @property
    def settled(self) -> bool:
        with self._filled:
            return self._orders is None

    def put_grant(self, grant: LeaseGrant) -> None:
        with self._filled:
            self._grant = grant
            self._filled.notify()

    def put_saved(self, saved: SavedMaps) -> None:
        with self._filled:
            self._saved.update(saved)
            self._filled.notify()

    def is_deaf(self, now: float) -> bool:
        """Whether it has read nothing for so long that it must be replaced."""
        since = self._sending_since
        return since is not None and now - since > _DEAF_SECONDS

    def close(self) -> None:
        """Ends the connection, so that the process ends."""
        with self._filled:
            self._closed = True
            self._filled.notify()
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(self._connection.fileno())) as end:
            end.shutdown(socket.SHUT_RDWR)

    def kill(self) -> None:
        self.process.kill()

    def _next_message(self) -> WorkerSettings | LeaseGrant | MapsSaved | Orders | None:
        with self._filled:
            self._filled.wait_for(
                lambda: (
                    self._closed or self._first or self._grant is not None or self._saved or self._orders is not None
                )
            )
            if self._closed:
                return None
            if self._first is not None:
                first, self._first = self._first, None
                return first
            if self._grant is not None:
                grant, self._grant = self._grant, None
                return grant
            if self._saved:
                saved, self._saved = self._saved, {}
                return MapsSaved(saved=saved)
            return self._orders  # stays until it was sent: the next ones are refused meanwhile

    def _write(self) -> None:
        with contextlib.suppress(OSError):  # the reading side sees the end
            while (message := self._next_message()) is not None:
                self._sending_since = time.monotonic()
                self._connection.send(message)
                self._sending_since = None
                if isinstance(message, Orders):
                    with self._filled:
                        self._orders = None

    def _read(self, events: queue.Queue[Event], stopping: threading.Event) -> None:
        try:
            while True:
                for progress in self._connection.recv():
                    _put(events, ProgressReceived(self.number, progress), stopping)
        except (EOFError, OSError):
            pass
        finally:
            exit_code = self._end()
            _put(events, WorkerDied(self.number, self.process.pid, exit_code), stopping)

    def _end(self) -> int:
        """Waits until the process is gone, and sees to it."""
        self.close()
        try:
            return self.process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            return self.process.wait()
        finally:
            self._connection.close()


def _put(events: queue.Queue[Event], event: Event, stopping: threading.Event) -> None:
    while not stopping.is_set():
        with contextlib.suppress(queue.Full):
            events.put(event, timeout=0.5)
            return


class Engine:
    """The worker processes of one migration. Used by one thread; only `grant` may be called by others."""

    def __init__(
        self,
        settings: Sequence[WorkerSettings],
        *,
        workers_fd: int,
        log_path: Path,
        command: Sequence[str] = WORKER_COMMAND,
    ) -> None:
        self._rates = make_memory()
        self._settings = {each.worker: replace(each, rates_fd=self._rates.fileno()) for each in settings}
        self._workers_fd = workers_fd
        self._log_path = log_path
        self._command = command
        self._events: queue.Queue[Event] = queue.Queue(_QUEUE_MESSAGES)
        self._stopping = threading.Event()
        self._children: dict[int, _Child] = {}
        self._due: dict[int, float] = {}
        self._started: list[Event] = []
        self._pause_seconds = dict.fromkeys(self._settings, _FIRST_PAUSE_SECONDS)
        self._grant: LeaseGrant | None = None
        self._lock = threading.Lock()

    def start(self) -> None:
        """Starts all workers, which need a moment before they can be of use; `poll` tells of each."""
        self._due = dict.fromkeys(self._settings, float("-inf"))
        self._started = self._start_due()

    def add(self, worker: int) -> None:
        """Starts one more worker with the settings of the others; `poll` tells of it."""
        if worker not in self._settings:
            self._settings[worker] = replace(next(iter(self._settings.values())), worker=worker)
            self._pause_seconds[worker] = _FIRST_PAUSE_SECONDS
            self._due[worker] = float("-inf")

    def pids(self) -> dict[int, int | None]:
        """The process of every worker; None while there is none."""
        return {n: c.process.pid if (c := self._children.get(n)) else None for n in self._settings}

    def order(self, worker: int, orders: Orders) -> bool:
        """Sends Orders; False if the worker is not there, or the last ones are still on their way."""
        child = self._children.get(worker)
        return child is not None and child.put_orders(orders)

    def tell_saved(self, worker: int, saved: SavedMaps) -> None:
        """Tells a worker what is saved of the offset maps of its partitions."""
        child = self._children.get(worker)
        if child is not None:
            child.put_saved(saved)

    @property
    def settled(self) -> bool:
        """Whether every worker that lives has got its last Orders."""
        return all(child.settled for child in self._children.values())

    def grant(self, grant: LeaseGrant) -> None:
        """Sends the lease's deadline to all workers, now and to those that start later."""
        with self._lock:
            self._grant = grant
            for child in self._children.values():
                child.put_grant(grant)

    def poll(self, timeout_seconds: float) -> list[Event]:
        """What happened since, in order for each worker; waits for the first event. Replaces dead workers."""
        started, self._started = self._started, []
        events = started + self._start_due()
        if not events:
            now = time.monotonic()
            waits = [timeout_seconds, *(due - now for due in self._due.values())]
            with contextlib.suppress(queue.Empty):
                events.append(self._events.get(timeout=max(0.0, min(waits))))
        events += self.drain()
        for event in events:
            if isinstance(event, WorkerDied):
                self._bury(event)
        self._kill_the_deaf()
        return events

    def drain(self) -> list[Event]:
        """What happened and was not told yet; for the last words before `stop`."""
        events: list[Event] = []
        with contextlib.suppress(queue.Empty):
            while len(events) < _QUEUE_MESSAGES:
                events.append(self._events.get_nowait())
        return events

    def stop(self) -> None:
        """Ends all workers: closes their connections, waits, and kills who is left."""
        self._stopping.set()
        self._due.clear()
        with self._lock:
            children = list(self._children.values())
            self._children.clear()
        for child in children:
            child.close()
        deadline = time.monotonic() + _END_SECONDS
        for child in children:
            try:
                child.process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                child.kill()
                child.process.wait()
        self._rates.close()

    def _start_due(self) -> list[Event]:
        started: list[Event] = []
        for worker, due in list(self._due.items()):
            if due > time.monotonic():
                continue
            try:
                child = _Child(
                    self._settings[worker],
                    command=self._command,
                    workers_fd=self._workers_fd,
                    log_path=self._log_path,
                )
            except OSError:  # no memory, no process, no file left just now
                self._due[worker] = time.monotonic() + self._next_pause(worker)
                continue
            del self._due[worker]
            with self._lock:
                self._children[worker] = child
                if self._grant is not None:
                    child.put_grant(self._grant)
            child.start(self._events, self._stopping)
            started.append(WorkerStarted(worker, child.process.pid))
        return started

    def _bury(self, died: WorkerDied) -> None:
        with self._lock:
            child = self._children.pop(died.worker)
        now = time.monotonic()
        if now - child.started_seconds > _SETTLED_SECONDS:
            self._pause_seconds[died.worker] = _FIRST_PAUSE_SECONDS
        self._due[died.worker] = now + self._next_pause(died.worker)

    def _next_pause(self, worker: int) -> float:
        pause = self._pause_seconds[worker]
        self._pause_seconds[worker] = min(_LONGEST_PAUSE_SECONDS, pause * 2)
        return pause

    def _kill_the_deaf(self) -> None:
        now = time.monotonic()
        for child in self._children.values():
            if child.is_deaf(now):
                child.kill()
