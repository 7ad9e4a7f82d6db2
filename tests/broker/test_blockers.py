"""What speaks against a copy is said before the first write, and nothing is written."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kmigrate.demo.embedded import EmbeddedCluster
from kmigrate.demo.ports import find_free_ports
from tests.conftest import SOURCE_VERSION
from tests.fault.harness import REFUSED, Migration, closing_all
from tests.fault.stops.content import records
from tests.fault.stops.telling import BLOCKED, USAGE
from tests.fault.stops.topics import fill, list_groups, list_topics
from tests.kafka_tools import create_topic, new_topic_name

pytestmark = pytest.mark.broker

Refuse = Callable[..., str]


@pytest.fixture
def refuse(tmp_path: Path, source_cluster: EmbeddedCluster, target_cluster: EmbeddedCluster) -> Iterator[Refuse]:
    """Runs a migration that must end with a code and write nothing; returns its name and what it said."""
    made: list[Migration] = []

    def run(
        exit_code: int,
        *,
        topics: list[str],
        source: EmbeddedCluster = source_cluster,
        target: EmbeddedCluster = target_cluster,
        spec: dict[str, Any] | None = None,
        change: Callable[[str], str] = lambda manifest: manifest,
    ) -> str:
        copy = Migration(tmp_path, source, target, topics, name=new_topic_name("refused"), spec=spec)
        copy.manifest.write_text(change(copy.manifest.read_text()))
        made.append(copy)
        groups, before = list_groups(target_cluster), _content(target_cluster, topics)
        copy.start()
        assert copy.wait_for_exit() == exit_code, copy.evidence()
        assert list_groups(target_cluster) <= groups, "a group was made"  # brokers drop empty ones of their own accord
        assert _content(target_cluster, topics) == before, "something was written"
        said = copy.messages()
        assert "Traceback" not in said
        return said

    with closing_all(made):
        yield run


def _content(cluster: EmbeddedCluster, topics: list[str]) -> tuple[set[str], list[object]]:
    """Topics, and the records of those that are meant.

    A broker creates the topic of all groups by itself when it is first asked where a group's coordinator is.
    """
    found = list_topics(cluster) - {"__consumer_offsets"}
    return found, [records(cluster, topic) for topic in topics if topic in found]


@pytest.fixture
def topic(source_cluster: EmbeddedCluster) -> str:
    """A topic of the source with something in it."""
    name = create_topic(source_cluster.bootstrap)
    fill(source_cluster, name, "something", 5)
    return name


def test_a_wrong_manifest_is_refused_with_the_lines_of_all_problems(refuse: Refuse, topic: str) -> None:
    lines: list[str] = []

    def spoil(manifest: str) -> str:
        lines.extend(manifest.replace("  topics:", "  topcis: []\n  lanes: 99\n  topics:").splitlines())
        return "\n".join(lines)

    said = refuse(USAGE, topics=[topic], change=spoil)
    for wrong in ("topcis", "lanes"):
        (place,) = [number for number, line in enumerate(lines, start=1) if wrong in line]
        assert re.search(rf"\.yaml:{place}: .*{wrong}", said), said


def test_a_bootstrap_server_that_does_not_answer_is_named(refuse: Refuse, topic: str) -> None:
    [closed] = find_free_ports(1)
    spec = {"source": {"properties": {"bootstrap.servers": f"127.0.0.1:{closed}"}}}
    said = refuse(BLOCKED, topics=[topic], spec=spec)
    assert "source" in said
    assert f"127.0.0.1:{closed}" in said


def test_a_broker_that_cannot_be_reached_where_it_advertises_is_named(
    refuse: Refuse, start_cluster: Callable[..., EmbeddedCluster]
) -> None:
    [closed] = find_free_ports(1)
    source = start_cluster(SOURCE_VERSION, brokers=2, advertised={2: closed})
    topic = create_topic(source.direct_bootstrap)
    fill(source, topic, "something", 5)
    reachable = {"source": {"properties": {"bootstrap.servers": f"127.0.0.1:{source.port(1)}"}}}
    said = refuse(BLOCKED, topics=[topic], source=source, spec=reachable)
    assert f"127.0.0.1:{closed}" in said
    assert "(id 2)" in said
    assert f"127.0.0.1:{source.port(1)}" not in said


def test_a_topic_that_the_manifest_names_and_the_source_does_not_have_is_named(refuse: Refuse, topic: str) -> None:
    missing = new_topic_name("missing")
    said = refuse(BLOCKED, topics=[topic, missing])
    assert f"no topic {missing}" in said
    assert topic not in said.replace(missing, "")


def test_a_target_topic_with_records_of_others_is_left_alone(
    refuse: Refuse, topic: str, target_cluster: EmbeddedCluster
) -> None:
    create_topic(target_cluster.bootstrap, topic, config={"retention.ms": "-1", "retention.bytes": "-1"})
    fill(target_cluster, topic, "theirs", 3)
    said = refuse(BLOCKED, topics=[topic])
    assert f"topic {topic} on the target holds what is not this migration's" in said
    assert "log end 3" in said


def test_all_that_must_be_mended_is_said_at_once(refuse: Refuse, topic: str, target_cluster: EmbeddedCluster) -> None:
    create_topic(target_cluster.bootstrap, topic, config={"cleanup.policy": "compact"}, partitions=2)
    missing = new_topic_name("missing")
    said = refuse(BLOCKED, topics=[topic, missing])
    assert f"no topic {missing}" in said
    assert f"topic {topic} has 2 partitions on the target and 1 on the source" in said
    assert "cleanup.policy=compact" in said


def test_a_cluster_is_not_copied_onto_itself(refuse: Refuse, topic: str, source_cluster: EmbeddedCluster) -> None:
    said = refuse(REFUSED, topics=[topic], target=source_cluster)
    assert "the same cluster" in said
    assert source_cluster.cluster_id in said


@pytest.mark.parametrize("side", ["source", "target"])
def test_another_cluster_than_the_manifest_names_is_refused(
    refuse: Refuse, topic: str, source_cluster: EmbeddedCluster, target_cluster: EmbeddedCluster, side: str
) -> None:
    cluster = source_cluster if side == "source" else target_cluster
    spec = {side: {"clusterId": "another", "properties": {"bootstrap.servers": cluster.bootstrap}}}
    said = refuse(REFUSED, topics=[topic], spec=spec)
    assert f"spec.{side}.clusterId says another" in said
    assert cluster.cluster_id in said
