"""Batches are damaged on their way from the source: they are fetched again, and never appended as they came."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pytest

from kmigrate.demo.embedded import EmbeddedCluster
from tests.conftest import SOURCE_VERSION
from tests.fault.harness import Migration, wait_until
from tests.fault.stops.conftest import ProxiedSource
from tests.fault.stops.content import assert_copied, target_end, wait_for_end
from tests.fault.stops.tampering import BASE_OFFSET, CRC, EPOCH, LENGTH, MAGIC, RECORDS, Change, flip
from tests.fault.stops.telling import BLOCKED, DONE, answer, ask_status, told, wait_for_stop
from tests.fault.stops.topics import fill
from tests.kafka_tools import create_topic, dump_log

pytestmark = pytest.mark.broker


class Damage(NamedTuple):
    """A damage, the stop that it leads to if it stays, whether that counts as a CRC error, and when it does not."""

    change: Change
    kind: str
    crc_error: bool
    seems_cut: bool = False
    """Behind another batch it looks like one that did not fit into the answer."""


DAMAGES = (
    Damage(flip(RECORDS + 9), "SOURCE_CORRUPT", True),
    Damage(flip(RECORDS - 1), "SOURCE_CORRUPT", True),  # how many records
    Damage(flip(CRC), "SOURCE_CORRUPT", True),
    Damage(flip(LENGTH + 3), "SOURCE_CORRUPT", True),
    Damage(flip(LENGTH, 6), "SOURCE_CORRUPT", True, True),  # more than any buffer holds
    Damage(flip(LENGTH, 7), "SOURCE_CORRUPT", True),  # negative
    Damage(flip(BASE_OFFSET + 7), "SOURCE_CORRUPT", True),  # 4: it overlaps the batch before it
    Damage(flip(BASE_OFFSET + 7, 1), "SOURCE_CORRUPT", True),  # 7: it overlaps the batch behind it
    Damage(flip(BASE_OFFSET + 6, 4), "SOURCE_CORRUPT", True),
    Damage(flip(BASE_OFFSET, 7), "SOURCE_CORRUPT", True),  # negative
    Damage(flip(MAGIC), "UNSUPPORTED", False),  # 3
    Damage(flip(MAGIC, 1), "SOURCE_CORRUPT", True),  # 0: read as a message of that format it is damaged
    Damage(flip(MAGIC, 7), "SOURCE_CORRUPT", True, True),  # negative
)
PARTITIONS = range(len(DAMAGES) + 1)
"""Each partition suffers one damage, in its second batch; the last one none."""
UNHARMED = len(DAMAGES)


@pytest.fixture
def topic(proxied_source: ProxiedSource) -> str:
    """Three batches in every partition, of 5 records each."""
    name = create_topic(proxied_source.cluster.direct_bootstrap, partitions=len(PARTITIONS))
    for batch in ("first", "second", "third"):
        for partition in PARTITIONS:
            fill(proxied_source.cluster, name, _marker(name, batch, partition), 5, partitions=(partition,))
    return name


def _marker(topic: str, batch: str, partition: int) -> str:
    return f"<{topic} {batch} {partition}>"


def test_a_batch_that_was_damaged_once_is_fetched_again_and_copied_right(
    proxied_source: ProxiedSource, target_cluster: EmbeddedCluster, migration: Callable[..., Migration], topic: str
) -> None:
    source, proxy = proxied_source
    harms = [
        proxy.tamper(_marker(topic, "second", partition).encode(), damage.change, times=1)
        for partition, damage in enumerate(DAMAGES)
    ]
    copy = migration(source, target_cluster, [topic], name=topic)
    copy.start("--until", "in-sync")
    assert copy.wait_for_exit() == DONE, copy.evidence()
    assert [harm.done for harm in harms] == [1] * len(DAMAGES)
    document = ask_status(copy)
    for partition, damage in enumerate(DAMAGES):
        found = told(document, topic, partition)
        counted = int(damage.crc_error and not damage.seems_cut)
        assert (found.state, found.crc_errors) == ("IN_SYNC", counted), (damage, found)
    assert told(document, topic, UNHARMED).crc_errors == 0
    for partition in PARTITIONS:
        assert target_end(copy, topic, partition) == 15
        assert_copied(copy, topic, partition)


def test_a_batch_that_stays_damaged_is_never_appended_and_copied_once_it_is_whole(
    proxied_source: ProxiedSource, target_cluster: EmbeddedCluster, migration: Callable[..., Migration], topic: str
) -> None:
    source, proxy = proxied_source
    harms = [
        proxy.tamper(_marker(topic, "second", partition).encode(), damage.change)
        for partition, damage in enumerate(DAMAGES)
    ]
    copy = migration(source, target_cluster, [topic], name=topic)
    copy.start("--until", "in-sync")
    assert copy.wait_for_exit() == BLOCKED, copy.evidence()
    document = ask_status(copy)
    for partition, damage in enumerate(DAMAGES):
        found = told(document, topic, partition)
        assert (found.kind, found.offset) == (damage.kind, 5), (damage, found)
        assert (found.crc_errors >= 2) is damage.crc_error, (damage, found)
        assert found.choices == ("resume", "ignore")
        assert target_end(copy, topic, partition) == 5
        assert_copied(copy, topic, partition, end=5)
        assert harms[partition].done >= 2
    assert target_end(copy, topic, UNHARMED) == 15
    assert_copied(copy, topic, UNHARMED)

    copy.start()
    wait_for_stop(copy, topic)
    proxy.heal()
    result = answer(copy, "-t", topic)
    assert result.returncode == DONE, result.stderr
    for partition in PARTITIONS:
        wait_for_end(copy, topic, 15, partition)
        assert_copied(copy, topic, partition)
    copy.wait_for_state("IN_SYNC")


def test_a_damaged_batch_that_waits_for_an_answer_is_not_fetched_again(
    proxied_source: ProxiedSource, target_cluster: EmbeddedCluster, migration: Callable[..., Migration], topic: str
) -> None:
    source, proxy = proxied_source
    harm = proxy.tamper(_marker(topic, "second", 0).encode(), flip(RECORDS + 9))
    copy = migration(source, target_cluster, [topic], name=topic)
    copy.start()
    stop = wait_for_stop(copy, topic)
    fetched = harm.done
    fill(source, topic, "late", 5, partitions=(0, 1))
    wait_until("another partition goes on", lambda: target_end(copy, topic, 1) == 20, evidence=copy.evidence)
    assert harm.done == fetched
    assert told(ask_status(copy), topic) == stop
    assert target_end(copy, topic) == 5


def test_a_leader_epoch_that_was_damaged_once_is_no_divergence(
    proxied_source: ProxiedSource, target_cluster: EmbeddedCluster, migration: Callable[..., Migration]
) -> None:
    source, proxy = proxied_source
    topic = create_topic(source.direct_bootstrap)
    fill(source, topic, "first term", 5)
    source.restart(1)
    marker = _marker(topic, "second term", 0)
    fill(source, topic, marker, 5)
    epochs = [batch["partitionLeaderEpoch"] for batch in dump_log(SOURCE_VERSION, source.data_dir(1), topic)]
    assert epochs[0] == 0 < epochs[-1], epochs
    harm = proxy.tamper(marker.encode(), lambda batch: batch[:EPOCH] + bytes(4) + batch[MAGIC:], times=1)
    copy = migration(source, target_cluster, [topic], name=topic)
    copy.start()
    copy.wait_in_sync()
    assert harm.done == 1
    fill(source, topic, "late", 5)
    wait_for_end(copy, topic, 15)
    copy.wait_for_state("IN_SYNC")
    assert told(ask_status(copy), topic).kind == ""
    assert_copied(copy, topic)
