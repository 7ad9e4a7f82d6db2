"""An unclean election shortens the source's log after it was copied: nothing past the divergence is appended.

One election, met by three migrations: one runs all the time, one has its workers frozen from before the election until
other records are there, one was stopped meanwhile.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from kmigrate.demo.embedded import EmbeddedCluster
from tests.conftest import SOURCE_VERSION
from tests.fault.harness import Migration, closing_all, wait_until
from tests.fault.stops.content import assert_copied, records, wait_for_end
from tests.fault.stops.telling import ask_status, told, wait_for_stops
from tests.fault.stops.topics import create_placed, describe_partition, fill
from tests.kafka_tools import ReadRecord, new_topic_name

pytestmark = pytest.mark.broker

MEANWHILE = ("running", "frozen", "stopped")
OTHERS = {"none": 0, "fewer": 5, "more": 25}
"""How many other records the new leader gets where 10 were lost."""
KEPT = "kept"


class Met(NamedTuple):
    """The migrations after the election, their topics, and what the target held before it."""

    copies: dict[str, Migration]
    topics: dict[tuple[str, str], str]
    before: dict[str, list[ReadRecord]]


@pytest.fixture(scope="module")
def met(
    request: pytest.FixtureRequest, target_cluster: EmbeddedCluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Met]:
    failures = request.session.testsfailed
    source = EmbeddedCluster(
        SOURCE_VERSION,
        brokers=2,
        properties={"unclean.leader.election.enable": "true", "min.insync.replicas": "1"},
    )
    folder = tmp_path_factory.mktemp("truncated")
    try:
        source.start()
        names = {each: new_topic_name(each) for each in MEANWHILE}
        topics = {
            (each, others): create_placed(source, f"{names[each]}-{others}", [2] if others == KEPT else [1, 2])
            for each in MEANWHILE
            for others in (*OTHERS, KEPT)
        }
        copies = {
            each: Migration(
                folder,
                source,
                target_cluster,
                [topics[each, others] for others in (*OTHERS, KEPT)],
                name=names[each],
                state=each,
                spec={"replicationFactor": 1},
            )
            for each in MEANWHILE
        }
        with closing_all(list(copies.values())):
            yield _elect_uncleanly(source, copies, topics)
    finally:
        source.close(failed=request.session.testsfailed > failures)
        shutil.rmtree(folder)


def _elect_uncleanly(source: EmbeddedCluster, copies: dict[str, Migration], topics: dict[tuple[str, str], str]) -> Met:
    """Broker 2 misses ten records, and leads when broker 1 dies; those ten had been copied."""
    doubled = [topic for (_, others), topic in topics.items() if others != KEPT]
    for topic in topics.values():
        fill(source, topic, "common", 10)
    for copy in copies.values():
        copy.start()
    for copy in copies.values():
        copy.wait_in_sync()
    source.kill(2)
    for topic in doubled:
        wait_until(f"only 1 is in sync for {topic}", lambda topic=topic: describe_partition(source, topic) == (1, [1]))
        fill(source, topic, "lost", 10)
    for (each, _), topic in topics.items():
        if topic in doubled:
            wait_for_end(copies[each], topic, 20)
    before = {topic: records(copies[each].target, topic) for (each, _), topic in topics.items()}
    copies["stopped"].stop()
    copies["frozen"].freeze(owner=False)
    source.kill(1)
    source.start_node(2)
    for topic in doubled:
        wait_until(f"2 leads {topic}", lambda topic=topic: describe_partition(source, topic)[0] == 2)
    for (_, others), topic in topics.items():
        fill(source, topic, "others", OTHERS.get(others, 5))
    copies["frozen"].thaw()
    copies["stopped"].start()
    return Met(copies, topics, before)


@pytest.mark.parametrize("meanwhile", MEANWHILE)
def test_after_an_unclean_election_nothing_is_appended_past_the_divergence(met: Met, meanwhile: str) -> None:
    copy = met.copies[meanwhile]
    topics = [met.topics[meanwhile, others] for others in OTHERS]
    wait_for_stops(copy, [(topic, 0) for topic in topics])
    wait_for_end(copy, met.topics[meanwhile, KEPT], 15)
    document = ask_status(copy)
    for topic in topics:
        stop = told(document, topic)
        assert (stop.kind, stop.offset, stop.choices) == ("SOURCE_TRUNCATED", 10, ("recreate", "ignore")), stop
        assert records(copy.target, topic) == met.before[topic]
        assert len(met.before[topic]) == 20
    assert told(document, met.topics[meanwhile, KEPT]).kind == ""
    assert_copied(copy, met.topics[meanwhile, KEPT])
