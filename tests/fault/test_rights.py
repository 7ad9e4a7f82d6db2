"""The table of rights is right: with exactly those a migration gets in sync, groups included; with one less it is told.

A cell takes one right away (with those that include it). Without a required one `check` and `run` end with 4 and the
line that grants it, and the target stays as it was. Without an optional one happens what the table says, is seen to
happen, and everything else still arrives. librdkafka reads both sides as a super user.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions

from kmigrate.demo.embedded import EmbeddedCluster
from kmigrate.kafka_types import Side
from kmigrate.preflight.rights import Need, Resource
from kmigrate.state.export import EXPORT_NAME, read_export
from tests.fault.cells import Cell, cells
from tests.fault.harness import REFUSED, Migration, closing_all, wait_until
from tests.fault.probe import commits
from tests.fault.stops.topics import list_groups, list_topics, read_config, set_config
from tests.kafka_tools import (
    TIMEOUT_SECONDS,
    ReadRecord,
    SentRecord,
    create_topic,
    delete_records,
    new_topic_name,
    produce,
    read_all,
    write_transaction,
)
from tests.secured.granted import (
    BLOCKED,
    LATER,
    NEEDED,
    Guarded,
    findings,
    including,
    missing,
    plan,
    planned_class,
)

pytestmark = pytest.mark.broker

LIMIT = "max.message.bytes"
RETENTION = "retention.ms"


@dataclass
class Scene:
    """A migration of one topic with ten records, of which a group has read seven, and the rights that it lacks."""

    guarded: Guarded
    folder: Path
    lacking: tuple[Need, ...] = ()
    topic: str = ""
    group: str = field(default_factory=lambda: new_topic_name("group"))
    made: list[Migration] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.topic = create_topic(self.bootstrap(Side.SOURCE))
        produce(self.bootstrap(Side.SOURCE), self.topic, [b"value %d" % number for number in range(10)])

    def bootstrap(self, side: Side) -> str:
        """Where tests and witnesses come in."""
        return self.guarded.clusters[side].direct_bootstrap

    @property
    def copy(self) -> Migration:
        if not self.made:
            self.made.append(self.guarded.migration(self.folder, [self.topic], self.group, {}))
        return self.made[0]

    def commit(self, offset: int, partition: int = 0) -> None:
        """The group reads on."""
        consumer = Consumer({"bootstrap.servers": self.bootstrap(Side.SOURCE), "group.id": self.group})
        (done,) = consumer.commit(offsets=[TopicPartition(self.topic, partition, offset)], asynchronous=False)
        assert done.error is None
        consumer.close()

    def choose_class(self, name: str) -> None:
        """As the plan asks for it."""
        manifest = yaml.safe_load(self.copy.manifest.read_text())
        manifest["spec"]["offsets"] = {"topics": {self.topic: name}}
        self.copy.manifest.write_text(yaml.safe_dump(manifest))

    def grant_all(self) -> None:
        """Everything that the table lists; returns when `check` says so."""
        self.guarded.grant(self.copy, self.group)
        wait_until("all rights are told", lambda: missing(self.copy) == [])

    def grant(self, *, told: bool = True) -> None:
        """All but what is lacking; returns when `check` tells just that, with the lines that grant it."""
        self.guarded.grant(self.copy, self.group, but=self.lacking)
        wanted = [
            ("BLOCKER" if each.is_required else "WARNING", self.guarded.line(each, self.copy, self.group))
            for each in NEEDED
            if each in self.lacking
        ]
        if told:
            wait_until("it is told", lambda: missing(self.copy) == wanted)

    def run(self) -> None:
        """Copies until everything is in sync, groups included."""
        self.copy.start("--until", "in-sync")
        assert self.copy.wait_for_exit() == 0, self.copy.evidence()

    def records(self, side: Side) -> list[ReadRecord]:
        return read_all(self.bootstrap(side), self.topic)

    def committed(self, side: Side) -> dict[int, int]:
        """Partition → offset of the group."""
        found = commits(self.guarded.clusters[side], self.group)
        return {int(place.partition): offset for place, (offset, _) in found.items() if place.topic == self.topic}

    def assert_records_arrived(self) -> None:
        assert self.records(Side.TARGET) == self.records(Side.SOURCE)

    def assert_group_arrived(self) -> None:
        """What the group reads next in each partition is the same on both sides, and the status says so, too."""
        assert self.committed(Side.SOURCE).keys() == self.committed(Side.TARGET).keys() != set()
        assert self.next_values(Side.SOURCE) == self.next_values(Side.TARGET)
        document = self.copy.status()["groups"]
        assert (document["groups"], document["synced"], document["differences"]) == (1, 1, 0), document

    def next_values(self, side: Side) -> dict[int, bytes | None]:
        found = {}
        for partition, offset in self.committed(side).items():
            behind = (each for each in self.records(side) if each.partition == partition and each.offset >= offset)
            found[partition] = next((each.value for each in behind), None)
        return found

    def found(self, found_id: str) -> list[str]:
        """What `check` says under this id."""
        return [each["reason"] for each in findings(self.copy) if each["id"] == found_id]


@pytest.fixture
def scene(tmp_path: Path, guarded: Guarded) -> Iterator[Scene]:
    scene = Scene(guarded, tmp_path)
    with closing_all(scene.made):
        yield scene


# -- what happens without an optional right ---------------------------------------------------------------------------


def without_settings_of_the_source(scene: Scene) -> None:
    """Nothing is recorded of what the topic is to become, and lost tombstones are not guarded against."""
    scene.grant()
    unknown = [each for each in plan(scene.copy)["actions"] if each["action"] == "unknown"]
    assert f"source {scene.topic}" in [each["name"] for each in unknown if each["kind"] == "configs"]
    scene.run()
    (notice,) = [each for each in scene.copy.status()["notices"] if "cleanup.policy" in each]
    assert scene.topic in notice


def without_sizes_of_the_source(scene: Scene) -> None:
    """Sizes are estimated from samples."""
    scene.grant()
    (partition,) = plan(scene.copy)["partitions"]
    assert partition["sizeBytes"] > 0
    assert partition["found"]["sampledOffsets"] == 10
    scene.run()


def without_taking_commits_away(scene: Scene) -> None:
    """A group that goes back below the log start keeps its commit where the target's log begins at 0."""
    delete_records(scene.bootstrap(Side.SOURCE), scene.topic, 4)
    scene.choose_class("shifted")
    scene.grant()
    scene.copy.start()
    scene.copy.wait_for_state("IN_SYNC")
    wait_until("the group arrived", lambda: scene.committed(Side.TARGET) == {0: 3}, evidence=scene.copy.evidence)
    scene.commit(2)
    wait_until("it is told", lambda: scene.copy.status()["groups"]["failed"] == 1, evidence=scene.copy.evidence)
    assert_group_fails(scene, "grant DELETE on the group to this principal on the target")
    assert scene.committed(Side.TARGET) == {0: 3}
    scene.copy.stop()


