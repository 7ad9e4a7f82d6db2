"""What is planted on a real target is found by the client that compares, and ends the demo with 3."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from kmigrate.demo.comparison import Comparison, compare_sides
from kmigrate.demo.embedded import EmbeddedCluster
from kmigrate.demo.ledger import Entry, LedgerWriter, digest_of, read_ledger
from kmigrate.demo.narrator import Narrator
from kmigrate.demo.shapes import number_text
from kmigrate.demo.story import DIFFERENCE_FOUND, judge
from kmigrate.demo.witness import Witness
from tests.conftest import SOURCE_VERSION, TARGET_VERSION
from tests.kafka_tools import SentRecord, create_topic, produce

pytestmark = pytest.mark.broker

TIME_MS = 1_750_000_000_000
RECORDS = [
    SentRecord(
        value=number_text(number) + bytes(number % 7),
        key=None if number % 3 else b"key %d" % number,
        headers=[("h", b"\xff\xfe"), ("h", None), ("other", b"")][: number % 4],
        timestamp=TIME_MS + number,
        partition=number % 2,
    )
    for number in range(40)
]
TOPICS = ("orders", "clicks", "payments", "audit")  # in this order: equal, duplicate, missing, changed


def _write(cluster: EmbeddedCluster, by_topic: Mapping[str, Sequence[SentRecord]], ledger: Path | None) -> None:
    for topic in by_topic:
        create_topic(cluster.bootstrap, topic, partitions=2, config={"retention.ms": "-1"})
    with (ledger or Path("/dev/null")).open("wb") as file:
        writer = LedgerWriter(file)
        for topic, records in by_topic.items():
            for record, place in zip(records, produce(cluster.bootstrap, topic, records), strict=True):
                assert record.value is not None
                assert record.timestamp is not None
                digest = digest_of(record.key, record.value, record.headers, timestamp_ms=record.timestamp)
                writer.write(topic, place[0], Entry(place[1], int(record.value[:10]), digest))


def _for_topic(index: int) -> list[SentRecord]:
    """The records of a topic: their numbers are in no other."""
    return [
        SentRecord(
            value=number_text(index * 100 + number) + (record.value or b"")[10:],
            key=record.key,
            headers=record.headers,
            timestamp=record.timestamp,
            partition=record.partition,
        )
        for number, record in enumerate(RECORDS)
    ]


def _compare(source: EmbeddedCluster, target: EmbeddedCluster, ledger: Path) -> Comparison:
    with Witness(source.bootstrap) as left, Witness(target.bootstrap) as right:
        return compare_sides(left, right, read_ledger(ledger))


def test_planted_differences_are_found(
    start_cluster: Callable[..., EmbeddedCluster], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, target = start_cluster(SOURCE_VERSION), start_cluster(TARGET_VERSION)
    ledger = tmp_path / "ledger"
    written = {topic: _for_topic(index) for index, topic in enumerate(TOPICS)}
    _write(source, written, ledger)
    changed = SentRecord(**{**vars(written["audit"][5]), "headers": [("h", None), ("h", b"\xff\xfe")]})
    copied = dict(written)
    copied["payments"] = written["payments"][:-1]
    copied["audit"] = [*written["audit"][:5], changed, *written["audit"][6:]]
    _write(target, copied, None)

    results = _compare(source, target, ledger).topics
    assert {topic: result.is_equal for topic, result in results.items()} == {
        "orders": True,
        "clicks": True,
        "payments": False,
        "audit": False,
    }
    assert (results["payments"].missing, results["payments"].lost) == (1, 1)
    assert (results["audit"].differing, results["audit"].lost) == (1, 1)
    assert results["orders"].records == len(RECORDS)

    produce(target.bootstrap, "clicks", [written["clicks"][7]])
    admin = AdminClient({"bootstrap.servers": target.bootstrap})
    (deleted,) = admin.delete_records([TopicPartition("orders", 0, 1)]).values()
    deleted.result(30)
    comparison = _compare(source, target, ledger)
    clicks, orders = comparison.topics["clicks"], comparison.topics["orders"]
    assert (clicks.duplicates, clicks.extra, clicks.unequal_ranges, clicks.lost) == (1, 1, 1, 0)
    assert (orders.missing, orders.unequal_ranges, orders.lost) == (1, 1, 1)
    assert judge(comparison, acknowledged=160, narrator=Narrator(color=False)) == DIFFERENCE_FOUND
    assert "record 107 is there twice" in capsys.readouterr().err


def test_a_cluster_equals_itself_and_nothing_acknowledged_proves_nothing(
    start_cluster: Callable[..., EmbeddedCluster], tmp_path: Path
) -> None:
    cluster = start_cluster(SOURCE_VERSION)
    _write(cluster, {"orders": _for_topic(0)}, None)
    empty = tmp_path / "ledger"
    empty.touch()
    comparison = _compare(cluster, cluster, empty)
    assert comparison.total.records == len(RECORDS)
    assert not comparison.total.differences
    assert judge(comparison, acknowledged=0, narrator=Narrator(color=False)) == DIFFERENCE_FOUND
