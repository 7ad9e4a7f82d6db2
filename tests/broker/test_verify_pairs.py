"""Copies that other tools made are verified: MirrorMaker 2's is equal; a re-producer's mistakes are found and named."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from kmigrate.demo.embedded import EmbeddedCluster
from kmigrate.demo.java import java_command, start_java
from kmigrate.demo.kafka_jars import ensure_kafka
from tests.fault.harness import wait_until
from tests.kafka_tools import (
    TIMEOUT_SECONDS,
    ReadRecord,
    SentRecord,
    create_topic,
    delete_records,
    new_topic_name,
    produce,
    read_all,
    watermarks,
    write_transaction,
)

pytestmark = pytest.mark.broker

FOUND = 3
REPEATED, AGAIN_AT, DROPPED = 17, 120, 150
COUNT = 200


class Pairs:
    """A manifest of pairs, and `kmigrate verify` of it as a user types it."""

    def __init__(self, folder: Path, source: EmbeddedCluster, target: EmbeddedCluster, pairs: dict[str, str]) -> None:
        self.manifest, self.state = folder / "pairs.yaml", folder / "state"
        document = {
            "apiVersion": "kmigrate/v1",
            "kind": "Migration",
            "metadata": {"name": "pairs"},
            "spec": {
                "source": {"properties": {"bootstrap.servers": source.direct_bootstrap}},
                "target": {"properties": {"bootstrap.servers": target.direct_bootstrap}},
                "pairs": pairs,
            },
        }
        self.manifest.write_text(yaml.safe_dump(document))

    def command(self, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-P", "-m", "kmigrate", name, "-f", str(self.manifest), "--state", str(self.state)]
        environment = os.environ | {"COLUMNS": "200"}
        return subprocess.run([*command, *arguments], capture_output=True, text=True, check=False, env=environment)

    def verify(self, *arguments: str) -> tuple[int, dict[str, Any]]:
        """The exit code, and what the JSON says of each partition."""
        result = self.command("verify", "-o", "json", *arguments)
        assert result.stdout, result.stderr
        document = json.loads(result.stdout)
        return result.returncode, {f"{row['topic']}-{row['partition']}": row for row in document["partitions"]}


def fill(cluster: EmbeddedCluster) -> str:
    """Two partitions; in the first an aborted transaction makes offsets differ from the copy's."""
    topic = create_topic(cluster.direct_bootstrap, partitions=2)
    write_transaction(cluster.direct_bootstrap, topic, [b"never seen"] * 7, commit=False)
    wait_until("its marker is written", lambda: watermarks(cluster.direct_bootstrap, topic)[1] == 8)
    records = [
        SentRecord(
            value=None if number % 50 == 49 else b"value %d" % number,
            key=b"key %d" % (number % 9),
            headers=[("number", b"%d" % number)],
            timestamp=1_700_000_000_000 + number * 1_000,
            partition=partition,
        )
        for number in range(COUNT)
        for partition in range(2)
    ]
    produce(cluster.direct_bootstrap, topic, records)
    return topic


def produce_again(cluster: EmbeddedCluster, records: Sequence[ReadRecord]) -> str:
    """A plain copy of these records, in this order, under another name."""
    copy = create_topic(cluster.direct_bootstrap, new_topic_name("copy"), partitions=2)
    sent = [
        SentRecord(
            value=each.value, key=each.key, headers=each.headers, timestamp=each.timestamp, partition=each.partition
        )
        for each in records
    ]
    produce(cluster.direct_bootstrap, copy, sent)
    return copy


def test_a_copy_that_repeats_one_record_and_drops_one_is_told(
    tmp_path: Path, source_cluster: EmbeddedCluster, target_cluster: EmbeddedCluster
) -> None:
    topic = fill(source_cluster)
    seen = read_all(source_cluster.direct_bootstrap, topic)
    first = [each for each in seen if each.partition == 0]
    assert first[0].offset == 8, "seven records and a marker are before it"
    wrong = [*first[:AGAIN_AT], first[REPEATED], *first[AGAIN_AT:DROPPED], *first[DROPPED + 1 :]]
    copy = produce_again(target_cluster, [*wrong, *(each for each in seen if each.partition == 1)])
    pairs = Pairs(tmp_path, source_cluster, target_cluster, {topic: copy})

    code, rows = pairs.verify()
    assert code == FOUND
    row, other = rows[f"{topic}-0"], rows[f"{topic}-1"]
    assert (other["verdict"], other["records"], other["targetTopic"]) == ("equal", COUNT, copy)
    assert row["verdict"] == "different"
    assert row["differentRecords"] == {"missing": 1, "repeated": 1}
    assert [(each["kind"], each["sourceOffset"], each["targetOffset"]) for each in row["differences"]] == [
        ("repeated", first[REPEATED].offset, AGAIN_AT),
        ("missing", first[DROPPED].offset, DROPPED + 1),
    ]
    assert row["difference"] == row["differences"][0]
    assert row["records"] == COUNT - 1
    assert not pairs.state.exists(), "nothing is kept where no migration has a folder"

    told = pairs.command("verify").stdout
    assert f"{topic} → {copy}" in told
    assert f"{topic}-0@{first[REPEATED].offset}: the target has this record again (offset {AGAIN_AT}" in told
    assert f"{topic}-0@{first[DROPPED].offset}: the target has no such record (offset {DROPPED + 1}" in told

    code, rows = pairs.verify("--mode", "counts")
    assert (code, rows[f"{topic}-0"]["verdict"], rows[f"{topic}-1"]["verdict"]) == (FOUND, "different", "equal")
    for command in ("run", "apply", "plan", "check"):
        refused = pairs.command(command)
        assert (refused.returncode, "for `kmigrate verify` alone" in refused.stderr) == (2, True), refused.stderr


