"""`message` shows and compares records of two modelled clusters, as an operator asks for it."""

from __future__ import annotations

import csv
import io
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest
import yaml
from click.testing import Result

from kmigrate.copy.states import PartitionState
from kmigrate.kafka_types import Offset, Side, TopicPartition
from kmigrate.offsets.classes import OffsetClass
from kmigrate.offsets.offset_map import OffsetMap, Run
from kmigrate.runner.status import PartitionStatus
from kmigrate.state.store import RunsFrom, Store
from tests.simulation.batches import Record, make_batch
from tests.simulation.log import PartitionLog
from tests.simulation.readers import ReadersClient, commit, new_log, partition_of

from .conftest import DOCUMENT, World

PAY = partition_of("pay", 0)


@dataclass
class Clusters:
    """The command line on a migration between two modelled clusters."""

    world: World
    logs: Mapping[Side, dict[TopicPartition, PartitionLog]]

    def both(self, partition: TopicPartition = PAY) -> tuple[PartitionLog, PartitionLog]:
        source, target = (self.logs[side].setdefault(partition, new_log()) for side in (Side.SOURCE, Side.TARGET))
        return source, target

    def call(self, command: str, *arguments: str, exit_code: int = 0) -> Result:
        result = self.world.call(f"message {command}", *arguments)
        assert result.exit_code == exit_code, result.output
        return result

    def lines(self, command: str, *arguments: str) -> list[str]:
        return self.call(command, *arguments).stdout.splitlines()

    def json(self, command: str, *arguments: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines(command, *arguments, "-o", "json")]


@pytest.fixture
def clusters(world: World, monkeypatch: pytest.MonkeyPatch) -> Clusters:
    logs: dict[Side, dict[TopicPartition, PartitionLog]] = {Side.SOURCE: {}, Side.TARGET: {}}
    monkeypatch.setattr("kmigrate.query.sides.ClusterClient", lambda side, *_given: ReadersClient(logs[side]))
    monkeypatch.setenv("COLUMNS", "120")
    return Clusters(world, logs)


def fill(log: PartitionLog, *values: bytes | None, key: bytes | None = b"k") -> None:
    for value in values:
        log.write(make_batch([Record(1_700_000_000_000, key, value, ((b"region", b"eu"),))]))


def test_the_newest_records_stand_beside_their_twins(clusters: Clusters) -> None:
    source, target = clusters.both()
    fill(source, b"a", b"b", b"c")
    fill(target, b"a", b"x")
    result = clusters.call("query", "-t", "pay")
    assert result.stdout.splitlines() == [
        "PARTITION  SOURCE    TARGET  BOTH            TIME (UTC)               KEY  VALUE",
        "pay-0           2         2  not copied yet  2023-11-14 22:13:20.000  k    c",
        "pay-0           1         1  differs         2023-11-14 22:13:20.000  k    b",
        "                   ↳ target                  2023-11-14 22:13:20.000  k    x",
        "pay-0           0         0  same            2023-11-14 22:13:20.000  k    a",
    ]
    assert "nothing is recorded of orders here: offsets are taken to be identical" in result.stderr
    assert "3 records" in result.stderr


def test_null_and_empty_and_what_is_no_text_are_told_apart(clusters: Clusters) -> None:
    source, _ = clusters.both()
    fill(source, None, b"", b"null", b"\xff\x00", b'{"id": 4711}')
    found = clusters.json("query", "-t", "pay", "--order", "oldest", "--value-view", "json")
    assert [each["record"]["value"] for each in found] == [
        None,
        {"text": ""},
        {"json": None},
        {"hex": "ff00"},
        {"json": {"id": 4711}},
    ]
    assert found[0]["record"] == {
        "timestampMs": 1_700_000_000_000,
        "timestamp": "2023-11-14T22:13:20.000Z",
        "key": {"text": "k"},
        "keyBytes": 1,
        "value": None,
        "valueBytes": None,
        "headers": [{"name": {"text": "region"}, "value": {"text": "eu"}}],
    }
    assert [line.split()[-1] for line in clusters.lines("query", "-t", "pay", "--order", "oldest")[1:4]] == [
        "null",
        '""',
        '"null"',
    ]


def test_csv_has_a_row_for_each_record_and_for_one_that_differs(clusters: Clusters) -> None:
    source, target = clusters.both()
    fill(source, b"a", None)
    fill(target, b"a", b"\xff")
    output = clusters.call("query", "-t", "pay", "-o", "csv").stdout
    rows = list(csv.DictReader(io.StringIO(output)))
    assert [(row["side"], row["outcome"], row["valueEncoding"], row["value"]) for row in rows] == [
        ("source", "differs", "null", ""),
        ("target", "differs", "hex", "ff"),
        ("source", "same", "text", "a"),
    ]


