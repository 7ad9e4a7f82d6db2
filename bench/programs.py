"""kmigrate and MirrorMaker 2 as processes, started the way their users start them.

Both are watched from outside and killed when this process ends. kmigrate counts with all its processes: CPU of owner
and workers, their PSS added up. MirrorMaker 2 is one Java process: its CPU, its RSS.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from bench import proc
from bench.lab import TARGET_VERSION, BenchError, Lab
from kmigrate.demo.java import java_command, start_java
from kmigrate.demo.kafka_jars import ensure_kafka
from kmigrate.kafka_types import Side

MIRROR_MAKER_VERSION = TARGET_VERSION
MIRROR_MAKER_HEAP = "3g"
MIRROR_MAKER_TASKS = 2
_MIRROR_MAKER = "org.apache.kafka.connect.mirror.MirrorMaker"
_GRACE_SECONDS = 10.0
_POLL_SECONDS = 0.02


class Usage(NamedTuple):
    """What a program has used so far and holds now; `rss_bytes` counts shared pages for each process."""

    cpu_seconds: float
    memory_bytes: int
    rss_bytes: int


class Program:
    """A process, with its children, from its start to its end; a context manager that ends it.

    `started` is the monotonic time just before it was started. After its end `total_cpu_seconds` is its CPU from the
    very start to the very end, with every child that was waited for.
    """

    same_offsets = True
    """Whether the copy's records have the offsets of the source; else the copy is numbered anew, without gaps."""

    def __init__(self, name: str, command: Sequence[str], log: Path) -> None:
        self.name = name
        self._log = log
        self.exit_code: int | None = None
        self.total_cpu_seconds = 0.0
        self.started = time.monotonic()
        self._process = start_java(command, output=log)  # ties any program to the life of this one

    @property
    def pid(self) -> int:
        return self._process.pid

    def usage(self) -> Usage:
        """CPU and memory of the process and all its children, now."""
        stats = proc.family(self.pid, proc.read_all())
        pids = [stat.pid for stat in stats]
        return Usage(proc.seconds_of(stats), proc.pss_bytes(pids), proc.rss_bytes(pids))

    def pids(self) -> list[int]:
        """The process first, then its children."""
        return [stat.pid for stat in proc.family(self.pid, proc.read_all())]

    def ended(self) -> bool:
        """Whether the process is gone; its children are then gone or orphaned."""
        if self.exit_code is None:
            pid, status, used = os.wait4(self.pid, os.WNOHANG)
            if pid:
                self.exit_code = self._process.returncode = os.waitstatus_to_exitcode(status)
                self.total_cpu_seconds = used.ru_utime + used.ru_stime
        return self.exit_code is not None

    def wait(self, seconds: float) -> bool:
        """Waits for the end; False if the time is over first."""
        deadline = time.monotonic() + seconds
        while not self.ended():
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL_SECONDS)
        return True

    def finish(self, seconds: float) -> None:
        """Waits for the end and raises BenchError unless it is a good one."""
        if not self.wait(seconds):
            raise BenchError(f"{self.name} did not end within {seconds:.0f} s:\n{self.log_tail()}")
        if self.exit_code != 0:
            raise BenchError(f"{self.name} ended with code {self.exit_code}:\n{self.log_tail()}")

    def end(self) -> None:
        """Interrupts the process, and kills it and its group if it does not go; safe to call twice."""
        if not self.ended():
            os.killpg(self.pid, signal.SIGINT)
            self.wait(_GRACE_SECONDS)
        self.kill()

    def kill(self) -> None:
        if not self.ended():
            os.killpg(self.pid, signal.SIGKILL)
            self.wait(_GRACE_SECONDS)

    def log_tail(self, lines: int = 20) -> str:
        """The last lines of what it printed."""
        with contextlib.suppress(FileNotFoundError):
            return "\n".join(self._log.read_text(errors="replace").splitlines()[-lines:])
        return ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()


class MirrorMaker(Program):
    """MirrorMaker 2: one Java process; asked for its RSS, since a scan of its page tables would cost it time."""

    same_offsets = False

    def usage(self) -> Usage:
        rss = proc.rss_bytes([self.pid])
        return Usage(proc.cpu_seconds(self.pid), rss, rss)

    def end(self) -> None:
        """Kills it: it has no state that is wanted, and its orderly end takes long."""
        self.kill()


# ── starting them ─────────────────────────────────────────────────────────────────────────────────────────────────


def start_kmigrate(
    lab: Lab, migration: str, topics: Sequence[str], *, until_in_sync: bool = True, state: Path | None = None
) -> Program:
    """`kmigrate run` with a manifest as small as it can be; `state` is a folder of its own if there is none."""
    folder = lab.work / migration
    folder.mkdir(exist_ok=True)
    manifest = folder / "manifest.yaml"
    manifest.write_text(kmigrate_manifest(lab, migration, topics))
    arguments = ["run", "--file", str(manifest), "--state", str(state or folder / "state")]
    arguments += ["--until", "in-sync"] if until_in_sync else []
    return Program("kmigrate", [*kmigrate_command(), *arguments], folder / "kmigrate.out")