def without_settings_of_brokers(scene: Scene, side: Side) -> None:
    """Quotas are not known beforehand, and of the target's brokers no limits."""
    scene.grant()
    unseen = scene.found("NOT_EXAMINED")
    expected = [f"quotas on the {side}"] + ["limits of the target's brokers"] * (side is Side.TARGET)
    assert [each.partition(" could not")[0] for each in unseen] == expected
    scene.run()


def without_names_of_transactions(scene: Scene) -> None:
    """An open transaction is shown by its producer id only."""
    name = new_topic_name("writer")
    producer = Producer({"bootstrap.servers": scene.bootstrap(Side.SOURCE), "transactional.id": name})
    producer.init_transactions(TIMEOUT_SECONDS)
    producer.begin_transaction()
    producer.produce(scene.topic, value=b"open", partition=0)
    producer.flush(TIMEOUT_SECONDS)
    scene.grant_all()
    (told,) = scene.found("TRANSACTION_OPEN")
    assert name in told
    scene.grant()
    (told,) = scene.found("TRANSACTION_HANGING")
    assert name not in told
    assert "producer id" in told
    assert "its transactional id may not be read here (DESCRIBE)" in told
    producer.commit_transaction(TIMEOUT_SECONDS)
    scene.run()


def without_groups_of_the_source(scene: Scene) -> None:
    """Groups are seen, as the cluster may be described, and not moved."""
    scene.grant()
    scene.run()
    scene.assert_records_arrived()
    assert scene.committed(Side.TARGET) == {}
    assert_group_fails(scene, "grant DESCRIBE on the group to this principal on the source")