def test_wide_shows_headers(clusters: Clusters) -> None:
    fill(clusters.both()[0], b"a")
    assert clusters.lines("query", "-t", "pay", "-o", "wide") == [
        "pay-0  source 0  target 0  not copied yet",
        "  time    2023-11-14 22:13:20.000",
        "  key     k",
        "  value   a",
        "  header  region = eu",
    ]


@pytest.mark.parametrize(
    ("asked", "offsets"),
    [
        (["--key", "k"], [3, 2, 1, 0]),
        (["--key", "other"], []),
        (["--text", "an"], [2, 1]),
        (["--where", "value", "starts-with", "an"], [1]),
        (["--where", "value", "equals", "banana", "--where", "key", "equals", "k"], [2]),
        (["--where", "value", "contains", "hex:ff"], [3]),
        (["--header", "region"], [3, 2, 1, 0]),
        (["--header", "region=us"], []),
        (["--where", "header:region", "starts-with", "e", "--limit", "2"], [3, 2]),
        (["--offset", "1", "-p", "0", "--limit", "2"], [1, 2]),
        (["--offset", "1", "-p", "0", "--order", "newest"], [3, 2, 1]),
        (["--since", "2023-11-14T22:13:20Z", "--until", "2023-11-14T22:13:21Z"], [3, 2, 1, 0]),
        (["--since", "1h"], []),
    ],
)
def test_records_are_found_by_what_is_asked(clusters: Clusters, asked: list[str], offsets: list[int]) -> None:
    source, _ = clusters.both()
    fill(source, b"x", b"ananas", b"banana", b"\xff\x00")
    found = clusters.json("query", "-t", "pay", "--side", "source", *asked)
    assert [each["sourceOffset"] for each in found] == offsets


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (["--offset", "3"], "--offset without one partition"),
        (["--offset", "3", "-p", "0", "--side", "target"], "--offset is of the source"),
        (["--where", "colour", "equals", "red"], "there is no such field"),
        (["--where", "value", "matches", "x.*"], "there is no such operator"),
        (["--where", "header:", "equals", "x"], "there is no such field"),
        (["--key", "hex:0"], "is not hexadecimal"),
        (["--since", "yesterday"], "is no time with its zone"),
        (["--since", "10m", "--until", "1h"], "is not before"),
        (["-p", "9"], "topic 'pay' has no partition 9"),
    ],
)
def test_a_wrong_question_ends_with_2(clusters: Clusters, asked: list[str], message: str) -> None:
    clusters.both()
    result = clusters.call("query", "-t", "pay", *asked, exit_code=2)
    assert message in result.stderr
    assert result.stdout == ""


def test_a_topic_that_there_is_not_ends_with_2(clusters: Clusters) -> None:
    clusters.both()
    for command in ("query", "tail", "diff", "rate"):
        result = clusters.call(command, "-t", "nobody", exit_code=2)
        assert "topic 'nobody' is not on the source and target" in result.stderr


