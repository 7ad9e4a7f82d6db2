"""`kmigrate check` on real brokers: everything that would go wrong is told at once, and nothing is written."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner, Result
from confluent_kafka import Consumer, Producer

from kmigrate.cli.group import commands
from kmigrate.cluster.client import ClusterClient
from kmigrate.cluster.settings import ConnectionSettings
from kmigrate.demo.embedded import EmbeddedCluster
from kmigrate.demo.ports import find_free_ports
from kmigrate.kafka_types import Side
from kmigrate.runner.granting import Granted, set_quota
from kmigrate.wire.quota_calls import Entity, alter_client_quotas
from tests.conftest import TARGET_VERSION
from tests.fault.harness import Migration, closing_all, wait_until
from tests.fault.stops.topics import fill, list_groups, list_topics
from tests.kafka_tools import TIMEOUT_SECONDS, create_topic, new_topic_name, produce, run_java_tool

pytestmark = pytest.mark.broker

BLOCKED = 4


def check(migration: Migration, *arguments: str) -> Result:
    return CliRunner().invoke(commands, ["check", "-f", str(migration.manifest), *arguments])


def checked(migration: Migration, exit_code: int = 0) -> dict[str, list[dict[str, Any]]]:
    """The findings by their ids."""
    result = check(migration, "-o", "json")
    assert result.exit_code == exit_code, result.output
    findings: dict[str, list[dict[str, Any]]] = {}
    for each in json.loads(result.stdout)["findings"]:
        findings.setdefault(each["id"], []).append(each)
    return findings


@pytest.fixture
def topic(source_cluster: EmbeddedCluster) -> str:
    name = create_topic(source_cluster.bootstrap)
    fill(source_cluster, name, "something", 50)
    return name


@pytest.fixture
def migration(
    tmp_path: Path, source_cluster: EmbeddedCluster, target_cluster: EmbeddedCluster, topic: str
) -> Migration:
    return Migration(tmp_path, source_cluster, target_cluster, [topic], name=new_topic_name("check"))


def test_two_fit_clusters_pass_and_nothing_is_written(
    migration: Migration, source_cluster: EmbeddedCluster, target_cluster: EmbeddedCluster
) -> None:
    before = list_topics(target_cluster), list_groups(target_cluster)
    found = checked(migration)
    assert {each["level"] for findings in found.values() for each in findings} <= {"OK", "NOTE", "UNKNOWN"}
    assert len(found["RIGHTS"]) == 2
    assert (list_topics(target_cluster), list_groups(target_cluster)) == before


def test_everything_that_is_wrong_is_told_at_once(
    tmp_path: Path, source_cluster: EmbeddedCluster, target_cluster: EmbeddedCluster
) -> None:
    prefix = new_topic_name("wrong")
    dotted, scored = f"{prefix}.x", f"{prefix}_x"
    short = create_topic(
        source_cluster.bootstrap, f"{prefix}-short", config={"cleanup.policy": "compact", "delete.retention.ms": "1000"}
    )
    create_topic(source_cluster.bootstrap, dotted)
    create_topic(target_cluster.bootstrap, scored)
    taken = create_topic(source_cluster.bootstrap, f"{prefix}-taken")
    create_topic(target_cluster.bootstrap, taken, config={"retention.ms": "-1"})
    fill(target_cluster, taken, "theirs", 3)
    missing = f"{prefix}-missing"
    copy = Migration(
        tmp_path, source_cluster, target_cluster, [short, dotted, taken, missing], name=new_topic_name("check")
    )
    found = checked(copy, BLOCKED)
    said = {each: findings[0]["reason"] for each, findings in found.items()}
    assert missing in said["TOPIC_MISSING"]
    assert (dotted in said["NAME_COLLISION"], scored in said["NAME_COLLISION"]) == (True, True)
    assert taken in said["TARGET_CONTENT_FOREIGN"]
    assert f"delete.retention.ms=1000 of {short}" in said["TOMBSTONES_SHORT_LIVED"]


def test_a_broker_that_does_not_answer_is_named_with_the_step_that_failed(
    tmp_path: Path, source_cluster: EmbeddedCluster, target_cluster: EmbeddedCluster, topic: str
) -> None:
    [closed] = find_free_ports(1)
    spec = {"target": {"properties": {"bootstrap.servers": f"127.0.0.1:{closed}"}}}
    copy = Migration(tmp_path, source_cluster, target_cluster, [topic], name=new_topic_name("check"), spec=spec)
    found = checked(copy, BLOCKED)
    (finding,) = found["CLUSTER_UNREACHABLE"]
    assert "(refused)" in finding["reason"]
    assert f"127.0.0.1:{closed}" in finding["reason"]
    assert [each["level"] for each in found["NOT_EXAMINED"]] == ["UNKNOWN"], "the rest is told as not examined"
    assert found["BROKERS_REACHABLE"], "the other side is looked at all the same"
    spec = {"target": {"properties": {"bootstrap.servers": "no-such-host.invalid:9092"}}}
    copy = Migration(tmp_path, source_cluster, target_cluster, [topic], name=new_topic_name("check"), spec=spec)
    (finding,) = checked(copy, BLOCKED)["CLUSTER_UNREACHABLE"]
    assert "(DNS)" in finding["reason"]


def test_a_cluster_is_not_copied_onto_itself(tmp_path: Path, source_cluster: EmbeddedCluster, topic: str) -> None:
    copy = Migration(tmp_path, source_cluster, source_cluster, [topic], name=new_topic_name("check"))
    assert source_cluster.cluster_id in checked(copy, BLOCKED)["SAME_CLUSTER"][0]["reason"]


def test_a_retention_that_is_shorter_than_the_copy_is_told_with_both_times(
    tmp_path: Path, source_cluster: EmbeddedCluster, target_cluster: EmbeddedCluster
) -> None:
    topic = create_topic(source_cluster.bootstrap, config={"retention.ms": "3600000"})
    fill(source_cluster, topic, "something", 2_000)
    spec = {"limits": {"bytesPerSecond": 2}}
    copy = Migration(tmp_path, source_cluster, target_cluster, [topic], name=new_topic_name("check"), spec=spec)
    (finding,) = checked(copy, BLOCKED)["RETENTION_TOO_SHORT"]
    assert finding["reason"].startswith(f"topic {topic} loses data in 1 h, the copy takes ")
    assert "limits.bytesPerSecond" in finding["reason"]
    assert finding["remedy"].startswith("kmigrate retention raise")


def test_room_that_is_not_there_is_told_from_what_brokers_tell_or_the_manifest_declares(
    tmp_path: Path, source_cluster: EmbeddedCluster, target_cluster: EmbeddedCluster, topic: str
) -> None:
    spec = {"limits": {"targetFreePercent": 100}}
    copy = Migration(tmp_path, source_cluster, target_cluster, [topic], name=new_topic_name("check"), spec=spec)
    (finding,) = checked(copy, BLOCKED)["DISK_TOO_SMALL"]
    assert "broker 1 of the target has 0 B to spare" in finding["reason"]


def test_clocks_are_told_by_what_arrives_with_log_append_time_and_by_a_controller(
    tmp_path: Path, source_cluster: EmbeddedCluster, target_cluster: EmbeddedCluster
) -> None:
    topic = create_topic(source_cluster.bootstrap, config={"message.timestamp.type": "LogAppendTime"})
    copy = Migration(tmp_path, source_cluster, target_cluster, [topic], name=new_topic_name("check"))
    ended = threading.Event()

    def write() -> None:
        while not ended.wait(0.2):
            produce(source_cluster.bootstrap, topic, [b"now"])

    writer = threading.Thread(target=write)
    writer.start()
    try:
        clocks = checked(copy)["CLOCK_DIFFERENCE"]
    finally:
        ended.set()
        writer.join()
    assert [each["level"] for each in clocks] == ["OK", "OK"]
    assert sorted("its controller's clock is between" in each["reason"] for each in clocks) == [False, True]


def test_an_application_is_told_what_its_own_properties_lead_to(
    tmp_path: Path, target_cluster: EmbeddedCluster
) -> None:
    topic = create_topic(target_cluster.bootstrap)
    properties = tmp_path / "client.properties"
    properties.write_text(
        f"bootstrap.servers={target_cluster.bootstrap}\ngroup.id=app\nkey.deserializer=org.example.Whatever\n"
    )
    run = CliRunner().invoke(commands, ["check", "--as-client", str(properties), "-t", topic, "-o", "json"])
    assert run.exit_code == 0, run.output
    said = {each["id"]: each["reason"] for each in json.loads(run.stdout)["findings"]}
    assert said["CLIENT_TOPICS"] == f"1 topic ({topic}): may consume and produce"
    assert said["CLIENT_GROUP"] == "the application may join the group app"
    run = CliRunner().invoke(commands, ["check", "--as-client", str(properties), "-t", "gone", "-o", "json"])
    assert run.exit_code == BLOCKED
    assert "CLIENT_TOPIC_HIDDEN" in run.stdout


@pytest.mark.parametrize("oldest", ["source", "target"])
def test_the_oldest_release_is_checked_as_far_as_it_tells(
    tmp_path: Path,
    source_cluster: EmbeddedCluster,
    target_cluster: EmbeddedCluster,
    old_cluster: EmbeddedCluster,
    oldest: str,
) -> None:
    """A 2.8.2 broker tells no room and no transactions; compacted topics of such a source are warned about."""
    source = old_cluster if oldest == "source" else source_cluster
    target = old_cluster if oldest == "target" else target_cluster
    topic = create_topic(source.bootstrap, config={"cleanup.policy": "compact", "delete.retention.ms": "100"})
    copy = Migration(tmp_path, source, target, [topic], name=new_topic_name("check"))
    found = checked(copy)
    of_old_source = [each["reason"] for each in found.get("TOMBSTONES_OLD_SOURCE", [])]
    assert len(of_old_source) == (oldest == "source")
    (short,) = found["TOMBSTONES_SHORT_LIVED"]
    planned = CliRunner().invoke(commands, ["plan", "-f", str(copy.manifest), "-o", "json"])
    notices = [each["text"].partition("\n")[0] for each in json.loads(planned.stdout)["notices"]]
    assert [text for text in notices if text in (*of_old_source, short["reason"])] == [*of_old_source, short["reason"]]
    releases = [each["reason"] for each in found["VERSIONS"]]
    assert f"the {oldest} cluster offers what Kafka 2.8 offers" in releases
    assert len(found["RIGHTS"]) == 2, found.keys()
    assert "NOT_EXAMINED" not in found, found.get("NOT_EXAMINED")
    assert found["DISK_ROOM"][0]["level"] == ("UNKNOWN" if oldest == "target" else "OK")
    clocks = {each["reason"].partition(" ")[0]: each["level"] for each in found["CLOCK_DIFFERENCE"]}
    assert clocks == {"source": "OK", "target": "OK"} | {oldest: "UNKNOWN"}, "ZooKeeper tells no clock"


def test_a_transaction_that_is_open_is_told_by_its_name(
    tmp_path: Path, source_cluster: EmbeddedCluster, target_cluster: EmbeddedCluster, topic: str
) -> None:
    name = new_topic_name("writer")
    producer = Producer({"bootstrap.servers": source_cluster.bootstrap, "transactional.id": name})
    producer.init_transactions(TIMEOUT_SECONDS)
    producer.begin_transaction()
    producer.produce(topic, value=b"open", partition=0)
    producer.flush(TIMEOUT_SECONDS)
    copy = Migration(tmp_path, source_cluster, target_cluster, [topic], name=new_topic_name("check"))
    (finding,) = checked(copy)["TRANSACTION_OPEN"]
    producer.abort_transaction(TIMEOUT_SECONDS)
    assert f"{topic}-0 on the source since offset 50" in finding["reason"]
    assert f"{name}, Ongoing" in finding["reason"]


def test_quotas_of_ours_are_told_by_their_names_and_those_of_others_are_not(
    tmp_path: Path, source_cluster: EmbeddedCluster, target_cluster: EmbeddedCluster, topic: str
) -> None:
    copy = Migration(tmp_path, source_cluster, target_cluster, [topic], name=new_topic_name("quota"))
    assert [each["level"] for each in checked(copy)["QUOTAS"]] == ["OK", "OK"]
    ours = f"kmigrate-{copy.name}"
    expected = {
        f"the source limits client-id {ours}: consumer_byte_rate=123456",
        f"the target limits client-id {ours}, user ANONYMOUS: producer_byte_rate=654321",
    }
    with contextlib.ExitStack() as stack:
        for cluster, entity, values in (
            (source_cluster, {"client-id": ours}, {"consumer_byte_rate": 123456.0}),
            (source_cluster, {"client-id": new_topic_name("another")}, {"consumer_byte_rate": 1.0}),
            (source_cluster, {"user": new_topic_name("somebody")}, {"consumer_byte_rate": 1.0}),
            (target_cluster, {"client-id": ours, "user": "ANONYMOUS"}, {"producer_byte_rate": 654321.0}),
        ):
            host, _, port = cluster.bootstrap.partition(":")
            client = ClusterClient(Side.SOURCE, [(host, int(port))], ConnectionSettings(client_id="test"))
            stack.enter_context(contextlib.closing(client))
            client.metadata([])
            assert set_quota(client, tuple(entity.items()), values) == Granted()
            stack.callback(remove_quota, client, tuple(entity.items()), values)  # others plan on these clusters, too
        wait_until(
            "both of ours are told, and no other",
            lambda: {each["reason"] for each in checked(copy).get("QUOTA", [])} == expected,
        )


def remove_quota(client: ClusterClient, entity: Entity, values: Mapping[str, float]) -> None:
    """Takes these values from an entity again."""
    call = alter_client_quotas({entity: values})

    def build(version: int) -> Any:
        request = call.build(version)
        for entry in request.entries:
            for each in entry.ops:
                each.remove = True
        return request

    answers = client.controller(replace(call, build=build))
    assert not any(error for error, _ in answers.values()), answers


def test_a_share_group_is_told_by_its_name(
    tmp_path: Path, source_cluster: EmbeddedCluster, target_cluster: EmbeddedCluster
) -> None:
    """Releases from 4.2 on have them; here such a cluster is the source."""
    topic, group = create_topic(target_cluster.bootstrap), new_topic_name("share")
    run_java_tool(
        TARGET_VERSION,
        "org.apache.kafka.tools.consumer.ConsoleShareConsumer",
        *("--bootstrap-server", target_cluster.bootstrap, "--topic", topic, "--group", group, "--timeout-ms", "3000"),
    )
    copy = Migration(tmp_path, target_cluster, source_cluster, [topic], name=new_topic_name("check"))
    (finding,) = checked(copy)["GROUP_UNSUPPORTED"]
    assert finding["level"] == "WARNING"
    assert "share groups are not moved: " in finding["reason"]
    assert group in finding["reason"]


def test_a_group_that_is_used_on_both_sides_is_told(
    tmp_path: Path, source_cluster: EmbeddedCluster, target_cluster: EmbeddedCluster, topic: str
) -> None:
    group = new_topic_name("both")
    on_target = create_topic(target_cluster.bootstrap)
    consumers = []
    for cluster, subscribed in ((source_cluster, topic), (target_cluster, on_target)):
        consumers.append(Consumer({"bootstrap.servers": cluster.bootstrap, "group.id": group}))
        consumers[-1].subscribe([subscribed])
    spec = {"groups": {"include": [group]}}
    copy = Migration(tmp_path, source_cluster, target_cluster, [topic], name=new_topic_name("check"), spec=spec)

    def look() -> list[dict[str, Any]]:
        for consumer in consumers:
            consumer.poll(0.2)
        return checked(copy).get("GROUP_ACTIVE_ON_BOTH", [])

    (finding,) = wait_until("the group is active on both sides", look)
    assert group in finding["reason"]
    for consumer in consumers:
        consumer.close()


def test_metrics_are_served_while_it_runs(
    tmp_path: Path, source_cluster: EmbeddedCluster, target_cluster: EmbeddedCluster, topic: str
) -> None:
    [port] = find_free_ports(1)
    spec = {"scheme": "consumers-first"}
    copy = Migration(tmp_path, source_cluster, target_cluster, [topic], name=new_topic_name("metrics"), spec=spec)
    with closing_all([copy]):
        copy.start("--metrics", f"127.0.0.1:{port}")
        copy.wait_for_state("IN_SYNC")
        labels = f'migration="{copy.name}"'

        def told() -> str | None:
            found = httpx.get(f"http://127.0.0.1:{port}/metrics").text
            return found if f'kmigrate_cutover_step{{{labels},wave="all"}} 1.0\n' in found else None

        text = wait_until("the wave is told", told)
        assert f'kmigrate_cutover_phase{{{labels},phase="waiting",wave="all"}} 1.0\n' in text
        assert f'kmigrate_cutover_phase{{{labels},phase="over",wave="all"}} 0.0\n' in text
        assert f'kmigrate_cutover_step_seconds{{{labels},wave="all"}} ' in text
        assert f'kmigrate_replicated_records_total{{{labels},topic="{topic}"}} 50.0\n' in text
        assert f'kmigrate_target_end_offset{{{labels},partition="0",topic="{topic}"}} 50.0\n' in text
        copy.stop()
