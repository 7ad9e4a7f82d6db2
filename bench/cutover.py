"""How long a service waits while it moves: `consumers-first` behind a fence, with real writers and readers.

A script leads as an operator would, by the owner's API. Every run is a migration of its own, with new topics, to its
end; and a judge counts what became of every record, since a short pause in which something is lost is worth nothing.
Writers are not stopped: the fence stops them, as it would in a service with writers that nobody remembers.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    OffsetSpec,
    ResourcePatternType,
    ResourceType,
)
from confluent_kafka.cimpl import NewTopic, TopicPartition

from bench.figures import Goal, Row, percentile
from bench.lab import HEAP, SOURCE_VERSION, TARGET_VERSION, BenchError, Lab
from bench.machine import describe_machine
from bench.programs import Program, kmigrate_command
from bench.report import CaseResult
from kmigrate.api.client import Client
from kmigrate.demo.embedded import EmbeddedCluster
from kmigrate.demo.guarded import LISTENERS, client_properties, guarded_properties
from kmigrate.demo.service.judge import Verdict, judge
from kmigrate.demo.service.plans import ProducerSpec, ReaderSpec, ServiceSpec
from kmigrate.demo.service.running import ONLY_DISASTERS
from kmigrate.demo.service.service import Service
from kmigrate.errors import GateNotReached, KmigrateError
from kmigrate.kafka_types import Side
from kmigrate.runner.folder import MigrationFolder
from kmigrate.state.store import FILE_NAME

TOPICS, PARTITIONS = 20, 6
WRITERS = 4
RECORDS_PER_SECOND = 5_000
GROUPS, MEMBERS = 2, 2
ROUNDS, SHORT_ROUNDS = 10, 2
PAUSE_GOAL = Goal(limit=3.0)
_PREFIX = "moved"
_LIMIT_SECONDS = 180.0
_RUN_UP_SECONDS = 5.0
_POLL_SECONDS = 0.05
_NS = 1e9
_DIFFERENT = 3
"""What `verify` ends with where something differs."""
_PARTS = {
    "the fence": ("put-up-fence", "put-up-fence"),
    "standing still": ("put-up-fence", "left step freeze"),
    "the rest is copied": ("left step freeze", "copy-tail"),
    "the rest is verified": ("copy-tail", "verify-tail"),
    "the copy ends": ("verify-tail", "end-copy"),
    "handing over": ("end-copy", "promote"),
}
"""Part of the writers' pause → the entries of the journal that it lies between."""

Figures = dict[str, float]


class Clusters(NamedTuple):
    """Both clusters, on which fences hold, and where kmigrate's password lies."""

    of: Mapping[Side, EmbeddedCluster]
    password: Path


def measure(lab: Lab) -> CaseResult:
    """Moves a service again and again; the first run warms up and does not count."""
    rounds = lab.asked_rounds or (SHORT_ROUNDS if lab.short else ROUNDS)
    found: list[Figures] = []
    with _guarded(lab) as clusters:
        for number in range(rounds + 1):
            figures = _Move(lab, clusters, lab.new_name(_PREFIX)).run()
            told = ", ".join(f"{key} {value:.2f} s" for key, value in figures.items())
            lab.say(f"run {number} of {rounds}: {told}" if number else f"warm-up: {told}")
            if number:
                found.append(figures)
    return CaseResult(
        case="cutover",
        title="`consumers-first` with a fence: how long writers and readers wait for kmigrate, every run a migration.",
        other="",
        rows=_rows(found),
        settings={
            "Topics": TOPICS,
            "Partitions each": PARTITIONS,
            "Records a second": RECORDS_PER_SECOND,
            "Writers": WRITERS,
            "Groups": f"{GROUPS} with {MEMBERS} members each",
            "Runs": rounds,
            "Fence": "deny-write ACLs on the source",
        },
        machine=describe_machine([SOURCE_VERSION, TARGET_VERSION]),
        short=lab.short,
        rounds=found,
    )


