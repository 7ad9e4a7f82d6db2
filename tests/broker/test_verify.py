"""`kmigrate verify` on real clusters: everything that a copy holds is the same, and one record that is not is found."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient

from kmigrate.demo.embedded import EmbeddedCluster
from tests.content.compacted import compacted
from tests.content.transactional import transactional
from tests.content.trimmed import delete_records, trimmed
from tests.fault.harness import Migration, closing_all, wait_until
from tests.kafka_tools import TIMEOUT_SECONDS, SentRecord, create_topic, new_topic_name, produce, read_all

pytestmark = pytest.mark.broker

PLACE, FOUND = 137, 3


@pytest.fixture
def migrations() -> Iterator[list[Migration]]:
    made: list[Migration] = []
    with closing_all(made):
        yield made


def verify(copy: Migration, *arguments: str) -> tuple[int, dict[str, Any]]:
    """The exit code, and what the JSON says of each partition."""
    result: subprocess.CompletedProcess[str] = copy.command("verify", "-o", "json", *arguments)
    assert result.stdout, result.stderr
    document = json.loads(result.stdout)
    return result.returncode, {f"{row['topic']}-{row['partition']}": row for row in document["partitions"]}


def small_batches(cluster: EmbeddedCluster) -> str:
    """A topic of one partition whose records came one by one."""
    topic = create_topic(cluster.direct_bootstrap)
    values = [SentRecord(value=b"record %d" % number, timestamp=1_000 + number) for number in range(400)]
    produce(cluster.direct_bootstrap, topic, values, config={"batch.num.messages": 1, "linger.ms": 0})
    return topic


@pytest.mark.parametrize("offset_class", ["identical", "mapped"])
def test_a_copy_is_equal_and_one_changed_record_is_found(
    migrations: list[Migration],
    tmp_path: Path,
    source_cluster: EmbeddedCluster,
    target_cluster: EmbeddedCluster,
    offset_class: str,
) -> None:
    small = small_batches(source_cluster)
    topics = [
        small,
        transactional(source_cluster).topic,
    ]
    if offset_class == "identical":
        topics += [trimmed(source_cluster).topic, compacted(source_cluster).topic]
    copy = Migration(
        tmp_path,
        source_cluster,
        target_cluster,
        topics,
        name=new_topic_name("verify"),
        spec={"offsets": {"class": offset_class}},
    )
    migrations.append(copy)
    copy.start("--until", "in-sync")
    assert copy.wait_for_exit() == 0, copy.evidence()
    for mode in ("ends", "counts", "records"):
        code, rows = verify(copy, "--mode", mode)
        assert (code, {row["verdict"] for row in rows.values()}) == (0, {"equal"}), rows
    seen = read_all(source_cluster.direct_bootstrap, small)
    assert rows[f"{small}-0"]["records"] == len(seen) == 400
    assert rows[f"{small}-0"]["end"] == 400

    replace_topic(target_cluster, small)
    code, rows = verify(copy, "-t", small)
    assert code == FOUND
    difference = rows[f"{small}-0"]["difference"]
    assert (difference["kind"], difference["sourceOffset"], difference["targetOffset"]) == ("differs", PLACE, PLACE)
    assert difference["fields"] == ["value"]
    result = copy.command("verify", "-t", small, "--show-contents")
    assert f"{small}-0@{PLACE}" in result.stdout
    assert "'another record'" in result.stdout


def replace_topic(cluster: EmbeddedCluster, topic: str) -> None:
    """By hand: the topic is made anew with the same records, but for one."""
    admin = AdminClient({"bootstrap.servers": cluster.direct_bootstrap})
    admin.delete_topics([topic])[topic].result(TIMEOUT_SECONDS)
    wait_until("the topic is gone", lambda: topic not in admin.list_topics(timeout=TIMEOUT_SECONDS).topics)
    create_topic(cluster.direct_bootstrap, topic)
    values = [
        SentRecord(value=b"another record" if number == PLACE else b"record %d" % number, timestamp=1_000 + number)
        for number in range(400)
    ]
    produce(cluster.direct_bootstrap, topic, values, config={"compression.type": "lz4"})


def test_a_live_copy_is_verified_while_records_come_and_go(
    migrations: list[Migration], tmp_path: Path, source_cluster: EmbeddedCluster, target_cluster: EmbeddedCluster
) -> None:
    topic = create_topic(source_cluster.direct_bootstrap)
    produce(source_cluster.direct_bootstrap, topic, [b"before %d" % number for number in range(500)])
    copy = Migration(tmp_path, source_cluster, target_cluster, [topic], name=new_topic_name("verify"))
    migrations.append(copy)
    copy.start()

    def is_copied(count: int) -> bool:
        return any(row["position"] == count for row in copy.status()["partitions"])

    wait_until("the first records are copied", lambda: is_copied(500), evidence=copy.evidence)
    assert verify(copy)[0] == 0
    produce(source_cluster.direct_bootstrap, topic, [b"after %d" % number for number in range(500)])
    delete_records(source_cluster, topic, {0: 100})
    wait_until("the other records are copied", lambda: is_copied(1_000), evidence=copy.evidence)
    code, rows = verify(copy)
    row = rows[f"{topic}-0"]
    assert (code, row["verdict"], row["freshFrom"], row["end"], row["records"]) == (0, "equal", 500, 1_000, 500)
    copy.stop()
    code, rows = verify(copy, "--again", "--digest")
    row = rows[f"{topic}-0"]
    assert (code, row["start"], row["end"], row["records"]) == (0, 100, 1_000, 900)
    assert len(row["digest"]) == 32
