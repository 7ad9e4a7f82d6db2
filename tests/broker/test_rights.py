"""What `check` says of rights is right, and neither `check` nor `plan` writes anything.

kmigrate comes as `copier`, who is no super user (`tests.secured.granted`). What a migration does with exactly the
rights of the table, and without each of them, is told by `tests/fault/test_rights.py`.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, OffsetSpec, ResourceType

from kmigrate.cli.group import commands
from kmigrate.kafka_types import Side
from kmigrate.preflight.rights import Need, Resource
from kmigrate.runner.remembered import GROUPS_TOPIC
from tests.fault.harness import Migration, closing_all, wait_until
from tests.fault.probe import commits
from tests.fault.stops.topics import list_groups, list_topics
from tests.kafka_tools import TIMEOUT_SECONDS, create_topic, new_topic_name, produce, read_all, run_java_tool
from tests.secured.granted import BLOCKED, NEEDED, Guarded, findings, including, missing

pytestmark = pytest.mark.broker

REQUIRED = [need for need in NEEDED if need.is_required]


@pytest.fixture
def group(guarded: Guarded) -> str:
    """A group that has committed on the source."""
    name, bootstrap = new_topic_name("group"), guarded.clusters[Side.SOURCE].direct_bootstrap
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": name})
    consumer.commit(offsets=[TopicPartition(create_topic(bootstrap), 0, 0)], asynchronous=False)
    consumer.close()
    return name


@pytest.fixture
def copy(tmp_path: Path, guarded: Guarded, group: str) -> Iterator[Migration]:
    """A migration of a new topic with ten records."""
    bootstrap = guarded.clusters[Side.SOURCE].direct_bootstrap
    topic = create_topic(bootstrap)
    produce(bootstrap, topic, [b"value %d" % number for number in range(10)])
    made = guarded.migration(tmp_path, [topic], group, {})
    with closing_all([made]):
        yield made


@pytest.mark.parametrize("need", NEEDED, ids=lambda need: f"{need.side}-{need.right.replace(' ', '-')}")
def test_each_right_that_is_missing_is_named_with_the_line_that_grants_it(
    guarded: Guarded, copy: Migration, group: str, need: Need
) -> None:
    taken = [need, *including(need)]
    guarded.grant(copy, group, but=taken)
    wanted = [
        ("BLOCKER" if each.is_required else "WARNING", guarded.line(each, copy, group))
        for each in NEEDED
        if each in taken
    ]
    wait_until("it is told", lambda: missing(copy) == wanted, seconds=10)


def test_who_we_are_is_told(guarded: Guarded, copy: Migration, group: str) -> None:
    guarded.grant(copy, group)
    found = [each["reason"] for each in findings(copy) if each["id"] == "PRINCIPAL"]
    assert found == [f"{side} cluster: we are User:copier there (the user of SCRAM-SHA-512)" for side in Side]


READ_ONLY = ("READ", "DESCRIBE", "DESCRIBE_CONFIGS")


def changes_something(need: Need) -> bool:
    """READ on a group is for committing."""
    of_groups = need.resource in (Resource.GROUP, Resource.LEASE_GROUP) and need.operation.name == "READ"
    return of_groups or need.operation.name not in READ_ONLY


def everything(guarded: Guarded, group: str) -> dict[Side, dict[str, Any]]:
    """All there is on both sides that anybody could change: topics, their settings and ends, groups, commits, rules."""
    return {side: _everything(guarded, side, group) for side in Side}


def _everything(guarded: Guarded, side: Side, group: str) -> dict[str, Any]:
    cluster = guarded.clusters[side]
    topics = sorted(list_topics(cluster))
    admin = AdminClient({"bootstrap.servers": cluster.direct_bootstrap})
    places = [(ResourceType.TOPIC, name) for name in topics] + [(ResourceType.BROKER, "1")]
    described = admin.describe_configs([ConfigResource(*place) for place in places])
    return {
        "topics": topics,
        "settings": {
            f"{resource.restype.name} {resource.name}": {
                key: entry.value for key, entry in told.result(TIMEOUT_SECONDS).items()
            }
            for resource, told in described.items()
        },
        "ends": _ends(admin, [name for name in topics if not name.startswith("__")]),
        "groups": sorted(list_groups(cluster)),
        "commits": commits(cluster, group) if GROUPS_TOPIC in topics else {},  # to be asked makes a broker create it
        "rules": guarded.acls[side].list(),
    }


def _ends(admin: AdminClient, topics: list[str]) -> dict[str, int]:
    """Not with a consumer: librdkafka's asks for a coordinator, which makes a broker create the topic of all groups."""
    known = admin.list_topics(timeout=TIMEOUT_SECONDS).topics
    wanted = {TopicPartition(name, number): OffsetSpec.latest() for name in topics for number in known[name].partitions}
    found = admin.list_offsets(wanted) if wanted else {}
    return {f"{place.topic}-{place.partition}": each.result(TIMEOUT_SECONDS).offset for place, each in found.items()}


@pytest.mark.parametrize("is_bound", [True, False], ids=["without-any-right-to-write", "with-every-right"])
def test_check_and_plan_write_nothing(guarded: Guarded, copy: Migration, group: str, is_bound: bool) -> None:
    (topic,) = copy.topics
    writing = [need for need in NEEDED if changes_something(need)] if is_bound else []
    guarded.grant(copy, group, but=writing)
    wait_until("it is told", lambda: len(missing(copy)) == len(writing))
    before = everything(guarded, group)

    told = missing(copy)
    blocking = [guarded.line(each, copy, group) for each in writing if each.is_required]
    assert [line for level, line in told if level == "BLOCKER"] == blocking
    run = CliRunner().invoke(commands, ["check", "-f", str(copy.manifest)])
    planned = CliRunner().invoke(commands, ["plan", "-f", str(copy.manifest)])
    assert run.exit_code == planned.exit_code == (BLOCKED if is_bound else 0), planned.stderr
    assert all(line in planned.stderr for line in blocking)
    assert topic in planned.stdout, "the plan is shown all the same"
    detailed = CliRunner().invoke(commands, ["plan", "-f", str(copy.manifest), "--detailed-exitcode"])
    assert detailed.exit_code == (BLOCKED if is_bound else 3)

    assert everything(guarded, group) == before
    assert topic not in before[Side.TARGET]["topics"]
    assert not copy.state_root.exists(), "nor is there a state folder"


ACL_COMMAND = {Side.SOURCE: "kafka.admin.AclCommand", Side.TARGET: "org.apache.kafka.tools.AclCommand"}


def test_the_lines_that_are_printed_grant_what_is_missing(guarded: Guarded, copy: Migration) -> None:
    """With no right at all, each line is carried out by Kafka's own tool; then a migration gets in sync."""
    guarded.take_all()
    wait_until("they are told", lambda: [level for level, _ in missing(copy)].count("BLOCKER") == len(REQUIRED))
    for _round in range(2):  # what is wanted of a topic that may not be described shows in the second
        for _level, line in missing(copy):
            side = Side.SOURCE if guarded.bootstrap(Side.SOURCE) in line else Side.TARGET
            cluster = guarded.clusters[side]
            _tool, *arguments = shlex.split(line.replace(guarded.bootstrap(side), cluster.direct_bootstrap))
            run_java_tool(cluster.version, ACL_COMMAND[side], *arguments)
    wait_until("all rights are told", lambda: missing(copy) == [])
    copy.start("--until", "in-sync")
    assert copy.wait_for_exit() == 0, copy.evidence()
    source, target = (read_all(guarded.clusters[side].direct_bootstrap, copy.topics[0]) for side in Side)
    assert source == target
