"""`message` shows what librdkafka shows, on two real clusters: transactions, every codec, null and empty, no text."""

from __future__ import annotations

import json
import random
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from kmigrate.cli.group import commands
from kmigrate.demo.embedded import EmbeddedCluster
from tests.kafka_tools import ReadRecord, SentRecord, create_topic, new_topic_name, produce, read_all, write_transaction

pytestmark = pytest.mark.broker

CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
MINUTE_MS = 60_000


@dataclass
class Pair:
    """A topic with two partitions on both clusters, and the command line on its manifest."""

    source: EmbeddedCluster
    target: EmbeddedCluster
    topic: str
    folder: Path

    @classmethod
    def make(cls, source: EmbeddedCluster, target: EmbeddedCluster, folder: Path) -> Pair:
        pair = cls(source, target, new_topic_name("message"), folder)
        for cluster in (source, target):
            create_topic(cluster.bootstrap, pair.topic, partitions=2)
        spec = {
            "source": {"properties": {"bootstrap.servers": source.bootstrap}},
            "target": {"properties": {"bootstrap.servers": target.bootstrap}},
            "topics": {"include": [pair.topic]},
        }
        manifest = {"apiVersion": "kmigrate/v1", "kind": "Migration", "metadata": {"name": "orders"}, "spec": spec}
        pair.file.write_text(json.dumps(manifest))  # JSON is YAML
        return pair

    @property
    def file(self) -> Path:
        return self.folder / "orders.yaml"

    def call(self, command: str, *arguments: str, exit_code: int = 0) -> Result:
        place = ["-f", str(self.file), "--state", str(self.folder / "state")]
        result = CliRunner().invoke(commands, ["message", command, *place, *arguments])
        assert result.exit_code == exit_code, result.output
        return result

    def json(self, command: str, *arguments: str) -> list[dict[str, Any]]:
        lines = self.call(command, "-t", self.topic, *arguments, "-o", "json").stdout.splitlines()
        return [json.loads(line) for line in lines]


@pytest.fixture
def pair(source_cluster: EmbeddedCluster, target_cluster: EmbeddedCluster, tmp_path: Path) -> Pair:
    return Pair.make(source_cluster, target_cluster, tmp_path)


def as_bytes(value: dict[str, Any] | None) -> bytes | None:
    if value is None:
        return None
    ((encoding, text),) = value.items()
    return bytes.fromhex(text) if encoding == "hex" else text.encode()


def as_read(row: dict[str, Any], side: str) -> ReadRecord:
    record = row["record"]
    headers = tuple((as_bytes(each["name"]).decode(), as_bytes(each["value"])) for each in record["headers"])  # type: ignore[union-attr]
    content = as_bytes(record["key"]), as_bytes(record["value"])
    return ReadRecord(row["partition"], row[f"{side}Offset"], *content, headers, record["timestampMs"])


def write_everything(cluster: EmbeddedCluster, topic: str, chance: random.Random) -> None:
    """Batches of every codec with what is hard to show, and transactions, of which some are aborted."""
    for number, codec in enumerate(CODECS):
        records = [
            SentRecord(
                value=chance.choice([None, b"", b"\xff\xfe\x00", b"null", "größe".encode(), b"needle %d" % each]),
                key=chance.choice([None, b"", b"\x80key", b"customer-%d" % each]),
                headers=[("region", b"eu"), ("region", None), ("no text", b"\xff")] if each % 3 == 0 else [],
                timestamp=1_700_000_000_000 + MINUTE_MS * number + each,
                partition=each % 2,
            )
            for each in range(40)
        ]
        produce(cluster.bootstrap, topic, records, config={"compression.type": codec})
        for commit in (True, False):
            write_transaction(cluster.bootstrap, topic, [b"needle in a transaction"] * 3, commit=commit)


@pytest.mark.parametrize("side", ["source", "target"])
def test_all_that_a_consumer_sees_is_shown_as_it_is(pair: Pair, chance: random.Random, side: str) -> None:
    cluster = pair.source if side == "source" else pair.target
    write_everything(cluster, pair.topic, chance)
    everything = read_all(cluster.bootstrap, pair.topic)
    found = pair.json("query", "--side", side, "--limit", "10000")
    assert sorted((as_read(row, side) for row in found), key=lambda each: each[:2]) == everything
    needles = pair.json("query", "--side", side, "--limit", "10000", "--where", "value", "contains", "needle")
    assert sorted((row["partition"], row[f"{side}Offset"]) for row in needles) == [
        each[:2] for each in everything if b"needle" in (each.value or b"")
    ]
    keys = pair.json("query", "--side", side, "--limit", "10000", "--where", "key", "starts-with", "hex:80")
    assert len(keys) == sum(1 for each in everything if (each.key or b"").startswith(b"\x80"))
    aborted = pair.json("query", "--side", side, "--limit", "10000", "--isolation", "read_uncommitted")
    assert len(aborted) == len(everything) + 3 * len(CODECS)
    newest = pair.json("query", "--side", side, "-p", "1", "--limit", "7")
    assert [row[f"{side}Offset"] for row in newest] == [each.offset for each in everything if each.partition == 1][
        :-8:-1
    ]
    times = ("--since", "2023-11-14T22:15:20Z", "--until", "2023-11-14T22:16:20Z")
    rising = [each for each in everything if each.partition == 1]  # transactions, made now, are in the other one
    assert sorted(row[f"{side}Offset"] for row in pair.json("query", "--side", side, "-p", "1", *times)) == [
        each.offset for each in rising if 2 * MINUTE_MS <= each.timestamp - 1_700_000_000_000 < 3 * MINUTE_MS
    ]


def test_both_sides_are_compared_record_by_record(pair: Pair) -> None:
    values = [b"%d" % number for number in range(30)]
    now = time.time_ns() // 1_000_000 - MINUTE_MS
    records = [SentRecord(value=value, key=b"k", timestamp=now) for value in values]
    produce(pair.source.bootstrap, pair.topic, records, config={"compression.type": "zstd"})
    produce(pair.target.bootstrap, pair.topic, records[:20])
    assert pair.call("diff").stdout.splitlines()[-1].startswith("20 newest records of 2 partitions compared, no diff")
    outcomes = [row["outcome"] for row in pair.json("query", "-p", "0", "--offset", "18", "--limit", "4")]
    assert outcomes == ["same", "same", "not copied yet", "not copied yet"]
    rates = json.loads(pair.call("rate", "-o", "json").stdout)
    assert [sum(rates["totals"][side]) for side in ("source", "target")] == [30, 20]
    estimated = json.loads(pair.call("rate", "--estimate", "-o", "json").stdout)
    assert [sum(estimated["totals"][side]) for side in ("source", "target")] == [30, 20]
    produce(pair.target.bootstrap, pair.topic, [records[20], SentRecord(value=b"foreign", key=b"k", timestamp=now)])
    result = pair.call("diff", exit_code=3)
    assert "differs: value (source 21, target 21)" in result.stdout


def test_tail_begins_with_the_newest_of_both(pair: Pair) -> None:
    produce(pair.source.bootstrap, pair.topic, [b"a", b"b", b"c"])
    produce(pair.target.bootstrap, pair.topic, [b"a"])
    found = pair.json("tail", "--no-follow", "--limit", "2")
    assert sorted((row["side"], row["record"]["value"]["text"]) for row in found) == [
        ("source", "b"),
        ("source", "c"),
        ("target", "a"),
    ]
