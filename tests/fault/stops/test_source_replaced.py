"""A source topic is deleted, or another one takes its name: nothing of the other one is copied behind the first."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pytest

from kmigrate.demo.embedded import EmbeddedCluster
from tests.fault.harness import Migration
from tests.fault.stops.content import assert_copied, records, target_end, wait_for_end
from tests.fault.stops.telling import BLOCKED, Told, ask_status, told, wait_for_stops
from tests.fault.stops.topics import delete_group, delete_topic, fill
from tests.kafka_tools import create_topic, new_topic_name

pytestmark = pytest.mark.broker

ANSWERS_TO_REPLACED = ("recreate", "ignore")


class Four(NamedTuple):
    """Four topics: one is deleted, two are created again with fewer and more records than before, one is left."""

    gone: str
    fewer: str
    more: str
    kept: str

    @classmethod
    def create(cls, cluster: EmbeddedCluster) -> Four:
        prefix = new_topic_name("replaced")
        four = cls(*(f"{prefix}-{name}" for name in cls._fields))
        for topic in four:
            create_topic(cluster.bootstrap, topic)
            fill(cluster, topic, "first", 10)
        return four

    def replace_in(self, cluster: EmbeddedCluster) -> None:
        for topic in (self.gone, self.fewer, self.more):
            delete_topic(cluster, topic)
        for topic, count in ((self.fewer, 5), (self.more, 15)):
            create_topic(cluster.bootstrap, topic)
            fill(cluster, topic, "second", count)


@pytest.mark.parametrize("meanwhile", ["running", "stopped", "stopped, its folder removed"])
def test_another_topic_of_the_same_name_is_not_copied_behind_the_first(
    source_cluster: EmbeddedCluster,
    target_cluster: EmbeddedCluster,
    migration: Callable[..., Migration],
    meanwhile: str,
) -> None:
    four = Four.create(source_cluster)
    copy = migration(source_cluster, target_cluster, four, name=new_topic_name("replaced"))
    copy.start()
    copy.wait_in_sync()
    before = {topic: records(target_cluster, topic) for topic in four}
    if meanwhile != "running":
        copy.stop()
    if "removed" in meanwhile:
        copy.lose_state()
    four.replace_in(source_cluster)
    if meanwhile != "running":
        copy.start()

    document = wait_for_stops(copy, [(topic, 0) for topic in four[:3]])
    stops = {topic: told(document, topic) for topic in four[:3]}
    assert _kind_and_offset(stops[four.gone]) == ("SOURCE_DELETED", 10)
    assert stops[four.gone].choices == ("resume", "ignore")
    for topic in (four.fewer, four.more):
        assert _kind_and_offset(stops[topic]) == ("SOURCE_REPLACED", 10)
        assert stops[topic].choices == ANSWERS_TO_REPLACED
    fill(source_cluster, four.kept, "late", 5)
    wait_for_end(copy, four.kept, 15)
    assert_copied(copy, four.kept)
    for topic in four[:3]:
        assert records(target_cluster, topic) == before[topic]


def test_where_nothing_remembers_which_topic_was_copied_the_records_tell(
    source_cluster: EmbeddedCluster, target_cluster: EmbeddedCluster, migration: Callable[..., Migration]
) -> None:
    four = Four.create(source_cluster)
    name = new_topic_name("replaced")
    copy = migration(source_cluster, target_cluster, four[1:], name=name)
    copy.start("--until", "in-sync")
    assert copy.wait_for_exit() == 0, copy.evidence()
    before = {topic: records(target_cluster, topic) for topic in four[1:]}
    copy.lose_state()
    delete_group(target_cluster, f"kmigrate-{name}")
    four.replace_in(source_cluster)
    fill(source_cluster, four.kept, "late", 5)

    copy.start("--until", "in-sync")
    assert copy.wait_for_exit() == BLOCKED, copy.evidence()
    document = ask_status(copy)
    for topic in (four.fewer, four.more):
        assert _kind_and_offset(told(document, topic)) == ("SOURCE_REPLACED", 0)
        assert told(document, topic).choices == ANSWERS_TO_REPLACED
        assert records(target_cluster, topic) == before[topic]
    assert target_end(copy, four.kept) == 15
    assert_copied(copy, four.kept)


def _kind_and_offset(stop: Told) -> tuple[str, int]:
    return stop.kind, stop.offset
