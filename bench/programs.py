"""Programs as processes, watched from outside and killed when this one ends; kmigrate as its users start it.

kmigrate counts with all its processes: CPU of owner and workers, their PSS added up.
"""

from __future__ import annotations

import compileall
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

import kmigrate
from bench import proc
from bench.lab import BenchError, Lab, Load, producer_command
from kmigrate.demo.java import start_java
from kmigrate.kafka_types import Side

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
    """Whether the copy's records have the offsets of the source; else the copy is numbered anew."""
    in_transactions = False
    """Whether a copy that is numbered anew has gaps, where markers lie."""

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


class JavaProgram(Program):
    """One Java process; asked for its RSS, since a scan of its page tables would cost it time."""

    same_offsets = False

    def usage(self) -> Usage:
        rss = proc.rss_bytes([self.pid])
        return Usage(proc.cpu_seconds(self.pid), rss, rss)

    def end(self) -> None:
        """Kills it: it has no state that is wanted, and its orderly end may take long."""
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
  source: {{properties: {json.dumps({"bootstrap.servers": lab.tool_bootstrap(Side.SOURCE), **lab.client_settings})}}}
  target: {{properties: {json.dumps({"bootstrap.servers": lab.tool_bootstrap(Side.TARGET), **lab.client_settings})}}}
  topics: {{include: {json.dumps(list(topics))}}}
  offsets: {{class: identical}}
  limits: {{targetFreePercent: 0}}
"""


def compile_kmigrate() -> None:
    """Compiles the package's files, as every installation of it does; a checkout may never have been."""
    compileall.compile_dir(Path(kmigrate.__file__).parent, quiet=2)


def kmigrate_command() -> list[str]:
    """The installed command beside this interpreter; where there is none, its entry point."""
    installed = Path(sys.executable).with_name("kmigrate")
    if installed.exists():
        return [str(installed)]
    return [sys.executable, "-P", "-c", "from kmigrate.cli import main; main()"]


def start_producer(lab: Lab, load: Load, *, record_bytes: int, batch_bytes: int) -> JavaProgram:
    """Kafka's ProducerPerformance writes as many records into a topic of the target, idempotent."""
    log = lab.work / f"{lab.new_name('producer')}.out"
    command = producer_command(
        lab.tool_bootstrap(Side.TARGET),
        load.topic,
        records=load.records,
        record_bytes=record_bytes,
        properties={"acks": "all", "enable.idempotence": "true", "batch.size": str(batch_bytes), "linger.ms": "100"},
    )
    return JavaProgram("ProducerPerformance", command, log)


def forget(lab: Lab, migration: str) -> None:
    """Removes the state of a migration, so that its next start knows nothing."""
    shutil.rmtree(lab.work / migration, ignore_errors=True)
