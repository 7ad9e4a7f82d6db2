"""A real Kafka cluster on loopback, started from Kafka's jars, that can be hurt in every usual way.

::

    with EmbeddedCluster("3.9.1", brokers=2) as cluster:
        producer = Producer({"bootstrap.servers": cluster.bootstrap})
        cluster.freeze(2)

One broker is its own controller. With more brokers the controllers are processes of their own (ids
101, 102, …), so that *any* broker may be frozen or killed while the quorum lives. Releases before 3.3
have a ZooKeeper instead (id 101), however many brokers there are. Each broker has a
listener for clients, which may advertise the port of a proxy, and an internal one, which never does:
brokers replicate over it, and a witness reads over it past the proxy (`direct_bootstrap`).

Data lies in a temporary folder that ends with the cluster; log files stay when something failed.
Nothing keeps running: processes end with `close`, with the interpreter, and when it is killed.
"""

from __future__ import annotations

import atexit
import contextlib
import shutil
import sys
import tempfile
import time
import weakref
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from kmigrate.demo.first_start import class_archive, ensure_first_start
from kmigrate.demo.kafka_jars import ensure_kafka
from kmigrate.demo.kafka_node import HOST, Jvm, KafkaNode, NodeState
from kmigrate.demo.quorum import CLIENTS, INTERNAL, Brokers, quorum_of, read_cluster_id
from kmigrate.demo.readiness import list_known_brokers
from kmigrate.errors import KmigrateError

_ATTEMPTS = 3
_POLL_SECONDS = 0.03
_open_clusters: weakref.WeakSet[EmbeddedCluster] = weakref.WeakSet()


class EmbeddedKafkaError(KmigrateError):
    """An embedded cluster did not start, or did not come back."""


class _PortTaken(EmbeddedKafkaError):
    """Another server was quicker to bind a port."""


def _print_to_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


