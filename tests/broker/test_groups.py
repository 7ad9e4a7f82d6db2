"""Consumer groups follow on real brokers; librdkafka and Kafka's Java tools are the witnesses."""

from __future__ import annotations

import contextlib
import json
import random
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, TopicPartition

from kmigrate.api.client import Client
from kmigrate.cluster.client import ClusterClient
from kmigrate.cluster.settings import ConnectionSettings
from kmigrate.demo.embedded import EmbeddedCluster
from kmigrate.groups import foresee
from kmigrate.groups.cluster_groups import ClusterGroups
from kmigrate.groups.select import EXCLUDED
from kmigrate.groups.values import Value
from kmigrate.kafka_types import Offset, Partition, ProducerId, Side, TopicName
from kmigrate.kafka_types import TopicPartition as Place
from kmigrate.records.filler import LARGEST_SIZE
from kmigrate.runner.folder import MigrationFolder
from kmigrate.wire import group_calls
from tests.broker.filler import append_filler
from tests.conftest import SOURCE_VERSION, TARGET_VERSION
from tests.fault.harness import LIVENESS_SECONDS, Migration, closing_all, wait_until
from tests.fault.probe import commits
from tests.kafka_tools import (
    SentRecord,
    create_topic,
    delete_records,
    new_topic_name,
    produce,
    run_java_tool,
    watermarks,
    write_transaction,
)

pytestmark = pytest.mark.broker

Start = Callable[..., Migration]


@pytest.fixture
def start(tmp_path: Path, source_cluster: EmbeddedCluster, target_cluster: EmbeddedCluster) -> Iterator[Start]:
    """Starts a migration of the given topics and groups between the shared clusters, in the background."""
    made: list[Migration] = []

    def begin(topics: list[str], groups: list[str], *arguments: str, spec: dict[str, Any] | None = None) -> Migration:
        wanted = {"groups": {"include": groups}} | (spec or {})
        made.append(
            Migration(tmp_path, source_cluster, target_cluster, topics, name=new_topic_name("groups"), spec=wanted)
        )
        made[-1].start(*arguments)
        return made[-1]

    with closing_all(made):
        yield begin


def commit(cluster: EmbeddedCluster, group: str, offsets: Mapping[tuple[str, int], int], metadata: str = "") -> None:
    """Commits without being a member, as a consumer with assigned partitions does."""
    consumer = Consumer({"bootstrap.servers": cluster.bootstrap, "group.id": group, "enable.auto.commit": False})
    try:
        places = [TopicPartition(*place, offset, *([metadata] * bool(metadata))) for place, offset in offsets.items()]
        for each in consumer.commit(offsets=places, asynchronous=False):
            assert each.error is None, each
    finally:
        consumer.close()


def committed(cluster: EmbeddedCluster, group: str) -> dict[tuple[str, int], tuple[int, str]]:
    """What a group has committed; nothing where its coordinator does not come to an answer.

    librdkafka's Python client, which commits here, puts a NUL behind metadata.
    """
    return {
        (str(each.topic), int(each.partition)): (offset, metadata.removesuffix("\0"))
        for each, (offset, metadata) in commits(cluster, group).items()
    }


def list_groups(migration: Migration) -> dict[str, Any]:
    done = migration.command("group list", "-o", "json")
    assert done.returncode == 0, done.stderr
    return {each["group"]: each for each in json.loads(done.stdout)["groups"]}


def test_a_groups_commits_appear_on_the_target_and_follow(
    start: Start, source_cluster: EmbeddedCluster, target_cluster: EmbeddedCluster
) -> None:
    topic, group = create_topic(source_cluster.bootstrap, partitions=2), new_topic_name("group")
    produce(source_cluster.bootstrap, topic, [b"%d" % n for n in range(100)])
    commit(source_cluster, group, {(topic, 0): 40, (topic, 1): 0}, "as it was")
    elsewhere = f"{group}-elsewhere"
    commit(source_cluster, elsewhere, {(create_topic(source_cluster.bootstrap), 0): 0})
    migration = start([topic], [group, elsewhere])

    def follows(offset: int, metadata: str) -> Callable[[], bool]:
        expected = {(topic, 0): (offset, metadata), (topic, 1): (0, "as it was")}
        return lambda: committed(target_cluster, group) == expected

    wait_until("the commits are on the target", follows(40, "as it was"), evidence=migration.evidence)
    commit(source_cluster, group, {(topic, 0): 100}, "at the end")
    wait_until("they follow", follows(100, "at the end"), evidence=migration.evidence)
    commit(source_cluster, group, {(topic, 0): 7}, "rewound")
    wait_until("they follow back", follows(7, "rewound"), evidence=migration.evidence)
    status = migration.status()["groups"]
    assert (status["groups"], status["synced"], status["skipped"]) == (2, 1, 1), status
    assert status["differences"] == 0
    listed = list_groups(migration)
    assert (listed[group]["target"]["state"], listed[elsewhere]["target"]["state"]) == ("Empty", "absent")
    migration.stop()