def without_commits_on_the_target(scene: Scene) -> None:
    """The group's offsets are not carried over, and that is told."""
    scene.grant()
    scene.run()
    scene.assert_records_arrived()
    assert scene.committed(Side.TARGET) == {}
    assert_group_fails(scene, "grant READ on the group to this principal on the target")


def assert_group_fails(scene: Scene, remedy: str) -> None:
    listed = scene.copy.command("group list", "-o", "json")
    (group,) = json.loads(listed.stdout)["groups"]
    assert (group["group"], group["outcome"]) == (scene.group, "Failed")
    assert "GROUP_AUTHORIZATION_FAILED" in group["reason"]
    assert remedy in group["reason"]


def without_creation(scene: Scene) -> None:
    """`run` waits for a topic, which must be made by hand."""
    scene.grant()
    scene.copy.start("--until", "in-sync")
    assert scene.copy.wait_for_exit() == BLOCKED, scene.copy.evidence()
    assert scene.topic not in list_topics(scene.guarded.clusters[Side.TARGET])
    create_topic(scene.bootstrap(Side.TARGET), scene.topic, config={RETENTION: "-1"})
    wait_until("the topic is seen", lambda: missing(scene.copy) == [])
    scene.run()


def without_settings_of_the_target(scene: Scene) -> None:
    """The settings of a topic that was made by hand are not checked."""
    create_topic(scene.bootstrap(Side.TARGET), scene.topic, config={RETENTION: "3600000"})
    scene.grant_all()
    (told,) = scene.found("TARGET_SETTINGS")
    assert f"{RETENTION}=3600000" in told
    scene.grant()
    assert scene.found("TARGET_SETTINGS") == []
    scene.run()


def without_higher_limits(scene: Scene) -> None:
    """A batch that is too large for the target's topic arrives in parts."""
    source, target = scene.guarded.clusters[Side.SOURCE], scene.guarded.clusters[Side.TARGET]
    set_config(source, scene.topic, LIMIT, "5000000")
    together = {"message.max.bytes": 6_000_000, "batch.size": 4_000_000, "linger.ms": 500}
    records = [SentRecord(value=b"%d" % each * 300_000) for each in range(10)]
    produce(scene.bootstrap(Side.SOURCE), scene.topic, records, config=together)
    set_config(source, scene.topic, LIMIT, "2000")
    scene.grant()
    scene.run()
    assert scene.copy.status()["totals"]["recordsReencoded"] == len(records)
    assert int(read_config(target, scene.topic)[LIMIT]) < 2_000_000, "it is as it was"


def without_more_partitions(scene: Scene) -> None:
    """Added partitions wait until they are added on the target by hand."""
    scene.grant()
    scene.copy.start()
    scene.copy.wait_in_sync()
    _add_partition(scene, Side.SOURCE)
    produce(scene.bootstrap(Side.SOURCE), scene.topic, [SentRecord(value=b"in the new one", partition=1)])
    scene.commit(1, partition=1)
    wait_until(
        "it is told that the partition waits",
        lambda: any(each["partition"] == 1 and "AUTHORIZATION" in each["reason"] for each in _partitions(scene)),
        evidence=scene.copy.evidence,
    )
    assert {each.partition for each in scene.records(Side.TARGET)} == {0}
    _add_partition(scene, Side.TARGET)
    scene.copy.wait_in_sync()
    wait_until("the group arrived", lambda: scene.copy.status()["groups"]["synced"] == 1, evidence=scene.copy.evidence)
    scene.copy.stop()


def _partitions(scene: Scene) -> list[Mapping[str, Any]]:
    return list(scene.copy.status()["partitions"])


def _add_partition(scene: Scene, side: Side) -> None:
    admin = AdminClient({"bootstrap.servers": scene.bootstrap(side)})
    admin.create_partitions([NewPartitions(scene.topic, 2)])[scene.topic].result(TIMEOUT_SECONDS)