def _rows(found: Sequence[Figures]) -> tuple[Row, ...]:
    def share(key: str) -> tuple[float, ...]:
        return (percentile(sorted(figures[key] for figures in found), 0.95),)

    def every(key: str) -> tuple[float, ...]:
        return tuple(figures[key] for figures in found)

    return (
        Row(label="writers wait, p95 of all runs", unit="s", ours=share("writers"), goal=PAUSE_GOAL),
        Row(label="writers wait", unit="s", ours=every("writers")),
        *(Row(label=f"of it {part}", unit="s", ours=every(part)) for part in _PARTS),
        Row(label="readers wait, p95 of all runs", unit="s", ours=share("readers"), goal=PAUSE_GOAL),
        Row(label="readers wait", unit="s", ours=every("readers")),
        Row(label="from the last acknowledgement to the first one there", unit="s", ours=every("writers restarted")),
        Row(label="a group's longest pause, its restart included", unit="s", ours=every("readers restarted")),
    )


@contextlib.contextmanager
def _guarded(lab: Lab) -> Iterator[Clusters]:
    """A source and a target with an authorizer; those of the lab have none, and stay idle."""
    password = secrets.token_hex(8)
    place = lab.work / "cutover-password"
    place.touch(mode=0o600)
    place.write_text(password, encoding="utf-8")
    with contextlib.ExitStack() as stack:
        made = {
            side: stack.enter_context(
                EmbeddedCluster(
                    version,
                    heap=HEAP,
                    quick=False,
                    properties=guarded_properties(password),
                    listeners=LISTENERS,
                    keep_logs_on_failure=False,
                    say=lab.say,
                )
            )
            for side, version in ((Side.SOURCE, SOURCE_VERSION), (Side.TARGET, TARGET_VERSION))
        }
        _allow_everybody(made[Side.SOURCE])
        yield Clusters(made, place)


def _allow_everybody(cluster: EmbeddedCluster) -> None:
    """Topics have rules, as where an authorizer is in earnest: beside none a fence is refused, unless told more."""
    rule = AclBinding(
        *(ResourceType.TOPIC, _PREFIX, ResourcePatternType.PREFIXED, "User:*", "*"),
        *(AclOperation.ALL, AclPermissionType.ALLOW),
    )
    admin = _admin(cluster)
    for future in admin.create_acls([rule]).values():
        future.result(_LIMIT_SECONDS)


