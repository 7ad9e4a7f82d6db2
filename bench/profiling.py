"""One worker's pipeline in this process, against running brokers, with and without cProfile.

It is the pipeline of `kmigrate.copy`, driven as a worker drives it: turns in a loop over the real network. Only the
owner is missing: topics are created beforehand, the lease never ends. cProfile makes short calls look longer than they
are; so the CPU a record is measured without it first.
"""

from __future__ import annotations

import cProfile
import io
import pstats
import time
from collections.abc import Callable
from dataclasses import replace

from bench import compacted, transactional
from bench.lab import BenchError, Lab, Load
from kmigrate.cluster.client import ClusterClient
from kmigrate.cluster.connection import RealNetwork
from kmigrate.cluster.settings import ConnectionSettings
from kmigrate.copy.identity import producer_id
from kmigrate.copy.orders import LeaseGrant, PartitionOrder, PipelineKey, PipelineOrder, WorkerSettings
from kmigrate.copy.pipeline import Pipeline
from kmigrate.copy.throttle import Throttle
from kmigrate.kafka_types import Partition, Side, Term, TopicName, TopicPartition
from kmigrate.wire.calls import ClusterMetadata

PARTITIONS = 12
RECORDS, SHORT_RECORDS = 1_000_000, 200_000
BUFFER_BYTES = 16 << 20
LOADS: dict[str, Callable[[Lab], Load]] = {
    "throughput": lambda lab: lab.fill(
        "profiled", partitions=PARTITIONS, records=SHORT_RECORDS if lab.short else RECORDS
    ),
    "transactional": lambda lab: transactional.fill(
        lab, "profiled", transactional.SHORT_TRANSACTIONS if lab.short else transactional.TRANSACTIONS
    ),
    "compacted": lambda lab: compacted.fill(lab, "profiled", compacted.SHORT_KEYS if lab.short else compacted.KEYS),
}
"""What the records may be like: those of which case."""
_EXPIRATION_MS = 86_400_000
_LIMIT_SECONDS = 300.0
_SHOWN_LINES = 30


def profile(lab: Lab, case: str) -> str:
    """Copies a topic several times in this process; returns the CPU a record and the top of the profile."""
    load = LOADS[case](lab)
    told = []
    for number in range(lab.rounds(3)):
        cpu, wall = copy_here(lab, load)
        told.append(
            f"round {number + 1}: {cpu / load.records * 1e6:.2f} µs CPU a record, "
            f"{cpu / load.log_bytes * 1e9:.2f} s a GB, {load.records / wall:,.0f} records/s, {cpu / wall:.2f} cores"
        )
        lab.say(told[-1])
    profiler = cProfile.Profile()
    copy_here(lab, load, profiler.runcall)
    lab.forget_loads()
    shown = io.StringIO()
    statistics = pstats.Stats(profiler, stream=shown).strip_dirs()
    for order in ("tottime", "cumulative"):
        statistics.sort_stats(order).print_stats(_SHOWN_LINES)
    return "\n".join(told) + "\n" + shown.getvalue()


def copy_here(
    lab: Lab,
    load: Load,
    around: Callable[[Callable[[], None]], object] = lambda turns: turns(),
    *,
    target_port: int | None = None,
) -> tuple[float, float]:
    """The CPU and wall seconds of this thread until the topic is copied; `around` calls what it is given.

    `target_port` is that of another program that takes the target's place.
    """
    lab.clear()
    lab.create_topic(Side.TARGET, load.topic, load.partitions)
    settings = {side: ConnectionSettings(client_id="bench-profile") for side in Side}
    known = {side: _describe(lab, side, settings[side], load.topic) for side in Side}
    order = decide_order(known[Side.SOURCE], known[Side.TARGET], load)
    if target_port is not None:
        order = replace(order, target=order.target._replace(port=target_port))
    worker = WorkerSettings(
        worker=0,
        links=settings,
        producer_id=producer_id(known[Side.SOURCE].cluster_id, known[Side.TARGET].cluster_id, lab.new_name("profile")),
        memory_bytes=BUFFER_BYTES,
        expiration_ms=_EXPIRATION_MS,
    )
    network = RealNetwork(settings)
    pipeline = Pipeline(order.key, worker, network, order.source, order.target, BUFFER_BYTES, Throttle())
    began = time.thread_time(), time.monotonic()
    try:
        around(lambda: _turn_until_copied(pipeline, order, load))
    finally:
        pipeline.close()
    return time.thread_time() - began[0], time.monotonic() - began[1]


def _turn_until_copied(pipeline: Pipeline, order: PipelineOrder, load: Load) -> None:
    grant = LeaseGrant(term=Term(1), deadline_seconds=float("inf"))
    positions: dict[TopicPartition, int] = {}
    deadline = time.monotonic() + _LIMIT_SECONDS
    while sum(positions.values()) < load.offsets:
        report = pipeline.turn(order, 1, False, grant, {})
        if report is None:
            continue
        for progress in report.partitions:
            positions[progress.partition] = max(0, progress.position)
            if progress.stop is not None:
                raise BenchError(f"{progress.partition} stopped: {progress.stop}")
        if report.source_trouble or report.target_trouble or time.monotonic() > deadline:
            raise BenchError(f"the pipeline does not get on: {report.source_trouble} {report.target_trouble}")


def decide_order(source: ClusterMetadata, target: ClusterMetadata, load: Load) -> PipelineOrder:
    """One pipeline for all partitions of the topic, which is new on the target."""
    name = TopicName(load.topic)
    theirs, ours = source.topics[name], target.topics[name]
    (source_broker,) = source.brokers.values()
    (target_broker,) = target.brokers.values()
    return PipelineOrder(
        key=PipelineKey(worker=0, source=source_broker.node_id, target=target_broker.node_id, lane=0),
        source=source_broker,
        target=target_broker,
        partitions=tuple(
            PartitionOrder(
                partition=TopicPartition(name, Partition(index)),
                source_topic_id=theirs.topic_id,
                source_epoch=theirs.partitions[Partition(index)].leader_epoch,
                target_topic_id=ours.topic_id,
                target_epoch=ours.partitions[Partition(index)].leader_epoch,
                remembered=None,
                fresh=True,
                revision=0,
            )
            for index in range(load.partitions)
        ),
    )


def _describe(lab: Lab, side: Side, settings: ConnectionSettings, topic: str) -> ClusterMetadata:
    host, port = lab.bootstrap(side).split(":")
    client = ClusterClient(side, [(host, int(port))], settings)
    try:
        return client.metadata([TopicName(topic)])
    finally:
        client.close()
