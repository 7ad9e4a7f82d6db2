"""The process of one application: what all of them have in common, and the way to what they do.

Rule: stdin asks it to end, also by being closed; its stdout tells `RunProgress`, one JSON object a line. It ends with 0
only if everything was flushed, committed and closed.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path

from kmigrate.demo.service.entries import Kind
from kmigrate.demo.service.notes import Notes
from kmigrate.demo.service.plans import RunPhase, RunPlan, RunProgress, Work

ONLY_DISASTERS = 2
"""A level of syslog: librdkafka would tell on stderr of every broker that goes."""
_TELL_SECONDS = 0.25


class Running:
    """What a run has: its plan, its notes, the wish that it end, and somebody to tell."""

    def __init__(self, plan: RunPlan, notes: Notes, stopping: threading.Event) -> None:
        self.plan = plan
        self.notes = notes
        self.stopping = stopping
        self.phase = RunPhase.STARTING
        self.done = self.failed = 0
        self._told_at = 0.0

    def enter(self, phase: RunPhase) -> None:
        """Tells of a phase, if it is a later one."""
        phases = tuple(RunPhase)
        if phases.index(phase) > phases.index(self.phase):
            self.phase = phase
            self.tell()

    def tell(self, *, seldom: bool = False) -> None:
        """Tells how far it is; with `seldom` only if it did not do so just now."""
        now = time.monotonic()
        if not seldom or now - self._told_at >= _TELL_SECONDS:
            self._told_at = now
            print(RunProgress(phase=self.phase, done=self.done, failed=self.failed).to_json(), flush=True)


def _wait_for_end_of_input(stopping: threading.Event) -> None:
    os.read(sys.stdin.fileno(), 1)  # sys.stdin has a lock, which a daemon thread would hold when Python ends
    stopping.set()


def _work(running: Running) -> None:
    match running.plan.work:
        case Work.WRITE:
            from kmigrate.demo.service.writing import write

            write(running)
        case Work.READ:
            from kmigrate.demo.service.reading import read

            read(running)
        case Work.RELAY:
            from kmigrate.demo.service.relaying import relay

            relay(running)


def main() -> int:
    """Runs an application with the plan that the command line carries."""
    plan = RunPlan.from_json(sys.argv[1])
    stopping = threading.Event()
    threading.Thread(target=_wait_for_end_of_input, args=(stopping,), daemon=True).start()
    notes = Notes(Path(plan.notes), Kind(plan.name, plan.side, plan.group))
    running = Running(plan, notes, stopping)
    _work(running)
    notes.close()
    running.enter(RunPhase.ENDED)
    return 1 if running.failed else 0