# -- what consumers read next ---------------------------------------------------------------------------------------


PROGRAM = Path(__file__).parent / "java" / "FirstRecords.java"
Reading = tuple[str, str, int]
"""A group, a topic, a partition."""


def first_records(
    cluster: EmbeddedCluster, version: str, folder: Path, readings: list[Reading], policy: str
) -> dict[Reading, str]:
    """What a Java consumer of each group reads first."""
    wanted = folder / f"readings-{policy}.txt"
    wanted.write_text("".join(f"{group} {topic} {partition}\n" for group, topic, partition in readings))
    output = run_java_tool(version, str(PROGRAM), cluster.bootstrap, policy, str(wanted))
    found = {}
    for line in output.splitlines():
        if line.startswith("first "):
            _, group, topic, partition, value = line.split(" ", 4)
            found[group, topic, int(partition)] = value
    assert found.keys() == set(readings)
    return found


def fill_with_gaps(cluster: EmbeddedCluster, topic: str) -> None:
    """Records alone, committed and aborted transactions, and a log start inside of them."""
    produce(cluster.bootstrap, topic, [b"plain %d" % n for n in range(6)])
    write_transaction(cluster.bootstrap, topic, [b"committed %d" % n for n in range(4)], commit=True)
    write_transaction(cluster.bootstrap, topic, [b"aborted %d" % n for n in range(3)], commit=False)
    produce(cluster.bootstrap, topic, [b"later %d" % n for n in range(5)])
    write_transaction(cluster.bootstrap, topic, [b"last %d" % n for n in range(2)], commit=True)
    delete_records(cluster.bootstrap, topic, 3)


def test_the_next_record_is_the_same_from_every_offset_in_every_class(
    start: Start, source_cluster: EmbeddedCluster, target_cluster: EmbeddedCluster, tmp_path: Path
) -> None:
    bootstrap = source_cluster.bootstrap
    classes = {name: new_topic_name(name) for name in ("identical", "shifted", "mapped")}
    for topic in classes.values():
        create_topic(bootstrap, topic, partitions=2)
        fill_with_gaps(source_cluster, topic)  # partition 1 stays empty
    expired = create_topic(bootstrap, new_topic_name("expired"), partitions=2)
    produce(bootstrap, expired, [b"gone %d" % n for n in range(9)])
    delete_records(bootstrap, expired, 9)
    prefix = new_topic_name("at")
    readings: list[Reading] = []
    for topic in (*classes.values(), expired):
        for offset in range(watermarks(bootstrap, topic)[1] + 1):
            group = f"{prefix}-{topic}-{offset}"
            commit(source_cluster, group, {(topic, 0): offset, (topic, 1): 0}, f"at {offset}")
            readings += [(group, topic, 0), (group, topic, 1)]
    offset_classes = {topic: name for name, topic in classes.items()}
    migration = start([*classes.values(), expired], [f"{prefix}.*"], spec={"offsets": {"topics": offset_classes}})
    migration.wait_for_state("IN_SYNC")
    wait_until("every group is in step", lambda: in_step(migration), evidence=migration.evidence)
    listed = list_groups(migration)
    assert len(listed) == len({group for group, _, _ in readings})
    migration.stop()
    for policy in ("earliest", "latest"):
        there = first_records(target_cluster, TARGET_VERSION, tmp_path, readings, policy)
        here = first_records(source_cluster, SOURCE_VERSION, tmp_path, readings, policy)
        assert there == here
        assert {"plain 3", "committed 0", "later 0", "last 0", "END"} <= {*here.values()}
    for group, topic, _ in readings[::2]:
        for place, (_, metadata) in committed(target_cluster, group).items():
            assert metadata == committed(source_cluster, group)[place][1], (group, place)
        assert (topic, 0) in committed(target_cluster, group) or "below the log start" in reason_of(listed[group])


