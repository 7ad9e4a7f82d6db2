"""A target's disk that fills up pauses the copy, and room on it lets the copy go on by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from kmigrate.demo.embedded import EmbeddedCluster
from tests.conftest import TARGET_VERSION
from tests.fault.cells import Cell, cells
from tests.fault.harness import Migration, log_ends, wait_until
from tests.fault.small_disk import Ballast, small_disks
from tests.kafka_tools import create_topic, new_topic_name, produce, read_all

pytestmark = pytest.mark.broker

LIMIT_PERCENT = 50
FULL = 0.7


@pytest.fixture(scope="module")
def small_target(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedCluster]:
    failures = request.session.testsfailed
    cluster = EmbeddedCluster(TARGET_VERSION)
    with small_disks(tmp_path_factory.mktemp("java")):
        cluster.start()
    try:
        yield cluster
    finally:
        cluster.close(failed=request.session.testsfailed > failures)


@pytest.fixture
def ballast(small_target: EmbeddedCluster) -> Iterator[Ballast]:
    ballast = Ballast(small_target, 1)
    yield ballast
    ballast.remove()


@cells(long=2, sample=1)
def test_a_full_target_pauses_the_copy_and_room_lets_it_go_on(
    cell: Cell,
    source_cluster: EmbeddedCluster,
    small_target: EmbeddedCluster,
    ballast: Ballast,
    migration: Callable[..., Migration],
) -> None:
    full_when_it_starts = cell.pick([True, False])
    topic = create_topic(source_cluster.bootstrap)
    produce(source_cluster.bootstrap, topic, [b"before %d" % n for n in range(50)])
    spec = {"limits": {"targetFreePercent": LIMIT_PERCENT}}
    copy = migration(source_cluster, small_target, [topic], name=new_topic_name("full"), spec=spec)

    def paused_since(before_ms: int) -> dict[str, Any] | None:
        """What is said later than that, if the one partition is paused."""
        document = copy.status()
        states = [each["state"] for each in document["partitions"]]
        return dict(document) if states == ["PAUSED"] and document["updatedAt"] > before_ms else None

    if full_when_it_starts:
        ballast.put(FULL)
        copy.start()
        copied = 0
    else:
        copy.start()
        copy.wait_in_sync()
        copied = 50
        ballast.put(FULL)
    document = wait_until("it pauses", lambda: paused_since(0), evidence=copy.evidence)
    produce(source_cluster.bootstrap, topic, [b"meanwhile"])
    for _ in range(2):  # long enough for a copier that is not paused
        last_ms = document["updatedAt"]
        document = wait_until("it stays so", lambda: paused_since(last_ms), evidence=copy.evidence)  # noqa: B023
    assert document["state"] == "PAUSED"
    assert "TARGET_FULL: broker 1 of the target has" in document["reason"]
    assert list(log_ends(small_target, [topic]).values()) == [copied]

    ballast.remove()
    copy.wait_in_sync()
    assert log_ends(small_target, [topic]) == log_ends(source_cluster, [topic])
    assert read_all(small_target.bootstrap, topic) == read_all(source_cluster.bootstrap, topic)
    assert "TARGET_FULL" not in copy.status()["reason"]
    copy.stop()
