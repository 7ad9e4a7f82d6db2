"""Leads a migration through its scheme as an operator does, by commands; and applications that are told what to do by
hand."""

from __future__ import annotations

import contextlib
import json
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

from click.testing import CliRunner
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

from kmigrate.api.client import Client
from kmigrate.cli.group import commands
from kmigrate.demo.embedded import EmbeddedCluster
from kmigrate.errors import KmigrateError
from kmigrate.runner.folder import MigrationFolder
from tests.fault.harness import LIVENESS_SECONDS, Migration, closing_all, wait_until
from tests.kafka_tools import create_topic, new_topic_name

WAITS = ("waiting", "over")
BY_ITSELF = ("freeze", "promote", "freeze-back", "return")
"""The steps that are never left by an operator."""
ClientOf = Callable[[EmbeddedCluster], Mapping[str, Any]]
Start = Callable[..., "Lead"]
QUICK = {"stillSeconds": 3, "autoHoldSeconds": 1}
"""`spec.cutover` where applications do as they are told."""


def plain_client(cluster: EmbeddedCluster) -> dict[str, Any]:
    """What a client of a cluster without secrets needs."""
    return {"bootstrap.servers": cluster.bootstrap}


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
        place = ("-f", str(self.migration.manifest), "--state", str(self.migration.state_root))
        self.said = CliRunner().invoke(
            commands, ["cutover", command, *place, "--wave", self.wave, *approve, *arguments]
        )
        return self.said.exit_code

    def missing(self) -> set[str]:
        """The gates that are closed."""
        return {each["gate"] for each in self.status()["evidence"] if not each["open"]}

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

    def __init__(
        self,
        source: EmbeddedCluster,
        target: EmbeddedCluster,
        *,
        partitions: int = 3,
        topic: str | None = None,
        group: str | None = None,
        client_of: ClientOf = plain_client,
    ) -> None:
        """`client_of` is what its applications need to reach a cluster; its topic and group have names of their own,
        unless they are told."""
        self.source, self.target = source, target
        self.partitions = partitions
        self.topic = create_topic(source.bootstrap, topic, partitions=partitions)
        self.group = group or new_topic_name("group")
        self.writer = Writer(self.topic, partitions, client_of=client_of)
        self.reader = Reader(self.group, self.topic, client_of=client_of)
        self.newer = Reader(self.group, self.topic, client_of=client_of)
        """Of the same group, on the target, where both are read for a while."""
        self.others: list[Writer] = []
        """Writers that write where they should not."""
        self.relay: Application | None = None
        """An application between the writer and the reader, where there is one."""
        self.topics: tuple[str, ...] = (self.topic,)
        self.groups: tuple[str, ...] = (self.group,)

    def spec(self) -> dict[str, Any]:
        """What a manifest says of its groups and applications."""
        return {"groups": {"include": list(self.groups)}}

    def start(self) -> None:
        """Runs on the source."""
        self.writer.start(self.source)
        self.reader.start(self.source)
        wait_until("the service runs", lambda: len(self.reader.read) > 100)

    def close(self) -> None:
        for each in (self.writer, *self.others, self.reader, self.newer):
            each.stop()

    def judge(self, *, in_order: bool = True, once: bool = True) -> None:
        """Everything acknowledged was read; once, and in order. Also what `others` wrote."""
        writers = (self.writer, *self.others)
        for each in writers:
            each.stop()
        wanted = sorted(number for each in writers for number in each.acknowledged)
        wait_until("everything is read", lambda: len(self._read() if once else {*self._read()}) >= len(wanted))
        self.reader.stop()
        self.newer.stop()
        assert not [failed for each in writers for failed in each.failed]
        read = [*self.reader.read, *self.newer.read]
        numbers = sorted(self._read() if once else {*self._read()})
        assert numbers == wanted, f"lost: {_less(wanted, numbers)}; repeated: {_less(numbers, wanted)}"
        for partition in range(self.partitions if in_order else 0):
            mine = [number for at, _, number in read if at == partition]
            assert mine == sorted(mine), f"partition {partition} was read out of order"

    def _read(self) -> list[int]:
        return [number for reader in (self.reader, self.newer) for _, _, number in reader.read]


class Runs(Protocol):
    """A service, however many applications it has."""

    source: EmbeddedCluster
    target: EmbeddedCluster
    topic: str
    group: str

    def start(self) -> None: ...
    def close(self) -> None: ...


S = TypeVar("S", bound=Runs)


@contextlib.contextmanager
def running(service: S) -> Iterator[S]:
    """Runs a service on the source; everything of it has ended afterwards."""
    service.start()
    try:
        yield service
    finally:
        service.close()


