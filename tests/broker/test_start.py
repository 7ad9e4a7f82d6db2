"""`spec.start`: only the wanted part is copied, at its own offsets, as of a log that was trimmed there."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from confluent_kafka.admin import AdminClient, NewPartitions

from kmigrate.cli.group import commands
from kmigrate.demo.embedded import EmbeddedCluster
from tests.content.judging import Place, Seen, read_ends, read_records
from tests.content.raw_produce import append_batch
from tests.content.transactional import TransactionalWriter, transactional
from tests.content.trimmed import trimmed
from tests.fault.harness import Migration, closing_all, log_ends, wait_until
from tests.fault.probe import committed
from tests.kafka_tools import (
    TIMEOUT_SECONDS,
    SentRecord,
    create_topic,
    delete_records,
    new_topic_name,
    produce,
    write_transaction,
)
from tests.simulation.batches import GZIP, Record, make_batch

pytestmark = pytest.mark.broker

T0 = 1_700_000_000_000
FAR = 20_000_000
"""So many offsets take long enough to fill that the owner can be killed meanwhile."""


class World:
    """Two clusters, and the migrations between them."""

    def __init__(self, folder: Path, source: EmbeddedCluster, target: EmbeddedCluster) -> None:
        self.folder = folder
        self.source = source
        self.target = target
        self.made: list[Migration] = []

    def migration(self, *topics: str, **spec: Any) -> Migration:
        self.made.append(
            Migration(self.folder, self.source, self.target, topics, name=new_topic_name("start"), spec=spec)
        )
        return self.made[-1]

    def write(self, topic: str, value: str, count: int = 1, *, partition: int = 0) -> None:
        records = [SentRecord(value=f"{value} {at}".encode(), partition=partition) for at in range(count)]
        produce(self.source.bootstrap, topic, records)

    def assert_copied_from(self, topic: str, starts: Mapping[int, int], *, shifted: bool = False) -> None:
        """Each partition holds exactly what the source's consumers see from there on, and begins there."""
        copied, ends = read_records(self.target, topic), read_ends(self.target, topic)
        wanted: dict[Place, Seen] = {}
        for (partition, offset), seen in read_records(self.source, topic).items():
            shift = starts[partition] if shifted else 0
            if offset >= starts[partition]:
                wanted[partition, offset - shift] = seen._replace(timestamp_type=0)
        assert {place: seen._replace(timestamp_type=0) for place, seen in copied.items()} == wanted
        begun = {partition: 0 if shifted else start for partition, start in starts.items()}
        assert {partition: each.start for partition, each in ends.items()} == begun


@pytest.fixture
def world(tmp_path: Path, source_cluster: EmbeddedCluster, target_cluster: EmbeddedCluster) -> Iterator[World]:
    world = World(tmp_path, source_cluster, target_cluster)
    with closing_all(world.made):
        yield world


def run(copy: Migration, *, exit_code: int = 0) -> None:
    copy.start("--until", "in-sync")
    assert copy.wait_for_exit() == exit_code, copy.evidence()


def plan(copy: Migration) -> dict[str, Any]:
    result = CliRunner().invoke(commands, ["plan", "-f", str(copy.manifest), "-o", "json"])
    assert result.exit_code in (0, 4), result.output
    document: dict[str, Any] = json.loads(result.stdout)
    return document