def kmigrate_manifest(lab: Lab, migration: str, topics: Sequence[str]) -> str:
    return f"""\
apiVersion: kmigrate/v1
kind: Migration
metadata: {{name: {migration}}}
spec:
  source: {{properties: {{bootstrap.servers: "{lab.bootstrap(Side.SOURCE)}"}}}}
  target: {{properties: {{bootstrap.servers: "{lab.bootstrap(Side.TARGET)}"}}}}
  topics: {{include: {json.dumps(list(topics))}}}
  offsets: {{class: identical}}
"""


def kmigrate_command() -> list[str]:
    """The installed command beside this interpreter; where there is none, its entry point."""
    installed = Path(sys.executable).with_name("kmigrate")
    if installed.exists():
        return [str(installed)]
    return [sys.executable, "-P", "-c", "from kmigrate.cli import main; main()"]


def start_mirror_maker(lab: Lab, name: str, topic: str, *, committed: bool = False) -> MirrorMaker:
    """MirrorMaker 2 with settings for throughput; the target topic must exist. `committed`: it reads nothing else."""
    folder = lab.work / name
    folder.mkdir()
    settings = folder / "mm2.properties"
    pairs = mirror_maker_settings(lab, topic) | {"dst.group.id": name}  # a killed predecessor is nobody's fellow
    pairs["src.consumer.isolation.level"] = "read_committed" if committed else "read_uncommitted"
    settings.write_text("".join(f"{key} = {value}\n" for key, value in pairs.items()))
    options = [f"-Xmx{MIRROR_MAKER_HEAP}", f"-Xms{MIRROR_MAKER_HEAP}", "-XX:+UseParallelGC"]
    options += ["-Djava.awt.headless=true", *_quiet(folder)]
    command = java_command(ensure_kafka(MIRROR_MAKER_VERSION), _MIRROR_MAKER, [str(settings)], options=options)
    return MirrorMaker("MirrorMaker 2", command, folder / "mm2.out")


def mirror_maker_settings(lab: Lab, topic: str) -> dict[str, str]:
    """Large fetches, large batches, five requests in flight, and nothing on the side: as fast as we know to make it."""
    replication = dict.fromkeys(
        (
            "replication.factor",
            "offset-syncs.topic.replication.factor",
            "checkpoints.topic.replication.factor",
            "heartbeats.topic.replication.factor",
            "dst.offset.storage.replication.factor",
            "dst.config.storage.replication.factor",
            "dst.status.storage.replication.factor",
        ),
        "1",
    )
    return {
        "clusters": "src, dst",
        "src.bootstrap.servers": lab.bootstrap(Side.SOURCE),
        "dst.bootstrap.servers": lab.bootstrap(Side.TARGET),
        "src->dst.enabled": "true",
        "dst->src.enabled": "false",
        "src->dst.emit.heartbeats.enabled": "false",
        "dst->src.emit.heartbeats.enabled": "false",
        "src->dst.topics": topic,
        "src->dst.groups": "no-such-group",
        "replication.policy.class": "org.apache.kafka.connect.mirror.IdentityReplicationPolicy",
        "tasks.max": str(MIRROR_MAKER_TASKS),
        **replication,
        "sync.topic.acls.enabled": "false",
        "sync.topic.configs.enabled": "false",
        "offset.lag.max": "10000",
        "src.consumer.max.poll.records": "10000",
        "src.consumer.fetch.min.bytes": "1048576",
        "src.consumer.fetch.max.wait.ms": "100",
        "src.consumer.max.partition.fetch.bytes": "10485760",
        "src.consumer.fetch.max.bytes": "104857600",
        "dst.producer.batch.size": "1000000",
        "dst.producer.linger.ms": "20",
        "dst.producer.max.request.size": "10485760",
        "dst.producer.buffer.memory": "134217728",
        "dst.producer.max.in.flight.requests.per.connection": "5",
        "dst.producer.enable.idempotence": "true",
        "dst.producer.compression.type": "none",
        "dst.offset.flush.timeout.ms": "30000",
    }


def _quiet(folder: Path) -> list[str]:
    logging = folder / "log4j2.properties"
    logging.write_text(
        "rootLogger.level=warn\nrootLogger.appenderRef.out.ref=out\nappender.out.type=Console\n"
        "appender.out.name=out\nappender.out.layout.type=PatternLayout\nappender.out.layout.pattern=[%d] %p %m (%c)%n\n"
    )
    return [f"-Dlog4j2.configurationFile={logging}"]


def forget(lab: Lab, migration: str) -> None:
    """Removes the state of a migration, so that its next start knows nothing."""
    shutil.rmtree(lab.work / migration, ignore_errors=True)
