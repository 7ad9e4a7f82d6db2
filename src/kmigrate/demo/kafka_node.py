"""One Kafka process: its properties, its folder, its signals.

`NodePlan` says what a node is; its files are written from that alone, so that a restarted node is the
same node on the same ports. `KafkaNode` is the running process.
"""

from __future__ import annotations

import enum
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kmigrate.demo.java import java_command, start_java

HOST = "127.0.0.1"
CLIENTS = "PLAINTEXT"
INTERNAL = "INTERNAL"
CONTROLLER = "CONTROLLER"

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

# A test wants a cluster that fails over and forgets quickly and that is content with little memory.
_BROKER_PROPERTIES = {
    "auto.create.topics.enable": "false",
    "background.threads": "2",
    "broker.heartbeat.interval.ms": "500",
    "broker.session.timeout.ms": "3000",
    "group.initial.rebalance.delay.ms": "0",
    "log.cleaner.dedupe.buffer.size": "8388608",
    "log.retention.ms": "-1",  # records with old timestamps stay, unless a topic says otherwise
    "num.io.threads": "4",
    "num.network.threads": "2",
    "offsets.topic.num.partitions": "4",
    "share.coordinator.state.topic.min.isr": "1",
    "share.coordinator.state.topic.num.partitions": "4",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "4",
}
_REPLICATED_TOPICS = (
    "offsets.topic.replication.factor",
    "share.coordinator.state.topic.replication.factor",
    "transaction.state.log.replication.factor",
)


class NodeState(enum.Enum):
    """What we did to a node last; a process that died by itself is seen in `KafkaNode.exit_code`."""

    DOWN = "down"
    RUNNING = "running"
    FROZEN = "frozen"


@dataclass(frozen=True, slots=True, kw_only=True)
class Jvm:
    """How the Java process runs. `quick` saves seconds at the start and costs throughput later."""

    heap: str
    quick: bool
    class_archive: Path | None = None
    dump_classes_to: Path | None = None

    def options(self) -> list[str]:
        options = [f"-Xmx{self.heap}", "-Djava.awt.headless=true", "-XX:-UsePerfData"]
        if self.quick:
            options += ["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"]
        if self.class_archive is not None:
            options += ["-Xshare:auto", f"-XX:SharedArchiveFile={self.class_archive}"]
        if self.dump_classes_to is not None:
            options += [f"-XX:ArchiveClassesAtExit={self.dump_classes_to}"]
        return options


@dataclass(frozen=True, slots=True, kw_only=True)
class NodePlan:
    """What one node of a KRaft cluster is; ports are by listener name."""

    node_id: int
    roles: Sequence[str]
    ports: Mapping[str, int]
    protocols: Mapping[str, str]
    voters: Mapping[int, int]
    brokers: int
    advertised_port: int | None = None
    properties: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_broker(self) -> bool:
        return "broker" in self.roles

    def server_properties(self, data: Path) -> dict[str, str]:
        """The server.properties of this node."""
        voters = ",".join(f"{node}@{HOST}:{port}" for node, port in self.voters.items())
        advertised = dict(self.ports) | ({CLIENTS: self.advertised_port} if self.advertised_port else {})
        advertised.pop(CONTROLLER, None)
        result = {
            "process.roles": ",".join(self.roles),
            "node.id": str(self.node_id),
            "controller.quorum.voters": voters,
            "controller.listener.names": CONTROLLER,
            "listeners": _listeners(self.ports),
            "listener.security.protocol.map": ",".join(
                f"{name}:{protocol}" for name, protocol in self.protocols.items()
            ),
            "log.dirs": str(data),
        }
        if self.is_broker:
            result["advertised.listeners"] = _listeners(advertised)
            result["inter.broker.listener.name"] = INTERNAL
        result |= _BROKER_PROPERTIES
        result |= dict.fromkeys(_REPLICATED_TOPICS, str(min(self.brokers, 3)))
        return result | dict(self.properties)


def _listeners(ports: Mapping[str, int]) -> str:
    return ",".join(f"{name}://{HOST}:{port}" for name, port in ports.items())


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
        folder.mkdir(parents=True, exist_ok=True)
        self.properties_file = folder / "server.properties"
        lines = [f"{key}={value}" for key, value in plan.server_properties(self.data).items()]
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
        logging = [
            f"-Dlog4j.configuration=file:{self.folder / 'log4j.properties'}",
            f"-Dlog4j2.configurationFile={self.folder / 'log4j2.properties'}",
        ]
        return java_command(self._jars, main_class, arguments, options=[*self._jvm.options(), *logging])

    def start(self) -> None:
        if self._process is not None:
            raise RuntimeError(f"node {self.plan.node_id} is {self.state.value} already")
        self._process = start_java(self.command("kafka.Kafka", str(self.properties_file)), output=self.log)
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