def test_groups_that_are_millions_behind_read_on_where_they_were(
    start: Start, source_cluster: EmbeddedCluster, target_cluster: EmbeddedCluster, tmp_path: Path
) -> None:
    """Behind a log start far above 0, too; what a group reads next there is written beside very many others."""
    bootstrap = source_cluster.bootstrap
    classes = {create_topic(bootstrap, new_topic_name(name)): name for name in ("identical", "shifted")}
    prefix = new_topic_name("behind")
    readings: list[Reading] = []
    lags: dict[str, int] = {}
    for topic in classes:
        places = {"gone": 3}
        for number, words in enumerate(("early", "middle", "late")):
            places[words] = watermarks(bootstrap, topic)[1] + 3
            produce(bootstrap, topic, [b"%s %d" % (words.encode(), n) for n in range(9)])
            if words != "late":
                append_filler(source_cluster, topic, ProducerId(number), [LARGEST_SIZE] * 2)
            if words == "early":
                delete_records(bootstrap, topic, watermarks(bootstrap, topic)[1])
                del places["early"]  # it went with the others
        places["start"], places["end"] = watermarks(bootstrap, topic)
        for words, offset in places.items():
            group = f"{prefix}-{topic}-{words}"
            commit(source_cluster, group, {(topic, 0): offset})
            readings.append((group, topic, 0))
            lags[group] = places["end"] - max(offset, places["start"])
    assert max(lags.values()) > 1_000_000
    migration = start([*classes], [f"{prefix}.*"], spec={"offsets": {"topics": classes}})
    migration.wait_for_state("IN_SYNC")
    wait_until("every group is in step", lambda: in_step(migration), evidence=migration.evidence)
    listed = list_groups(migration)
    assert {group: each["source"]["lagRecords"] for group, each in listed.items()} == lags
    migration.stop()
    for policy in ("earliest", "latest"):
        here = first_records(source_cluster, SOURCE_VERSION, tmp_path, readings, policy)
        there = first_records(target_cluster, TARGET_VERSION, tmp_path, readings, policy)
        assert there == here
        assert [*here.values()].count("middle 3") == len(classes)


def test_a_static_member_reads_on_where_it_was(
    start: Start, source_cluster: EmbeddedCluster, target_cluster: EmbeddedCluster, tmp_path: Path
) -> None:
    """It is still a member on the source when it was stopped there: only its session's end shows."""
    topic, group = create_topic(source_cluster.bootstrap), new_topic_name("static")
    produce(source_cluster.bootstrap, topic, [b"%d" % n for n in range(100)])
    commit(source_cluster, group, {(topic, 0): 30})
    static = {"group.instance.id": "app-1"}
    assert consume(source_cluster, group, topic, 5, **static) == [b"%d" % n for n in range(30, 35)]
    migration = start([topic], [group])
    wait_until("the group is in step", lambda: in_step(migration), evidence=migration.evidence)
    listed = list_groups(migration)[group]
    assert [each["instanceId"] for each in listed["source"]["members"]] == ["app-1"]
    assert (listed["outcome"], listed["safeToMove"]) == ("Synced", False)
    reading = (group, topic, 0)
    here = first_records(source_cluster, SOURCE_VERSION, tmp_path, [reading], "earliest")
    there = first_records(target_cluster, TARGET_VERSION, tmp_path, [reading], "earliest")
    assert there == here == {reading: "35"}
    assert consume(target_cluster, group, topic, 5, **static) == [b"%d" % n for n in range(35, 40)]
    wait_until("it is moved", lambda: outcome(migration, group) == "Moved", evidence=migration.evidence)
    assert committed(target_cluster, group) == {(topic, 0): (40, "")}
    migration.stop()


def in_step(migration: Migration) -> bool:
    """Whether a round found no difference, after everything was looked at."""
    summary = migration.status()["groups"]
    return summary is not None and summary["groups"] > 0 and summary["differences"] == summary["waiting"] == 0


