"""Two embedded clusters, their topics, and records written by Kafka's own load generator.

End offsets are asked in one request for all partitions, since a question for each would be load of its own; what a
round has copied is counted once more by librdkafka, which shares no code with us.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import struct
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import NamedTuple, Self

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from bench.proc import cpu_seconds
from bench.witness import read_watermarks
from kmigrate.cluster.client import ClusterClient
from kmigrate.cluster.settings import ConnectionSettings
from kmigrate.demo.embedded import EmbeddedCluster
from kmigrate.demo.java import java_command, start_java
from kmigrate.demo.kafka_jars import ensure_kafka
from kmigrate.errors import ConnectionLost, KmigrateError
from kmigrate.kafka_types import BrokerId, Partition, Side, TopicName
from kmigrate.kafka_types import TopicPartition as Place
from kmigrate.wire import calls
from kmigrate.wire.config_calls import Alteration, alter_topic_configs

SOURCE_VERSION = "3.9.1"
TARGET_VERSION = "4.3.1"
HEAP = "1g"
BATCH_BYTES = 16_384
_PROPERTIES = {
    "log.segment.delete.delay.ms": "1000",  # what a round has written makes room for the next one
    "log.cleaner.backoff.ms": "1000",  # compaction is made before it is copied, and waited for
}
_SILENT: dict[str, str | int | float | bool] = {"log.connection.close": False, "log_level": 2}
_FOREVER = {"retention.ms": "-1"}
_TLS = "SSL"
_PATIENCE_SECONDS = 60.0
_LOG_HEAD = struct.Struct(">qi")
_PRODUCER = "org.apache.kafka.tools.ProducerPerformance"


class BenchError(KmigrateError):
    """A measurement could not be made."""


class BrokerCpu(NamedTuple):
    """The CPU time of both brokers so far."""

    source: float
    target: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """A topic on the source and what was written into it; `log_bytes` as it lies on disk, without indexes.

    `records` are those that a reader of committed data sees; `offsets` the sum of the end offsets, which may be more.
    """

    topic: str
    partitions: int
    records: int
    offsets: int
    log_bytes: int
    batch_bytes: int

    @property
    def unseen_share(self) -> float:
        """The share of the offsets that no record is seen at."""
        return 1 - self.records / self.offsets

    def seen_below(self, end_offsets: int) -> int:
        """How many records a copy at the same offsets has, given the sum of its end offsets.

        What is not seen counts as spread evenly; at the end of the topic the number is exact.
        """
        return self.records * min(end_offsets, self.offsets) // self.offsets


class Lab:
    """Source and target for one run; a context manager that leaves nothing behind, however it ends."""

    def __init__(self, *, say: Callable[[str], None], short: bool, rounds: int | None = None, brokers: int = 1) -> None:
        """`brokers` of each cluster."""
        self.say = say
        self.short = short
        self.brokers = brokers
        self.asked_rounds = rounds
        self.warm = False
        self.loads: dict[str, Load] = {}
        self.client_settings: Mapping[str, str] = {}
        """What the tools need beside their bootstrap.servers."""
        self._listener = ""
        self._number = 0
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            self.work = Path(tempfile.mkdtemp(prefix="kmigrate-bench-"))
            stack.callback(shutil.rmtree, self.work, ignore_errors=True)
            self._certificate = _make_certificate(self.work)
            each = f", {self.brokers} brokers each" if self.brokers > 1 else ""
            self.say(f"starting Kafka {SOURCE_VERSION} as source and {TARGET_VERSION} as target{each}")
            self.clusters = {
                side: stack.enter_context(
                    EmbeddedCluster(
                        version,
                        brokers=self.brokers,
                        heap=HEAP,
                        quick=False,
                        properties=_PROPERTIES | _secured(self._certificate),
                        listeners={_TLS: _TLS},
                        keep_logs_on_failure=False,
                        say=self.say,
                    )
                )
                for side, version in ((Side.SOURCE, SOURCE_VERSION), (Side.TARGET, TARGET_VERSION))
            }
            self._admins = {side: AdminClient({"bootstrap.servers": self.bootstrap(side), **_SILENT}) for side in Side}
            stack.callback(self._admins.clear)  # before the brokers go, or it mourns them on stderr
            self._clients = {side: self._client(side) for side in Side}
            for client in self._clients.values():
                stack.callback(client.close)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, Exception):
            for cluster in self.clusters.values():
                self.say(f"the last words of Kafka {cluster.version}:\n{cluster.log_tail(1, 10)}")
        self._stack.close()

    def rounds(self, usual: int) -> int:
        """How often a case repeats: what was asked for, else once in a short trial."""
        return self.asked_rounds or (1 if self.short else usual)

    def bootstrap(self, side: Side) -> str:
        return self.clusters[side].bootstrap

    def tool_bootstrap(self, side: Side) -> str:
        """bootstrap.servers for the tools that are measured."""
        return self.clusters[side].bootstrap_of(self._listener) if self._listener else self.bootstrap(side)

    @contextlib.contextmanager
    def tls(self) -> Iterator[None]:
        """Meanwhile the tools come over TLS, on both sides."""
        self._listener = _TLS
        self.client_settings = {"security.protocol": _TLS, **_trusting(self._certificate)}
        try:
            yield
        finally:
            self._listener, self.client_settings = "", {}

    def describe_brokers(self) -> str:
        """For the settings of a result."""
        count = (
            "one source, one target" if self.brokers == 1 else f"{self.brokers} of the source, as many of the target"
        )
        return f"{count}, heap {HEAP} each"

    def new_name(self, prefix: str) -> str:
        """A name that this run has not used: nothing of an earlier round is found under it."""
        self._number += 1
        return f"{prefix}-{self._number}"

    def broker_cpu(self) -> BrokerCpu:
        return BrokerCpu(self._broker_cpu(Side.SOURCE), self._broker_cpu(Side.TARGET))

    def _broker_cpu(self, side: Side) -> float:
        used = 0.0
        for broker in self.clusters[side].broker_ids:
            pid = self.clusters[side].pid(broker)
            assert pid is not None, "the brokers of a lab run as long as it does"
            used += cpu_seconds(pid)
        return used

    def _data_dirs(self, side: Side) -> list[Path]:
        return [self.clusters[side].data_dir(broker) for broker in self.clusters[side].broker_ids]

    # ── topics ────────────────────────────────────────────────────────────────────────────────────────────────

    def create_topic(
        self, side: Side, topic: str, partitions: int, settings: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        """A topic that keeps everything, with some settings of its own; returns when it has its leaders."""
        wanted = NewTopic(topic, num_partitions=partitions, replication_factor=1, config={**_FOREVER, **settings})
        self._admins[side].create_topics([wanted])[topic].result(_PATIENCE_SECONDS)
        self.wait_until(lambda: len(self._error_free(side, topic, partitions)) == partitions, f"{topic} has no leaders")

    def alter_topic(self, side: Side, topic: str, settings: Mapping[str, str]) -> None:
        """Gives a topic other settings; those that are not named stay."""
        name = TopicName(topic)
        alterations = [Alteration(key, value) for key, value in settings.items()]
        outcome = self._clients[side].controller(alter_topic_configs({name: alterations}))[name]
        if outcome.error:
            raise BenchError(f"{topic} of the {side} does not take {settings}: {outcome}")

    def list_topics(self, side: Side) -> set[str]:
        """All topics but those that begin with two underscores."""
        found = self._admins[side].list_topics(timeout=_PATIENCE_SECONDS).topics
        return {name for name in found if not name.startswith("__")}

    def delete_topics(self, side: Side, topics: Iterable[str]) -> None:
        """Deletes topics and waits until the broker has forgotten them and their files are gone."""
        names = set(topics) & self.list_topics(side)
        if not names:
            return
        for future in self._admins[side].delete_topics(list(names)).values():
            future.result(_PATIENCE_SECONDS)
        self.wait_until(lambda: not names & self.list_topics(side), f"the {side} does not forget {sorted(names)}")
        self.wait_until(
            lambda: not any(found for data in self._data_dirs(side) for found in data.glob("*-delete")),
            f"the {side} does not remove the files of {sorted(names)}",
        )

    def clear(self) -> None:
        """Deletes every topic but those on the source that were filled, and lets the disk come to rest."""
        self.delete_topics(Side.SOURCE, self.list_topics(Side.SOURCE) - self.loads.keys())
        self.delete_topics(Side.TARGET, self.list_topics(Side.TARGET))
        os.sync()

    def end_offsets(self, side: Side, topic: str, partitions: int) -> int:
        """The sum of the high watermarks; a topic that does not exist yet counts nothing."""
        return sum(self._error_free(side, topic, partitions).values())

    def log_ends(self, side: Side, topic: str) -> tuple[int, int] | None:
        """Log start and high watermark of a topic of one partition; None if it does not exist yet."""
        starts, ends = (self._error_free(side, topic, 1, which) for which in (calls.EARLIEST, calls.LATEST))
        return (sum(starts.values()), sum(ends.values())) if starts and ends else None

    def count_by_librdkafka(self, side: Side, topic: str, partitions: int) -> int:
        """High watermark minus log start of all partitions, as an independent client sees them."""
        found = read_watermarks(self.bootstrap(side), topic, partitions)
        return sum(high - low for low, high in found)

    # ── records ───────────────────────────────────────────────────────────────────────────────────────────────

    def fill(
        self,
        topic: str,
        *,
        partitions: int,
        records: int,
        record_bytes: int = 1024,
        batch_bytes: int = BATCH_BYTES,
        codec: str = "none",
    ) -> Load:
        """Creates a topic on the source and has Kafka's ProducerPerformance write into it.

        With 0 `batch_bytes` each record is a batch of its own.
        """
        if topic not in self.list_topics(Side.SOURCE):
            self.create_topic(Side.SOURCE, topic, partitions)
        self.say(f"writing {records:,} records of {record_bytes:,} bytes into {partitions} partitions of {topic}")
        command = producer_command(
            self.bootstrap(Side.SOURCE),
            topic,
            records=records,
            record_bytes=record_bytes,
            properties={
                "acks": "1",
                "batch.size": str(batch_bytes),
                "linger.ms": "100" if batch_bytes else "0",
                "compression.type": codec,
            },
        )
        log = self.work / f"{topic}.out"
        process = start_java(command, output=log)
        try:
            if process.wait():
                raise BenchError(f"ProducerPerformance failed:\n{log.read_text(errors='replace')[-1000:]}")
        finally:
            process.kill()
            process.wait()
        return self.keep(topic, partitions, self.count_by_librdkafka(Side.SOURCE, topic, partitions))

    def keep(self, topic: str, partitions: int, records: int) -> Load:
        """Takes a topic that was written into the source as a load; it stays until loads are forgotten."""
        os.sync()
        logs = [log for data in self._data_dirs(Side.SOURCE) for log in data.glob(f"{topic}-[0-9]*/*.log")]
        self.loads[topic] = Load(
            topic=topic,
            partitions=partitions,
            records=records,
            offsets=self.end_offsets(Side.SOURCE, topic, partitions),
            log_bytes=sum(log.stat().st_size for log in logs),
            batch_bytes=median_batch_bytes(logs),
        )
        return self.loads[topic]

    def seed(self, topic: str, *, partitions: int, records_each: int) -> Load:
        """Creates a topic on the source with some small records in every partition."""
        self.create_topic(Side.SOURCE, topic, partitions)
        producer = Producer({"bootstrap.servers": self.bootstrap(Side.SOURCE), "linger.ms": 50})
        for index in range(partitions):
            for number in range(records_each):
                producer.produce(topic, value=b"record %d" % number, partition=index)
        if producer.flush(_PATIENCE_SECONDS):
            raise BenchError(f"not all records of {topic} could be written")
        return self.keep(topic, partitions, partitions * records_each)

    def forget_loads(self) -> None:
        """Deletes what was written into both clusters."""
        self.loads.clear()
        self.clear()

    # ── inside ────────────────────────────────────────────────────────────────────────────────────────────────

    def _client(self, side: Side) -> ClusterClient:
        places = [address.split(":") for address in self.bootstrap(side).split(",")]
        return ClusterClient(side, [(host, int(port)) for host, port in places], ConnectionSettings(client_id="bench"))

    def _error_free(self, side: Side, topic: str, partitions: int, which: int = calls.LATEST) -> dict[Place, int]:
        places = [Place(TopicName(topic), Partition(index)) for index in range(partitions)]
        try:
            found = self._offsets(side, places, which)
        except ConnectionLost:  # a broker closes connections that were idle for long
            found = self._offsets(side, places, which)
        return {place: answer.offset for place, answer in found.items() if not answer.error}

    def _offsets(self, side: Side, places: list[Place], which: int) -> dict[Place, calls.OffsetAnswer]:
        """Each broker tells of the partitions that it leads."""
        client, call = self._clients[side], calls.list_offsets(places, which)
        if self.brokers == 1:
            return dict(client.any(call))
        found: dict[Place, calls.OffsetAnswer] = {}
        for broker in self.clusters[side].broker_ids:
            answers = client.broker(BrokerId(broker), call)
            found |= {place: each for place, each in answers.items() if not each.error}
        return found

    def wait_until(self, done: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while not done():
            if time.monotonic() > deadline:
                raise BenchError(f"{what} after {_PATIENCE_SECONDS:.0f} s")
            time.sleep(0.05)


def producer_command(
    bootstrap: str,
    topic: str,
    *,
    records: int,
    record_bytes: int,
    properties: Mapping[str, str],
    records_a_second: int = -1,
) -> list[str]:
    """Kafka's own load generator, writing at this rate; -1: as fast as it can."""
    arguments = [f"--topic={topic}", f"--num-records={records}", f"--record-size={record_bytes}"]
    arguments += [f"--throughput={records_a_second}"]
    told = {"bootstrap.servers": bootstrap, **properties}
    arguments += ["--producer-props", *(f"{key}={value}" for key, value in told.items())]
    return java_command(ensure_kafka(SOURCE_VERSION), _PRODUCER, arguments, options=["-Xmx512m"])