class EmbeddedCluster:
    """One cluster of 1 to n brokers with the ids 1 to n; `quorum_ids` are the nodes that keep its metadata.

    `properties` go to every node of Kafka's and win over our own. `advertised` maps a broker's id to the port
    that it names to clients. `listeners` adds listeners, name to security protocol (`{"SASL":
    "SASL_PLAINTEXT"}`); `hosts` is what a listener advertises instead of the loopback address.
    `controllers=0` makes every broker a KRaft controller too. `quick=False` gives the
    JVM its usual compilers and collector, for measurements.
    """

    def __init__(
        self,
        version: str,
        *,
        brokers: int = 1,
        controllers: int | None = None,
        properties: Mapping[str, str] | None = None,
        advertised: Mapping[int, int] | None = None,
        listeners: Mapping[str, str] | None = None,
        hosts: Mapping[str, str] | None = None,
        heap: str | None = None,
        quick: bool = True,
        keep_logs_on_failure: bool = True,
        start_seconds: float = 90.0,
        kafka_home: Path | None = None,
        say: Callable[[str], None] = _print_to_stderr,
    ) -> None:
        self.version = version
        self.broker_ids = tuple(range(1, brokers + 1))
        self.cluster_id = ""
        self._advertised = dict(advertised or {})
        self._quorum = quorum_of(
            version,
            Brokers(
                ids=self.broker_ids,
                protocols=dict(listeners or {}),
                advertised=self._advertised,
                hosts=dict(hosts or {}),
                properties=dict(properties or {}),
                heap=heap or ("512m" if brokers < 3 else "384m"),
            ),
            controllers,
        )
        self.quorum_ids = self._quorum.ids
        self._quick = quick
        self._keep_logs_on_failure = keep_logs_on_failure
        self._start_seconds = start_seconds
        self._kafka_home = kafka_home
        self._say = say
        self._nodes: dict[int, KafkaNode] = {}
        self._folder: Path | None = None

    # -- life -----------------------------------------------------------------------------------

    def start(self) -> Self:
        """Format and start all nodes side by side; returns when every broker answers and knows all."""
        jars = ensure_kafka(self.version, self._kafka_home, say=self._say)
        leavings = ensure_first_start(jars, self.version)
        _open_clusters.add(self)
        for attempt in range(1, _ATTEMPTS + 1):
            self._folder = Path(tempfile.mkdtemp(prefix=f"kmigrate-kafka-{self.version}-"))
            self._nodes = self._make_nodes(jars, leavings, self._folder)
            try:
                for node in self._nodes.values():
                    self._quorum.format(node, leavings)
                    node.start()
                self.wait_until_ready()
                self.cluster_id = read_cluster_id(self.data_dir(self.broker_ids[0]))
                return self
            except _PortTaken:
                self.close()
                if attempt == _ATTEMPTS:
                    raise
            except BaseException:
                self.close(failed=True)
                raise
        raise AssertionError("unreachable")

    def close(self, *, failed: bool = False) -> None:
        """Kill every node and remove the data; after a failure the log files stay and their place is said."""
        for node in self._nodes.values():
            node.kill()
        _open_clusters.discard(self)
        if self._folder is None:
            return
        if failed and self._keep_logs_on_failure:
            for node in self._nodes.values():
                node.erase()
            self._say(f"the logs of Kafka {self.version} are kept in {self._folder}")
        else:
            shutil.rmtree(self._folder, ignore_errors=True)
        self._folder = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(failed=kind is not None)

    # -- where it is ----------------------------------------------------------------------------

    @property
    def bootstrap(self) -> str:
        """bootstrap.servers as clients should have it: the advertised port of every broker."""
        return self._join(self._advertised.get(node) or self.port(node) for node in self.broker_ids)

    @property
    def direct_bootstrap(self) -> str:
        """bootstrap.servers of the internal listener, which no proxy stands before."""
        return self.bootstrap_of(INTERNAL)

    def bootstrap_of(self, listener: str) -> str:
        """bootstrap.servers of a listener by its name."""
        return self._join(self.port(node, listener) for node in self.broker_ids)

    def port(self, node: int, listener: str = CLIENTS) -> int:
        """The port where a node really listens, whatever it advertises."""
        return self._node(node).plan.ports[listener]

    def pid(self, node: int) -> int | None:
        """The process of a node; none while it is down."""
        return self._node(node).pid

    def pids(self) -> list[int]:
        """The processes of all nodes that are not down."""
        return [node.pid for node in self._nodes.values() if node.pid is not None]

    def state(self, node: int) -> NodeState:
        """Whether we left the node down, running or frozen."""
        return self._node(node).state

    def data_dir(self, node: int) -> Path:
        """The log.dirs of a node: one folder for each partition replica."""
        return self._node(node).data

    def log_tail(self, node: int, lines: int = 40) -> str:
        """The last lines that a node logged, warnings and errors."""
        return self._node(node).log_tail(lines)

    # -- hurting it -----------------------------------------------------------------------------

    def stop(self, node: int, *, patience_seconds: float = 60.0) -> None:
        """Shut a node down in order: leaders move away, logs are flushed."""
        self._node(node).stop(patience_seconds=patience_seconds)

    def kill(self, node: int) -> None:
        """Crash a node."""
        self._node(node).kill()

    def freeze(self, node: int) -> None:
        """Stop a node where it is, its connections open."""
        self._node(node).freeze()

    def thaw(self, node: int) -> None:
        """Let a frozen node go on."""
        self._node(node).thaw()

    def start_node(self, node: int, *, wait: bool = True) -> None:
        """Start a node that is down, with its data and on its ports."""
        self._quorum.wait_until_forgotten(self._node(node), self._running(self.quorum_ids))
        self._node(node).start()
        if wait:
            self.wait_until_ready()

    def restart(self, node: int) -> None:
        """Shut a node down in order and start it again."""
        self.stop(node)
        self.start_node(node)

    def wait_until_ready(self) -> None:
        """Wait until every running broker answers and knows every running broker."""
        deadline = time.monotonic() + self._start_seconds
        waiting = {node.plan.node_id for node in self._running(self.broker_ids)}
        while waiting := {node for node in waiting if not self._is_ready(node)}:
            self._check_for_ended_nodes()
            if time.monotonic() > deadline:
                tails = "\n".join(self.log_tail(node, 15) for node in sorted(waiting))
                raise EmbeddedKafkaError(
                    f"brokers {sorted(waiting)} of Kafka {self.version} do not answer "
                    f"after {self._start_seconds:.0f} s:\n{tails}"
                )
            time.sleep(_POLL_SECONDS)

    # -- inside ---------------------------------------------------------------------------------

    def _node(self, node: int) -> KafkaNode:
        if node not in self._nodes:
            raise KeyError(f"no node {node}; the nodes are {sorted(self._nodes) or 'not started'}")
        return self._nodes[node]

    def _join(self, ports: Iterable[int]) -> str:
        return ",".join(f"{HOST}:{port}" for port in ports)

    def _running(self, nodes: Iterable[int]) -> list[KafkaNode]:
        return [self._nodes[node] for node in nodes if self._nodes[node].state is NodeState.RUNNING]

    def _is_ready(self, node: int) -> bool:
        known = list_known_brokers(HOST, self.port(node, INTERNAL))
        running = {each.plan.node_id for each in self._running(self.broker_ids)}
        return known is not None and known >= running and self._quorum.has_told(self._node(node))

    def _check_for_ended_nodes(self) -> None:
        for node_id, node in self._nodes.items():
            if node.exit_code is None:
                continue
            tail = node.log_tail(60)
            message = f"node {node_id} of Kafka {self.version} ended with code {node.exit_code}:\n{tail}"
            if "BindException" in tail or "Address already in use" in tail:
                raise _PortTaken(message)
            raise EmbeddedKafkaError(message)

    def _make_nodes(self, jars: Path, leavings: Path, folder: Path) -> dict[int, KafkaNode]:
        jvm = Jvm(quick=self._quick, class_archive=class_archive(leavings) if self._quick else None)
        return {
            node: KafkaNode(plan, jars=jars, folder=folder / f"node-{node}", log=folder / f"node-{node}.log", jvm=jvm)
            for node, plan in self._quorum.plan_nodes().items()
        }


@atexit.register
def _close_all() -> None:
    for cluster in list(_open_clusters):
        with contextlib.suppress(OSError):
            cluster.close()
