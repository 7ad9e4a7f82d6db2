"""One process of a cluster, Kafka's or ZooKeeper's: its properties, its folder, its signals.

`NodePlan` says what a node is; its files are written from that alone, so that a restarted node is the
same node on the same ports. `KafkaNode` is the running process.
"""

from __future__ import annotations

import enum
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from kmigrate.demo.java import java_command, start_java

HOST = "127.0.0.1"

_LOGGING = """\
log4j.rootLogger=WARN, out
log4j.appender.out=org.apache.log4j.ConsoleAppender
log4j.appender.out.layout=org.apache.log4j.PatternLayout
log4j.appender.out.layout.ConversionPattern=[%d] %p %m (%c)%n
"""
_LOGGING_4X = """\
rootLogger.level=warn
rootLogger.appenderRef.out.ref=out
appender.out.type=Console
appender.out.name=out
appender.out.layout.type=PatternLayout
appender.out.layout.pattern=[%d] %p %m (%c)%n
"""


class NodeState(enum.Enum):
    """What we did to a node last; a process that died by itself is seen in `KafkaNode.exit_code`."""

    DOWN = "down"
    RUNNING = "running"
    FROZEN = "frozen"


@dataclass(frozen=True, slots=True, kw_only=True)
class Jvm:
    """How Java runs. `quick` saves seconds at the start and costs throughput later."""

    quick: bool
    class_archive: Path | None = None
    dump_classes_to: Path | None = None

    def options(self) -> list[str]:
        options = ["-Djava.awt.headless=true", "-XX:-UsePerfData"]
        if self.quick:
            options += ["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"]
        if self.class_archive is not None:
            options += ["-Xshare:auto", f"-XX:SharedArchiveFile={self.class_archive}"]
        if self.dump_classes_to is not None:
            options += [f"-XX:ArchiveClassesAtExit={self.dump_classes_to}"]
        return options


@dataclass(frozen=True, slots=True, kw_only=True)
class NodePlan:
    """What one node is: the class that Java runs, its ports by listener name, and its properties.

    `data_property` is the property that names the folder of its data.
    """

    node_id: int
    main_class: str
    heap: str
    ports: Mapping[str, int]
    data_property: str
    properties: Mapping[str, str]


class KafkaNode:
    """The process of one node; its folder holds properties and data, its log file lies elsewhere."""

    def __init__(self, plan: NodePlan, *, jars: Path, folder: Path, log: Path, jvm: Jvm) -> None:
        self.plan = plan
        self.folder = folder
        self.data = folder / "data"
        self.log = log
        self.state = NodeState.DOWN
        self._jars = jars
        self._jvm = jvm
        self._process: subprocess.Popen[bytes] | None = None
        self._scratch = folder / "tmp"
        self._scratch.mkdir(parents=True, exist_ok=True)
        self.properties_file = folder / "server.properties"
        properties = {plan.data_property: str(self.data), **plan.properties}
        lines = [f"{key}={value}" for key, value in properties.items()]
        self.properties_file.write_text("\n".join(lines) + "\n", encoding="utf-8")
        (folder / "log4j.properties").write_text(_LOGGING, encoding="utf-8")
        (folder / "log4j2.properties").write_text(_LOGGING_4X, encoding="utf-8")

    @property
    def pid(self) -> int | None:
        """The pid of the process, also while it is frozen; none while the node is down."""
        return self._process.pid if self._process is not None else None

    @property
    def exit_code(self) -> int | None:
        """How the process ended by itself, if it did."""
        return None if self._process is None else self._process.poll()

    def command(self, main_class: str, *arguments: str) -> list[str]:
        """A command line of one of Kafka's classes, with this node's logging and Java options."""
        options = [
            f"-Xmx{self.plan.heap}",
            *self._jvm.options(),
            f"-Djava.io.tmpdir={self._scratch}",  # codecs unpack libraries there, which a crash leaves behind
            f"-Dlog4j.configuration=file:{self.folder / 'log4j.properties'}",
            f"-Dlog4j2.configurationFile={self.folder / 'log4j2.properties'}",
        ]
        return java_command(self._jars, main_class, arguments, options=options)

    def start(self) -> None:
        if self._process is not None:
            raise RuntimeError(f"node {self.plan.node_id} is {self.state.value} already")
        self._process = start_java(self.command(self.plan.main_class, str(self.properties_file)), output=self.log)
        self.state = NodeState.RUNNING

    def freeze(self) -> None:
        """Stop the process where it is: its sockets stay open and nothing answers."""
        self._signal(signal.SIGSTOP)
        self.state = NodeState.FROZEN

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)
        self.state = NodeState.RUNNING

    def stop(self, *, patience_seconds: float) -> None:
        """Ask the process to shut down in order; one that does not is killed, and that is raised."""
        if self._process is None:
            return
        if self.state is NodeState.FROZEN:
            self.thaw()
        self._signal(signal.SIGTERM)
        try:
            self._process.wait(patience_seconds)
        finally:
            self.kill()

    def kill(self) -> None:
        """End the process at once, as a crash would; SIGKILL also ends a frozen one."""
        if self._process is None:
            return
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._process = None
        self.state = NodeState.DOWN

    def topics(self) -> set[str]:
        """The topics that a broker keeps replicas of, by the folders of its data."""
        folders = [folder.name for folder in self.data.iterdir() if folder.is_dir()]
        names = (name.rpartition("-") for name in folders)
        return {topic for topic, _, partition in names if partition.isdecimal()}  # not those to be deleted

    def erase(self) -> None:
        """Remove the folder; the log file stays."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def log_tail(self, lines: int) -> str:
        """The last lines of what the process printed."""
        if not self.log.exists():
            return ""
        return "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])

    def _signal(self, number: signal.Signals) -> None:
        if self._process is None or self._process.poll() is not None:
            raise ProcessLookupError(f"node {self.plan.node_id} is not running")
        os.killpg(self._process.pid, number)