def reason_of(group: Mapping[str, Any]) -> str:
    return next(each["reason"] for each in group["partitions"] if each["partition"] == 0)


# -- moved groups ---------------------------------------------------------------------------------------------------


def consume(cluster: EmbeddedCluster, group: str, topic: str, count: int, **settings: Any) -> list[bytes | None]:
    """Joins the group, reads so many records, commits them and leaves."""
    consumer = Consumer(
        {
            "bootstrap.servers": cluster.bootstrap,
            "group.id": group,
            "auto.offset.reset": "error",
            "enable.auto.commit": False,
        }
        | settings
    )
    read: list[Any] = []
    try:
        consumer.subscribe([topic])
        deadline = time.monotonic() + LIVENESS_SECONDS
        while len(read) < count:
            assert time.monotonic() < deadline, f"{group} read {len(read)} of {count} records"
            message = consumer.poll(0.5)
            if message is not None:
                assert message.error() is None, message.error()
                read.append(message)
        consumer.commit(message=read[-1], asynchronous=False)
    finally:
        consumer.close()
    return [message.value() for message in read]


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_a_group_that_was_used_on_the_target_stays_moved_for_good(
    start: Start, source_cluster: EmbeddedCluster, target_cluster: EmbeddedCluster, protocol: str
) -> None:
    topic, group = create_topic(source_cluster.bootstrap), new_topic_name("group")
    produce(source_cluster.bootstrap, topic, [b"%d" % n for n in range(100)])
    commit(source_cluster, group, {(topic, 0): 40})
    migration = start([topic], [group])
    wait_until("the group is in step", lambda: in_step(migration), evidence=migration.evidence)
    assert consume(target_cluster, group, topic, 5, **{"group.protocol": protocol}) == [
        b"%d" % n for n in range(40, 45)
    ]
    wait_until("it is moved", lambda: outcome(migration, group) == "Moved", evidence=migration.evidence)
    commit(source_cluster, group, {(topic, 0): 99})
    time.sleep(60 if protocol == "classic" else 5)  # its application is being deployed
    assert committed(target_cluster, group) == {(topic, 0): (45, "")}
    assert outcome(migration, group) == "Moved"
    migration.stop()
    migration.start()
    wait_until("another owner looked", lambda: outcome(migration, group) == "Moved", evidence=migration.evidence)
    assert consume(target_cluster, group, topic, 1, **{"group.protocol": protocol}) == [b"45"]
    said: list[str] = []

    def release() -> bool:
        """Where the round behind it takes too long the command fails, though the latch has ended."""
        done = migration.command("group sync", "--release", group)
        said.append(done.stderr)
        return done.returncode == 0 or "nothing to release" in done.stderr

    wait_until(  # the coordinator may list the member for a moment after it left: then the group is latched again
        "it is released", release, evidence=lambda: "\n".join([*said[-3:], migration.evidence()])
    )
    wait_until("it follows again", lambda: committed(target_cluster, group)[topic, 0][0] == 99)
    migration.stop()


def outcome(migration: Migration, group: str) -> str | None:
    found = Client(MigrationFolder(migration.state_root, migration.name), start_seconds=0.0).groups().groups
    return next((each.outcome.value for each in found if each.group == group), None)


def test_a_member_without_a_commit_moves_a_group_too(
    start: Start, source_cluster: EmbeddedCluster, target_cluster: EmbeddedCluster
) -> None:
    topic, group = create_topic(source_cluster.bootstrap), new_topic_name("group")
    produce(source_cluster.bootstrap, topic, [b"%d" % n for n in range(10)])
    commit(source_cluster, group, {(topic, 0): 4})
    migration = start([topic], [group])
    wait_until("the group is in step", lambda: in_step(migration), evidence=migration.evidence)
    member = Consumer({"bootstrap.servers": target_cluster.bootstrap, "group.id": group, "enable.auto.commit": False})
    try:
        member.subscribe([topic])
        wait_until(
            "it is moved",
            lambda: member.poll(0.2) is None or outcome(migration, group) == "Moved",
            evidence=migration.evidence,
        )
        wait_until("it is moved", lambda: outcome(migration, group) == "Moved", evidence=migration.evidence)
    finally:
        member.close()
    migration.stop()


# -- protocols and releases -----------------------------------------------------------------------------------------


