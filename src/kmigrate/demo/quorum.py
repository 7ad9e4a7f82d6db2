"""Who keeps the metadata of a cluster: a quorum of KRaft controllers, or ZooKeeper before Kafka 3.3.

Everything that differs between the two is here: which nodes there are beside the brokers, what their
properties say, how a data folder is formatted, and what must pass before a broker that was down is as before.
"""

from __future__ import annotations

import base64
import contextlib
import shutil
import socket
import subprocess
import time
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

from kmigrate.demo.kafka_node import HOST, KafkaNode, NodePlan
from kmigrate.demo.ports import find_free_ports
from kmigrate.demo.readiness import list_known_topics
from kmigrate.errors import KmigrateError

CLIENTS = "PLAINTEXT"
INTERNAL = "INTERNAL"
CONTROLLER = "CONTROLLER"
ZOOKEEPER = "ZOOKEEPER"
FIRST_QUORUM_ID = 101

_FIRST_WITH_KRAFT = (3, 3)
_FORMATTED = ("meta.properties", "bootstrap.checkpoint")  # the latter is not written by old releases
_SESSION_MS = 3_000
_FORGETTING_SECONDS = 60.0

# A test wants a cluster that fails over and forgets quickly and that is content with little memory.
_BROKER_PROPERTIES = {
    "auto.create.topics.enable": "false",
    "background.threads": "2",
    "group.initial.rebalance.delay.ms": "0",
    "log.cleaner.backoff.ms": "300",
    "log.cleaner.dedupe.buffer.size": "8388608",
    "log.retention.ms": "-1",  # records with old timestamps stay, unless a topic says otherwise
    "num.io.threads": "4",
    "num.network.threads": "2",
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "4",
}
_REPLICATED_TOPICS = ("offsets.topic.replication.factor", "transaction.state.log.replication.factor")
_KRAFT_PROPERTIES = {
    "broker.heartbeat.interval.ms": "500",
    "broker.session.timeout.ms": str(_SESSION_MS),
    "share.coordinator.state.topic.min.isr": "1",
    "share.coordinator.state.topic.num.partitions": "4",
}
_KRAFT_REPLICATED_TOPICS = ("share.coordinator.state.topic.replication.factor",)
_ZOOKEEPER_CLIENT_PROPERTIES = {
    "zookeeper.connection.timeout.ms": "60000",
    "zookeeper.session.timeout.ms": str(_SESSION_MS),
}
_ZOOKEEPER_PROPERTIES = {
    "4lw.commands.whitelist": "dump",
    "admin.enableServer": "false",  # it would take port 8080
    "clientPortAddress": HOST,
    "forceSync": "no",
    "maxClientCnxns": "0",
    "tickTime": "500",
}


class FormatFailed(KmigrateError):
    """Kafka's StorageTool could not format a folder."""


class BrokerNotForgotten(KmigrateError):
    """ZooKeeper still counts a dead broker as alive, so that it cannot come back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Brokers:
    """What is wanted of the brokers of a cluster.

    `protocols` maps listeners to their security protocols; `advertised` maps a broker's id to the port that its
    listener for clients names, `hosts` a listener to the host that it names. `properties` win over our own.
    """

    ids: tuple[int, ...] = (1,)
    protocols: Mapping[str, str] = field(default_factory=dict)
    advertised: Mapping[int, int] = field(default_factory=dict)
    hosts: Mapping[str, str] = field(default_factory=dict)
    properties: Mapping[str, str] = field(default_factory=dict)
    heap: str = "512m"

    @property
    def listeners(self) -> dict[str, str]:
        """The listeners of every broker with their protocols."""
        return dict.fromkeys((CLIENTS, INTERNAL), "PLAINTEXT") | dict(self.protocols)

    def listener_properties(self, node_id: int, ports: Mapping[str, int]) -> dict[str, str]:
        """Where a broker listens for clients and other brokers, and what it tells them."""
        advertised = dict(ports) | ({CLIENTS: self.advertised[node_id]} if node_id in self.advertised else {})
        return {
            "listeners": _join_listeners(ports),
            "listener.security.protocol.map": _join_protocols(self.listeners),
            "advertised.listeners": _join_listeners(advertised, self.hosts),
            "inter.broker.listener.name": INTERNAL,
        }

    def replication(self, topics: Iterable[str]) -> dict[str, str]:
        """The replication factor of Kafka's own topics: as many replicas as there are brokers, at most 3."""
        return dict.fromkeys(topics, str(min(len(self.ids), 3)))


