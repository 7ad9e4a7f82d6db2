"""Somebody else writes to a target partition: it stops at that very record, and the others go on."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from kmigrate.copy.copier import WINDOW
from kmigrate.demo.embedded import EmbeddedCluster
from tests.conftest import SOURCE_VERSION
from tests.fault.cells import Cell, cells
from tests.fault.harness import Migration
from tests.fault.load import Load
from tests.fault.probe import OURS
from tests.fault.stops.content import assert_copied, target_end, wait_for_end
from tests.fault.stops.telling import BLOCKED, DONE, ask_status, told, wait_for_stop
from tests.fault.stops.topics import fill
from tests.kafka_tools import SentRecord, create_topic, dump_log, produce

pytestmark = pytest.mark.broker

CHOICES = ("recreate", "ignore")


@cells(long=20, sample=1)
def test_under_load_only_batches_in_flight_land_behind_a_foreign_record(
    cell: Cell,
    source_cluster: EmbeddedCluster,
    target_cluster: EmbeddedCluster,
    migration: Callable[..., Migration],
) -> None:
    topic = create_topic(source_cluster.bootstrap, partitions=3)
    copy = migration(source_cluster, target_cluster, [topic], name=topic)
    with Load(source_cluster.bootstrap, [topic], partitions=3, seed=cell.number) as load:
        copy.start()
        copy.wait_for_growth()
        load.wait_for(cell.chance.randrange(1, 5_000))
        [(_, foreign)] = produce(target_cluster.bootstrap, topic, [SentRecord(value=b"foreign", partition=1)])
        wait_for_stop(copy, topic, 1)
        load.wait_for(2_000)
        acknowledged = load.stop()
    for partition in (0, 2):
        wait_for_end(copy, topic, max(acknowledged[topic, partition].values()) + 1, partition)
    copy.wait_for_state("STOPPED")

    stop = told(ask_status(copy), topic, 1)
    assert (stop.kind, stop.offset, stop.choices) == ("FOREIGN_WRITE", foreign, CHOICES), stop
    for partition in (0, 2):
        assert_copied(copy, topic, partition)
        assert told(ask_status(copy), topic, partition).state == "IN_SYNC"
    copy.stop()
    batches = dump_log(SOURCE_VERSION, target_cluster.data_dir(1), topic, 1)
    behind = [batch for batch in batches if batch["baseOffset"] > foreign]
    assert len(behind) <= WINDOW, f"{len(behind)} batches behind {foreign}: {stop.evidence}"
    assert all(batch["producerId"] >= OURS for batch in behind)
    assert stop.landed == [
        offset for batch in behind for offset in range(batch["baseOffset"], batch["lastOffset"] + 1)
    ], stop
    cell.note("batches_behind", len(behind))


def test_a_foreign_record_in_an_idle_partition_is_noticed_and_nothing_lands_behind_it(
    source_cluster: EmbeddedCluster, target_cluster: EmbeddedCluster, migration: Callable[..., Migration]
) -> None:
    topic = create_topic(source_cluster.bootstrap, partitions=2)
    fill(source_cluster, topic, "early", 10, partitions=(0, 1))
    copy = migration(source_cluster, target_cluster, [topic], name=topic)
    copy.start()
    copy.wait_in_sync()
    assert produce(target_cluster.bootstrap, topic, [b"foreign"]) == [(0, 10)]
    stop = wait_for_stop(copy, topic)
    assert (stop.kind, stop.offset, stop.choices) == ("FOREIGN_WRITE", 10, CHOICES), stop
    fill(source_cluster, topic, "late", 5, partitions=(0, 1))
    wait_for_end(copy, topic, 15, partition=1)
    assert target_end(copy, topic) == 11
    assert_copied(copy, topic, 1)
    copy.stop()

    fill(source_cluster, topic, "later", 5, partitions=(0, 1))
    copy.start("--until", "in-sync")
    assert copy.wait_for_exit() == BLOCKED, copy.evidence()
    assert told(ask_status(copy), topic)._replace(position=stop.position) == stop
    assert target_end(copy, topic) == 11
    assert_copied(copy, topic, 1)


def test_foreign_records_written_while_it_was_stopped_are_found_at_the_start(
    source_cluster: EmbeddedCluster, target_cluster: EmbeddedCluster, migration: Callable[..., Migration]
) -> None:
    topic = create_topic(source_cluster.bootstrap, partitions=3)
    fill(source_cluster, topic, "early", 10, partitions=(0, 1, 2))
    copy = migration(source_cluster, target_cluster, [topic], name=topic)
    copy.start("--until", "in-sync")
    assert copy.wait_for_exit() == DONE, copy.evidence()
    fill(target_cluster, topic, "foreign", 1)
    for number in range(3):  # more of them than are looked at first
        fill(target_cluster, topic, f"foreign {number}", 100, partitions=(1,))
    fill(source_cluster, topic, "late", 5, partitions=(0, 1, 2))

    copy.start("--until", "in-sync")
    assert copy.wait_for_exit() == BLOCKED, copy.evidence()
    document = ask_status(copy)
    for partition, end in ((0, 11), (1, 310)):
        stop = told(document, topic, partition)
        assert (stop.kind, stop.offset, stop.choices) == ("FOREIGN_WRITE", 10, CHOICES), stop
        assert target_end(copy, topic, partition) == end
    assert_copied(copy, topic, 2)
    assert target_end(copy, topic, 2) == 15