def test_groups_of_the_new_protocol_follow_and_are_described(
    start_cluster: Callable[..., EmbeddedCluster], target_cluster: EmbeddedCluster, tmp_path: Path
) -> None:
    source = start_cluster("4.1.1")
    topic, group = create_topic(source.bootstrap), new_topic_name("group")
    produce(source.bootstrap, topic, [b"%d" % n for n in range(50)])
    commit(source, group, {(topic, 0): 10})
    consume(source, group, topic, 5, **{"group.protocol": "consumer"})
    member = Consumer(
        {
            "bootstrap.servers": source.bootstrap,
            "group.id": group,
            "group.protocol": "consumer",
            "client.id": "billing-app",
            "enable.auto.commit": False,
        }
    )
    spec = {"groups": {"include": [f"{group}.*"], "exclude": [".*-not"]}}
    migration = Migration(tmp_path, source, target_cluster, [topic], name=new_topic_name("new"), spec=spec)
    with closing_all([migration]):
        try:
            member.subscribe([topic])
            member.poll(5.0)
            assert planned_groups(migration, source, target_cluster, topic, group) == {
                group: ("follow", "new protocol, in use, 1 commit", foresee.NEW),
                f"{group}-both": ("keep", "classic, in use", foresee.USED_ON_BOTH),
                f"{group}-connect": ("by hand", "classic, in use", "not a consumer group: its members speak 'connect'"),
                f"{group}-empty": ("follow", "classic, empty, 1 commit", foresee.NEW),
                f"{group}-moved": ("keep", "classic, empty, 1 commit", foresee.OWN_COMMITS),
                f"{group}-not": ("leave out", "classic, empty", EXCLUDED),
                f"{group}-there": ("keep", "classic, empty", foresee.USED),
            }
            migration.start()
            wait_until(
                "its commit is on the target",
                lambda: committed(target_cluster, group) == {(topic, 0): (15, "")},
                evidence=migration.evidence,
            )
            listed = list_groups(migration)[group]
        finally:
            member.close()
        assert listed["groupType"] == "consumer"
        assert listed["source"]["state"] == "Stable"
        assert [each["clientId"] for each in listed["source"]["members"]] == ["billing-app"]
        assert not listed["safeToMove"]
        assert listed["source"]["lagRecords"] == 35
        assert listed["source"]["lagSeconds"] > 0
        wait_until("it is safe to move", lambda: list_groups(migration)[group]["safeToMove"])
        migration.stop()


def planned_groups(
    migration: Migration, source: EmbeddedCluster, target: EmbeddedCluster, topic: str, group: str
) -> dict[str, tuple[str, str, str]]:
    """What a plan says of the group and of others that are made for it, in its order."""
    elsewhere = create_topic(target.bootstrap)
    for name in ("empty", "moved", "not", "there"):
        commit(source, f"{group}-{name}", {(topic, 0): 3})
    commit(target, f"{group}-moved", {(elsewhere, 0): 0})
    join_as_connect(source, f"{group}-connect")
    members = [
        Consumer({"bootstrap.servers": cluster.bootstrap, "group.id": f"{group}-{name}"})
        for cluster, name in ((source, "both"), (target, "both"), (target, "there"))
    ]
    try:
        for consumer, subscribed in zip(members, (topic, elsewhere, elsewhere), strict=True):
            consumer.subscribe([subscribed])

        def all_are_there() -> bool:
            for each in members:
                each.poll(0.1)
            return all(each.assignment() for each in members)

        wait_until("the members are there", all_are_there)
        done = migration.command("plan", "-o", "json")
    finally:
        for each in members:
            each.close()
    assert done.returncode == 0, done.stderr
    actions = [each for each in json.loads(done.stdout)["actions"] if each["kind"] == "groups"]
    found = {each["name"]: (each["action"], each["what"], each["reason"]) for each in actions}
    assert [*found] == sorted(found)
    return found