def _make_certificate(folder: Path) -> Path:
    """A certificate for 127.0.0.1 that signs itself, with its key, in one PEM file."""
    key, certificate, both = (folder / f"{name}.pem" for name in ("key", "certificate", "both"))
    command = ["openssl", "req", "-x509", "-nodes", "-days", "2", "-subj", "/CN=bench"]
    command += ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    both.write_text(key.read_text() + certificate.read_text())
    return both


def _secured(certificate: Path) -> dict[str, str]:
    return {"ssl.keystore.type": "PEM", "ssl.keystore.location": str(certificate)}


def _trusting(certificate: Path) -> dict[str, str]:
    return {"ssl.truststore.type": "PEM", "ssl.truststore.location": str(certificate.with_name("certificate.pem"))}


def median_batch_bytes(logs: Sequence[Path]) -> int:
    """The median size of the first thousand record batches of each log file; 0 if there are none."""
    sizes = sorted(size for log in logs for size in _batch_sizes(log, limit=1000))
    return sizes[len(sizes) // 2] if sizes else 0


def _batch_sizes(log: Path, *, limit: int) -> Iterator[int]:
    with log.open("rb") as file:
        for _ in range(limit):
            head = file.read(_LOG_HEAD.size)
            if len(head) < _LOG_HEAD.size:
                return
            size = _LOG_HEAD.unpack(head)[1]
            if size <= 0:  # the zeros of a preallocated file
                return
            yield size + _LOG_HEAD.size
            file.seek(size, os.SEEK_CUR)
