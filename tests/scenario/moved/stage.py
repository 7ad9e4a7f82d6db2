"""What a move goes on: a service that runs, and its operator, with two terminals and the applications in hand.

For how long nobody wrote, and nobody read, is measured at the applications: from the word to stop until the first
record on the target.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sized
from pathlib import Path
from typing import NamedTuple

from kmigrate.api.client import Client
from kmigrate.demo.embedded import EmbeddedCluster
from kmigrate.kafka_types import Side
from kmigrate.runner.folder import MigrationFolder
from kmigrate.runner.status import MigrationState
from tests.fault.harness import wait_until
from tests.scenario.leading import Application, Service, running
from tests.scenario.typed import Running, Step, Terminal

NAME = "orders"
TOPIC, GROUP = "orders", "billing"
FILE, REPORT = f"{NAME}.yaml", "move-report.md"
ADDRESSES = {Side.SOURCE: "source-1.example:9092", Side.TARGET: "target-1.example:9092"}
"""Those of the brokers, as the page shows them."""
HISTORY_RECORDS = 30_000
"""What the topic holds before anything begins."""
GATE_CLOSED = 5
MOST_TIMES = 5
LOOK_SECONDS = 10.0


class Figures(NamedTuple):
    """What became of the records, and for how long nobody wrote, and nobody read."""

    acknowledged: int
    read: int
    unwritten_seconds: float
    unread_seconds: float


class Stage:
    """The service and its operator."""

    def __init__(self, service: Service, folder: Path) -> None:
        self._service = service
        ours = {Side.SOURCE: service.source.bootstrap, Side.TARGET: service.target.bootstrap}
        (folder / FILE).write_text(manifest(ours), encoding="utf-8")
        self.terminal = Terminal(folder, {ours[side]: ADDRESSES[side] for side in Side}, {"LOGNAME": "operator"})
        self._folder = MigrationFolder(self.terminal.state_home / "kmigrate", NAME)
        self._second: Running | None = None
        self._told: dict[str, float] = {}
        self._pauses: dict[str, float] = {}

    # -- the terminals

    def type(self, command: str, code: int) -> Step:
        """Types a command that should end with `code`; again, if a gate has closed once more meanwhile."""
        for _ in range(MOST_TIMES):
            step = self.terminal.type(command)
            if step.code == code or step.code != GATE_CLOSED:
                break
            time.sleep(1.0)
        return step

    def leave_running(self, command: str) -> None:
        """Types a command in the second terminal."""
        self._second = self.terminal.leave_running(command)

    def interrupt(self) -> Step:
        """Ctrl-C in the second terminal."""
        assert self._second is not None, "nothing runs there"
        return self._second.interrupt()

    def close(self) -> None:
        """Ends what is left in the second terminal."""
        if self._second is not None:
            self._second.close()

    # -- the applications

    def stop_readers(self) -> None:
        """`billing` ends on the source."""
        self._stop(GROUP, self._service.reader, "stop-readers")

    def start_readers(self) -> None:
        """`billing` begins on the target."""
        self._start(GROUP, self._service.reader, self._service.reader.read, "start-readers")

    def stop_writers(self) -> None:
        """What writes the topic ends on the source."""
        self._stop(TOPIC, self._service.writer, "stop-writers")

    def start_writers(self) -> None:
        """What writes the topic begins on the target."""
        self._start(TOPIC, self._service.writer, self._service.writer.acknowledged, "start-writers")

    def judge(self) -> Figures:
        """The service ends; every record that was acknowledged was read, once, and in order."""
        self._service.judge()
        acknowledged, read = len(self._service.writer.acknowledged), len(self._service.reader.read)
        return Figures(acknowledged, read, self._pauses[TOPIC], self._pauses[GROUP])

    def _stop(self, of: str, application: Application, step: str) -> None:
        self._told[of] = time.monotonic()
        application.stop()
        self.until_at(step)

    def _start(self, of: str, application: Application, records: Sized, step: str) -> None:
        self._until(step, lambda _: True)  # before that it would begin where it should not
        before = len(records)
        application.start(self._service.target)
        self._wait(f"{of} goes on", lambda: len(records) > before)
        self._pauses[of] = time.monotonic() - self._told[of]
        self.until_at(step)

    # -- what the operator waits for

    def until_in_sync(self) -> None:
        """Everything that was there is copied."""
        self._wait("everything is copied", lambda: self._client().status().state is MigrationState.IN_SYNC)

    def until_at(self, step: str, *closed: str) -> None:
        """The wave waits at a step, and no other gates are closed than these."""
        self._until(step, lambda found: found == {*closed})

    def until_handed_over(self) -> None:
        """The topic is the applications' own on the target, whatever is still to be seen of the source."""
        self._until("start-writers", lambda _: True)

    def _until(self, step: str, suits: Callable[[set[str]], bool]) -> None:
        seen: tuple[str, str, set[str]] = "", "", set()

        def look() -> bool:
            nonlocal seen
            (wave,) = self._client().cutover(fresh=True).waves
            seen = wave.step.name, wave.phase, {each.gate for each in wave.evidence if not each.open}
            return seen[:2] == (step, "waiting") and suits(seen[2])

        self._wait(f"the wave is at {step}", look, lambda: f"it was at {seen}")

    def until_over(self) -> None:
        """The wave is over."""
        self._wait("the wave is over", lambda: self._client().cutover(fresh=True).waves[0].outcome == "finished")

    def _client(self) -> Client:
        assert self._second is not None, "nothing runs"
        assert self._second.exit_code is None, self._second.printed()
        return Client(self._folder, start_seconds=LOOK_SECONDS)

    def _wait(self, what: str, look: Callable[[], bool], seen: Callable[[], str] = str) -> None:
        """`seen` tells what was seen last."""
        wait_until(what, look, evidence=lambda: f"{seen()}\n{'' if self._second is None else self._second.printed()}")


def manifest(addresses: Mapping[Side, str]) -> str:
    """What moves, between which clusters, and how."""
    return f"""\
apiVersion: kmigrate/v1
kind: Migration
metadata:
  name: {NAME}
spec:
  source:
    properties: {{bootstrap.servers: "{addresses[Side.SOURCE]}"}}
  target:
    properties: {{bootstrap.servers: "{addresses[Side.TARGET]}"}}
  topics:
    include: ["{TOPIC}"]
  groups:
    include: ["{GROUP}"]
  scheme: consumers-first
  ending: clean
  cutover: {{stillSeconds: 5}}          # 330 by default, as many clients go on trying for minutes; these end at once
  limits: {{targetFreePercent: 0}}      # 20 by default; here both clusters share one disk with others
"""


@contextlib.contextmanager
def on_stage(source: EmbeddedCluster, target: EmbeddedCluster, folder: Path) -> Iterator[Stage]:
    """The service runs on the source; everything has ended afterwards."""
    service = Service(source, target, topic=TOPIC, group=GROUP)
    service.writer.write(source, HISTORY_RECORDS)
    with running(service), contextlib.closing(Stage(service, folder)) as stage:
        yield stage