def test_an_interrupted_search_shows_what_it_found(clusters: Clusters, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(clusters.both()[0], b"a")
    monkeypatch.setattr("kmigrate.cli.message_options.Meter.scanned", interrupt)
    result = clusters.call("query", "-t", "pay", exit_code=130)
    assert [line.split()[0] for line in result.stdout.splitlines()] == ["PARTITION", "pay-0"]
    assert "not looked at" in result.stdout


def interrupt(*_given: object) -> None:
    raise KeyboardInterrupt


def test_aborted_records_are_shown_only_to_who_wants_them(clusters: Clusters) -> None:
    commit(clusters.both()[0], [Record(5, None, b"aborted")], committed=False)
    assert clusters.json("query", "-t", "pay") == []
    (found,) = clusters.json("query", "-t", "pay", "--isolation", "read_uncommitted")
    assert found["record"]["value"] == {"text": "aborted"}


def test_the_map_of_the_migration_leads_to_the_twin(clusters: Clusters) -> None:
    source, target = clusters.both()
    fill(source, *(b"%d" % number for number in range(6)))
    del source.batches[:2], source.batches[1]  # 2, 4 and 5 are left
    fill(target, b"2", b"4", b"5")
    status = PartitionStatus(
        topic="pay",
        partition=0,
        state=PartitionState.IN_SYNC,
        position=6,
        target_end=3,
        offset_class=OffsetClass.MAPPED,
    )
    clusters.world.left_behind(
        DOCUMENT.__class__(name="orders", state=DOCUMENT.state, started_at=0, updated_at=1, partitions=(status,))
    )
    kept = OffsetMap()
    kept.add(Run(Offset(2), Offset(0)))
    kept.add(Run(Offset(4), Offset(1)))
    store = Store.open(clusters.world.folder)
    store.decide_classes({PAY: OffsetClass.MAPPED}, {PAY: RunsFrom(0, kept.to_bytes())})
    store.close()
    assert "assumed" not in clusters.call("query", "-t", "pay").stderr
    found = clusters.json("query", "-t", "pay")
    assert [(each["sourceOffset"], each["targetOffset"], each["outcome"]) for each in found] == [
        (5, 2, "same"),
        (4, 1, "same"),
        (2, 0, "same"),
    ]
    assert "CLASS" in clusters.lines("diff", "-t", "pay")[0]
    assert clusters.lines("diff", "-t", "pay")[1].split() == ["pay-0", "mapped", "0…6", "0…3", "0", "3", "same"]


def test_what_a_started_migration_does_not_know_is_assumed_and_told_once(clusters: Clusters) -> None:
    for number in range(2):
        for log in clusters.both(partition_of("pay", number)):
            fill(log, b"a")
    clusters.world.left_behind()
    told = clusters.call("query", "-t", "pay").stderr
    assert told.count("is recorded: identical is assumed") == 1


def test_tail_shows_the_newest_of_both_sides(clusters: Clusters) -> None:
    source, target = clusters.both()
    fill(source, b"a", b"b", b"c")
    fill(target, b"a")
    assert clusters.lines("tail", "-t", "pay", "--no-follow", "--limit", "2") == [
        "target  pay-0@0  2023-11-14 22:13:20.000  k  a",
        "source  pay-0@1  2023-11-14 22:13:20.000  k  b",
        "source  pay-0@2  2023-11-14 22:13:20.000  k  c",
    ]
    found = clusters.json("tail", "-t", "pay", "--no-follow", "--side", "target")
    assert [(each["side"], each["sourceOffset"], each["targetOffset"]) for each in found] == [("target", None, 0)]
    titles, *rows = clusters.lines("tail", "-t", "pay", "--no-follow", "-o", "csv")
    assert titles.startswith("topic,partition,side")
    assert len(rows) == 4


def test_diff_ends_with_3_only_where_something_differs(clusters: Clusters) -> None:
    source, target = clusters.both()
    fill(source, b"a", b"b", b"c")
    fill(target, b"a", b"b")
    lines = clusters.lines("diff")
    assert lines[1].split() == ["pay-0", "identical", "0…3", "0…2", "1", "2", "same,", "lags"]
    assert lines[-1].startswith("2 newest records of 1 partitions compared, no difference")
    fill(target, b"x")
    result = clusters.call("diff", exit_code=3)
    assert "  differs: value (source 2, target 2)" in result.stdout.splitlines()
    document = json.loads(clusters.call("diff", "-o", "json", exit_code=3).stdout)
    assert document == yaml.safe_load(clusters.call("diff", "-o", "yaml", exit_code=3).stdout)
    assert document["summary"] == {"partitions": 1, "different": 1, "unknown": 0, "compared": 3, "lagOffsets": 0}
    assert document["partitions"][0]["examples"] == [
        {"kind": "differs", "sourceOffset": 2, "targetOffset": 2, "fields": ["value"]}
    ]
    (row,) = csv.DictReader(io.StringIO(clusters.call("diff", "-o", "csv", exit_code=3).stdout))
    assert (row["outcome"], row["differences"], row["sourceEnd"]) == ("differs", "1", "3")


def test_a_partition_that_cannot_be_compared_ends_with_1(clusters: Clusters) -> None:
    for log in clusters.both():
        fill(log, b"a")
    data = bytearray(clusters.logs[Side.SOURCE][PAY].batches[0].data)
    data[-2] ^= 1
    batches = clusters.logs[Side.SOURCE][PAY].batches
    batches[0] = batches[0]._replace(data=bytes(data))
    result = clusters.call("diff", exit_code=1)
    assert "1 partitions could not be compared" in result.stderr
    assert "unknown" in result.stdout


def test_rate_shows_the_minutes_of_both_sides(clusters: Clusters, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1_700_000_055_000
    monkeypatch.setattr(time, "time_ns", lambda: now * 1_000_000)
    source, target = clusters.both()
    for log, minutes in ((source, (1, 1, 0)), (target, (1, 1))):
        for ago in minutes:
            log.write(make_batch([Record(now - ago * 60_000, None, b"")] * 5))
    assert clusters.lines("rate", "--minutes", "1") == [
        "MINUTE (UTC)      SOURCE  TARGET  DIFFERENCE",
        "2023-11-14 22:13      10      10           0",
        "2023-11-14 22:14       5       0          -5  not over: 15 s",
        "mean of the whole minutes: 10.0 on the source, 10.0 on the target",
        "counted: each record in the minute of its timestamp",
    ]
    document = json.loads(clusters.call("rate", "--minutes", "1", "--estimate", "-o", "json").stdout)
    assert document["isEstimated"] is True
    assert document["totals"] == {"source": [10, 5], "target": [10, 0]}
    assert clusters.lines("rate", "--minutes", "1", "-o", "csv") == [
        "topic,minute,isWhole,source,target",
        "pay,2023-11-14T22:13:00Z,True,10,10",
        "pay,2023-11-14T22:14:00Z,False,5,0",
    ]
