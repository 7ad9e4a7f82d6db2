"""The reverse copy on real brokers: what applications write to the target is on the source, too; librdkafka judges.

Forward copies are made with the ordinary `kmigrate run`. Its owner's place is then taken by the test, or by a process
that may be killed.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient, ConfigResource, ConfigSource

from kmigrate.copy.states import StopKind
from kmigrate.demo.embedded import EmbeddedCluster
from kmigrate.errors import Refused
from kmigrate.kafka_types import Offset, Partition, TopicName, TopicPartition
from kmigrate.manifest import load_manifest
from kmigrate.runner.back import ReverseCopy
from kmigrate.runner.folder import MigrationFolder
from kmigrate.state.store import Store
from tests.fault.harness import Migration, closing_all, is_alive, log_ends, wait_until
from tests.kafka_tools import (
    SentRecord,
    create_topic,
    delete_records,
    new_topic_name,
    produce,
    read_all,
    write_transaction,
)

pytestmark = pytest.mark.broker

OWNER = """
import sys, threading
from pathlib import Path
from tests.broker.test_reverse import opened
with opened(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]) as back:
    back.begin({})
    print(back.pid, flush=True)
    threading.Event().wait()
"""


@contextlib.contextmanager
def opened(manifest: Path, state_root: Path, name: str) -> Iterator[ReverseCopy]:
    """The copy back of a migration that no owner runs now."""
    folder = MigrationFolder(state_root, name)
    with contextlib.closing(Store.open(folder.path)) as store:
        back = ReverseCopy(load_manifest(manifest), folder, store)
        try:
            yield back
        finally:
            back.close()


class World:
    """Two clusters, the migrations between them, and what applications do."""

    def __init__(self, folder: Path, source: EmbeddedCluster, target: EmbeddedCluster) -> None:
        self.folder = folder
        self.source = source
        self.target = target
        self.made: list[Migration] = []

    def copy(self, *topics: str, **spec: Any) -> Migration:
        """A migration that is in sync, and whose owner has ended."""
        copy = Migration(self.folder, self.source, self.target, topics, name=new_topic_name("reverse"), spec=spec)
        self.made.append(copy)
        copy.start("--until", "in-sync")
        assert copy.wait_for_exit() == 0, copy.evidence()
        return copy

    @contextlib.contextmanager
    def back(self, copy: Migration) -> Iterator[ReverseCopy]:
        with opened(copy.manifest, copy.state_root, copy.name) as back:
            yield back

    def ends(self, *topics: str) -> dict[TopicPartition, Offset]:
        return ends_of(self.source, *topics)

    def wait_copied_back(self, back: ReverseCopy, *topics: str) -> None:
        def look() -> bool:
            assert not back.trouble, back.trouble
            assert not back.stops(), back.stops()
            return back.positions() == ends_of(self.target, *topics)

        wait_until("everything is copied back", look, evidence=lambda: f"{back.state} {back.positions()}")

    def assert_same(self, *topics: str) -> None:
        """Consumers of both sides see the same records at the same offsets."""
        for topic in topics:
            assert log_ends(self.source, [topic]) == log_ends(self.target, [topic])
            assert read_all(self.source.bootstrap, topic) == read_all(self.target.bootstrap, topic)


@pytest.fixture
def world(tmp_path: Path, source_cluster: EmbeddedCluster, target_cluster: EmbeddedCluster) -> Iterator[World]:
    world = World(tmp_path, source_cluster, target_cluster)
    with closing_all(world.made):
        yield world


def ends_of(cluster: EmbeddedCluster, *topics: str) -> dict[TopicPartition, Offset]:
    return {
        TopicPartition(TopicName(topic), Partition(partition)): Offset(end)
        for (topic, partition), end in log_ends(cluster, topics).items()
    }


def write_mixed(cluster: EmbeddedCluster, topic: str, what: str, partition: int) -> None:
    """Records without a producer id, idempotent ones, transactions that are committed, and one that is aborted."""
    values = [f"{what} {number}".encode() for number in range(5)]
    records = [SentRecord(key=b"k", value=value, partition=partition, headers=(("h", value),)) for value in values]
    produce(cluster.bootstrap, topic, records)
    write_transaction(cluster.bootstrap, topic, values, commit=True, partition=partition)
    write_transaction(cluster.bootstrap, topic, [b"never seen"] * 3, commit=False, partition=partition)
    produce(cluster.bootstrap, topic, records, config={"enable.idempotence": True})
    write_transaction(cluster.bootstrap, topic, values, commit=True, partition=partition)


def own_settings(cluster: EmbeddedCluster, topic: str) -> dict[str, str]:
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic)
    admin = AdminClient({"bootstrap.servers": cluster.bootstrap})
    found = admin.describe_configs([resource])[resource].result(30)
    return {key: entry.value for key, entry in found.items() if entry.source == ConfigSource.DYNAMIC_TOPIC_CONFIG.value}


def test_what_applications_write_to_the_target_comes_back_at_the_same_offsets_and_settings_are_restored(
    world: World,
) -> None:
    before = {"message.timestamp.type": "LogAppendTime", "retention.ms": "99999999", "max.message.bytes": "2000000"}
    topic = create_topic(world.source.bootstrap, partitions=3, config=before)
    other = create_topic(world.source.bootstrap)
    write_mixed(world.source, topic, "old", 0)
    produce(world.source.bootstrap, topic, [SentRecord(key=b"a", value=b"old", partition=1)] * 9)
    produce(world.source.bootstrap, other, [b"old"] * 9)
    delete_records(world.source.bootstrap, other, 4)
    copy = world.copy(topic, other)
    ends = world.ends(topic, other)
    with world.back(copy) as back:
        back.begin(ends)
        back.begin(ends)
        world.wait_copied_back(back, topic, other)
        assert back.positions() == ends, "nobody has written anything yet"
        held = own_settings(world.source, topic)
        kept = (held["message.timestamp.type"], held["retention.ms"], held["max.message.bytes"])
        assert kept == ("CreateTime", "-1", "2000000")
        write_mixed(world.target, topic, "new", 0)
        produce(world.target.bootstrap, topic, [SentRecord(value=b"new", partition=at % 3) for at in range(30)])
        write_transaction(world.target.bootstrap, other, [b"new"] * 3, commit=True)
        world.wait_copied_back(back, topic, other)
        world.assert_same(topic, other)
        with pytest.raises(Refused, match="from offset"):
            back.begin({TopicPartition(TopicName(topic), Partition(0)): Offset(1)})

        back.end([TopicName(topic)])
        assert own_settings(world.source, topic) == before
        produce(world.target.bootstrap, other, [b"newer"] * 3)
        world.wait_copied_back(back, other)
        world.assert_same(other)
        back.end([TopicName(topic), TopicName(other)])
        assert not back.is_running
        assert own_settings(world.source, other) == {}
        back.end([TopicName(other)])


def test_a_killed_process_and_a_killed_owner_lose_and_repeat_nothing(world: World) -> None:
    topic = create_topic(world.source.bootstrap, partitions=2)
    write_mixed(world.source, topic, "old", 0)
    copy = world.copy(topic, limits={"bytesPerSecond": 600_000})
    ends = world.ends(topic)
    value = b"v" * 1200
    records = [SentRecord(value=b"%d " % number + value, partition=number % 2) for number in range(3000)]
    with world.back(copy) as back:
        produce(world.target.bootstrap, topic, records, config={"batch.num.messages": 20})
        back.begin(ends)
        pid = killed_in_the_middle(world, topic, ends, back)
        assert not back.positions()
        assert "exit code -9" in back.trouble
        assert not is_alive(pid)
    arguments = [sys.executable, "-c", OWNER, str(copy.manifest), str(copy.state_root), copy.name]
    owner = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    child = int(owner.stdout.readline())
    before = world.ends(topic)
    wait_until("it goes on where it was", lambda: world.ends(topic) != before)
    os.kill(owner.pid, signal.SIGKILL)
    owner.wait()
    owner.stdout.close()
    wait_until("the process ends with its owner", lambda: not is_alive(child))
    produce(world.target.bootstrap, topic, [b"last"])
    with world.back(copy) as back:
        back.begin(ends)
        world.wait_copied_back(back, topic)
        world.assert_same(topic)
        back.end([TopicName(topic)])


def killed_in_the_middle(world: World, topic: str, ends: Mapping[TopicPartition, Offset], back: ReverseCopy) -> int:
    """Kills the process that copies back while it does; returns which one it was."""
    wait_until("something is copied back", lambda: world.ends(topic) != ends, evidence=lambda: f"{back.state}")
    pid = back.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    wait_until("it is gone", lambda: not back.is_running)
    assert world.ends(topic) != ends_of(world.target, topic), "there is something left"
    return pid


def test_a_late_record_on_the_source_stops_its_partition_alone_and_is_named(world: World) -> None:
    topic = create_topic(world.source.bootstrap, partitions=3)
    write_mixed(world.source, topic, "old", 0)
    produce(world.source.bootstrap, topic, [SentRecord(value=b"old", partition=1 + at % 2) for at in range(9)])
    copy = world.copy(topic)
    ends = world.ends(topic)
    produce(world.source.bootstrap, topic, [SentRecord(value=b"late", partition=0)] * 100)
    with world.back(copy) as back:
        back.begin(ends)
        healthy, late, later = (TopicPartition(TopicName(topic), Partition(number)) for number in (2, 0, 1))
        wait_until("the late record is found", lambda: late in back.stops(), evidence=lambda: f"{back.state}")
        for partition in range(1, 3):
            produce(world.target.bootstrap, topic, [SentRecord(value=b"new", partition=partition)] * 3)
        wait_until("others go on", lambda: back.positions().get(later) == ends[later] + 3)
        produce(world.source.bootstrap, topic, [SentRecord(value=b"later", partition=1)])
        stops = wait_until("the later record is found", lambda: len(back.stops()) == 2 and back.stops())
        assert isinstance(stops, dict)
        assert {tp: (stop.kind, stop.offset) for tp, stop in stops.items()} == {
            late: (StopKind.FOREIGN_WRITE, ends[late]),
            later: (StopKind.FOREIGN_WRITE, ends[later] + 3),
        }
        assert "the migration's target is the source" in stops[late].evidence
        produce(world.target.bootstrap, topic, [SentRecord(value=b"new", partition=2)] * 3)
        wait_until("the third goes on", lambda: back.positions().get(healthy) == ends[healthy] + 6)
        back.end([TopicName(topic)])


@pytest.mark.parametrize("offset_class", ["shifted", "mapped"])
def test_in_other_classes_records_come_back_in_their_order_behind_the_old_end(world: World, offset_class: str) -> None:
    topic = create_topic(world.source.bootstrap)
    write_mixed(world.source, topic, "old", 0)
    delete_records(world.source.bootstrap, topic, 3)
    copy = world.copy(topic, offsets={"class": offset_class})
    (end,) = world.ends(topic).values()
    (target_end,) = ends_of(world.target, topic).values()
    assert end != target_end
    with world.back(copy) as back:
        back.begin(world.ends(topic))
        write_mixed(world.target, topic, "new", 0)
        world.wait_copied_back(back, topic)
        there = read_all(world.target.bootstrap, topic)
        here = read_all(world.source.bootstrap, topic)
        assert [each[2:] for each in here] == [each[2:] for each in there]
        if offset_class == "shifted":
            assert [each.offset - end for each in here] == [each.offset - target_end for each in there]
        back.end([TopicName(topic)])
