"""A manifest, a state folder, and an owner that does what a test tells it."""

import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from click.testing import CliRunner, Result

from kmigrate.cli.group import commands
from kmigrate.copy.rates import RateLimits
from kmigrate.copy.states import PartitionState, Stop, StopKind
from kmigrate.kafka_types import Offset
from kmigrate.runner.desk import Desk
from kmigrate.runner.folder import Ownership
from kmigrate.runner.status import (
    Flow,
    MigrationState,
    PartitionStatus,
    StatusDocument,
    StopStatus,
    TopicStatus,
)
from kmigrate.state.store import Store

MANIFEST = """\
apiVersion: kmigrate/v1
kind: Migration
metadata:
  name: orders
spec:
  source:
    properties: {bootstrap.servers: "source:9092"}
  target:
    properties: {bootstrap.servers: "target:9092"}
  limits: {bytesPerSecond: 900}
"""

STOP = StopStatus.of(
    Stop(kind=StopKind.TARGET_REJECTED, offset=Offset(4), evidence="RECORD_LIST_TOO_LARGE (18)"), "pay", 3
)
DOCUMENT = StatusDocument(
    name="orders",
    state=MigrationState.RUNNING,
    reason="copying",
    started_at=0,
    updated_at=10_000,
    totals=Flow(records_copied=12, bytes_copied=3_400, lag_records=0, lag_seconds=0.0),
    topics=(TopicStatus(topic="pay", partitions=1, flow=Flow(), states={PartitionState.STOPPED: 1}),),
    partitions=(PartitionStatus(topic="pay", partition=3, state=PartitionState.STOPPED, stop=STOP),),
)


@dataclass
class FakeOwner:
    """Stands in for the owner: remembers what happened, and does what `act` says while it is waited for."""

    manifest: Any = None
    folder: Ownership | None = None
    store: Store | None = None
    desk: Desk | None = None
    report: Callable[[str], None] = print
    refuse: Callable[[Any], None] = lambda beginning: None
    calls: list[str] = field(default_factory=list)
    fail_start: BaseException | None = None
    act: Callable[["FakeOwner", Callable[[StatusDocument], None]], int] = lambda owner, tick: 0
    document: StatusDocument = DOCUMENT

    def __call__(self, **given: Any) -> "FakeOwner":
        for name, value in given.items():
            setattr(self, name, value)
        return self

    def start(self) -> None:
        self.calls.append("start")
        if self.fail_start is not None:
            raise self.fail_start
        assert self.desk is not None
        self.desk.on_decision(lambda: self.calls.append("woken"))
        self.desk.publish(self.document)

    def wait(
        self, until_in_sync: bool, tick: Callable[[StatusDocument], None], between_turns: Callable[[], None]
    ) -> int:
        self.calls.append(f"wait until_in_sync={until_in_sync}")
        tick(self.document)
        exit_code = self.act(self, tick)
        between_turns()
        return exit_code

    def stop(self) -> None:
        self.calls.append("stop")


@dataclass
class World:
    """One migration's file and state folder, and a way to call the command line on it."""

    root: Path
    owner: FakeOwner

    @property
    def file(self) -> Path:
        return self.root / "orders.yaml"

    @property
    def folder(self) -> Path:
        return self.root / "state" / "orders"

    def call(self, command: str, *arguments: str, typed: str | None = None) -> Result:
        place = [] if command == "demo" else ["-f", str(self.file), "--state", str(self.root / "state")]
        return CliRunner().invoke(commands, [*command.split(), *place, *arguments], input=typed)

    def left_behind(self, document: StatusDocument = DOCUMENT) -> None:
        """An owner ran, and ended without a word."""
        self.folder.mkdir(parents=True, exist_ok=True)
        store = Store.open(self.folder)
        Desk(store, lambda: None, manifest_limits=RateLimits(900)).publish(replace(document))
        store.close()

    def desk(self) -> Desk:
        """What the next owner will find."""
        return Desk(Store.open(self.folder), manifest_limits=RateLimits(900))


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    owner = FakeOwner()
    module = ModuleType("kmigrate.runner.owner")
    module.Owner = owner  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "kmigrate.runner.owner", module)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    world = World(tmp_path, owner)
    world.file.write_text(MANIFEST)
    return world
