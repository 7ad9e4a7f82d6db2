"""Manifests to hold, and owners that do what a test tells them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from kmigrate.serve.exits import Exit
from kmigrate.serve.roster import Roster
from kmigrate.serve.supervisor import Supervisor


def manifest(name: str, *, source: str = "source:9092", limit: str = "null") -> str:
    """The text of a manifest."""
    return f"""\
apiVersion: kmigrate/v1
kind: Migration
metadata: {{name: {name}}}
spec:
  source: {{properties: {{bootstrap.servers: "{source}"}}}}
  target: {{properties: {{bootstrap.servers: "target:9092"}}}}
  limits: {{bytesPerSecond: {limit}}}
"""


@dataclass
class FakeOwner:
    """Runs until it is told to end, or ends by itself when a test sets `exit`."""

    name: str
    pid: int
    exit: Exit | None = None
    deaf: bool = False
    calls: list[str] = field(default_factory=list)

    def look(self) -> Exit | None:
        return self.exit

    def end(self) -> None:
        self.calls.append("end")
        if not self.deaf:
            self.fail(130)

    def kill(self) -> None:
        self.calls.append("kill")
        self.fail(-9)

    def fail(self, exit_code: int, *, again: bool = True) -> None:
        self.exit = Exit(exit_code=exit_code, reason=f"ended with {exit_code}", again=again, at=0)


class World:
    """A state folder, its supervisor, and a clock."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.now = 0.0
        self.owners: list[FakeOwner] = []
        self.told: list[str] = []
        self.fail_start: OSError | None = None
        self.supervisor = self.begin()

    def begin(self) -> Supervisor:
        """A new serve, after whatever became of the one before."""
        self.supervisor = Supervisor(
            Roster(self.root),
            tell=self.told.append,
            start_owner=self._start,
            monotonic_seconds=lambda: self.now,
            wall_ms=lambda: 1,
        )
        return self.supervisor

    def _start(self, root: Path, name: str) -> FakeOwner:
        if self.fail_start is not None:
            raise self.fail_start
        self.owners.append(FakeOwner(name, 1000 + len(self.owners)))
        return self.owners[-1]

    def add(self, name: str, **more: object) -> str:
        return self.supervisor.add(manifest(name), self.root / f"{name}.yaml", **more)  # type: ignore[arg-type]

    def turn(self, seconds: float = 0.0) -> None:
        self.now += seconds
        self.supervisor.turn()


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "state")


@pytest.fixture
def manifest_of() -> Callable[..., str]:
    return manifest
