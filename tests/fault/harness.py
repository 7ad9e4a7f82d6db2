"""A migration as a user runs it, in a child process that may be hurt, and the witness that judges what it did.

Every wait has a deadline, and a failure says what was seen last, the end of the migration's messages and log, and
where the brokers log.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

import kmigrate
from kmigrate.api.client import Client
from kmigrate.demo.embedded import EmbeddedCluster
from kmigrate.errors import KmigrateError
from kmigrate.runner.folder import MigrationFolder
from tests.fault.load import Place, parse_id
from tests.kafka_tools import ReadRecord, read_all

LIVENESS_SECONDS = 90.0
"""How long anything that must happen may take; a generous limit, not a promise."""
POLL_SECONDS = 0.05
INTERRUPTED = 130
REFUSED = 6

T = TypeVar("T")
Document = Mapping[str, Any]
Evidence = Callable[[], str]


def wait_until(
    what: str, look: Callable[[], T], *, seconds: float = LIVENESS_SECONDS, evidence: Evidence = lambda: ""
) -> T:
    """Look again and again until something true is seen; returns it. `look` may raise while clusters are down."""
    deadline = time.monotonic() + seconds
    seen: object = None
    while True:
        try:
            found = look()
        except (KafkaException, KmigrateError) as error:
            seen = error
        else:
            if found:
                return found
            seen = found
        if time.monotonic() >= deadline:
            raise AssertionError(f"not within {seconds:.0f} s: {what}; seen last: {seen!r}\n{evidence()}")
        time.sleep(POLL_SECONDS)


def is_alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


class Migration:
    """`kmigrate run` of one migration in a child process, which may be killed, frozen and started again.

    `state` holds the state folders; two migrations of the same name with different ones are two copiers.
    """

    def __init__(
        self,
        folder: Path,
        source: EmbeddedCluster,
        target: EmbeddedCluster,
        topics: Sequence[str],
        *,
        name: str,
        state: str = "state",
        spec: Document | None = None,
        request_timeout_ms: int = 5_000,
        lease: bool = True,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.source = source
        self.target = target
        self.topics = tuple(topics)
        self.state_root = folder / state
        self.manifest = folder / f"{name}-{state}.yaml"
        self.stderr = folder / f"{name}-{state}.stderr"
        self._environment = _environment() | ({} if lease else {"KMIGRATE_TEST_LEASE": "off"}) | dict(environment or {})
        self._process: subprocess.Popen[bytes] | None = None
        self._frozen: set[int] = set()
        self._children_killed: list[int] = []
        sides = {"source": source.bootstrap, "target": target.bootstrap}
        wanted: dict[str, Any] = dict(spec or {})
        document = {
            "apiVersion": "kmigrate/v1",
            "kind": "Migration",
            "metadata": {"name": name},
            "spec": {
                side: {"properties": {"bootstrap.servers": bootstrap, "request.timeout.ms": str(request_timeout_ms)}}
                for side, bootstrap in sides.items()
            }
            | {"topics": {"include": list(topics)}}
            | wanted
            | {"limits": {"targetFreePercent": 0} | wanted.get("limits", {})},  # others fill this disk, too
        }
        self.manifest.write_text(yaml.safe_dump(document, sort_keys=False))

    # -- life ---------------------------------------------------------------------------------------------------------

    def start(self, *arguments: str) -> None:
        """Start the owner; it may still end by itself."""
        assert self._process is None or self._process.poll() is not None, f"{self.name} runs already"
        with self.stderr.open("ab") as errors:
            self._process = subprocess.Popen(
                [*_command("run"), *self._place(), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                env=self._environment,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """The owner's process."""
        assert self._process is not None, f"{self.name} was never started"
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """How the owner ended; None while it runs."""
        return None if self._process is None else self._process.poll()

    def wait_for_exit(self, seconds: float = LIVENESS_SECONDS) -> int:
        """Wait until the owner ends by itself; returns its exit code."""
        assert self._process is not None
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the owner still runs after {seconds:.0f} s\n{self.evidence()}") from None

    def stop(self) -> None:
        """End the owner as Ctrl-C does; fails unless it says so."""
        os.kill(self.pid, signal.SIGINT)
        code = self.wait_for_exit()
        assert code == INTERRUPTED, f"the interrupted owner ended with code {code}\n{self.evidence()}"

    def close(self) -> None:
        """Kill whatever is left of it."""
        workers = self.child_pids() if self.exit_code is None and self._process is not None else []
        for pid in [*self._frozen, *workers]:
            _send(pid, signal.SIGKILL)
        self._frozen.clear()
        if self._process is not None and self._process.poll() is None:
            _send(self.pid, signal.SIGKILL)
            self._process.wait()

    # -- harm ---------------------------------------------------------------------------------------------------------

    def kill_owner(self) -> None:
        """SIGKILL to the owner; its workers are left to notice."""
        self._children_killed = self.child_pids()
        _send(self.pid, signal.SIGKILL)
        assert self._process is not None
        self._process.wait()

    def kill_worker(self) -> int:
        """SIGKILL to the first worker that `status` names; returns its pid."""
        pid = wait_until("the status names a worker's process", self.worker_pids, evidence=self.evidence)[0]
        _send(pid, signal.SIGKILL)
        return pid

    def kill_workers(self) -> None:
        """SIGKILL to all workers that `status` names."""
        for pid in wait_until("the status names a worker's process", self.worker_pids, evidence=self.evidence):
            _send(pid, signal.SIGKILL)

    def kill(self, *, owner: bool) -> None:
        """SIGKILL to all workers at once, and before them to the owner; returns when none of them is alive."""
        workers = self.child_pids()
        for pid in [*([self.pid] if owner else []), *workers]:
            _send(pid, signal.SIGKILL)
        wait_until("the killed processes are gone", lambda: not any(map(is_alive, workers)))
        if owner:
            self._children_killed = workers
            self.wait_for_exit()

    def lose_state(self) -> None:
        """Lose the state's folder, and its mirror on the target with it; nothing of it runs."""
        shutil.rmtree(self.state_root)
        mirror = f"__kmigrate.{self.name}"
        admin = AdminClient({"bootstrap.servers": self.target.direct_bootstrap})
        if mirror in admin.list_topics(timeout=LIVENESS_SECONDS).topics:
            admin.delete_topics([mirror])[mirror].result(LIVENESS_SECONDS)
        wait_until("the mirror is gone", lambda: mirror not in admin.list_topics(timeout=LIVENESS_SECONDS).topics)

    def freeze(self, *, owner: bool = True, workers: bool = True) -> None:
        """SIGSTOP to the owner, its workers or both."""
        children = self.child_pids()
        for pid in [*([self.pid] if owner else []), *(children if workers else [])]:
            _send(pid, signal.SIGSTOP)
            self._frozen.add(pid)

    def thaw(self) -> None:
        """Let everything go on that was frozen."""
        for pid in self._frozen:
            _send(pid, signal.SIGCONT)
        self._frozen.clear()

    def child_pids(self) -> list[int]:
        """The owner's child processes, as the kernel lists them."""
        tasks = Path(f"/proc/{self.pid}/task")
        found: set[int] = set()
        with contextlib.suppress(OSError):
            for task in tasks.iterdir():
                with contextlib.suppress(OSError):
                    found.update(map(int, (task / "children").read_text().split()))
        return sorted(found)

    # -- what it says -------------------------------------------------------------------------------------------------

    def status(self) -> Document:
        """The document that `kmigrate status -o json` prints, asked over the owner's socket."""
        client = Client(MigrationFolder(self.state_root, self.name), start_seconds=0.0)
        document: Document = json.loads(client.status().to_json())
        return document

    def command(self, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Another command about this migration, as a user types it."""
        return subprocess.run(
            [*_command(name), *self._place(), *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=LIVENESS_SECONDS,
            env=self._environment,
        )

    def worker_pids(self) -> list[int]:
        """The worker processes that `status` says are alive."""
        return [each["pid"] for each in self.status()["workers"] if each["alive"] and each["pid"]]

    def wait_for_state(self, *states: str, seconds: float = LIVENESS_SECONDS) -> Document:
        """Wait until `status` shows one of these states; returns the document."""

        def look() -> Document | None:
            self._must_run()
            document = self.status()
            return document if document["state"] in states else None

        return wait_until(f"{self.name} is {' or '.join(states)}", look, seconds=seconds, evidence=self.evidence)

    def wait_in_sync(self, seconds: float = LIVENESS_SECONDS) -> None:
        """Wait until the target's log ends are the source's, as clients see both, and `status` says IN_SYNC.

        Fails at once when a partition is stopped: it stays so.
        """

        def look() -> bool:
            self._must_run()
            state = self.status()["state"]
            assert state != "STOPPED", f"{self.name} is stopped\n{self.evidence()}"
            return log_ends(self.source, self.topics) == log_ends(self.target, self.topics)

        wait_until("the target's log ends are the source's", look, seconds=seconds, evidence=self.evidence)
        self.wait_for_state("IN_SYNC")

    def copied(self) -> int:
        """How many offsets the target has now, in all partitions together."""

        def look() -> tuple[int]:
            return (sum(log_ends(self.target, self.topics, missing=0).values()),)

        return wait_until("the target tells its log ends", look, evidence=self.evidence)[0]

    def wait_for_growth(self, seconds: float = LIVENESS_SECONDS) -> None:
        """Wait until the target got a record more than it has now."""
        before = self.copied()

        def look() -> bool:
            self._must_run()
            return self.copied() > before

        wait_until("the target gets a new record", look, seconds=seconds, evidence=self.evidence)

    def restart_killed(self) -> float:
        """Start the owner again at once; returns the seconds until the target got a record from the new copier.

        Workers of the killed owner may still write for a moment: what comes before they are gone does not count.
        """
        begun = time.monotonic()
        before = self._children_killed
        self.start()
        wait_until("the old workers are gone", lambda: not any(map(is_alive, before)), evidence=self.evidence)
        self.wait_for_growth()
        return time.monotonic() - begun

    def revive(self, death: str = "") -> None:
        """Start the owner again, to die at another moment, or at none."""
        self._environment["KMIGRATE_TEST_DEATH"] = death
        self.start()
        wait_until("the owner answers", self.status, evidence=self.evidence)

    def messages(self) -> str:
        """All that the owner said on stderr, in every one of its lives."""
        return self.stderr.read_text(errors="replace") if self.stderr.exists() else ""

    def log(self) -> str:
        """All that it has logged, in every one of its lives."""
        files = sorted((self.state_root / self.name).glob("*.log*"))
        return "\n".join(each.read_text(errors="replace") for each in files)

    def evidence(self) -> str:
        """What a failure should show."""
        lines = [f"-- {self.name}: exit code {self.exit_code}"]
        try:
            document = self.status()
            lines.append(f"state {document['state']}: {document['reason']}; notices {document['notices']}")
            lines += [
                f"  {each['topic']}-{each['partition']} {each['state']} position {each['position']} of"
                f" {each['sourceEnd']}: {each['reason']} {each['stop'] or ''}"
                for each in document["partitions"]
                if each["state"] != "IN_SYNC"
            ]
        except (KmigrateError, OSError) as error:
            lines.append(f"no status: {error}")
        files = [self.stderr, *sorted((self.state_root / self.name).glob("*.log*"))]
        for file in files:
            if file.exists():
                lines += [f"-- the end of {file}", *file.read_text(errors="replace").splitlines()[-25:]]
        for side, cluster in (("source", self.source), ("target", self.target)):
            ends = _try(lambda cluster=cluster: log_ends(cluster, self.topics, seconds=1.0))
            lines.append(f"-- {side}: log ends {ends}; nodes {_nodes(cluster)}")
        return "\n".join(lines)

    def _must_run(self) -> None:
        assert self.exit_code is None, f"the owner ended with code {self.exit_code}\n{self.evidence()}"

    def _place(self) -> list[str]:
        return ["-f", str(self.manifest), "--state", str(self.state_root)]


class Witness:
    """Compares both clusters record by record, as librdkafka reads them past any proxy."""

    def __init__(self, source: EmbeddedCluster, target: EmbeddedCluster) -> None:
        self._source = source
        self._target = target

    def compare(self, acknowledged: Mapping[Place, Mapping[int, int]], evidence: Evidence = lambda: "") -> int:
        """Fails unless the target is the source and holds all that was acknowledged; returns how many records.

        Equal means: the same log starts and ends, and at every offset the same key, value, headers and timestamp.
        The ids of a load must rise in every partition, so that none is there twice or out of place.
        """
        compared = 0
        for topic in sorted({topic for topic, _ in acknowledged}):
            source = read_all(self._source.direct_bootstrap, topic)
            target = read_all(self._target.direct_bootstrap, topic)
            ends = [log_ends(cluster, [topic]) for cluster in (self._source, self._target)]
            assert source == target, f"{topic}: {_first_difference(source, target)}\n{evidence()}"
            assert ends[0] == ends[1], f"{topic}: log ends {ends[0]} became {ends[1]}\n{evidence()}"
            compared += len(target)
            found = _ids_by_place(topic, target)
            for place, ids in found.items():
                offsets = list(ids.values())
                assert offsets == sorted(offsets), f"{place}: records changed places\n{evidence()}"
                assert list(ids) == sorted(ids), f"{place}: ids do not rise\n{evidence()}"
            for place, wanted in acknowledged.items():
                if place[0] == topic:
                    lost = {each: at for each, at in wanted.items() if found.get(place, {}).get(each) != at}
                    assert not lost, (
                        f"{place}: acknowledged, but not there: {dict(list(lost.items())[:5])}\n{evidence()}"
                    )
        assert compared > 0, "nothing was compared"
        return compared


def log_ends(
    cluster: EmbeddedCluster, topics: Sequence[str], *, missing: int | None = None, seconds: float = 5.0
) -> dict[Place, int]:
    """The high watermarks of all partitions; raises KafkaException while they cannot be told.

    With `missing`, a topic that is not there counts as one empty partition with that end.
    """
    consumer = _consumer(cluster)
    ends: dict[Place, int] = {}
    for topic in topics:
        metadata = consumer.list_topics(topic, timeout=seconds).topics[topic]
        if metadata.error is not None:
            if missing is None:
                raise KafkaException(metadata.error)
            ends[topic, 0] = missing
        for partition in metadata.partitions:
            ends[topic, partition] = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=seconds)[
                1
            ]
    return ends


_consumers: dict[tuple[str, str], Consumer] = {}


def _consumer(cluster: EmbeddedCluster) -> Consumer:
    """One consumer a cluster, kept: opening one takes longer than asking it."""
    key = cluster.cluster_id, cluster.direct_bootstrap
    if key not in _consumers:
        settings = {"bootstrap.servers": key[1], "group.id": "witness", "log_level": 0, "reconnect.backoff.max.ms": 300}
        _consumers[key] = Consumer(settings)
    return _consumers[key]


def _ids_by_place(topic: str, records: Sequence[ReadRecord]) -> dict[Place, dict[int, int]]:
    """(topic, partition) → id → offset, in the order of the log; fails for an id that is there twice."""
    found: dict[Place, dict[int, int]] = {}
    for record in records:
        ids = found.setdefault((topic, record.partition), {})
        record_id = parse_id(record.value)
        assert record_id not in ids, (
            f"{topic}-{record.partition}: id {record_id} at {ids[record_id]} and {record.offset}"
        )
        ids[record_id] = record.offset
    return found


def _first_difference(source: Sequence[ReadRecord], target: Sequence[ReadRecord]) -> str:
    here, there = ({record[:2]: record for record in records} for records in (source, target))
    differing = [at for at in sorted(here.keys() | there.keys()) if here.get(at) != there.get(at)]
    first = differing[0]
    return (
        f"{len(source)} records became {len(target)}; {len(differing)} places differ, the first is partition"
        f" {first[0]} offset {first[1]}: {here.get(first)} became {there.get(first)}"
    )


def _nodes(cluster: EmbeddedCluster) -> str:
    told = []
    for node in sorted({*cluster.broker_ids, *cluster.quorum_ids}):
        folder = _try(lambda node=node: cluster.data_dir(node).parent.parent)
        told.append(f"{node} {_try(lambda node=node: cluster.state(node).value)} logs to {folder}/node-{node}.log")
    return "; ".join(told)


def _try(look: Callable[[], object]) -> object:
    try:
        return look()
    except (KafkaException, KmigrateError, KeyError) as error:
        return f"({error})"


def _send(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _command(name: str) -> list[str]:
    return [sys.executable, "-P", "-c", "from kmigrate.cli import main; main()", *name.split()]


def _environment() -> dict[str, str]:
    """Ours, with the place of the package under test first."""
    place = str(Path(kmigrate.__file__).parents[1])
    inherited = os.environ.get("PYTHONPATH")
    return os.environ | {"PYTHONPATH": f"{place}{os.pathsep}{inherited}" if inherited else place, "COLUMNS": "160"}


@contextlib.contextmanager
def closing_all(migrations: Sequence[Migration]) -> Iterator[None]:
    """Kills what is left of all migrations at the end."""
    try:
        yield
    finally:
        for migration in migrations:
            migration.close()