def join_as_connect(cluster: EmbeddedCluster, group: str) -> None:
    """Joins as a worker of Connect does; the coordinator keeps such a member until its session ends."""
    host, port = cluster.bootstrap.split(":")
    client = ClusterClient(Side.SOURCE, [(host, int(port))], ConnectionSettings(client_id="connect"))
    with contextlib.closing(client):
        member = ""
        for _ in range(2):  # the first answer only tells the member's id
            call = group_calls.join_group(
                group,
                member,
                session_timeout_ms=30_000,
                rebalance_timeout_ms=30_000,
                protocol_type="connect",
                protocol="default",
                metadata=b"",
            )
            joined = client.any(call)
            member = joined.member_id
        assert joined.error == 0


@pytest.mark.parametrize("old_side", ["source", "target"])
def test_the_oldest_release_takes_part_on_either_side(
    old_cluster: EmbeddedCluster, source_cluster: EmbeddedCluster, tmp_path: Path, old_side: str
) -> None:
    source, target = (old_cluster, source_cluster) if old_side == "source" else (source_cluster, old_cluster)
    topic, prefix = create_topic(source.bootstrap), new_topic_name("old")
    produce(source.bootstrap, topic, [b"%d" % n for n in range(20)])
    for number in range(5):
        commit(source, f"{prefix}-{number}", {(topic, 0): 4 * number}, f"at {number}")
    spec = {"groups": {"include": [f"{prefix}.*"]}}
    migration = Migration(tmp_path, source, target, [topic], name=new_topic_name("old"), spec=spec)
    with closing_all([migration]):
        migration.start()
        for number in range(5):
            expected = {(topic, 0): (4 * number, f"at {number}")}
            wait_until(
                "the commits are on the target",
                lambda name=f"{prefix}-{number}", expected=expected: committed(target, name) == expected,  # type: ignore[misc]
                evidence=migration.evidence,
            )
        consume(target, f"{prefix}-1", topic, 2)
        wait_until("it is moved", lambda: outcome(migration, f"{prefix}-1") == "Moved", evidence=migration.evidence)
        migration.stop()


# -- progress and resets --------------------------------------------------------------------------------------------


def test_progress_waits_until_the_source_is_drained(
    start: Start, source_cluster: EmbeddedCluster, target_cluster: EmbeddedCluster
) -> None:
    topic, group = create_topic(source_cluster.bootstrap), new_topic_name("group")
    produce(source_cluster.bootstrap, topic, [b"%d" % n for n in range(10)])
    commit(source_cluster, group, {(topic, 0): 4})
    migration = start([topic], [group])
    wait_until("the group is in step", lambda: in_step(migration), evidence=migration.evidence)
    late = migration.command("group progress", "-g", group, "--until", "drained", "--timeout", "1")
    assert late.returncode == 5, late.stderr
    assert f"{topic}-0 (6)" in late.stdout
    commit(source_cluster, group, {(topic, 0): 10})
    done = migration.command("group progress", "-g", group, "--until", "drained", "--timeout", "30")
    assert done.returncode == 0, done.stderr
    migration.stop()


def test_a_reset_is_shown_then_done_and_can_be_taken_back(
    start: Start, source_cluster: EmbeddedCluster, target_cluster: EmbeddedCluster
) -> None:
    topic, group = create_topic(source_cluster.bootstrap, partitions=2), new_topic_name("group")
    began = int(time.time() * 1000)
    produce(source_cluster.bootstrap, topic, [SentRecord(value=b"%d" % n, timestamp=began + n) for n in range(100)])
    commit(source_cluster, group, {(topic, 0): 40})
    migration = start([topic], [group])
    wait_until("the group is in step", lambda: in_step(migration), evidence=migration.evidence)

    def reset(*arguments: str) -> None:
        done = migration.command("group reset", "-g", group, *arguments)
        assert done.returncode == 0, done.stderr

    reset("--shift-by", "-15")
    assert committed(target_cluster, group) == {(topic, 0): (40, "")}, "only shown"
    reset("--shift-by", "-15", "--execute")
    assert committed(target_cluster, group) == {(topic, 0): (25, "")}
    assert outcome(migration, group) == "Moved"
    commit(source_cluster, group, {(topic, 0): 50})
    at = datetime.fromtimestamp((began + 60) / 1000, UTC).isoformat()
    reset("-t", topic, "--to-datetime", at, "--execute")
    assert committed(target_cluster, group) == {(topic, 0): (60, ""), (topic, 1): (0, "")}
    reset("--undo", "--execute")
    assert committed(target_cluster, group) == {(topic, 0): (25, "")}
    assert outcome(migration, group) == "Moved", "as it was before that reset"
    reset("--undo", "--execute")
    wait_until("it follows again", lambda: committed(target_cluster, group) == {(topic, 0): (50, "")})
    consumer = Consumer({"bootstrap.servers": target_cluster.bootstrap, "group.id": group})
    try:
        consumer.subscribe([topic])
        consumer.poll(5.0)
        refused = migration.command("group reset", "-g", group, "--to-earliest", "--execute")
        assert refused.returncode == 6, refused.stderr
        assert "has members on the target" in refused.stderr
    finally:
        consumer.close()
    migration.stop()


