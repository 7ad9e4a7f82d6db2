"""The producer of the demo, as the story sees it: a child process that tells how far it is.

The other end is `kmigrate.demo.producing`. Its stdin asks it to end, also by being closed; its stdout tells
`Progress`, one JSON object a line; its ledger file holds what was acknowledged.
"""

from __future__ import annotations

import enum
import json
import threading
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from kmigrate.demo.children import end_child, start_child
from kmigrate.errors import KmigrateError


class Phase(enum.StrEnum):
    """What the producer is doing."""

    HISTORY = "history"
    """Writing what is there before the migration begins, as fast as it can."""
    LIVE = "live"
    """Writing at its rate."""
    ENDED = "ended"
    """Everything was acknowledged, or given up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProducerPlan:
    """What to write: `history_records` at once, then `records_per_second`, never more than `most_records`."""

    bootstrap: str
    ledger: str
    history_records: int
    records_per_second: int
    most_records: int

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The plan that `to_json` wrote."""
        return cls(**json.loads(text))


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far the producer is; a record that is sent is acknowledged or failed later."""

    phase: Phase = Phase.HISTORY
    sent: int = 0
    acknowledged: int = 0
    failed: int = 0

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The progress that `to_json` wrote."""
        values = json.loads(text)
        return cls(**values | {"phase": Phase(values["phase"])})


class ProducerFailed(KmigrateError):
    """The producer of the demo ended by itself, or does not get on."""


class Workload:
    """The running producer; `close` ends it in any case."""

    def __init__(self, plan: ProducerPlan, *, log: Path) -> None:
        self.ledger = Path(plan.ledger)
        self._log = log
        self._progress = Progress()
        self._changed = threading.Condition()
        self._over = False
        self._process = start_child("kmigrate.demo.producing", [plan.to_json()], piped=True, errors=log)
        self._reader = threading.Thread(target=self._follow, name="producer-progress", daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def progress(self) -> Progress:
        """What the producer told last."""
        return self._progress

    def wait_for(self, phase: Phase, *, patience_seconds: float) -> Progress:
        """Waits until the producer has come to a phase; raises ProducerFailed."""
        wanted = tuple(Phase).index(phase)

        def there() -> bool:
            return self._over or tuple(Phase).index(self._progress.phase) >= wanted

        with self._changed:
            in_time = self._changed.wait_for(there, patience_seconds)
            progress = self._progress
        if tuple(Phase).index(progress.phase) >= wanted:
            return progress
        what = "ended by itself" if in_time else f"is not {phase} after {patience_seconds:.0f} s"
        raise ProducerFailed(f"the producer {what}", hint=f"see {self._log}")

    def stop(self, *, patience_seconds: float = 60.0) -> Progress:
        """Asks the producer to end, and waits until the cluster has answered for every record."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        progress = self.wait_for(Phase.ENDED, patience_seconds=patience_seconds)
        self._process.wait(patience_seconds)
        return progress

    def close(self) -> None:
        """Ends the process, whatever it does."""
        end_child(self._process)
        self._reader.join()

    def _follow(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._changed:
                self._progress = Progress.from_json(line.decode())
                self._changed.notify_all()
        with self._changed:
            self._over = True
            self._changed.notify_all()
