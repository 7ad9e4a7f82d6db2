"""What thousands of consumer groups cost: a round over all of them, idle, and while every group commits everything."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from bench import proc
from bench.figures import Goal, Row
from bench.lab import SOURCE_VERSION, TARGET_VERSION, BenchError, Lab
from bench.machine import describe_machine
from bench.programs import Program, forget, start_kmigrate
from bench.report import CaseResult
from kmigrate.api.client import Client
from kmigrate.cluster.client import ClusterClient
from kmigrate.cluster.settings import ConnectionSettings
from kmigrate.errors import ClusterError, KmigrateError
from kmigrate.groups.cluster_groups import ClusterGroups
from kmigrate.groups.values import Value
from kmigrate.kafka_types import Offset, Partition, Side, TopicName, TopicPartition
from kmigrate.runner.folder import MigrationFolder
from kmigrate.runner.groups_document import GroupsSummary

GROUPS, SHORT_GROUPS = 2_000, 400
PARTITIONS = 50
RECORDS_EACH = 1_000
SECONDS, SHORT_SECONDS = 60.0, 20.0
ROUND_GOAL = Goal(limit=5.0)
CPU_GOAL = Goal(limit=25.0)
_LIMIT_SECONDS = 180.0
_TOPIC = "groups"


class Watched(NamedTuple):
    """The longest and the mean round, and CPU of the owner in percent of a core."""

    longest: float
    mean: float
    cpu: float


def measure(lab: Lab) -> CaseResult:
    """Commits for all groups on the source, waits until they are on the target, and watches rounds."""
    groups = SHORT_GROUPS if lab.short else GROUPS
    seconds = SHORT_SECONDS if lab.short else SECONDS
    lab.seed(_TOPIC, partitions=PARTITIONS, records_each=RECORDS_EACH)
    applications = Applications(lab, groups)
    lab.say(f"committing for {groups:,} groups on {PARTITIONS} partitions")
    applications.warm()
    applications.commit_all(1)
    migration = lab.new_name("bench")
    with start_kmigrate(lab, migration, [_TOPIC], until_in_sync=False) as program:
        client = Client(MigrationFolder(lab.work / migration / "state", migration))
        first = _wait_until_synced(client, program, groups)
        lab.say(
            f"all commits are on the target; the round took {first:.2f} s; watching idle groups for {seconds:.0f} s"
        )
        idle = _watch(client, program, seconds)
        lab.say(f"idle: {idle}; now every group commits all the time")
        with applications.committing():
            busy = _watch(client, program, seconds)
        lab.say(f"busy: {busy}, while the applications took {applications.seconds_a_pass:.1f} s for a pass")
        _wait_until_synced(client, program, groups)
    applications.close()
    forget(lab, migration)
    lab.forget_loads()
    rows = (
        Row(label="first round, everything is committed", unit="s", ours=(first,)),
        Row(label="idle groups: longest round", unit="s", ours=(idle.longest,), goal=ROUND_GOAL),
        Row(label="idle groups: mean round", unit="s", ours=(idle.mean,)),
        Row(label="idle groups: CPU of the owner", unit="% of a core", ours=(idle.cpu,), goal=CPU_GOAL),
        Row(label="all groups commit: longest round", unit="s", ours=(busy.longest,), goal=ROUND_GOAL),
        Row(label="all groups commit: mean round", unit="s", ours=(busy.mean,)),
        Row(label="all groups commit: CPU of the owner", unit="% of a core", ours=(busy.cpu,), goal=CPU_GOAL),
    )
    return CaseResult(
        case="groups",
        title=f"{groups:,} consumer groups with {PARTITIONS} partitions each.",
        other="",
        rows=rows,
        settings={"Groups": groups, "Partitions each": PARTITIONS, "Measured for": f"{seconds:.0f} s each"},
        machine=describe_machine([SOURCE_VERSION, TARGET_VERSION]),
        short=lab.short,
    )


class Applications:
    """Commits on the source as consumers with assigned partitions do, one group after the other."""

    def __init__(self, lab: Lab, groups: int) -> None:
        host, port = lab.bootstrap(Side.SOURCE).split(":")
        settings = ConnectionSettings(client_id="bench-applications")
        self._groups = ClusterGroups(ClusterClient(Side.SOURCE, [(host, int(port))], settings))
        self._names = [f"group-{number}" for number in range(groups)]
        self._partitions = [TopicPartition(TopicName(_TOPIC), Partition(index)) for index in range(PARTITIONS)]
        self.seconds_a_pass = 0.0

    def warm(self) -> None:
        """Waits until every group has a coordinator: a new cluster makes their topic at the first question."""
        deadline = time.monotonic() + _LIMIT_SECONDS
        while sum(len(names) for _, names in self._groups.by_coordinator(self._names)) < len(self._names):
            if time.monotonic() > deadline:
                raise BenchError("the source does not tell who coordinates its groups")
            time.sleep(0.2)

    def commit_all(self, offset: int, ending: threading.Event | None = None) -> None:
        """Every group commits this offset everywhere."""
        began = time.monotonic()
        values = dict.fromkeys(self._partitions, Value(Offset(offset), ""))
        for broker, names in self._groups.by_coordinator(self._names):
            for name in names:
                if ending is not None and ending.is_set():
                    return
                answer = self._groups.commit(broker, name, values)
                if any(answer.values()):
                    raise BenchError(f"the source refuses a commit for {name}: {set(answer.values())}")
        self.seconds_a_pass = time.monotonic() - began

    @contextmanager
    def committing(self) -> Iterator[None]:
        """All groups go on by one record again and again, until the end; a pass takes a few seconds."""
        ending = threading.Event()

        def work() -> None:
            for offset in range(2, RECORDS_EACH):
                if ending.is_set():
                    return
                self.commit_all(offset, ending)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ending.set()
            thread.join()

    def close(self) -> None:
        self._groups.close()


def _summary(client: Client) -> GroupsSummary:
    try:
        return client.status().groups or GroupsSummary()
    except (KmigrateError, ClusterError):
        return GroupsSummary()


def _wait_until_synced(client: Client, program: Program, groups: int) -> float:
    """Returns what the round took in which the last group came into step."""
    began, longest = time.monotonic(), 0.0
    while True:
        found = _summary(client)
        longest = max(longest, found.round_seconds or 0.0)
        if found.synced >= groups and not found.differences:
            return longest
        if program.ended() or time.monotonic() - began > _LIMIT_SECONDS:
            raise BenchError(f"not in step: {found}\n{program.log_tail()}")
        time.sleep(0.2)


def _watch(client: Client, program: Program, seconds: float) -> Watched:
    """Counts rounds that end from now on."""
    known = _summary(client).rounds
    began, before = time.monotonic(), proc.cpu_seconds(program.pid)
    rounds: dict[int, float] = {}
    while time.monotonic() - began < seconds:
        found = _summary(client)
        if found.round_seconds is not None and found.rounds > known:
            rounds[found.rounds] = found.round_seconds
        time.sleep(0.5)
    if not rounds:
        raise BenchError(f"no round ended within {seconds:.0f} s")
    elapsed = time.monotonic() - began
    cpu = (proc.cpu_seconds(program.pid) - before) / elapsed * 100
    return Watched(max(rounds.values()), sum(rounds.values()) / len(rounds), cpu)
