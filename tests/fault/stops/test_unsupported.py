"""What this version cannot copy yet stops its partition at the first such offset, and nothing else.

One migration meets everything at once; each test looks at its part of it.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from confluent_kafka import Producer

from kmigrate.demo.embedded import EmbeddedCluster
from tests.conftest import SOURCE_VERSION
from tests.fault.harness import Document, Migration, closing_all, wait_until
from tests.fault.stops.conftest import ProxiedSource
from tests.fault.stops.content import assert_copied, records, target_end
from tests.fault.stops.tampering import as_old_messages
from tests.fault.stops.telling import BLOCKED, Told, ask_status, told
from tests.fault.stops.topics import delete_records, fill
from tests.kafka_tools import SentRecord, create_topic, new_topic_name, produce, run_java_tool

pytestmark = pytest.mark.broker

COMPACTED = {"cleanup.policy": "compact", "segment.bytes": "300", "min.cleanable.dirty.ratio": "0.0"}
"""A segment holds one or two batches, and the cleaner is eager."""


class Met(NamedTuple):
    """The migration after its run, and the topics that it met."""

    copy: Migration
    topics: dict[str, str]
    status: Document

    def told(self, kind: str, partition: int = 0) -> Told:
        return told(self.status, self.topics[kind], partition)


@pytest.fixture(scope="module")
def met(
    _proxied_source: ProxiedSource, target_cluster: EmbeddedCluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Met]:
    source, proxy = _proxied_source
    prefix = new_topic_name("unsupported")
    topics = {kind: f"{prefix}-{kind.replace(' ', '-')}" for kind in WRITERS}
    for kind, topic in topics.items():
        WRITERS[kind](source, topic)
    for kind in ("hole", "gap"):
        _wait_until_compacted(source, topics[kind])
    proxy.heal()
    for magic in (0, 1):
        proxy.tamper(f"<{topics[f'v{magic}']}>".encode(), as_old_messages(magic))
    folder = tmp_path_factory.mktemp("unsupported")
    copy = Migration(folder, source, target_cluster, list(topics.values()), name=prefix)
    with closing_all([copy]):
        copy.start("--until", "in-sync")
        assert copy.wait_for_exit() == BLOCKED, copy.evidence()
        yield Met(copy, topics, ask_status(copy))
    proxy.heal()
    shutil.rmtree(folder)


# -- what is met ------------------------------------------------------------------------------------------------------


def _write_plain(source: EmbeddedCluster, topic: str) -> None:
    create_topic(source.direct_bootstrap, topic)
    fill(source, topic, "plain", 10)


def _write_two_partitions(source: EmbeddedCluster, topic: str) -> None:
    """Only the first partition holds a transaction."""
    create_topic(source.direct_bootstrap, topic, partitions=2)
    fill(source, topic, "plain", 10, partitions=(0, 1))
    _write_in_transaction(source, topic, commit=True)


def _write_late_start(source: EmbeddedCluster, topic: str) -> None:
    _write_plain(source, topic)
    delete_records(source, topic, {0: 7})


def _write_committed(source: EmbeddedCluster, topic: str) -> None:
    _write_plain(source, topic)
    _write_in_transaction(source, topic, commit=True)


def _write_aborted(source: EmbeddedCluster, topic: str) -> None:
    _write_plain(source, topic)
    _write_in_transaction(source, topic, commit=False)


def _write_in_transaction(source: EmbeddedCluster, topic: str, *, commit: bool) -> None:
    producer = Producer({"bootstrap.servers": source.direct_bootstrap, "transactional.id": topic})
    producer.init_transactions(60)
    producer.begin_transaction()
    producer.produce(topic, value=b"transactional", partition=0)
    assert producer.flush(60) == 0
    if commit:
        producer.commit_transaction(60)
    else:
        producer.abort_transaction(60)


def _write_marker(source: EmbeddedCluster, topic: str) -> None:
    """A transaction marker without records of a transaction before it."""
    _write_plain(source, topic)
    run_java_tool(
        SOURCE_VERSION,
        "org.apache.kafka.tools.TransactionsCommand",
        *("--bootstrap-server", source.direct_bootstrap, "abort", "--topic", topic, "--partition", "0"),
        *("--producer-id", "4711", "--producer-epoch", "0", "--coordinator-epoch", "0"),
    )


def _write_append_time(source: EmbeddedCluster, topic: str) -> None:
    create_topic(source.direct_bootstrap, topic, config={"message.timestamp.type": "LogAppendTime"})
    fill(source, topic, "stamped", 10)


def _write_hole(source: EmbeddedCluster, topic: str) -> None:
    """Offsets 0 to 9 stay; of 10 to 19 every second key comes again."""
    create_topic(source.direct_bootstrap, topic, config=COMPACTED)
    _write_keys(source, topic, range(10))
    _write_keys(source, topic, range(10, 20))
    _write_keys(source, topic, range(10, 20, 2))
    _write_keys(source, topic, range(20, 30))


def _write_gap(source: EmbeddedCluster, topic: str) -> None:
    """Offsets 0 to 9 stay; the keys of 10 to 19 all come again."""
    create_topic(source.direct_bootstrap, topic, config=COMPACTED)
    _write_keys(source, topic, range(10))
    _write_keys(source, topic, range(10, 20))
    _write_keys(source, topic, range(10, 20))
    _write_keys(source, topic, range(20, 30))


def _write_keys(source: EmbeddedCluster, topic: str, keys: range) -> None:
    produce(
        source.direct_bootstrap,
        topic,
        [SentRecord(key=b"key %d" % key, value=b"value") for key in keys],
        config={"linger.ms": 200},  # one batch
    )


def _write_old(source: EmbeddedCluster, topic: str) -> None:
    """The records that the proxy turns into messages of an old format come last."""
    _write_plain(source, topic)
    fill(source, topic, f"<{topic}>", 3)


WRITERS = {
    "plain": _write_plain,
    "two partitions": _write_two_partitions,
    "late start": _write_late_start,
    "committed": _write_committed,
    "aborted": _write_aborted,
    "marker": _write_marker,
    "append time": _write_append_time,
    "hole": _write_hole,
    "gap": _write_gap,
    "v0": _write_old,
    "v1": _write_old,
}


def _wait_until_compacted(source: EmbeddedCluster, topic: str) -> None:
    wait_until(
        f"{topic} is compacted", lambda: not {10, 12, 14, 16, 18} & {each.offset for each in records(source, topic)}
    )


# -- what becomes of it -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "offset", "evidence"),
    [
        ("late start", 0, "a log that starts at offset 7"),
        ("two partitions", 10, "transactional records"),
        ("committed", 10, "transactional records"),
        ("aborted", 10, "transactional records"),
        ("marker", 10, "a transaction marker of producer id 4711"),
        ("append time", 0, "records stamped with LogAppendTime"),
        ("hole", 10, "a batch of 5 records over 10 offsets"),
        ("gap", 10, "no record from offset 10 to 19"),
        ("v0", 10, "records in message format v0"),
        ("v1", 10, "records in message format v1"),
    ],
)
def test_what_cannot_be_copied_yet_is_named_where_it_begins(met: Met, kind: str, offset: int, evidence: str) -> None:
    stop = met.told(kind)
    assert (stop.kind, stop.offset) == ("UNSUPPORTED", offset), stop
    assert evidence in stop.evidence
    assert stop.choices == ("resume", "ignore")
    topic = met.topics[kind]
    assert target_end(met.copy, topic) == offset
    if offset:
        assert_copied(met.copy, topic, end=offset)


def test_what_can_be_copied_is_not_held_back_by_it(met: Met) -> None:
    for kind, partition in (("plain", 0), ("two partitions", 1)):
        topic = met.topics[kind]
        assert met.told(kind, partition).state == "IN_SYNC"
        assert target_end(met.copy, topic, partition) == 10
        assert_copied(met.copy, topic, partition)
