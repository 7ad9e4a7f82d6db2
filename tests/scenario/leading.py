"""Leads a migration through its scheme as an operator does, by the command line; and applications that are told what
to do by hand."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from confluent_kafka import Consumer, Producer

from kmigrate.api.client import Client
from kmigrate.demo.embedded import EmbeddedCluster
from kmigrate.errors import KmigrateError
from kmigrate.runner.folder import MigrationFolder
from tests.fault.harness import LIVENESS_SECONDS, Migration, wait_until
from tests.kafka_tools import create_topic, new_topic_name

WAITS = ("waiting", "over")


class Lead:
    """The cutover of one wave of a running migration."""

    def __init__(self, migration: Migration, wave: str = "all") -> None:
        self.migration = migration
        self.wave = wave

    def status(self) -> Mapping[str, Any]:
        """Where the wave stands."""
        assert self.migration.exit_code is None, f"the owner ended\n{self.migration.evidence()}"
        client = Client(MigrationFolder(self.migration.state_root, self.migration.name), start_seconds=10.0)
        return client.cutover(self.wave, fresh=True).to_value()["waves"][0]

    def next(self, *arguments: str, command: str = "next") -> int:
        """Leaves the step; returns the exit code."""
        approve = [] if command == "abort" else ["--approve", self.migration.name]
        self.said = self.migration.command(f"cutover {command}", "--wave", self.wave, *approve, *arguments)
        return self.said.returncode

    def leave(self, step: str, *arguments: str, command: str = "next", seconds: float = LIVENESS_SECONDS) -> None:
        """Leaves this step as soon as its gates are open, and waits until what follows is done."""

        def is_left() -> bool:
            wave = self.status()
            assert wave["step"]["name"] == step, f"{wave['sentence']}, not at {step}"
            if any(not each["open"] and each["gate"] != "approved" for each in wave["evidence"]):
                return False
            code = self.next(*arguments, command=command)
            assert code in (0, 5), self.said.stderr
            return code == 0

        wait_until(f"step {step} can be left", is_left, seconds=seconds, evidence=self.evidence)
        self.settle()

    def settle(self) -> Mapping[str, Any]:
        """Waits until nothing is being done; what it is at then."""
        return wait_until(
            "what is being done is done",
            lambda: wave if (wave := self.status())["phase"] in WAITS else None,
            evidence=self.evidence,
        )

    def reach(self, step: str, seconds: float = LIVENESS_SECONDS) -> Mapping[str, Any]:
        """Waits until the wave waits at this step."""

        def look() -> Mapping[str, Any] | None:
            wave = self.status()
            return wave if wave["step"]["name"] == step and wave["phase"] == "waiting" else None

        return wait_until(f"the wave is at {step}", look, seconds=seconds, evidence=self.evidence)

    def evidence(self) -> str:
        """What a failure should show."""
        try:
            shown = json.dumps(self.status(), indent=1)
        except (KmigrateError, AssertionError) as error:
            shown = str(error)
        return f"{shown}\n{self.migration.evidence()}"


class Service:
    """One writer and one reader, and what became of every record."""

    def __init__(self, source: EmbeddedCluster, target: EmbeddedCluster, *, partitions: int = 3) -> None:
        self.source, self.target = source, target
        self.partitions = partitions
        self.topic = create_topic(source.bootstrap, partitions=partitions)
        self.group = new_topic_name("group")
        self.writer = Writer(self.topic, partitions)
        self.reader = Reader(self.group, self.topic)
        self.newer = Reader(self.group, self.topic)
        """Of the same group, on the target, where both are read for a while."""

    def start(self) -> None:
        """Runs on the source."""
        self.writer.start(self.source)
        self.reader.start(self.source)
        wait_until("the service runs", lambda: len(self.reader.read) > 100)

    def close(self) -> None:
        for each in (self.writer, self.reader, self.newer):
            each.stop()

    def judge(self, *, in_order: bool = True) -> None:
        """Everything acknowledged was read once; in order."""
        self.writer.stop()
        wanted = sorted(self.writer.acknowledged)
        wait_until("everything is read", lambda: len(self.reader.read) + len(self.newer.read) >= len(wanted))
        self.reader.stop()
        self.newer.stop()
        assert not self.writer.failed
        read = [*self.reader.read, *self.newer.read]
        numbers = sorted(number for _, _, number in read)
        assert numbers == wanted, f"lost: {_less(wanted, numbers)}; repeated: {_less(numbers, wanted)}"
        for partition in range(self.partitions if in_order else 0):
            mine = [number for at, _, number in read if at == partition]
            assert mine == sorted(mine), f"partition {partition} was read out of order"


def _less(these: list[int], those: list[int]) -> list[int]:
    return sorted((Counter(these) - Counter(those)).elements())[:20]


class Operator:
    """Leads a service through its scheme: does at each step what its words ask for."""

    def __init__(self, lead: Lead, service: Service, *, hesitate: Callable[[], float] = lambda: 0.0) -> None:
        """`hesitate` tells how long the operator waits before the next thing that is his to do."""
        self.lead, self.service = lead, service
        self._hesitate = hesitate
        self.steps: list[str] = []
        """The steps that were left, in order."""
        self._done: set[tuple[str, str]] = set()
        self._told: set[str] = set()

    def go_on(self, *, seconds: float = 240.0, until: str = "") -> None:
        """To the end of the wave, or until it waits at a step."""
        deadline = time.monotonic() + seconds
        while True:
            assert time.monotonic() < deadline, f"not at its end within {seconds:.0f} s\n{self.lead.evidence()}"
            wave = self.lead.settle()
            if wave["outcome"] is not None or wave["step"]["name"] == until:
                return
            self._act(wave["step"])
            self._leave(wave)

    def acts_no_more(self, *steps: str) -> None:
        """What these steps ask for is done already."""
        self._told |= set(steps)

    def go_on_through_a_death(self, exit_code: int) -> None:
        """To the end of the wave; the owner is started again once, when it has died."""
        migration = self.lead.migration
        with contextlib.suppress(KmigrateError, AssertionError):
            self.go_on()
        if migration.exit_code is None:
            raise AssertionError(f"nobody died\n{self.lead.evidence()}")
        assert migration.wait_for_exit() == exit_code, migration.evidence()
        migration.revive()
        self.go_on()

    def _act(self, step: Mapping[str, Any]) -> None:
        """What the operator does at a step, once."""
        key = step["name"], step["move"]
        if key in self._done or step["name"] in self._told:
            return
        self._done.add(key)
        time.sleep(self._hesitate())
        service = self.service
        match step["name"]:
            case "stop-readers":
                service.reader.stop()
            case "start-readers":
                service.reader.start(service.target)
            case "move-readers":
                service.reader.stop()
                service.reader.start(service.target)
            case "stop-writers":
                service.writer.stop()
            case "start-writers":
                service.writer.start(service.target)
            case "move-writers":
                service.writer.stop()
                service.writer.start(service.target)
            case "join-readers":
                service.newer.start(service.target)
            case "stop-old-readers":
                service.reader.stop()
            case "stop-on-target":
                service.writer.stop()
                service.reader.stop()
                service.newer.stop()
            case "start-on-source":
                service.reader.start(service.source)
                service.writer.start(service.source)

    def _leave(self, wave: Mapping[str, Any]) -> None:
        closed = {each["gate"] for each in wave["evidence"] if not each["open"]} - {"approved"}
        if "verified" in closed:
            done = self.lead.migration.command("verify")
            assert done.returncode == 0, done.stderr
        if closed or wave["step"]["name"] in ("freeze", "promote", "freeze-back", "return"):  # it goes on by itself
            time.sleep(0.3)
            return
        command = "finish" if wave["step"]["name"] == "watch" else "next"
        code = self.lead.next(command=command)
        assert code in (0, 5, 6), self.lead.said.stderr
        if code == 0:
            self.steps.append(wave["step"]["name"])


class Writer:
    """An application that writes numbers to a topic, on one side at a time."""

    def __init__(self, topic: str, partitions: int, *, pause_seconds: float = 0.002, first: int = 0) -> None:
        self._topic, self._partitions, self._pause = topic, partitions, pause_seconds
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None
        self.acknowledged: list[int] = []
        self.failed: list[str] = []
        self._next = first

    def start(self, cluster: EmbeddedCluster) -> None:
        """Begins to write there."""
        self._ending.clear()
        self._thread = threading.Thread(target=self._run, args=(cluster.bootstrap,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ends, with everything acknowledged."""
        self._ending.set()
        if self._thread is not None:
            self._thread.join(LIVENESS_SECONDS)
            self._thread = None

    def _run(self, bootstrap: str) -> None:
        producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True, "linger.ms": 5})

        def on_delivery(number: int) -> Callable[[Any, Any], None]:
            def note(error: Any, _message: Any) -> None:
                if error is None:
                    self.acknowledged.append(number)
                else:
                    self.failed.append(str(error))

            return note

        while not self._ending.is_set():
            number, self._next = self._next, self._next + 1
            producer.produce(
                self._topic, b"%d" % number, partition=number % self._partitions, on_delivery=on_delivery(number)
            )
            producer.poll(0)
            time.sleep(self._pause)
        producer.flush(LIVENESS_SECONDS)


class Reader:
    """An application that reads a topic as a group and commits what it has read, on one side at a time."""

    def __init__(self, group: str, topic: str) -> None:
        self._group, self._topic = group, topic
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None
        self.read: list[tuple[int, int, int]] = []
        """(partition, offset, number), in the order in which they were read."""

    def start(self, cluster: EmbeddedCluster) -> None:
        """Joins the group there."""
        self._ending.clear()
        self._thread = threading.Thread(target=self._run, args=(cluster.bootstrap,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Commits and leaves."""
        self._ending.set()
        if self._thread is not None:
            self._thread.join(LIVENESS_SECONDS)
            self._thread = None

    def _run(self, bootstrap: str) -> None:
        consumer = Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": self._group,
                "auto.offset.reset": "earliest",
                "enable.auto.commit": False,
            }
        )
        consumer.subscribe([self._topic])
        while not self._ending.is_set():
            messages = consumer.consume(100, 0.2)
            for each in messages:
                if each.error() is None:
                    self.read.append((each.partition(), each.offset(), int(each.value())))
            if messages:
                consumer.commit(asynchronous=False)
        consumer.close()