class _Move:
    """One run: a service, its migration, and whoever leads it."""

    def __init__(self, lab: Lab, clusters: Clusters, name: str) -> None:
        self._lab, self._clusters, self._name = lab, clusters, name
        self._topics = tuple(f"{name}-{number}" for number in range(TOPICS))
        self._folder = lab.work / name
        self._folder.mkdir()
        self._manifest = self._folder / "manifest.yaml"
        self._manifest.write_text(_manifest(clusters, name, self._topics, _groups(name)), encoding="utf-8")
        self._state = self._folder / "state"
        self._client = Client(MigrationFolder(self._state, name))
        self._program: Program | None = None

    def run(self) -> Figures:
        """Moves the service to the target; returns seconds."""
        addresses = {side: each.bootstrap for side, each in self._clusters.of.items()}
        self._create_topics()
        try:
            with (
                Service(_spec(self._name, self._topics), addresses, self._folder / "service") as service,
                self._copier() as self._program,
            ):
                service.start(service.names, Side.SOURCE)
                figures = self._lead(service)
                service.stop(service.writers(self._topics))
                verdict = self._read_to_the_end(service)
                service.stop(service.names)
            _approve(verdict)
            figures["readers restarted"] = verdict.longest_group_pause_seconds
        finally:
            self._delete_topics()
            shutil.rmtree(self._folder, ignore_errors=True)
        return figures

    def _lead(self, service: Service) -> Figures:
        """Follows the steps to the end of the wave."""
        writers = service.writers(self._topics)
        self._leave("replicate")
        readers_wait = max(self._move_group(service) for _ in range(GROUPS))
        time.sleep(_RUN_UP_SECONDS)  # readers have caught up, and the pause begins as it would at any moment
        self._leave("stop-writers")
        may_write = self._reach("start-writers", left="stop-writers")
        wall = time.time() - time.monotonic()
        for name in writers:
            service.kill(name)  # what the fence has refused is an error to them, and not tried again
        service.start(writers, Side.TARGET)
        acknowledged = service.ledger().acknowledged
        at = {side: [each.at_ns / _NS for each in acknowledged if each.place.side is side] for side in Side}
        last, first = max(at[Side.SOURCE]), min(at[Side.TARGET])
        figures = {"writers": may_write - last, "readers": readers_wait, "writers restarted": first - last}
        figures |= _parts(self._state / self._name / FILE_NAME, last + wall)
        self._leave("start-writers")
        self._leave("watch", kind="finish")
        self._wait(self._is_over, "the wave does not end")
        return figures

    def _move_group(self, service: Service) -> float:
        """Moves the group whose turn it is; returns how long its members waited for kmigrate."""
        readers = service.readers(self._status()["step"]["groups"])
        service.stop(readers)
        gone = time.monotonic()
        self._leave("stop-readers")
        waited = self._reach("start-readers", left="stop-readers") - gone
        service.start(readers, Side.TARGET)
        self._leave("start-readers")
        return waited

    # -- what an operator's script does

    def _status(self, *, fresh: bool = False) -> Mapping[str, Any]:
        assert self._program is not None
        if self._program.ended():
            raise BenchError(f"kmigrate ended with code {self._program.exit_code}:\n{self._program.log_tail()}")
        try:
            document = self._client.cutover(fresh=fresh).to_value()
        except KmigrateError:  # it is just starting
            return {}
        is_known = document["waves"] and not document["problems"]  # those of groups that are not all seen yet pass
        wave: Mapping[str, Any] = document["waves"][0] if is_known else {}
        return wave

    def _leave(self, step: str, *, kind: str = "next") -> None:
        """Leaves a step as soon as its gates are open."""

        def is_left() -> bool:
            wave = self._status()
            if not wave or wave["phase"] != "waiting":
                return False
            if wave["step"]["name"] != step:
                raise BenchError(f"the wave is at {wave['step']['name']}, not at {step}: {wave['sentence']}")
            closed = {each["gate"] for each in wave["evidence"] if not each["open"]}
            if "verified" in closed:
                self._verify()
            try:
                self._client.command_cutover(
                    {"kind": kind, "wave": wave["wave"], "number": wave["number"], "approved": wave["needsApproval"]}
                )
            except KmigrateError as error:
                if error.exit_code == GateNotReached.exit_code:
                    return False
                raise
            return True

        began = time.monotonic()
        self._wait(is_left, f"step {step} cannot be left")
        self._lab.say(f"{self._name}: left {step} after {time.monotonic() - began:.1f} s")

    def _reach(self, step: str, *, left: str) -> float:
        """Waits until the wave waits at a step; returns when it was seen there, on the monotonic clock."""

        def is_there() -> bool:
            wave = self._status()
            if wave and wave["phase"] == "waiting" and wave["step"]["name"] == left:
                raise BenchError(f"it was taken back: {wave['sentence']}")
            return bool(wave) and wave["step"]["name"] == step and wave["phase"] == "waiting"

        self._wait(is_there, f"step {step} is not reached")
        return time.monotonic()

    def _is_over(self) -> bool:
        """Whether the wave has ended; so does the owner then, as nothing is left to copy."""
        assert self._program is not None
        return self._program.ended() or self._status().get("outcome") == "finished"

    def _wait(self, done: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + _LIMIT_SECONDS
        while not done():
            if time.monotonic() > deadline:
                shown = json.dumps(self._status(), indent=1)
                raise BenchError(f"{what} within {_LIMIT_SECONDS:.0f} s:\n{shown}")
            time.sleep(_POLL_SECONDS)

    def _verify(self) -> None:
        command = [*kmigrate_command(), "verify", "-f", str(self._manifest), "--state", str(self._state)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode == _DIFFERENT:
            raise BenchError(f"verify found a difference:\n{done.stderr[-1000:]}")
        if done.returncode:
            self._lab.say(f"verify is tried again: {done.stderr.strip().splitlines()[-1:]}")

    # -- what it stands on

    def _copier(self) -> Program:
        arguments = ["run", "--file", str(self._manifest), "--state", str(self._state)]
        return Program("kmigrate", [*kmigrate_command(), *arguments], self._folder / "kmigrate.out")

    def _create_topics(self) -> None:
        admin = _admin(self._clusters.of[Side.SOURCE])
        wanted = [NewTopic(name, num_partitions=PARTITIONS, replication_factor=1) for name in self._topics]
        for future in admin.create_topics(wanted).values():
            future.result(_LIMIT_SECONDS)
        places = [TopicPartition(name, number) for name in self._topics for number in range(PARTITIONS)]

        def has_all() -> bool:
            """A broker that does not have a partition yet may refuse a producer's first batch, and take its second."""
            found = admin.list_offsets({place: OffsetSpec.earliest() for place in places})
            return all(each.exception(_LIMIT_SECONDS) is None for each in found.values())

        self._wait(has_all, "the source does not have its partitions")

    def _delete_topics(self) -> None:
        for cluster in self._clusters.of.values():
            admin = _admin(cluster)
            names = [each for each in admin.list_topics(timeout=_LIMIT_SECONDS).topics if not each.startswith("__")]
            for future in admin.delete_topics(names).values() if names else ():
                future.result(_LIMIT_SECONDS)

    def _read_to_the_end(self, service: Service) -> Verdict:
        deadline = time.monotonic() + _LIMIT_SECONDS
        while True:
            verdict = judge(service.ledger())
            if not verdict.lost or time.monotonic() > deadline:
                return verdict
            time.sleep(1.0)


def _admin(cluster: EmbeddedCluster) -> AdminClient:
    return AdminClient({"bootstrap.servers": cluster.bootstrap, "log_level": ONLY_DISASTERS})


def _approve(verdict: Verdict) -> None:
    """Raises BenchError unless everything was read once, in order."""
    if verdict.lost or verdict.repeated or verdict.out_of_order:
        told = f"{verdict.lost} lost, {verdict.repeated} repeated, {verdict.out_of_order} out of order"
        raise BenchError(f"{told}: {'; '.join(verdict.findings)}")


def _parts(store: Path, last: float) -> Figures:
    """How the time from the last acknowledgement on, in seconds since the epoch, was spent, by the journal."""
    with contextlib.closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as db:
        rows = db.execute("SELECT at_ms, detail FROM journal WHERE kind = 'cutover' ORDER BY number").fetchall()
    at = {str(json.loads(detail)["entry"]): at_ms / 1000 for at_ms, detail in rows}

    def when(word: str) -> float:
        found = [moment for entry, moment in at.items() if _is_about(entry, word)]
        if not found:
            raise BenchError(f"the journal has no entry about {word}")
        return max(found)

    return {part: when(end) - (last if begin == end else when(begin)) for part, (begin, end) in _PARTS.items()}


def _is_about(entry: str, word: str) -> bool:
    if word.startswith("left step"):
        return entry.startswith("left step") and f", {word.split()[-1]}" in entry
    return entry.startswith(word) and entry.endswith(": done")


def _groups(name: str) -> tuple[str, ...]:
    return tuple(f"{name}-group-{number}" for number in range(GROUPS))


def _spec(name: str, topics: Sequence[str]) -> ServiceSpec:
    """Every topic is written by one application, and read by one group."""
    return ServiceSpec(
        producers=tuple(
            ProducerSpec(
                name=f"writer-{number}",
                topics=tuple(topics[number::WRITERS]),
                keys=PARTITIONS * TOPICS * 2,
                records_per_second=RECORDS_PER_SECOND // WRITERS,
            )
            for number in range(WRITERS)
        ),
        readers=tuple(
            ReaderSpec(group=group, topics=tuple(topics[number::GROUPS]), members=MEMBERS)
            for number, group in enumerate(_groups(name))
        ),
    )


def _manifest(clusters: Clusters, name: str, topics: Sequence[str], groups: Sequence[str]) -> str:
    source, target = (
        json.dumps(client_properties(clusters.of[side], clusters.password)) for side in (Side.SOURCE, Side.TARGET)
    )
    return f"""\
apiVersion: kmigrate/v1
kind: Migration
metadata: {{name: {name}}}
spec:
  source: {{properties: {source}}}
  target: {{properties: {target}}}
  topics: {{include: {json.dumps(list(topics))}}}
  groups: {{include: {json.dumps(list(groups))}}}
  scheme: consumers-first
  fence: acl
  wayBack: false
  limits: {{targetFreePercent: 0}}
"""