def without_moving_log_starts(scene: Scene) -> None:
    """A trimmed topic is shifted."""
    delete_records(scene.bootstrap(Side.SOURCE), scene.topic, 4)
    create_topic(scene.bootstrap(Side.TARGET), scene.topic, config={RETENTION: "-1"})
    scene.grant()
    assert planned_class(scene.copy, scene.topic) == "shifted"
    scene.choose_class("shifted")
    scene.run()
    before, after = ([(each.offset, each.value) for each in scene.records(side)] for side in Side)
    assert after == [(offset - 4, value) for offset, value in before]
    assert scene.committed(Side.TARGET) == {0: scene.committed(Side.SOURCE)[0] - 4}


def without_markers(scene: Scene) -> None:
    """A topic with transactions is mapped."""
    _write_gaps(scene.bootstrap(Side.SOURCE), scene.topic)
    scene.commit(12)  # where an aborted record is
    scene.grant()
    assert planned_class(scene.copy, scene.topic) == "mapped"
    scene.choose_class("mapped")
    scene.run()
    before, after = ([each.value for each in scene.records(side)] for side in Side)
    assert before == after
    assert scene.committed(Side.TARGET)[0] < scene.committed(Side.SOURCE)[0]


def _write_gaps(bootstrap: str, topic: str) -> None:
    write_transaction(bootstrap, topic, [b"seen"], commit=True)
    write_transaction(bootstrap, topic, [b"never seen"], commit=False)
    produce(bootstrap, topic, [b"last"])


def without_room_on_disks(scene: Scene) -> None:
    """Free room is not told; nor may markers be written, as ALTER would include it."""
    scene.grant()
    levels = [each["level"] for each in findings(scene.copy) if each["id"] == "DISK_ROOM"]
    assert levels == ["UNKNOWN"]
    scene.run()


def without_a_mirror(scene: Scene) -> None:
    """The state is exported to a file, and that is told."""
    scene.grant()
    scene.run()
    scene.assert_records_arrived()
    (notice,) = [each for each in scene.copy.status()["notices"] if "the state is not mirrored" in each]
    assert f"__kmigrate.{scene.copy.name}" in notice
    head, _ = read_export(scene.copy.state_root / scene.copy.name / EXPORT_NAME)
    assert head.name == scene.copy.name


# -- cells ------------------------------------------------------------------------------------------------------------

Story = Callable[[Scene], None]
CHANGES_OFFSETS = (without_moving_log_starts, without_markers, without_taking_commits_away)
WITHOUT_GROUPS = (without_groups_of_the_source, without_commits_on_the_target, without_taking_commits_away)
OPTIONAL: Mapping[str, Story] = {
    "source: DESCRIBE_CONFIGS on topics": without_settings_of_the_source,
    "source: DESCRIBE on the cluster": without_sizes_of_the_source,
    "source: DESCRIBE_CONFIGS on the cluster": lambda scene: without_settings_of_brokers(scene, Side.SOURCE),
    "source: DESCRIBE on transactional ids": without_names_of_transactions,
    "source: DESCRIBE on groups": without_groups_of_the_source,
    "target: CREATE on topics": without_creation,
    "target: CREATE on the topic __kmigrate.<name>": without_a_mirror,
    "target: WRITE on the topic __kmigrate.<name>": without_a_mirror,
    "target: READ on the topic __kmigrate.<name>": without_a_mirror,
    "target: DESCRIBE_CONFIGS on topics": without_settings_of_the_target,
    "target: ALTER_CONFIGS on topics": without_higher_limits,
    "target: ALTER on topics": without_more_partitions,
    "target: DELETE on topics": without_moving_log_starts,
    "target: ALTER on the cluster": without_markers,
    "target: DESCRIBE on the cluster": without_room_on_disks,
    "target: DESCRIBE_CONFIGS on the cluster": lambda scene: without_settings_of_brokers(scene, Side.TARGET),
    "target: READ on groups": without_commits_on_the_target,
    "target: DELETE on groups": without_taking_commits_away,
}


def words(need: Need) -> str:
    return f"{need.side}: {need.right}"


def with_all(scene: Scene) -> None:
    """Exactly the rights of the table; what only later commands need is a note."""
    scene.grant_all()
    notes = [("NOTE", scene.guarded.line(each, scene.copy, scene.group)) for each in LATER]
    assert missing(scene.copy, later=True) == notes
    scene.run()
    scene.assert_records_arrived()
    scene.assert_group_arrived()
    assert missing(scene.copy) == [], "also once the topic is there"


