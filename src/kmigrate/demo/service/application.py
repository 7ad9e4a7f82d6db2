"""One application as whoever leads the service sees it: started on a side, asked to end, killed, looked at.

Rule: a run is one process on one side. An application may run on both sides at once only where somebody starts it so.
Processes are tied to the thread that starts them, which is therefore the one that lives longest.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from pathlib import Path

from kmigrate.demo.children import end_child, start_child
from kmigrate.demo.service.plans import ApplicationState, Condition, RunPhase, RunPlan, RunProgress
from kmigrate.errors import KmigrateError
from kmigrate.kafka_types import Side


class ApplicationFailed(KmigrateError):
    """An application of the service ended by itself, did not come up, or did not end in order."""


class Run:
    """One process of an application."""

    def __init__(self, plan: RunPlan, *, log: Path) -> None:
        self.plan = plan
        self._log = log
        self._progress = RunProgress()
        self._changed = threading.Condition()
        self._is_asked_to_end = False
        self._process = start_child("kmigrate.demo.service.running", [plan.to_json()], piped=True, errors=log)
        self._reader = threading.Thread(target=self._follow, name=f"{plan.name}-progress", daemon=True)
        self._reader.start()

    @property
    def progress(self) -> RunProgress:
        """What it told last."""
        return self._progress

    @property
    def condition(self) -> Condition:
        ended = self._process.poll()
        if ended is not None:
            return Condition.STOPPED if self._is_asked_to_end and ended == 0 else Condition.DEAD
        return Condition.STARTING if self._progress.phase is RunPhase.STARTING else Condition.RUNNING

    def wait_until_running(self, *, patience_seconds: float) -> None:
        """Waits for the first acknowledgement or assignment; raises ApplicationFailed."""
        deadline = time.monotonic() + patience_seconds
        while self.condition is Condition.STARTING:
            with self._changed:
                self._changed.wait(0.05)
            if time.monotonic() > deadline:
                raise self._failed(f"is not up after {patience_seconds:.0f} s")
        if self.condition is Condition.DEAD:
            raise self._failed("ended by itself")

    def ask_to_end(self) -> None:
        """Asks it to flush or commit, close and end; returns at once."""
        self._is_asked_to_end = True
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()

    def wait_until_ended(self, *, patience_seconds: float) -> None:
        """Waits for an end in order; raises ApplicationFailed if it did not end so, having ended it."""
        with contextlib.suppress(TimeoutError):
            self._wait(patience_seconds)
        condition = self.condition
        self.close()
        if condition is not Condition.STOPPED:
            told = f"{self._progress.failed:,} records without an answer" if self._progress.failed else ""
            raise self._failed(f"did not end in order{': ' + told if told else ''}")

    def kill(self) -> None:
        """Kills it where it is."""
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """Ends the process, whatever it does."""
        end_child(self._process)
        self._reader.join()

    def _wait(self, patience_seconds: float) -> None:
        deadline = time.monotonic() + patience_seconds
        while self._process.poll() is None:
            if time.monotonic() > deadline:
                raise TimeoutError
            with self._changed:
                self._changed.wait(0.05)

    def _failed(self, what: str) -> ApplicationFailed:
        return ApplicationFailed(f"{self.plan.name} on the {self.plan.side} {what}", hint=f"see {self._log}")

    def _follow(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._changed:
                self._progress = RunProgress.from_json(line.decode())
                self._changed.notify_all()
        with self._changed:
            self._changed.notify_all()


class Application:
    """One application; `launch` starts the next run of it on a side."""

    def __init__(self, name: str, launch: Callable[[Side], Run]) -> None:
        self.name = name
        self._launch = launch
        self._runs: dict[Side, Run] = {}

    @property
    def state(self) -> ApplicationState:
        return ApplicationState(
            conditions={side: run.condition for side, run in self._runs.items()},
            progress={side: run.progress for side, run in self._runs.items()},
        )

    def start(self, on: Side) -> None:
        """Starts it on a side, unless it runs there; returns at once."""
        if on not in self.state.sides:
            if on in self._runs:
                self._runs[on].close()
            self._runs[on] = self._launch(on)

    def run_on(self, side: Side) -> Run | None:
        """Its run on a side, also one that has ended; none if it never ran there."""
        return self._runs.get(side)

    def close(self) -> None:
        """Ends whatever runs."""
        for run in self._runs.values():
            run.close()