class Quorum(Protocol):
    """What keeps a cluster's metadata; `ids` are its nodes, which in KRaft may be the brokers."""

    ids: tuple[int, ...]

    def plan_nodes(self) -> dict[int, NodePlan]:
        """All nodes of the cluster, brokers too, on ports that are free now."""

    def format_first(self, node: KafkaNode, leavings: Path) -> None:
        """Format the data folder of a release's first node; what later nodes need of that goes to `leavings`."""

    def format(self, node: KafkaNode, leavings: Path) -> None:
        """Format a node's data folder with what the first one left."""

    def wait_until_forgotten(self, node: KafkaNode, quorum: Iterable[KafkaNode]) -> None:
        """Wait until a dead node may come back; `quorum` are the running nodes of the quorum."""

    def has_told(self, broker: KafkaNode) -> bool:
        """Whether a broker that answers has been told of its topics."""


def quorum_of(version: str, brokers: Brokers, controllers: int | None = None) -> Quorum:
    """The quorum of a release; `controllers` is how many KRaft controllers are processes of their own."""
    if tuple(int(part) for part in version.split(".")[:2]) >= _FIRST_WITH_KRAFT:
        return KRaft(brokers, controllers)
    if controllers is not None:
        raise ValueError(f"Kafka {version} has no controllers of its own: ZooKeeper keeps its metadata")
    return ZooKeeper(brokers)


def read_cluster_id(data: Path) -> str:
    """The cluster id that a broker wrote into its data folder."""
    return _read_properties(data / "meta.properties")["cluster.id"]


class KRaft:
    """Controllers that are processes of their own if there are several brokers, or the brokers themselves."""

    def __init__(self, brokers: Brokers, controllers: int | None) -> None:
        dedicated = controllers if controllers is not None else min(len(brokers.ids) - 1, 1)
        self.ids = tuple(range(FIRST_QUORUM_ID, FIRST_QUORUM_ID + dedicated)) or brokers.ids
        self._brokers = brokers
        self._cluster_id = _random_uuid()

    def plan_nodes(self) -> dict[int, NodePlan]:
        brokers = self._brokers
        names = {
            node: [*(brokers.listeners if node in brokers.ids else ()), *([CONTROLLER] if node in self.ids else ())]
            for node in sorted({*brokers.ids, *self.ids})
        }
        ports = _choose_ports(names)
        return {
            node: NodePlan(
                node_id=node,
                main_class="kafka.Kafka",
                heap=brokers.heap,
                ports=its,
                data_property="log.dirs",
                properties=self._properties(node, its, {voter: ports[voter][CONTROLLER] for voter in self.ids}),
            )
            for node, its in ports.items()
        }

    def format_first(self, node: KafkaNode, leavings: Path) -> None:
        command = node.command(
            "kafka.tools.StorageTool",
            *("format", "--cluster-id", self._cluster_id, "--config", str(node.properties_file)),
        )
        formatted = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        if formatted.returncode != 0:
            raise FormatFailed(f"{node.data} cannot be formatted:\n{formatted.stdout[-2000:]}")
        for name in _FORMATTED:
            if (node.data / name).exists():
                shutil.copyfile(node.data / name, leavings / name)

    def format(self, node: KafkaNode, leavings: Path) -> None:
        """As StorageTool would: only three ids in its files belong to one node and cluster."""
        ids = {"cluster.id": self._cluster_id, "node.id": str(node.plan.node_id), "directory.id": _random_uuid()}
        node.data.mkdir(parents=True, exist_ok=True)
        for name in _FORMATTED:
            template = leavings / name
            if template.exists():
                shutil.copyfile(template, node.data / name)
        meta = node.data / "meta.properties"
        lines = [f"{key}={ids.get(key, value)}" for key, value in _read_properties(meta).items()]
        meta.write_text("\n".join(lines) + "\n", encoding="utf-8")

    def wait_until_forgotten(self, node: KafkaNode, quorum: Iterable[KafkaNode]) -> None:
        """A node may come back at once: a new registration takes the place of the old one."""

    def has_told(self, broker: KafkaNode) -> bool:
        """It has: a broker is let in when it has read the metadata."""
        return True

    def _properties(self, node_id: int, ports: Mapping[str, int], voters: Mapping[int, int]) -> dict[str, str]:
        brokers = self._brokers
        is_broker, is_controller = node_id in brokers.ids, node_id in self.ids
        result: dict[str, str] = {}
        if is_broker:
            result = brokers.listener_properties(node_id, {name: ports[name] for name in brokers.listeners})
        result |= {
            "process.roles": ",".join(["broker"] * is_broker + ["controller"] * is_controller),
            "node.id": str(node_id),
            "controller.quorum.voters": ",".join(f"{voter}@{HOST}:{port}" for voter, port in voters.items()),
            "controller.listener.names": CONTROLLER,
            "listeners": _join_listeners(ports),
            "listener.security.protocol.map": _join_protocols({CONTROLLER: "PLAINTEXT"} | brokers.listeners),
        }
        result |= _BROKER_PROPERTIES | _KRAFT_PROPERTIES
        result |= brokers.replication((*_REPLICATED_TOPICS, *_KRAFT_REPLICATED_TOPICS))
        return result | dict(brokers.properties)


