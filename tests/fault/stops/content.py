"""What lies on both clusters, as librdkafka reads it past any proxy."""

from __future__ import annotations

from kmigrate.demo.embedded import EmbeddedCluster
from tests.fault.harness import Migration, log_ends, wait_until
from tests.kafka_tools import ReadRecord, read_all


def records(cluster: EmbeddedCluster, topic: str, partition: int = 0) -> list[ReadRecord]:
    """Every record of a partition, those of aborted transactions too."""
    found = read_all(cluster.direct_bootstrap, topic, isolation_level="read_uncommitted")
    return [record for record in found if record.partition == partition]


def target_end(copy: Migration, topic: str, partition: int = 0) -> int:
    """The high watermark of a partition on the target."""
    return log_ends(copy.target, [topic])[topic, partition]


def wait_for_end(copy: Migration, topic: str, end: int, partition: int = 0) -> None:
    """Wait until the target's partition has this end."""
    wait_until(
        f"{topic}-{partition} ends at {end} on the target",
        lambda: target_end(copy, topic, partition) == end,
        evidence=copy.evidence,
    )


def assert_copied(copy: Migration, topic: str, partition: int = 0, *, start: int = 0, end: int | None = None) -> None:
    """Both clusters hold the same records from `start` to below `end` (None: to their ends), and the target no other.

    Below `start` the source may have deleted records that the target keeps.
    """
    source = [each for each in records(copy.source, topic, partition) if start <= each.offset]
    target = [each for each in records(copy.target, topic, partition) if start <= each.offset]
    wanted = source if end is None else [each for each in source if each.offset < end]
    assert target == wanted, f"{topic}-{partition}: {wanted[:3]} … became {target[:3]} …\n{copy.evidence()}"
    offsets = [each.offset for each in target]
    assert offsets == list(range(start, start + len(offsets))), f"{topic}-{partition}: gaps in {offsets}"
    assert target, f"{topic}-{partition}: nothing was compared"
