"""The source deletes records before they are copied; what was copied already it may delete."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from kmigrate.demo.embedded import EmbeddedCluster
from tests.fault.harness import Migration, wait_until
from tests.fault.stops.content import assert_copied, target_end, wait_for_end
from tests.fault.stops.telling import BLOCKED, ask_status, told, wait_for_stop
from tests.fault.stops.topics import delete_records, fill
from tests.kafka_tools import create_topic

pytestmark = pytest.mark.broker

PARTITIONS = (0, 1, 2, 3)


@pytest.mark.parametrize("meanwhile", ["paused", "stopped"])
def test_records_trimmed_before_they_were_copied_are_named_and_others_are_not_missed(
    source_cluster: EmbeddedCluster,
    target_cluster: EmbeddedCluster,
    migration: Callable[..., Migration],
    meanwhile: str,
) -> None:
    topic = create_topic(source_cluster.bootstrap, partitions=len(PARTITIONS))
    fill(source_cluster, topic, "early", 10, partitions=PARTITIONS)
    copy = migration(source_cluster, target_cluster, [topic], name=topic)
    copy.start()
    copy.wait_in_sync()
    if meanwhile == "paused":
        assert copy.command("pause").returncode == 0
        wait_until("every partition is paused", lambda: _states(copy) == {"PAUSED"}, evidence=copy.evidence)
    else:
        copy.stop()
    fill(source_cluster, topic, "late", 20, partitions=PARTITIONS)
    delete_records(source_cluster, topic, {0: 25, 1: 5, 2: 10})
    if meanwhile == "paused":
        assert copy.command("resume").returncode == 0
        wait_for_stop(copy, topic)
        for partition in PARTITIONS[1:]:
            wait_for_end(copy, topic, 30, partition)
        copy.wait_for_state("STOPPED")
    else:
        copy.start("--until", "in-sync")
        assert copy.wait_for_exit() == BLOCKED, copy.evidence()

    document = ask_status(copy)
    stop = told(document, topic)
    assert (stop.kind, stop.offset, stop.choices) == ("GAP_LOST", 10, ("recreate", "ignore")), stop
    assert "10 to 24" in stop.evidence, stop
    assert target_end(copy, topic) == 10
    for partition, start in zip(PARTITIONS[1:], (5, 10, 0), strict=True):
        assert told(document, topic, partition).kind == ""
        assert target_end(copy, topic, partition) == 30
        assert_copied(copy, topic, partition, start=start)


def _states(copy: Migration) -> set[str]:
    return {each["state"] for each in copy.status()["partitions"]}