def iso(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds")


def stable_ends(cluster: EmbeddedCluster, topic: str) -> dict[int, int]:
    return {partition: ends.stable for partition, ends in read_ends(cluster, topic).items()}


# -- latest ------------------------------------------------------------------------------------------------------------


def test_latest_begins_at_the_stable_end_of_every_partition(world: World) -> None:
    contents = [transactional(world.source), trimmed(world.source)]
    copy = world.migration(*(content.topic for content in contents), start="latest")
    starts = {content.topic: stable_ends(world.source, content.topic) for content in contents}
    planned = plan(copy)
    assert planned["start"] == "latest"
    assert {(each["topic"], each["partition"]): each["start"] for each in planned["partitions"]} == {
        (topic, partition): start for topic, some in starts.items() for partition, start in some.items()
    }
    assert {each["backlog"] for each in planned["partitions"]} == {0}
    run(copy)
    for topic, some in starts.items():
        world.assert_copied_from(topic, some)
    for content in contents:
        for partition in starts[content.topic]:
            world.write(content.topic, "later", 5, partition=partition)
    run(copy)
    for content in contents:
        world.assert_copied_from(content.topic, starts[content.topic])
        assert len(read_records(world.target, content.topic)) >= 5


def test_an_open_transaction_is_copied_whole(world: World) -> None:
    topic = create_topic(world.source.bootstrap)
    world.write(topic, "old", 5)
    writer = TransactionalWriter(world.source, topic, "open")
    writer.register()
    writer.begin()
    writer.write(0, 3)
    world.write(topic, "behind the beginning of the transaction", 2)
    copy = world.migration(topic, start="latest")
    run(copy)
    writer.write(0, 3)
    writer.commit()
    run(copy)
    world.assert_copied_from(topic, {0: 5})
    assert len(read_records(world.target, topic)) == 8


def test_what_turns_up_later_is_copied_from_its_beginning(world: World) -> None:
    topic, prefix = create_topic(world.source.bootstrap), new_topic_name("later")
    world.write(topic, "old", 7)
    copy = world.migration(topic, f"{prefix}.*", start="latest")
    copy.start()
    copy.wait_for_state("IN_SYNC")
    copy.kill_owner()
    admin = AdminClient({"bootstrap.servers": world.source.bootstrap})
    admin.create_partitions([NewPartitions(topic, 2)])[topic].result(TIMEOUT_SECONDS)
    newcomer = create_topic(world.source.bootstrap, f"{prefix}-1")
    world.write(newcomer, "first", 3)
    wait_until("the partition is there", lambda: world.write(topic, "first", 3, partition=1) or True)
    run(copy)
    world.assert_copied_from(topic, {0: 7, 1: 0})
    world.assert_copied_from(newcomer, {0: 0})


# -- a time ------------------------------------------------------------------------------------------------------------


def test_a_time_begins_with_the_first_record_at_or_after_it_also_inside_a_batch(world: World) -> None:
    topic = create_topic(world.source.bootstrap, partitions=3)
    for number in range(4):
        records = [Record(T0 + 1000 * (10 * number + at), b"%d" % at, b"value") for at in range(10)]
        append_batch(world.source, topic, make_batch(records, codec=GZIP if number % 2 else 0), 0)
        append_batch(world.source, topic, make_batch(records), 1)
    delete_records(world.source.bootstrap, topic, 35, 1)
    append_batch(world.source, topic, make_batch([Record(T0, None, b"too old")] * 4), 2)
    copy = world.migration(topic, start=iso(T0 + 13_500))
    assert [each["start"] for each in plan(copy)["partitions"]] == [14, 35, 4]
    run(copy)
    world.assert_copied_from(topic, {0: 14, 1: 35, 2: 4})
    status = {each["partition"]: each["sourceStart"] for each in copy.status()["partitions"]}
    assert status == {0: 14, 1: 35, 2: 4}


def test_a_time_inside_a_transactional_stretch(world: World) -> None:
    topic = create_topic(world.source.bootstrap)
    for number in range(6):
        values = [b"%d %d" % (number, at) for at in range(4)]
        write_transaction(world.source.bootstrap, topic, values, commit=number % 3 != 1)
    records = read_records(world.source, topic)
    middle = sorted(records)[len(records) // 2]
    since = records[middle].timestamp
    start = min(offset for (_, offset), seen in records.items() if seen.timestamp >= since)
    copy = world.migration(topic, start=iso(since))
    planned = plan(copy)["partitions"][0]["start"]
    assert planned <= start, "an aborted record or a marker may come first"
    run(copy)
    world.assert_copied_from(topic, {0: planned})
    assert len(read_records(world.target, topic)) == sum(offset >= start for _, offset in records)


def test_where_nothing_has_a_time_the_partition_waits_with_the_reason_and_the_rest_is_copied(
    tmp_path: Path, old_cluster: EmbeddedCluster, target_cluster: EmbeddedCluster
) -> None:
    world = World(tmp_path, old_cluster, target_cluster)
    untimed = create_topic(old_cluster.bootstrap, config={"message.format.version": "0.9.0"})
    timed = create_topic(old_cluster.bootstrap, config={"message.format.version": "0.10.2"})
    for topic in (untimed, timed):
        produce(old_cluster.bootstrap, topic, [SentRecord(value=b"%d" % at, timestamp=T0 + at) for at in range(9)])
    with closing_all(world.made):
        copy = world.migration(untimed, timed, start=iso(T0 + 4))
        planned = {each["topic"]: each for each in plan(copy)["partitions"]}
        assert (planned[timed]["start"], planned[timed]["offsetClass"]) == (4, "identical")
        assert "has no timestamps" in planned[untimed]["reason"]
        run(copy, exit_code=4)
        world.assert_copied_from(timed, {0: 4})
        (waiting,) = [each for each in copy.status()["partitions"] if each["topic"] == untimed]
        assert waiting["state"] == "WAITING"
        assert "spec.start must be earliest or latest" in waiting["reason"]


# -- filler ------------------------------------------------------------------------------------------------------------


def far(world: World, partitions: int = 1) -> str:
    """A topic whose partitions reach far, in few bytes."""
    topic = create_topic(world.source.bootstrap, partitions=partitions)
    for partition in range(partitions):
        batch = make_batch([Record(T0, None, None)] * 500_000, codec=GZIP)
        for _ in range(FAR // 500_000):
            append_batch(world.source, topic, batch, partition)
    return topic


@pytest.mark.parametrize("lost", [False, True])
def test_a_kill_while_aligning_changes_nothing_not_even_with_the_state_folder_lost(world: World, lost: bool) -> None:
    topic = far(world)
    copy = world.migration(topic, start="latest")
    copy.start()
    wait_until("filler is written", lambda: log_ends(world.target, [topic])[topic, 0])
    if lost:
        wait_until(
            "a position is committed",
            lambda: any("start" in each for each in committed(world.target, f"kmigrate-{copy.name}").values()),
            evidence=copy.evidence,
        )
    copy.kill_owner()
    assert read_ends(world.target, topic)[0].start == 0, "it is still aligning"
    world.write(topic, "after the beginning", 5)
    if lost:
        copy.lose_state()
    run(copy)
    delete_records(world.source.bootstrap, topic, FAR)
    world.assert_copied_from(topic, {0: FAR})
    assert len(read_records(world.target, topic)) == 5


def test_where_padbudget_is_too_small_the_wanted_part_begins_at_zero(world: World) -> None:
    topic = create_topic(world.source.bootstrap)
    world.write(topic, "old", 50)
    copy = world.migration(topic, start="latest", offsets={"padBudget": 49})
    assert plan(copy)["partitions"][0]["offsetClass"] == "shifted"
    copy.start()
    copy.wait_for_state("IN_SYNC")
    world.write(topic, "new", 5)
    copy.stop()
    run(copy)
    world.assert_copied_from(topic, {0: 50}, shifted=True)


def test_of_two_partitions_only_one_fits_into_padbudgettotal(world: World) -> None:
    topic = create_topic(world.source.bootstrap, partitions=2)
    for partition in range(2):
        world.write(topic, "a", 60 + partition, partition=partition)
        delete_records(world.source.bootstrap, topic, 50 + partition, partition)
    later = create_topic(world.source.bootstrap)
    world.write(later, "b", 60)
    delete_records(world.source.bootstrap, later, 50)
    copy = world.migration(topic, offsets={"padBudgetTotal": 99})
    classes = {each["partition"]: each["offsetClass"] for each in plan(copy)["partitions"]}
    run(copy)
    assert {each["partition"]: each["offsetClass"] for each in copy.status()["partitions"]} == classes
    assert classes == {0: "identical", 1: "shifted"}
    assert {partition: ends.start for partition, ends in read_ends(world.target, topic).items()} == {0: 50, 1: 0}
    text = copy.manifest.read_text().replace(f"- {topic}", f"- {topic}\n    - {later}")
    copy.manifest.write_text(text)
    run(copy)
    classes = {each["topic"]: each["offsetClass"] for each in copy.status()["partitions"] if each["partition"] == 0}
    assert classes == {topic: "identical", later: "shifted"}, "what is used is remembered"


def test_identical_by_order_asks_where_padbudgettotal_is_used_up_and_goes_on_with_more(world: World) -> None:
    topic = create_topic(world.source.bootstrap)
    world.write(topic, "a", 60)
    delete_records(world.source.bootstrap, topic, 50)
    copy = world.migration(topic, offsets={"class": "identical", "padBudgetTotal": 49})
    run(copy, exit_code=4)
    assert copy.status()["partitions"][0]["stop"]["kind"] == "START_QUESTION"
    copy.manifest.write_text(copy.manifest.read_text().replace("padBudgetTotal: 49", "padBudgetTotal: 50"))
    run(copy)
    world.assert_copied_from(topic, {0: 50})


# -- again -------------------------------------------------------------------------------------------------------------


def test_a_topic_that_is_created_anew_begins_where_it_did(world: World) -> None:
    topic = create_topic(world.source.bootstrap)
    world.write(topic, "old", 20)
    copy = world.migration(topic, start="latest")
    copy.start()
    copy.wait_for_state("IN_SYNC")
    world.write(topic, "new", 5)
    copy.wait_for_state("IN_SYNC")
    admin = AdminClient({"bootstrap.servers": world.target.bootstrap})
    admin.delete_topics([topic])[topic].result(TIMEOUT_SECONDS)
    copy.wait_for_state("STOPPED")
    assert copy.command("resume", "-t", topic, "--recreate", "--yes").returncode == 0
    wait_until("it is copied anew", lambda: log_ends(world.target, [topic]).get((topic, 0)) == 25)
    copy.stop()
    run(copy)
    world.assert_copied_from(topic, {0: 20})


def test_another_start_later_changes_nothing_and_is_told(world: World) -> None:
    topic = create_topic(world.source.bootstrap)
    world.write(topic, "old", 20)
    copy = world.migration(topic, start="latest")
    run(copy)
    copy.manifest.write_text(copy.manifest.read_text().replace("start: latest", "start: earliest"))
    world.write(topic, "new", 5)
    run(copy)
    world.assert_copied_from(topic, {0: 20})
    assert any("began with latest" in notice for notice in copy.status()["notices"])