@contextlib.contextmanager
def starting(folder: Path, service: Runs) -> Iterator[Start]:
    """Starts migrations of the service that are led by a scheme, in the background; they are in sync then."""
    made: list[Migration] = []

    def begin(scheme: str, *, environment: dict[str, str] | None = None, **spec: Any) -> Lead:
        wanted = {"scheme": scheme, "groups": {"include": [service.group]}, "cutover": QUICK} | spec
        name = new_topic_name("led")
        migration = Migration(
            folder, service.source, service.target, [service.topic], name=name, spec=wanted, environment=environment
        )
        made.append(migration)
        migration.start()
        migration.wait_for_state("IN_SYNC")
        return Lead(migration)

    with closing_all(made):
        yield begin


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
        self.may_fail: tuple[int, ...] = (0,)
        """How commands may end beside what they should: clusters may be down."""
        self.attests = False
        """Whether no application writes to the target, and the operator's word stands for that."""
        self._done: set[tuple[str, str]] = set()
        self._told: set[str] = set()
        self._has_asked_back = False

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

    def finish(self) -> None:
        """To the end of the wave on the target."""
        self.go_on()
        assert self.lead.status()["outcome"] == "finished", self.lead.evidence()

    def roll_back(self, at: str = "watch") -> None:
        """On to a step, and from there back to the source; goes on where it was if it is called again."""
        if self.lead.settle()["way"] == "forward":
            self.go_on(until=at)
            self.ask("rollback")
        self.go_on()
        assert self.lead.status()["outcome"] == "rolled back", self.lead.evidence()

    def abort(self, at: str = "watch") -> None:
        """On to a step without a record on the target, and back to the beginning; goes on where it was if it is called
        again. The service is on the source then."""
        self.attests = True
        if not (self._has_asked_back and _is_new(self.lead.settle())):
            self.go_on(until=at)
            self._stop_all()
            self._has_asked_back = True
            self.ask("abort")
            wait_until("everything is taken back", lambda: _is_new(self.lead.settle()), evidence=self.lead.evidence)
        self._start_on_source()

    def ask(self, command: str) -> None:
        """Commands a way back, as soon as it is taken."""

        def is_taken() -> bool:
            code = self.lead.next(command=command)
            assert code in (0, 5, 6), self.lead.said.stderr
            return code == 0

        wait_until(f"{command} is taken", is_taken, evidence=lambda: f"{self.lead.said.stderr}\n{self.lead.evidence()}")

    def go_through_deaths(
        self,
        deaths: Sequence[str],
        lead_on: Callable[[], None],
        *,
        exit_code: int,
        between: Callable[[str], object] = str,
    ) -> None:
        """Does `lead_on`, again and again, until nobody dies any more; the migration was started with the first death.

        `between` is called with what it died of, while it is dead.
        """
        migration = self.lead.migration
        for death, following in zip(deaths, (*deaths[1:], ""), strict=True):
            try:
                lead_on()
            except (KmigrateError, AssertionError) as error:
                reason: BaseException | None = error
            else:
                reason = None
            try:
                code = migration.wait_for_exit(3.0)
            except AssertionError:
                raise AssertionError(f"nobody died {death}\n{self.lead.evidence()}") from reason
            assert code == exit_code, migration.evidence()
            between(death)
            migration.revive(following)
        lead_on()

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
            case "start-writers" | "move-writers":
                service.writer.stop()
                if not self.attests:
                    service.writer.start(service.target)
            case "join-readers":
                service.newer.start(service.target)
            case "stop-old-readers":
                service.reader.stop()
            case "stop-application" | "start-application" | "move-application":
                assert service.relay is not None, "who has no application is not asked to move it"
                service.relay.stop()
                if step["name"] != "stop-application":
                    service.relay.start(service.target)
            case "stop-on-target":
                self._stop_all()
            case "start-on-source":
                self._start_on_source()

    def _start_on_source(self) -> None:
        service = self.service
        for each in filter(None, (service.reader, service.relay, service.writer)):
            each.start(service.source)

    def _stop_all(self) -> None:
        self.service.writer.stop()
        if self.service.relay is not None:
            self.service.relay.stop()
        self.service.reader.stop()
        self.service.newer.stop()

    def _leave(self, wave: Mapping[str, Any]) -> None:
        closed = {each["gate"] for each in wave["evidence"] if not each["open"]} - {"approved"}
        word = []
        if self.attests and "target-moving" in closed:
            closed, word = closed - {"target-moving"}, ["--attest"]
        if "verified" in closed:
            done = self.lead.migration.command("verify")
            assert done.returncode in self.may_fail, f"verify: {done.returncode}\n{done.stdout}\n{done.stderr}"
        if closed or wave["step"]["name"] in BY_ITSELF:
            time.sleep(0.3)
            return
        command = "finish" if wave["step"]["name"] == "watch" else "next"
        code = self.lead.next(*word, command=command)
        assert code in (0, 5, 6) or code in self.may_fail, self.lead.said.stderr
        if code == 0:
            self.steps.append(wave["step"]["name"])


