"""A copier that is killed, at whatever moment, resumes from what the target holds."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable

import pytest
from confluent_kafka import ConsumerGroupTopicPartitions
from confluent_kafka.admin import AdminClient

from kmigrate.demo.embedded import EmbeddedCluster
from tests.fault.cells import Cell, cells
from tests.fault.harness import Migration, Witness, is_alive, log_ends, wait_until
from tests.fault.load import Load
from tests.fault.traffic import KINDS, PLAIN, make_traffic
from tests.kafka_tools import TIMEOUT_SECONDS, create_topic

pytestmark = pytest.mark.broker

PARTITIONS = 6
CODECS = ["none", "lz4", "zstd", "gzip", "snappy"]
ENDED_SECONDS = 10.0
"""Within which a worker without its owner must be gone; it takes one second."""
RESUMED_SECONDS = 10.0
"""Within which a killed owner that is started again must have copied something new: before its old session ends."""


@pytest.mark.alone  # beside others a copier starts so slowly that it is killed before it has copied anything
@cells(long=30, sample=2)
def test_a_killed_copier_loses_repeats_and_reorders_nothing(
    cell: Cell,
    source_cluster: EmbeddedCluster,
    target_cluster: EmbeddedCluster,
    migration: Callable[..., Migration],
) -> None:
    kind = cell.pick(KINDS)
    traffic = make_traffic(kind, source_cluster, target_cluster, partitions=PARTITIONS)
    workers = cell.chance.choice([1, 2])
    copy = migration(source_cluster, target_cluster, traffic.topics, name=traffic.name, spec={"workers": workers})
    with traffic.load(compression=cell.pick(CODECS)) as load:
        load.wait_for(2_000)
        copy.start()
        time.sleep(cell.chance.uniform(0.0, 6.0))
        victim = cell.pick(["owner", "worker", "owner and worker"])
        copied_before = copy.copied()
        if victim != "owner":
            copy.kill_worker()
        if victim != "worker":
            copy.kill_owner()
            resumed_after_seconds = copy.restart_killed()
            cell.note("resumed_after_seconds", round(resumed_after_seconds, 1))
            assert not (cell.whole_row and copied_before) or resumed_after_seconds < RESUMED_SECONDS, copy.evidence()
        load.wait_for(6_000)
        load.stop()
        cell.note("records_per_second", round(load.rate))
    copy.wait_in_sync()
    copy.stop()
    cell.note("victim", victim)
    cell.note("traffic", kind)
    cell.note("copied_before", copied_before)
    cell.note("records", traffic.judge(copy.evidence))


def test_a_killed_owner_leaves_no_worker_behind(
    source_cluster: EmbeddedCluster, target_cluster: EmbeddedCluster, migration: Callable[..., Migration]
) -> None:
    topic = create_topic(source_cluster.bootstrap, partitions=PARTITIONS)
    copy = migration(source_cluster, target_cluster, [topic], name=topic, spec={"workers": 2})
    with Load(source_cluster.bootstrap, [topic], partitions=PARTITIONS) as load:
        copy.start()
        load.wait_for(3_000)
        copy.wait_for_growth()
        workers = wait_until(
            "both workers are alive",
            lambda: (pids := copy.worker_pids()) and len(pids) == 2 and pids,
            evidence=copy.evidence,
        )
        assert set(workers) == set(copy.child_pids())
        copy.kill_owner()
        wait_until(
            "the workers are gone",
            lambda: not any(map(is_alive, workers)),
            seconds=ENDED_SECONDS,
            evidence=copy.evidence,
        )


def test_a_killed_worker_is_replaced_and_the_copy_goes_on(
    source_cluster: EmbeddedCluster, target_cluster: EmbeddedCluster, migration: Callable[..., Migration]
) -> None:
    topic = create_topic(source_cluster.bootstrap, partitions=PARTITIONS)
    copy = migration(source_cluster, target_cluster, [topic], name=topic)
    with Load(source_cluster.bootstrap, [topic], partitions=PARTITIONS) as load:
        copy.start()
        copy.wait_for_growth()
        dead = copy.kill_worker()
        wait_until(
            "another worker is alive",
            lambda: (pids := copy.worker_pids()) and dead not in pids,
            evidence=copy.evidence,
        )
        copy.wait_for_growth()
        acknowledged = load.stop()
    copy.wait_in_sync()
    copy.stop()
    Witness(source_cluster, target_cluster).compare(acknowledged, copy.evidence)


@cells(long=6, sample=1)
def test_without_its_state_the_copy_resumes_from_the_target_and_says_so(
    cell: Cell,
    source_cluster: EmbeddedCluster,
    target_cluster: EmbeddedCluster,
    migration: Callable[..., Migration],
) -> None:
    kind, ends = cell.pick(list(itertools.product(KINDS, ["stopped", "killed"])))
    traffic = make_traffic(kind, source_cluster, target_cluster, partitions=PARTITIONS)
    copy = migration(source_cluster, target_cluster, traffic.topics, name=traffic.name)
    with traffic.load() as load:
        copy.start()
        copy.wait_for_growth()
        if kind != PLAIN:
            wait_until_committed(copy)
        time.sleep(cell.chance.uniform(0.0, 3.0))
        if ends == "stopped":
            copy.stop()
        else:
            copy.kill_owner()
        copy.lose_state()
        cell.note("resumed_after_seconds", round(copy.restart_killed(), 1))
        load.stop()
    copy.wait_in_sync()
    document = copy.status()
    assert document["stateLost"], f"the status does not say that state was lost\n{copy.evidence()}"
    assert document["stateLost"] in copy.messages()
    copy.stop()
    cell.note("traffic", kind)
    cell.note("records", traffic.judge(copy.evidence))


def wait_until_committed(copy: Migration) -> None:
    """Wait until the target remembers every partition: of what nobody knows a compacted one does not go on."""
    admin = AdminClient({"bootstrap.servers": copy.target.bootstrap})
    group = f"kmigrate-{copy.name}"

    def look() -> bool:
        found = admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)])[group].result(TIMEOUT_SECONDS)
        committed = {(each.topic, each.partition) for each in found.topic_partitions}
        return committed >= log_ends(copy.source, copy.topics).keys()

    wait_until("every partition is committed", look, evidence=copy.evidence)
