"""The source's cleaner removes tombstones while nobody reads: what they deleted must not rise from the dead unseen."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import count

import pytest

from kmigrate.demo.embedded import EmbeddedCluster
from tests.fault.harness import Migration, log_ends, wait_until
from tests.fault.stops.conftest import ProxiedSource
from tests.fault.stops.content import records, target_end, wait_for_end
from tests.fault.stops.telling import BLOCKED, DONE, answer, ask_status, told, wait_for_stop
from tests.kafka_tools import SentRecord, create_topic, produce

pytestmark = pytest.mark.broker

RETENTION_MS = 8_000
KEPT, DOOMED = b"kept", b"doomed"
CLEANED = {
    "cleanup.policy": "compact",
    "delete.retention.ms": str(RETENTION_MS),
    "min.cleanable.dirty.ratio": "0.001",
    "segment.ms": "10000",
}
PARTITIONS = (0, 1)


class Writer:
    """Writes to a topic whose cleaner is eager: each record closes the segment of the one before by its timestamp."""

    def __init__(self, cluster: EmbeddedCluster) -> None:
        self.cluster = cluster
        self.topic = create_topic(cluster.direct_bootstrap, partitions=len(PARTITIONS), config=CLEANED)
        self._times = count(int(time.time() * 1000) - 86_400_000, 20_000)
        self._seals = count()

    def write(self, key: bytes, value: bytes | None, partition: int = 0) -> None:
        record = SentRecord(key=key, value=value, timestamp=next(self._times), partition=partition)
        produce(self.cluster.direct_bootstrap, self.topic, [record])

    def end(self, partition: int = 0) -> int:
        return log_ends(self.cluster, [self.topic])[self.topic, partition]

    def wait_until_the_tombstone_is_gone(self) -> None:
        def is_gone() -> bool:
            self.write(b"seal %d" % next(self._seals), b"")  # the cleaner comes again only when something was written
            time.sleep(0.5)
            return DOOMED not in {each.key for each in records(self.cluster, self.topic)}

        wait_until("nothing of the deleted key is left", is_gone)


def _keys(cluster: EmbeddedCluster, topic: str) -> set[bytes | None]:
    return {each.key for each in records(cluster, topic)}


@pytest.mark.parametrize("meanwhile", ["paused", "ended"])
def test_a_tombstone_that_was_removed_before_it_was_read_stops_the_partition(
    proxied_source: ProxiedSource,
    target_cluster: EmbeddedCluster,
    migration: Callable[..., Migration],
    meanwhile: str,
) -> None:
    source = proxied_source.cluster
    writer = Writer(source)
    topic = writer.topic
    for partition in PARTITIONS:
        for key in (KEPT, DOOMED):
            writer.write(key, b"early", partition)
    copy = migration(source, target_cluster, [topic], name=topic)
    copy.start()
    copy.wait_in_sync()
    if meanwhile == "paused":
        assert copy.command("pause").returncode == DONE
        copy.wait_for_state("PAUSED")
    else:
        copy.stop()
    early = writer.end()
    writer.write(DOOMED, None)
    writer.wait_until_the_tombstone_is_gone()
    assert DOOMED in _keys(target_cluster, topic)

    if meanwhile == "paused":
        assert copy.command("resume").returncode == DONE
        stop = wait_for_stop(copy, topic)
    else:
        copy.start("--until", "in-sync")
        assert copy.wait_for_exit() == BLOCKED, copy.evidence()
        stop = told(ask_status(copy), topic)
    assert (stop.kind, stop.offset) == ("TOMBSTONES_MAY_BE_LOST", early), stop
    assert stop.choices == ("recreate", "accept", "ignore")
    assert f"delete.retention.ms is {RETENTION_MS}" in stop.evidence
    assert f"offsets {early} to {writer.end() - 1}" in stop.evidence
    assert target_end(copy, topic) == early
    assert told(ask_status(copy), topic, 1).kind == "", "nothing was written there, so nothing is missing"

    if meanwhile == "paused":
        result = answer(copy, "-t", topic, "-p", "0", "--accept")
    else:
        copy.start()
        wait_for_stop(copy, topic)
        result = answer(copy, "-t", topic, "--recreate", "--yes")
    assert result.returncode == DONE, result.stderr
    wait_until("it is in sync", lambda: told(ask_status(copy), topic).state == "IN_SYNC", evidence=copy.evidence)
    wait_for_end(copy, topic, writer.end())
    accepted = next(each["accepted"] for each in ask_status(copy)["partitions"] if each["partition"] == 0)
    if meanwhile == "paused":
        assert (accepted["kind"], accepted["offset"], accepted["evidence"]) == (stop.kind, early, stop.evidence)
        assert DOOMED in _keys(target_cluster, topic), "that was accepted"
    else:
        assert accepted is None
        assert _keys(target_cluster, topic) == _keys(source, topic)

    writer.write(KEPT, b"late")
    wait_for_end(copy, topic, writer.end())
    assert told(ask_status(copy), topic).kind == "", "whoever reads at once is in time"
    late = [each for each in records(source, topic) if each.offset >= early]
    assert [each for each in records(target_cluster, topic) if each.offset >= early] == late
    copy.stop()


def test_a_lost_state_folder_does_not_lose_the_time(
    proxied_source: ProxiedSource, target_cluster: EmbeddedCluster, migration: Callable[..., Migration]
) -> None:
    writer = Writer(proxied_source.cluster)
    topic = writer.topic
    for partition in PARTITIONS:
        writer.write(DOOMED, b"early", partition)
    copy = migration(proxied_source.cluster, target_cluster, [topic], name=topic)
    copy.start("--until", "in-sync")
    assert copy.wait_for_exit() == DONE, copy.evidence()
    early = writer.end()
    copy.lose_state()
    writer.write(DOOMED, None)
    writer.wait_until_the_tombstone_is_gone()
    copy.start("--until", "in-sync")
    assert copy.wait_for_exit() == BLOCKED, copy.evidence()
    stop = told(ask_status(copy), topic)
    assert (stop.kind, stop.offset) == ("TOMBSTONES_MAY_BE_LOST", early), stop
    assert "everything was read as of" in stop.evidence
    assert told(ask_status(copy), topic, 1).kind == ""