def without_required(scene: Scene) -> None:
    """`check` blocks, `run` ends before its first write, both with the line that grants it."""
    scene.grant()
    target = scene.guarded.clusters[Side.TARGET]
    before = applications_topics(target), list_groups(target)
    (line,) = [line for _, line in missing(scene.copy)]
    scene.copy.start("--until", "in-sync")
    assert scene.copy.wait_for_exit() == BLOCKED, scene.copy.evidence()
    assert line in scene.copy.messages()
    assert (applications_topics(target), list_groups(target)) == before
    assert scene.topic not in before[0]


def applications_topics(cluster: EmbeddedCluster) -> set[str]:
    """All topics but that of the groups, which a broker makes when it is first asked who coordinates one."""
    return list_topics(cluster) - {"__consumer_offsets"}


def without_raising_retention(scene: Scene) -> None:
    """What only `kmigrate retention` needs: refused, and the source's topic is as it was."""
    source = scene.guarded.clusters[Side.SOURCE]
    scene.grant_all()
    before = read_config(source, scene.topic)
    done = scene.copy.command("retention raise", "-t", scene.topic, "--yes")
    assert done.returncode == REFUSED, done.stderr
    assert "ALTER_CONFIGS" in done.stderr
    assert read_config(source, scene.topic) == before
    scene.run()
    scene.assert_records_arrived()
    scene.assert_group_arrived()


def on_a_managed_service(scene: Scene) -> None:
    """Without CREATE and any ALTER: empty topics that were made by hand are looked at, and taken; gaps are mapped."""
    target = scene.guarded.clusters[Side.TARGET]
    _write_gaps(scene.bootstrap(Side.SOURCE), scene.topic)
    scene.commit(13)
    create_topic(scene.bootstrap(Side.TARGET), scene.topic, config={RETENTION: "-1", "cleanup.policy": "compact"})
    scene.grant(told=False)
    told = [
        ("WARNING", scene.guarded.line(each, scene.copy, scene.group))
        for each in scene.lacking
        if (each.resource, each.operation.name) != (Resource.TOPIC, "CREATE")  # the topic is there
    ]
    wait_until("they are told", lambda: missing(scene.copy) == told)
    (objection,) = scene.found("TARGET_SETTINGS")
    assert "cleanup.policy=compact" in objection
    scene.copy.start("--until", "in-sync")
    assert scene.copy.wait_for_exit() == BLOCKED, scene.copy.evidence()
    assert scene.records(Side.TARGET) == []
    set_config(target, scene.topic, "cleanup.policy", "delete")
    assert planned_class(scene.copy, scene.topic) == "mapped"
    scene.choose_class("mapped")
    scene.run()
    before, after = ([each.value for each in scene.records(side)] for side in Side)
    assert before == after
    scene.assert_group_arrived()


def _without_optional(scene: Scene, story: Story, *, same_offsets: bool, groups: bool) -> None:
    story(scene)
    if same_offsets:
        scene.assert_records_arrived()
    if groups:
        scene.assert_group_arrived()


MANAGED = tuple(
    need
    for need in NEEDED
    if need.side is Side.TARGET and ("ALTER" in need.operation.name or need.operation.name == "CREATE")
)
CELLS = ("everything", "retention", "managed", *map(words, NEEDED))


def test_every_optional_right_has_its_story() -> None:
    assert OPTIONAL.keys() == {words(need) for need in NEEDED if not need.is_required}


@cells(long=len(CELLS), sample=3)
def test_rights_are_what_the_table_says(cell: Cell, scene: Scene) -> None:
    name = cell.pick(CELLS)
    cell.note("right", name)
    scene.commit(7)
    if name == "everything":
        with_all(scene)
    elif name == "retention":
        without_raising_retention(scene)
    elif name == "managed":
        scene.lacking = MANAGED
        on_a_managed_service(scene)
    else:
        (need,) = [need for need in NEEDED if words(need) == name]
        scene.lacking = (need, *including(need))
        story = OPTIONAL.get(name)
        if story is None:
            without_required(scene)
            return
        same_offsets = story not in (*CHANGES_OFFSETS, *WITHOUT_GROUPS)
        _without_optional(scene, story, same_offsets=same_offsets, groups=story not in WITHOUT_GROUPS)