def test_what_either_log_start_has_taken_and_what_is_not_copied_yet_is_no_difference(
    tmp_path: Path, source_cluster: EmbeddedCluster, target_cluster: EmbeddedCluster
) -> None:
    topic = fill(source_cluster)
    seen = read_all(source_cluster.direct_bootstrap, topic)
    copy = produce_again(target_cluster, [each for each in seen if each.offset < COUNT - 20])
    delete_records(source_cluster.direct_bootstrap, topic, 58)
    pairs = Pairs(tmp_path, source_cluster, target_cluster, {topic: copy})
    for mode in ("records", "counts"):
        code, rows = pairs.verify("--mode", mode)
        assert (code, {row["verdict"] for row in rows.values()}) == (0, {"equal"}), rows
    code, rows = pairs.verify("-t", topic, "-p", "1")
    assert (code, list(rows), rows[f"{topic}-1"]["behind"]) == (0, [f"{topic}-1"], 20)
    produce(source_cluster.direct_bootstrap, topic, [SentRecord(value=b"later", partition=1)])
    assert pairs.verify("-p", "1", "-t", topic)[1][f"{topic}-1"]["behind"] == 21


@contextmanager
def mirror_maker(folder: Path, source: EmbeddedCluster, target: EmbeddedCluster, topic: str) -> Iterator[Path]:
    """MirrorMaker 2 as its documentation begins; the copy's name is the topic's behind `src.`."""
    one = (
        "replication.factor",
        "offset-syncs.topic.replication.factor",
        "checkpoints.topic.replication.factor",
        "heartbeats.topic.replication.factor",
        "dst.offset.storage.replication.factor",
        "dst.config.storage.replication.factor",
        "dst.status.storage.replication.factor",
    )
    settings = {
        "clusters": "src, dst",
        "src.bootstrap.servers": source.direct_bootstrap,
        "dst.bootstrap.servers": target.direct_bootstrap,
        "src->dst.enabled": "true",
        "dst->src.enabled": "false",
        "src->dst.emit.heartbeats.enabled": "false",
        "dst->src.emit.heartbeats.enabled": "false",
        "src->dst.topics": topic,
        "src->dst.groups": "no-such-group",
        "src.consumer.isolation.level": "read_committed",
        **dict.fromkeys(one, "1"),
    }
    file, log = folder / "mm2.properties", folder / "mm2.out"
    file.write_text("".join(f"{key} = {value}\n" for key, value in settings.items()))
    main = "org.apache.kafka.connect.mirror.MirrorMaker"
    process = start_java(java_command(ensure_kafka("4.3.1"), main, [str(file)], options=["-Xmx512m"]), output=log)
    try:
        yield log
    finally:
        process.kill()
        process.wait()


def test_a_copy_by_mirror_maker_is_equal(
    tmp_path: Path, source_cluster: EmbeddedCluster, target_cluster: EmbeddedCluster
) -> None:
    topic = fill(source_cluster)
    copy = f"src.{topic}"
    create_topic(target_cluster.direct_bootstrap, copy, partitions=2)
    pairs = Pairs(tmp_path, source_cluster, target_cluster, {topic: copy})
    with mirror_maker(tmp_path, source_cluster, target_cluster, topic) as log:
        deadline = time.monotonic() + 2 * TIMEOUT_SECONDS
        while any(watermarks(target_cluster.direct_bootstrap, copy, each)[1] < COUNT for each in range(2)):
            assert time.monotonic() < deadline, log.read_text()[-3_000:]
            time.sleep(0.2)
    for mode in ("ends", "counts", "records"):
        code, rows = pairs.verify("--mode", mode)
        assert (code, {row["verdict"] for row in rows.values()}) == (0, {"equal"}), rows
    assert {row["records"] for row in rows.values()} == {COUNT}