class ZooKeeper:
    """One ZooKeeper server beside the brokers, the node 101; one of the brokers is the controller."""

    def __init__(self, brokers: Brokers) -> None:
        self.ids: tuple[int, ...] = (FIRST_QUORUM_ID,)
        self._brokers = brokers

    def plan_nodes(self) -> dict[int, NodePlan]:
        brokers = self._brokers
        names = {FIRST_QUORUM_ID: [ZOOKEEPER]} | {broker: list(brokers.listeners) for broker in brokers.ids}
        ports = _choose_ports(names)
        zookeeper_port = ports[FIRST_QUORUM_ID][ZOOKEEPER]
        zookeeper = NodePlan(
            node_id=FIRST_QUORUM_ID,
            main_class="org.apache.zookeeper.server.ZooKeeperServerMain",
            heap="64m",
            ports=ports[FIRST_QUORUM_ID],
            data_property="dataDir",
            properties=_ZOOKEEPER_PROPERTIES | {"clientPort": str(zookeeper_port)},
        )
        return {FIRST_QUORUM_ID: zookeeper} | {
            broker: NodePlan(
                node_id=broker,
                main_class="kafka.Kafka",
                heap=brokers.heap,
                ports=ports[broker],
                data_property="log.dirs",
                properties={
                    "broker.id": str(broker),
                    "zookeeper.connect": f"{HOST}:{zookeeper_port}",
                    **brokers.listener_properties(broker, ports[broker]),
                    **_BROKER_PROPERTIES,
                    **_ZOOKEEPER_CLIENT_PROPERTIES,
                    **brokers.replication(_REPLICATED_TOPICS),
                    **brokers.properties,
                },
            )
            for broker in brokers.ids
        }

    def format_first(self, node: KafkaNode, leavings: Path) -> None:
        """Nothing is formatted: a broker writes its folder itself, and the first one makes the cluster id."""

    def format(self, node: KafkaNode, leavings: Path) -> None:
        """Nothing is formatted."""

    def wait_until_forgotten(self, node: KafkaNode, quorum: Iterable[KafkaNode]) -> None:
        """A broker ends at once if it finds itself registered; ZooKeeper forgets a dead one after its session.

        Raises BrokerNotForgotten. Without a running ZooKeeper there is nobody to ask; the broker waits for one.
        """
        for zookeeper in quorum:
            deadline = time.monotonic() + _FORGETTING_SECONDS
            while not _has_forgotten(zookeeper.plan.ports[ZOOKEEPER], node.plan.node_id):
                if time.monotonic() > deadline:
                    raise BrokerNotForgotten(f"ZooKeeper still knows broker {node.plan.node_id}")
                time.sleep(0.03)

    def has_told(self, broker: KafkaNode) -> bool:
        """The controller tells a broker of the others first, and of its topics a moment later."""
        known = list_known_topics(HOST, broker.plan.ports[INTERNAL])
        return known is not None and known >= broker.topics()


def _has_forgotten(zookeeper_port: int, broker: int) -> bool:
    """Whether ZooKeeper answers and has no session of this broker; its `dump` lists a path on each line."""
    answer = b""
    with contextlib.suppress(OSError), socket.create_connection((HOST, zookeeper_port), timeout=2.0) as connection:
        connection.sendall(b"dump")
        while piece := connection.recv(65_536):
            answer += piece
    return b"ephemeral" in answer.lower() and f"/brokers/ids/{broker}" not in answer.decode().split()


def _choose_ports(names: Mapping[int, Iterable[str]]) -> dict[int, dict[str, int]]:
    """A free port for every listener of every node."""
    wanted = [(node, name) for node, its in names.items() for name in its]
    ports: dict[int, dict[str, int]] = {node: {} for node in names}
    for (node, name), port in zip(wanted, find_free_ports(len(wanted)), strict=True):
        ports[node][name] = port
    return ports


def _join_listeners(ports: Mapping[str, int], hosts: Mapping[str, str] = MappingProxyType({})) -> str:
    return ",".join(f"{name}://{hosts.get(name, HOST)}:{port}" for name, port in ports.items())


def _join_protocols(protocols: Mapping[str, str]) -> str:
    return ",".join(f"{name}:{protocol}" for name, protocol in protocols.items())


def _read_properties(file: Path) -> dict[str, str]:
    lines = file.read_text(encoding="utf-8").splitlines()
    return {key: value for key, equals, value in (line.partition("=") for line in lines) if equals}


def _random_uuid() -> str:
    """A UUID as Kafka spells it: 22 characters of URL-safe base64, not beginning with a dash."""
    while True:
        text = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode("ascii").rstrip("=")
        if not text.startswith("-"):
            return text
