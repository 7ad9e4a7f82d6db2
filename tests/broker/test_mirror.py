"""A state whose folder is lost comes back from the target: maps, answers, held settings, groups as they were."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, TopicPartition

from kmigrate.demo.embedded import EmbeddedCluster
from kmigrate.kafka_types import Partition, TopicName
from kmigrate.kafka_types import TopicPartition as Place
from kmigrate.offsets.classes import OffsetClass
from kmigrate.state.export import read_export
from kmigrate.state.store import Store
from tests.content.judging import Seen, read_records
from tests.content.transactional import transactional
from tests.fault.harness import Migration, closing_all, log_ends, wait_until
from tests.fault.probe import commits
from tests.fault.stops.topics import delete_topic, read_config
from tests.kafka_tools import create_topic, new_topic_name, produce

pytestmark = pytest.mark.broker


@pytest.fixture
def made(tmp_path: Path) -> Iterator[list[Migration]]:
    migrations: list[Migration] = []
    with closing_all(migrations):
        yield migrations


def commit(cluster: EmbeddedCluster, group: str, topic: str, offset: int) -> None:
    with closing(Consumer({"bootstrap.servers": cluster.bootstrap, "group.id": group})) as consumer:
        consumer.commit(offsets=[TopicPartition(topic, 0, offset)], asynchronous=False)


def offset_free(seen: Seen) -> str:
    """A record without what differs where it lies."""
    return repr(seen._replace(timestamp_type=0))


def kept(copy: Migration, topics: list[str]) -> dict[str, Any]:
    """What only the state knows."""
    with closing(Store.open(copy.state_root / copy.name)) as store:
        classes = store.offset_classes()
        return {
            "maps": {str(each): store.offset_map(each).to_bytes() for each in classes},
            "classes": {str(each): value.value for each, value in classes.items()},
            "intended": store.intended(),
            "beginnings": store.beginnings(),
            "decisions": json.loads(store.get("decisions") or "{}"),
            "topics": topics,
        }


def test_a_killed_copier_without_its_folder_goes_on_as_before(
    made: list[Migration], tmp_path: Path, source_cluster: EmbeddedCluster, target_cluster: EmbeddedCluster
) -> None:
    mapped = transactional(source_cluster).topic
    by_hand, gone, group = (
        create_topic(source_cluster.bootstrap),
        create_topic(source_cluster.bootstrap),
        new_topic_name("g"),
    )
    create_topic(target_cluster.bootstrap, by_hand, config={"retention.ms": "-1"})
    produce(source_cluster.bootstrap, by_hand, [b"a", b"b", b"c"])
    produce(source_cluster.bootstrap, gone, [b"a", b"b"])
    topics = [mapped, by_hand, gone]
    spec = {"offsets": {"class": "mapped"}, "groups": {"include": [group]}}
    copy = Migration(tmp_path, source_cluster, target_cluster, topics, name=new_topic_name("mirror"), spec=spec)
    made.append(copy)
    copy.start()
    copy.wait_for_state("IN_SYNC")
    produce(target_cluster.bootstrap, gone, [b"foreign"])
    produce(source_cluster.bootstrap, gone, [b"c"])
    copy.wait_for_state("STOPPED")
    assert copy.command("resume", "-t", gone, "--ignore").returncode == 0
    commit(source_cluster, group, by_hand, 2)
    wait_until("the commit is carried over", lambda: commits(target_cluster, group), evidence=copy.evidence)
    wait_until(
        "the stop is waived", lambda: [e for e in copy.status()["partitions"] if e["state"] == "IGNORED"], seconds=30
    )
    copy.kill(owner=True)
    before = kept(copy, topics)
    shutil.rmtree(copy.state_root)
    produce(source_cluster.bootstrap, mapped, [b"meanwhile"])
    produce(source_cluster.bootstrap, by_hand, [b"d"])
    commit(source_cluster, group, by_hand, 3)

    copy.start()
    wait_until(
        "the rest is copied",
        lambda: log_ends(target_cluster, [by_hand])[by_hand, 0] == 4,
        evidence=copy.evidence,
    )
    wait_until(
        "the group goes on",
        lambda: [offset for offset, _ in commits(target_cluster, group).values()] == [3],
        evidence=copy.evidence,
    )
    document = copy.status()
    assert document["stateLost"] is None
    assert f"state recovered from __kmigrate.{copy.name}" in copy.messages()
    assert any("state recovered from" in each for each in document["notices"])
    assert [e["topic"] for e in document["partitions"] if e["state"] == "IGNORED"] == [gone]
    assert {e["offsetClass"] for e in document["partitions"] if e["topic"] != gone} == {"mapped"}
    wait_until(
        "all of it is copied",
        lambda: len(read_records(target_cluster, mapped)) == len(read_records(source_cluster, mapped)),
        evidence=copy.evidence,
    )
    copy.stop()
    after = kept(copy, topics)
    for key in ("classes", "intended", "beginnings", "decisions"):
        assert after[key] == before[key], key
    for place, runs in before["maps"].items():
        assert after["maps"][place].startswith(runs), f"the map of {place} goes on where it was"
    assert read_config(target_cluster, f"__kmigrate.{copy.name}")["cleanup.policy"] == "compact"
    there, here = (
        sorted((place[0], offset_free(seen)) for place, seen in read_records(cluster, mapped).items())
        for cluster in (source_cluster, target_cluster)
    )
    assert there == here, "nothing is lost, and nothing is there twice"


def test_without_the_topic_a_lost_map_is_still_lost_and_the_export_has_the_rest(
    made: list[Migration], tmp_path: Path, source_cluster: EmbeddedCluster, target_cluster: EmbeddedCluster
) -> None:
    topic = create_topic(source_cluster.bootstrap)
    produce(source_cluster.bootstrap, topic, [b"a", b"b"])
    name = new_topic_name("mirror")
    mirror = create_topic(target_cluster.bootstrap, f"__kmigrate.{name}", partitions=2)  # none that could be ours
    spec = {"offsets": {"class": "mapped"}}
    copy = Migration(tmp_path, source_cluster, target_cluster, [topic], name=name, spec=spec)
    made.append(copy)
    copy.start("--until", "in-sync")
    assert copy.wait_for_exit() == 0, copy.evidence()
    (notice,) = [each for each in copy.status()["notices"] if "not mirrored" in each]
    assert "export.jsonl" in notice
    export = tmp_path / "elsewhere.jsonl"
    shutil.copy(copy.state_root / name / "export.jsonl", export)
    head, rows = read_export(export)
    assert (head.name, b'["offset_class","%s",0]' % topic.encode() in rows) == (name, True)

    shutil.rmtree(copy.state_root)
    delete_topic(target_cluster, mirror)
    copy.start("--until", "in-sync", "--recover", str(export))
    assert copy.wait_for_exit() == 4, copy.evidence()
    assert f"state recovered from {export}" in copy.messages()
    (stopped,) = copy.status()["partitions"]
    assert stopped["stop"]["kind"] == "STATE_LOST"
    place = Place(TopicName(topic), Partition(0))
    with closing(Store.open(copy.state_root / name)) as store:
        assert store.offset_classes() == {place: OffsetClass.MAPPED}
        assert store.offset_map(place).to_bytes() == b""
    assert len(read_records(target_cluster, topic)) == 2