def _is_new(wave: Mapping[str, Any]) -> bool:
    """Whether a wave was aborted; it may begin anew, and a moment later is shown so."""
    return wave["outcome"] == "aborted" or not wave["begun"]


class Application:
    """Runs in a thread of its own, on one side at a time: `_run` does its work until `_ending` is set."""

    def __init__(self, client_of: ClientOf) -> None:
        self._client_of = client_of
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, cluster: EmbeddedCluster) -> None:
        """Begins its work there."""
        self._ending.clear()
        self._thread = threading.Thread(target=self._run, args=(dict(self._client_of(cluster)),), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ends in order."""
        self._ending.set()
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.join(LIVENESS_SECONDS)
            assert not thread.is_alive(), f"{type(self).__name__} does not end; it is at\n{_where(thread)}"

    def _run(self, client: dict[str, Any]) -> None:
        raise NotImplementedError


def _where(thread: threading.Thread) -> str:
    """What a thread is doing now."""
    frame = sys._current_frames().get(thread.ident or 0)
    return "nothing" if frame is None else "".join(traceback.format_stack(frame)[-4:])


class Writer(Application):
    """Writes numbers to a topic; `first` is the first of them. When it has ended, everything is acknowledged."""

    def __init__(
        self,
        topic: str,
        partitions: int,
        *,
        pause_seconds: float = 0.002,
        first: int = 0,
        client_of: ClientOf = plain_client,
    ) -> None:
        super().__init__(client_of)
        self._topic, self._partitions, self._pause = topic, partitions, pause_seconds
        self.acknowledged: list[int] = []
        self.failed: list[str] = []
        self._next = first

    def write(self, cluster: EmbeddedCluster, count: int) -> None:
        """Writes so many records there, as fast as it goes, and ends."""
        self._ending.clear()
        before = len(self.acknowledged)
        self._run(dict(self._client_of(cluster)), count)
        assert len(self.acknowledged) == before + count, self.failed[:3]

    def _run(self, client: dict[str, Any], count: int | None = None) -> None:
        """Until it is told to end; or `count` records, without a pause."""
        producer = Producer({**client, "enable.idempotence": True, "linger.ms": 5})
        last = None if count is None else self._next + count

        def on_delivery(number: int) -> Callable[[Any, Any], None]:
            def note(error: Any, _message: Any) -> None:
                if error is None:
                    self.acknowledged.append(number)
                else:
                    self.failed.append(str(error))

            return note

        while not self._ending.is_set() and self._next != last:
            number, self._next = self._next, self._next + 1
            producer.produce(
                self._topic, b"%d" % number, partition=number % self._partitions, on_delivery=on_delivery(number)
            )
            producer.poll(0)
            if count is None:
                time.sleep(self._pause)
            elif number % 1000 == 0:
                producer.flush(LIVENESS_SECONDS)
        producer.flush(LIVENESS_SECONDS)


class Reader(Application):
    """Reads a topic as a group and commits what it has read, before it leaves at the latest.

    What it reads once more counts, unless that is its own: what it could not commit it may have to read again.
    """

    def __init__(self, group: str, topic: str, *, client_of: ClientOf = plain_client) -> None:
        super().__init__(client_of)
        self._group, self._topic = group, topic
        self._unsure: set[int] = set()
        """What was read, and perhaps not committed."""
        self.read: list[tuple[int, int, int]] = []
        """(partition, offset, number), in the order in which they were read."""

    def _run(self, client: dict[str, Any]) -> None:
        consumer = Consumer(
            {
                **client,
                "group.id": self._group,
                "auto.offset.reset": "earliest",
                "enable.auto.commit": False,
            }
        )
        consumer.subscribe([self._topic])
        while not self._ending.is_set():
            messages = [each for each in consumer.consume(100, 0.2) if each.error() is None]
            for each in messages:
                number = int(each.value())
                if number not in self._unsure:
                    self.read.append((each.partition(), each.offset(), number))
                self._unsure.add(number)
            if messages:
                ends = {
                    each.partition(): each.offset() + 1 for each in messages
                }  # as many clients do: no marker counts
                places = [TopicPartition(self._topic, *end) for end in ends.items()]
                with contextlib.suppress(KafkaException):
                    committed = consumer.commit(offsets=places, asynchronous=False)
                    if not any(each.error for each in committed):
                        self._unsure.clear()
        consumer.close()