# -- many groups, while records flow --------------------------------------------------------------------------------


FLOW_SECONDS = 20.0


class Flow:
    """Writes plain records and transactions into topics, while groups commit any offset that there is, also back."""

    def __init__(self, cluster: EmbeddedCluster, topics: list[str], groups: list[str], chance: random.Random) -> None:
        self._cluster = cluster
        self._topics = topics
        self._chance = chance
        self._homes = {group: topics[number % len(topics)] for number, group in enumerate(groups)}
        host, port = cluster.bootstrap.split(":")
        settings = ConnectionSettings(client_id="applications")
        self._groups = ClusterGroups(ClusterClient(Side.SOURCE, [(host, int(port))], settings))

    @property
    def readings(self) -> list[Reading]:
        return [(group, topic, 0) for group, topic in self._homes.items()]

    def run(self, seconds: float) -> None:
        """Writes and commits by turns, for so long; every group has committed at the end."""
        deadline = time.monotonic() + seconds
        while True:
            for topic in self._topics:
                produce(self._cluster.bootstrap, topic, [b"plain %d" % self._chance.randrange(10**9) for _ in range(9)])
                values = [b"together %d" % self._chance.randrange(10**9) for _ in range(4)]
                write_transaction(self._cluster.bootstrap, topic, values, commit=self._chance.random() < 0.7)
            ends = {topic: watermarks(self._cluster.bootstrap, topic) for topic in self._topics}
            committed_for: set[str] = set()
            for broker, names in self._groups.by_coordinator(list(self._homes)):
                for group in names:
                    topic = self._homes[group]
                    low, high = ends[topic]
                    offset = self._chance.choice([self._chance.randint(max(0, low - 3), high), high])
                    place = Place(TopicName(topic), Partition(0))
                    answer = self._groups.commit(broker, group, {place: Value(Offset(offset), f"at {offset}")})
                    if not any(answer.values()):
                        committed_for.add(group)
            if time.monotonic() > deadline and len(committed_for) == len(self._homes):
                return

    def close(self) -> None:
        self._groups.close()


def _is_synced(migration: Migration) -> bool:
    """Whether a round that was begun just now found no difference."""
    done = migration.command("group sync")
    assert done.returncode == 0, done.stderr
    return "differences: 0 of 200 partitions of 200 groups" in done.stdout


def test_two_hundred_groups_read_on_where_they_were_while_records_flow(
    start: Start,
    source_cluster: EmbeddedCluster,
    target_cluster: EmbeddedCluster,
    tmp_path: Path,
    chance: random.Random,
) -> None:
    bootstrap = source_cluster.bootstrap
    classes = {name: create_topic(bootstrap, new_topic_name(name)) for name in ("identical", "shifted", "mapped")}
    for topic in classes.values():
        fill_with_gaps(source_cluster, topic)
    prefix = new_topic_name("flow")
    flow = Flow(source_cluster, list(classes.values()), [f"{prefix}-{number}" for number in range(200)], chance)
    offset_classes = {topic: name for name, topic in classes.items()}
    migration = start(list(classes.values()), [f"{prefix}.*"], spec={"offsets": {"topics": offset_classes}})
    migration.wait_for_state("IN_SYNC")
    flow.run(FLOW_SECONDS)
    flow.close()
    migration.wait_for_state("IN_SYNC")
    wait_until("every group is in step, now that nobody commits", lambda: _is_synced(migration))
    migration.stop()
    here = first_records(source_cluster, SOURCE_VERSION, tmp_path, flow.readings, "earliest")
    there = first_records(target_cluster, TARGET_VERSION, tmp_path, flow.readings, "earliest")
    assert there == here
