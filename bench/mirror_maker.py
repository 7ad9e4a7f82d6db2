"""MirrorMaker 2 as a process: tuned for throughput, as it comes, or exactly once.

Its best tuning is found by `python -m bench tuning`, which writes `results/mirror-maker.json`; every case uses that.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.lab import TARGET_VERSION, Lab
from bench.programs import JavaProgram
from bench.report import RESULTS
from kmigrate.demo.java import java_command
from kmigrate.demo.kafka_jars import ensure_kafka
from kmigrate.kafka_types import Side

VERSION = TARGET_VERSION
TUNING = "mirror-maker.json"
_MAIN = "org.apache.kafka.connect.mirror.MirrorMaker"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """What decides how fast MirrorMaker 2 is; heap in Java's own words, `collector` as in -XX:+Use…GC."""

    tasks: int = 2
    max_poll_records: int = 10_000
    batch_bytes: int = 1_000_000
    linger_ms: int = 20
    collector: str = "Parallel"
    heap: str = "3g"

    def __str__(self) -> str:
        return (
            f"{VERSION}, heap {self.heap}, {self.collector} GC, {self.tasks} tasks, {self.max_poll_records:,} records "
            f"a poll, batches of {self.batch_bytes:,} bytes, linger {self.linger_ms} ms"
        )

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1) + "\n"

    @classmethod
    def best(cls, folder: Path = RESULTS) -> Tuning:
        """The best that was found; where nothing was tried, what its documentation makes likely."""
        found = folder / TUNING
        return cls(**json.loads(found.read_text(encoding="utf-8"))) if found.exists() else cls()


def start_mirror_maker(
    lab: Lab, name: str, topic: str, tuning: Tuning, *, more: Mapping[str, str] | None = None
) -> JavaProgram:
    """With settings for throughput; the target topic must exist. `more` has the last word."""
    options = [f"-Xmx{tuning.heap}", f"-Xms{tuning.heap}", f"-XX:+Use{tuning.collector}GC"]
    return _start(lab, name, settings(lab, topic) | throughput_settings(tuning) | dict(more or {}), options)


def start_as_it_comes(lab: Lab, name: str, topic: str, *, more: Mapping[str, str] | None = None) -> JavaProgram:
    """With its own defaults, and the heap that its start script gives it; nothing but the topic's name is kept."""
    return _start(lab, name, settings(lab, topic) | dict(more or {}), ["-Xmx2g", "-Xms256m"])


def _start(lab: Lab, name: str, pairs: Mapping[str, str], options: list[str]) -> JavaProgram:
    folder = lab.work / name
    folder.mkdir()
    file = folder / "mm2.properties"
    pairs = {**pairs, "dst.group.id": name}  # a killed predecessor is nobody's fellow
    file.write_text("".join(f"{key} = {value}\n" for key, value in pairs.items()))
    options = [*options, "-Djava.awt.headless=true", *_quiet(folder)]
    command = java_command(ensure_kafka(VERSION), _MAIN, [str(file)], options=options)
    program = JavaProgram("MirrorMaker 2", command, folder / "mm2.out")
    program.in_transactions = EXACTLY_ONCE.items() <= pairs.items()
    return program


READ_COMMITTED: Mapping[str, str] = {"src.consumer.isolation.level": "read_committed"}
EXACTLY_ONCE: Mapping[str, str] = {
    "dst.exactly.once.source.support": "enabled",
    "dedicated.mode.enable.internal.rest": "true",
    "listeners": "http://127.0.0.1:0",
    **READ_COMMITTED,
}
"""Each batch of its offsets is a transaction, as its documentation asks for."""


def settings(lab: Lab, topic: str) -> dict[str, str]:
    """One direction, one topic under its own name, nothing on the side, and one replica of what it keeps."""
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
    secured = {f"{cluster}.{key}": value for cluster in ("src", "dst") for key, value in lab.client_settings.items()}
    return {
        "clusters": "src, dst",
        "src.bootstrap.servers": lab.tool_bootstrap(Side.SOURCE),
        "dst.bootstrap.servers": lab.tool_bootstrap(Side.TARGET),
        "src->dst.enabled": "true",
        "dst->src.enabled": "false",
        "src->dst.emit.heartbeats.enabled": "false",
        "dst->src.emit.heartbeats.enabled": "false",
        "src->dst.topics": topic,
        "src->dst.groups": "no-such-group",
        "replication.policy.class": "org.apache.kafka.connect.mirror.IdentityReplicationPolicy",
        **secured,
        **replication,
    }


def throughput_settings(tuning: Tuning) -> dict[str, str]:
    """Large fetches, large batches, five requests in flight: as fast as we know to make it."""
    return {
        "tasks.max": str(tuning.tasks),
        "sync.topic.acls.enabled": "false",
        "sync.topic.configs.enabled": "false",
        "offset.lag.max": "10000",
        "src.consumer.isolation.level": "read_uncommitted",
        "src.consumer.max.poll.records": str(tuning.max_poll_records),
        "src.consumer.fetch.min.bytes": "1048576",
        "src.consumer.fetch.max.wait.ms": "100",
        "src.consumer.max.partition.fetch.bytes": "10485760",
        "src.consumer.fetch.max.bytes": "104857600",
        "dst.producer.batch.size": str(tuning.batch_bytes),
        "dst.producer.linger.ms": str(tuning.linger_ms),
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
