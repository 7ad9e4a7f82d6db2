"""`kmigrate plan` and `apply` on real brokers with an authorizer: everything comes along, once, and nothing by reading.

librdkafka and Kafka's own tools say what both clusters have; a client with a password says what it may do.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from click.testing import CliRunner, Result
from confluent_kafka import Producer
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ConfigSource,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from kmigrate.cli.group import commands
from kmigrate.cluster.client import ClusterClient
from kmigrate.cluster.settings import ConnectionSettings
from kmigrate.demo.embedded import EmbeddedCluster
from kmigrate.kafka_types import Side, TopicName
from kmigrate.runner.folder import MigrationFolder
from kmigrate.runner.following import FOLLOW_SETTINGS, SettingsWatch
from kmigrate.runner.granting import Granted, set_quota
from kmigrate.runner.promoting import PROMOTE_ACLS, demote_acls, promote_acls
from kmigrate.state.store import Store
from kmigrate.topics.describe import read_defaults
from kmigrate.topics.hold import LONG_MAX
from kmigrate.wire.quota_calls import describe_client_quotas
from tests.conftest import OLD_VERSION, TARGET_VERSION
from tests.fault.harness import Migration, wait_until
from tests.kafka_tools import create_topic, new_topic_name, produce, read_all, run_java_tool

pytestmark = pytest.mark.broker

SUPER = {"super.users": "User:ANONYMOUS"}
ZOOKEEPER_AUTHORIZER = SUPER | {"authorizer.class.name": "kafka.security.authorizer.AclAuthorizer"}
AUTHORIZER = SUPER | {"authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer"}
SCRAM = {
    "listener.name.scram.sasl.enabled.mechanisms": "SCRAM-SHA-256",
    "listener.name.scram.scram-sha-256.sasl.jaas.config": (
        "org.apache.kafka.common.security.scram.ScramLoginModule required;"
    ),
}
PASSWORD = "open sesame"
SETTINGS = {
    "cleanup.policy": "compact,delete",
    "flush.ms": "7000",
    "min.insync.replicas": "1",
    "retention.ms": "604800000",
    "segment.ms": "3600000",
}
SMALL_SEGMENT = {"segment.bytes": "300000"}
"""What no topic may have since 4.0."""
HELD = {"cleanup.policy": "delete", "retention.ms": "-1", "retention.bytes": "-1"}


class World(NamedTuple):
    """A source and a target with authorizers."""

    source: EmbeddedCluster
    target: EmbeddedCluster
    folder: Path

    def migration(self, *topics: str, **spec: Any) -> Migration:
        return Migration(self.folder, self.source, self.target, topics, name=new_topic_name("apply"), spec=spec)


@pytest.fixture(scope="module", params=[OLD_VERSION, TARGET_VERSION])
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    authorizer = ZOOKEEPER_AUTHORIZER if request.param == OLD_VERSION else AUTHORIZER
    old_retention = {"log.retention.ms": "18000000"}  # another one than the target's
    with (
        EmbeddedCluster(request.param, properties=authorizer | old_retention) as source,
        EmbeddedCluster(TARGET_VERSION, properties=AUTHORIZER | SCRAM, listeners={"SCRAM": "SASL_PLAINTEXT"}) as target,
    ):
        yield World(source, target, tmp_path_factory.mktemp("apply"))


# -- witnesses ------------------------------------------------------------------------------------


def own_settings(cluster: EmbeddedCluster, topic: str) -> dict[str, str]:
    """What the topic has of its own, as librdkafka is told."""
    own = ConfigSource.DYNAMIC_TOPIC_CONFIG.value
    return {key: entry.value for key, entry in settings(cluster, topic).items() if entry.source == own}


def settings(cluster: EmbeddedCluster, topic: str) -> dict[str, Any]:
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic)
    admin = AdminClient({"bootstrap.servers": cluster.bootstrap})
    found: dict[str, Any] = admin.describe_configs([resource])[resource].result(30)
    return found


def acls(cluster: EmbeddedCluster) -> set[str]:
    everything = AclBindingFilter(
        ResourceType.ANY, None, ResourcePatternType.ANY, None, None, AclOperation.ANY, AclPermissionType.ANY
    )
    admin = AdminClient({"bootstrap.servers": cluster.bootstrap})
    found = admin.describe_acls(everything).result(30)
    return {words(each) for each in found}


def words(acl: AclBinding) -> str:
    return " ".join(
        (
            acl.restype.name,
            acl.name,
            acl.resource_pattern_type.name,
            acl.principal,
            acl.host,
            acl.operation.name,
            acl.permission_type.name,
        )
    )


_RESOURCE = re.compile(r"ResourcePattern\(resourceType=(\w+), name=(.*), patternType=(\w+)\)")
_RULE = re.compile(r"\(principal=(.*), host=(.*), operation=(\w+), permissionType=(\w+)\)")


def acls_by_java(cluster: EmbeddedCluster) -> set[str]:
    """The same rules as `kafka-acls` lists them."""
    found, place = set(), ""
    for line in run_java_tool(
        cluster.version, "org.apache.kafka.tools.AclCommand", "--bootstrap-server", cluster.bootstrap, "--list"
    ).splitlines():
        if resource := _RESOURCE.search(line):
            kind, name, pattern = resource.groups()
            place = f"{kind.replace('CLUSTER', 'BROKER')} {name} {pattern}"
        if each := _RULE.search(line):
            found.add(f"{place} {' '.join(each.groups())}")
    return found


def configs_by_java(cluster: EmbeddedCluster, *kinds: str) -> set[str]:
    """What `kafka-configs` describes of entities of these kinds, a line each."""
    wanted = [word for kind in kinds for word in ("--entity-type", kind)]
    told = run_java_tool(
        cluster.version, "kafka.admin.ConfigCommand", "--bootstrap-server", cluster.bootstrap, "--describe", *wanted
    )
    return set(told.splitlines())


def users(cluster: EmbeddedCluster) -> set[str]:
    admin = AdminClient({"bootstrap.servers": cluster.bootstrap})
    return set(admin.describe_user_scram_credentials().result(30))


def quotas(cluster: EmbeddedCluster) -> Mapping[Any, Mapping[str, float]]:
    """librdkafka cannot ask for quotas: ours does."""
    with_client = client(Side.TARGET, cluster)
    try:
        return dict(with_client.any(describe_client_quotas()).quotas)
    finally:
        with_client.close()


def client(side: Side, cluster: EmbeddedCluster) -> ClusterClient:
    host, _, port = cluster.bootstrap.partition(":")
    return ClusterClient(side, [(host, int(port))], ConnectionSettings(client_id="witness"))


def snapshot(cluster: EmbeddedCluster) -> dict[str, Any]:
    """Everything that a plan may not change."""
    admin = AdminClient({"bootstrap.servers": cluster.bootstrap})
    topics = admin.list_topics(timeout=30).topics
    return {
        "topics": {name: len(each.partitions) for name, each in topics.items()},
        "settings": {name: own_settings(cluster, name) for name in topics},
        "acls": acls(cluster),
        "users": users(cluster),
        "quotas": quotas(cluster),
    }


# -- makers ---------------------------------------------------------------------------------------


def rule(
    kind: ResourceType, name: str, principal: str, operation: AclOperation, *, deny: bool = False, prefix: bool = False
) -> AclBinding:
    return AclBinding(
        kind,
        name,
        ResourcePatternType.PREFIXED if prefix else ResourcePatternType.LITERAL,
        f"User:{principal}",
        "*",
        operation,
        AclPermissionType.DENY if deny else AclPermissionType.ALLOW,
    )


def make_rules(cluster: EmbeddedCluster, *rules: AclBinding) -> None:
    admin = AdminClient({"bootstrap.servers": cluster.bootstrap})
    for done in admin.create_acls(list(rules)).values():
        done.result(30)


def make_user(cluster: EmbeddedCluster, user: str) -> None:
    info = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_256, 8192)
    wanted = [UserScramCredentialUpsertion(user, info, b"nobody can read this")]
    admin = AdminClient({"bootstrap.servers": cluster.bootstrap})
    for done in admin.alter_user_scram_credentials(wanted).values():
        done.result(30)


def make_quota(cluster: EmbeddedCluster, entity: Any, values: Mapping[str, float]) -> None:
    ours = client(Side.SOURCE, cluster)
    ours.metadata([])
    assert set_quota(ours, entity, values) == Granted()
    ours.close()


def run(name: str, migration: Migration, *arguments: str, environ: Mapping[str, str] | None = None) -> Result:
    place = ["-f", str(migration.manifest), "--state", str(migration.state_root)]
    return CliRunner().invoke(commands, [name, *place, *arguments], env=dict(environ or {}))


def actions(result: Result) -> dict[tuple[str, str, str], str]:
    """Kind, name and what of each action, and the action."""
    assert result.exit_code == 0, result.output
    rows = json.loads(result.stdout)["actions"]
    return {(row["kind"], row["name"], row["what"]): row["action"] for row in rows}


def store_of(migration: Migration) -> Store:
    return Store.open(MigrationFolder(migration.state_root, migration.name).path)


# -- topics and settings ----------------------------------------------------------------------------


def test_a_topic_is_created_under_hold_with_what_its_source_has_and_inherits(world: World) -> None:
    is_old = world.source.version == OLD_VERSION
    topic = create_topic(world.source.bootstrap, partitions=3, config=SETTINGS | (SMALL_SEGMENT if is_old else {}))
    plain = create_topic(world.source.bootstrap)
    migration = world.migration(topic, plain)

    planned = actions(run("plan", migration, "-o", "json"))
    assert planned["topics", topic, "3 partitions, replication factor 1"] == "create"
    assert planned["configs", topic, "flush.ms=7000"] == "set"
    assert planned["configs", topic, "segment.ms=3600000"] == "set"
    assert ("configs", topic, "segment.bytes=1048576") in planned or not is_old
    assert planned["configs", plain, "retention.ms=18000000"] == "set"  # inherited: five hours
    assert ("configs", plain, "flush.ms=7000") not in planned

    applied = run("apply", migration, "--only", "topics,configs", "--yes")
    assert applied.exit_code == 0, applied.output
    found = wait_until("the topic is told", lambda: own_settings(world.target, topic))
    assert {key: found[key] for key in HELD} == HELD
    assert (found["flush.ms"], found["min.insync.replicas"]) == ("7000", "1")
    assert not {"segment.bytes", "segment.ms"} & found.keys()
    store = store_of(migration)
    intended = store.intended()
    assert store.held() == tuple(sorted((topic, plain)))
    store.close()
    become = intended[TopicName(topic)].settings
    assert become is not None
    assert become.items() >= SETTINGS.items()
    assert become.get("segment.bytes") == ("1048576" if is_old else None)
    theirs = intended[TopicName(plain)].settings
    assert theirs is not None
    assert theirs["retention.ms"] == "18000000"
    if is_old:  # an hour is the target's default
        assert theirs["message.timestamp.after.max.ms"] == str(LONG_MAX)

    again = run("apply", migration, "--only", "topics,configs", "--yes", "-o", "json")
    assert json.loads(again.stdout) == {"done": [], "failed": []}


def test_a_setting_that_somebody_gave_the_target_stays_and_is_told(world: World) -> None:
    topic = create_topic(world.source.bootstrap, config={"flush.ms": "7000", "flush.messages": "9"})
    migration = world.migration(topic)
    assert run("apply", migration, "--only", "topics", "--yes").exit_code == 0
    alter(world.target, topic, {"flush.ms": "1"})
    wait_until("the change is told", lambda: own_settings(world.target, topic)["flush.ms"] == "1")

    planned = actions(run("apply", migration, "--dry-run", "-o", "json"))
    assert planned["configs", topic, "flush.ms=7000"] == "keep"
    assert planned["configs", topic, "flush.messages=9"] == "nothing"
    assert run("apply", migration, "--only", "configs", "--yes").exit_code == 0
    assert own_settings(world.target, topic)["flush.ms"] == "1"


def test_a_topic_made_by_hand_keeps_what_it_has(world: World) -> None:
    topic = create_topic(world.source.bootstrap, partitions=2, config={"flush.ms": "7000"})
    create_topic(world.target.bootstrap, topic, config={"retention.ms": "77"})
    migration = world.migration(topic)
    planned = actions(run("apply", migration, "--dry-run", "-o", "json"))
    assert planned["topics", topic, "2 partitions"] == "nothing"
    assert planned["configs", topic, "flush.ms=7000"] == "keep"
    assert run("apply", migration, "--yes").exit_code == 0
    assert own_settings(world.target, topic) == {"retention.ms": "77"}


def alter(cluster: EmbeddedCluster, topic: str, wanted: Mapping[str, str]) -> None:
    admin = AdminClient({"bootstrap.servers": cluster.bootstrap})
    resource = ConfigResource(
        ConfigResource.Type.TOPIC,
        topic,
        incremental_configs=[
            ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET) for key, value in wanted.items()
        ],
    )
    for done in admin.incremental_alter_configs([resource]).values():
        done.result(30)


def test_while_it_is_copied_changed_settings_follow_and_drift_is_told(world: World) -> None:
    topic = create_topic(world.source.bootstrap, config={"flush.ms": "7000"})
    produce(world.source.bootstrap, topic, [b"one", b"two"])
    migration = world.migration(topic)
    assert run("apply", migration, "--only", "topics", "--yes").exit_code == 0
    migration.start("--until", "in-sync")
    assert migration.wait_for_exit() == 0, migration.evidence()
    assert [each.value for each in read_all(world.target.bootstrap, topic)] == [b"one", b"two"]

    store, ours, theirs = store_of(migration), client(Side.TARGET, world.target), client(Side.SOURCE, world.source)
    on_target = ours.metadata([])
    watch = SettingsWatch(store, theirs, ours, read_defaults(ours, on_target.brokers, []), lambda: True)
    replicas = {TopicName(topic): 1}
    assert watch.look(replicas).drift == {topic: ()}
    assert store.effects()[-1].kind != FOLLOW_SETTINGS, "nothing has changed"

    alter(world.source, topic, {"flush.ms": "9000", "retention.ms": "99000"})
    wait_until("the source tells", lambda: own_settings(world.source, topic).get("retention.ms") == "99000")
    assert watch.look(replicas).drift == {topic: ()}
    found = own_settings(world.target, topic)
    assert (found["flush.ms"], found["retention.ms"]) == ("9000", "-1")
    settings = store.intended()[TopicName(topic)].settings
    assert settings is not None
    assert (settings["flush.ms"], settings["retention.ms"]) == ("9000", "99000")

    alter(world.target, topic, {"flush.ms": "1"})
    wait_until("the target tells", lambda: own_settings(world.target, topic)["flush.ms"] == "1")
    assert watch.look(replicas).drift == {topic: ("flush.ms is 1, it was given 9000",)}
    assert own_settings(world.target, topic)["flush.ms"] == "1"
    for each in (store, ours, theirs):
        each.close()


# -- rules, quotas, users --------------------------------------------------------------------------


def test_rules_quotas_and_users_come_along_and_writing_waits_for_the_promotion(world: World) -> None:
    topic = create_topic(world.source.bootstrap)
    alice, bob = new_topic_name("alice"), new_topic_name("bob")
    renamed = f"{alice}-there"
    make_rules(
        world.source,
        rule(ResourceType.TOPIC, topic, alice, AclOperation.ALL),
        rule(ResourceType.TOPIC, topic[:-2], bob, AclOperation.READ, prefix=True),
        rule(ResourceType.TOPIC, topic, bob, AclOperation.DELETE, deny=True),
        rule(ResourceType.GROUP, f"{alice}-", alice, AclOperation.READ, prefix=True),
        rule(ResourceType.TRANSACTIONAL_ID, alice, alice, AclOperation.WRITE),
        rule(ResourceType.BROKER, "kafka-cluster", bob, AclOperation.DESCRIBE),
        rule(ResourceType.BROKER, "kafka-cluster", bob, AclOperation.CLUSTER_ACTION),
        rule(ResourceType.TOPIC, new_topic_name("other"), bob, AclOperation.READ),
    )
    make_user(world.source, alice)
    make_user(world.source, bob)
    make_quota(world.source, (("user", alice),), {"producer_byte_rate": 4096.0})
    make_quota(world.source, (("client-id", None), ("user", bob)), {"request_percentage": 50.0})
    make_quota(world.source, (("ip", "10.1.2.3"),), {"connection_creation_rate": 7.0})
    migration = world.migration(
        topic,
        principals={f"User:{alice}": f"User:{renamed}"},
        users={renamed: {"mechanism": "SCRAM-SHA-256", "password": "${env:ALICES_PASSWORD}"}},
    )
    before = snapshot(world.source), snapshot(world.target)
    planned = actions(run("plan", migration, "-o", "json"))
    dry = actions(run("apply", migration, "--dry-run", "-o", "json"))
    assert (snapshot(world.source), snapshot(world.target)) == before, "reading writes nothing"
    assert planned == dry
    assert planned["acls", f"topic {topic}", f"allow User:{renamed} ALL"] == "prepare"
    assert planned["acls", f"topic {topic}", f"allow User:{renamed} READ"] == "create"
    assert planned["acls", "cluster kafka-cluster", f"allow User:{bob} CLUSTER_ACTION"] == "leave out"
    assert planned["users", renamed, "SCRAM-SHA-256, 4096 iterations"] == "set"
    assert planned["users", bob, "SCRAM-SHA-256, 8192 iterations"] == "by hand"

    unset = run("apply", migration, "--yes")
    assert (unset.exit_code, "ALICES_PASSWORD" in unset.stderr) == (2, True)
    applied = run("apply", migration, "--yes", environ={"ALICES_PASSWORD": PASSWORD})
    assert applied.exit_code == 0, applied.output
    assert PASSWORD not in applied.output
    told = {each for each in acls(world.target) if alice in each or bob in each}
    assert told == {
        *(f"TOPIC {topic} LITERAL User:{renamed} * {each} ALLOW" for each in ("READ", "DESCRIBE", "DESCRIBE_CONFIGS")),
        f"TOPIC {topic[:-2]} PREFIXED User:{bob} * READ ALLOW",
        f"TOPIC {topic} LITERAL User:{bob} * DELETE DENY",
        f"GROUP {alice}- PREFIXED User:{renamed} * READ ALLOW",
        f"TRANSACTIONAL_ID {alice} LITERAL User:{renamed} * WRITE ALLOW",
        f"BROKER kafka-cluster LITERAL User:{bob} * DESCRIBE ALLOW",
    }
    assert {each for each in acls_by_java(world.target) if alice in each or bob in each} == told
    assert users(world.target) >= {renamed}
    assert bob not in users(world.target)
    there = quotas(world.target)
    assert there[("user", renamed),] == {"producer_byte_rate": 4096.0}
    assert there[("client-id", None), ("user", bob)] == {"request_percentage": 50.0}
    assert there[("ip", "10.1.2.3"),] == {"connection_creation_rate": 7.0}
    assert configs_by_java(world.target, "users") >= {
        f"Quota configs for user-principal '{renamed}' are producer_byte_rate=4096.0",
        f"SCRAM credential configs for user-principal '{renamed}' are SCRAM-SHA-256=iterations=4096",
    }
    shared = f"Quota configs for user-principal '{bob}', the default client-id are request_percentage=50.0"
    assert shared in configs_by_java(world.target, "users", "clients")

    assert "TOPIC_AUTHORIZATION_FAILED" in produce_as(world.target, renamed, topic)
    store, ours = store_of(migration), client(Side.TARGET, world.target)
    ours.metadata([])
    assert [entry.kind for entry in store.effects() if not entry.is_done] == [PROMOTE_ACLS]
    assert list(promote_acls(store, ours, [topic], lambda: True).values()) == [Granted()]
    assert promote_acls(store, ours, [topic], lambda: True) == {}
    assert f"TOPIC {topic} LITERAL User:{renamed} * ALL ALLOW" in acls(world.target)
    wait_until("the right is in force", lambda: not produce_as(world.target, renamed, topic))
    assert demote_acls(store, ours, [topic], lambda: True) == Granted()
    assert {each for each in acls(world.target) if alice in each or bob in each} == told
    assert [entry.kind for entry in store.effects() if not entry.is_done] == [PROMOTE_ACLS]
    assert list(promote_acls(store, ours, [topic], lambda: True).values()) == [Granted()]
    wait_until("the right is in force again", lambda: not produce_as(world.target, renamed, topic))
    database = MigrationFolder(migration.state_root, migration.name).path
    for file in database.iterdir():
        assert PASSWORD.encode() not in file.read_bytes()
    store.close()
    ours.close()

    after = snapshot(world.target)
    again = run("apply", migration, "--yes", "-o", "json", environ={"ALICES_PASSWORD": PASSWORD})
    assert json.loads(again.stdout) == {"done": [], "failed": []}
    assert snapshot(world.target) == after


@pytest.fixture
def closing() -> Iterator[contextlib.ExitStack]:
    with contextlib.ExitStack() as stack:
        yield stack


def test_while_a_run_copies_its_owner_does_it_by_the_manifest_of_now(
    world: World, closing: contextlib.ExitStack
) -> None:
    topic, another = create_topic(world.source.bootstrap), create_topic(world.source.bootstrap, partitions=2)
    alice = new_topic_name("beside-alice")
    make_rules(world.source, rule(ResourceType.TOPIC, topic, alice, AclOperation.ALL))
    make_quota(world.source, (("user", alice),), {"producer_byte_rate": 4096.0})
    produce(world.source.bootstrap, topic, [b"one"])
    migration = world.migration(topic)
    closing.enter_context(contextlib.closing(migration))
    migration.start()
    migration.wait_in_sync()
    owner = migration.status()
    manifest = yaml.safe_load(migration.manifest.read_text())
    manifest["spec"]["topics"]["include"].append(another)
    manifest["spec"]["users"] = {alice: {"mechanism": "SCRAM-SHA-256", "password": "${env:ALICES_PASSWORD}"}}
    migration.manifest.write_text(yaml.safe_dump(manifest))
    environ = {"ALICES_PASSWORD": PASSWORD}

    planned = actions(run("apply", migration, "--dry-run", "-o", "json"))
    applied = run("apply", migration, "--yes", environ=environ)
    assert applied.exit_code == 0, applied.output + migration.evidence()
    assert f"done   topics  {another}: created with 2 partitions" in applied.stderr
    assert planned["topics", another, "2 partitions, replication factor 1"] == "create"
    assert f"TOPIC {topic} LITERAL User:{alice} * READ ALLOW" in acls(world.target)
    assert alice in users(world.target)
    assert quotas(world.target)[("user", alice),] == {"producer_byte_rate": 4096.0}
    found = wait_until("the topic is told", lambda: own_settings(world.target, another))
    assert {key: found[key] for key in HELD} == HELD
    again = run("apply", migration, "--yes", "-o", "json", environ=environ)
    assert json.loads(again.stdout) == {"done": [], "failed": []}

    produce(world.source.bootstrap, topic, [b"two"])
    wait_until("it goes on", lambda: len(read_all(world.target.bootstrap, topic)) == 2, evidence=migration.evidence)
    still = migration.status()
    assert (still["startedAt"], still["term"]) == (owner["startedAt"], owner["term"]), "nobody else held the lease"
    migration.stop()
    store = store_of(migration)
    assert [entry.kind for entry in store.effects() if not entry.is_done] == [PROMOTE_ACLS]
    assert store.held() == tuple(sorted((topic, another)))
    store.close()
    for file in MigrationFolder(migration.state_root, migration.name).path.iterdir():
        assert PASSWORD.encode() not in file.read_bytes()


def produce_as(cluster: EmbeddedCluster, user: str, topic: str) -> str:
    """The error that a producer with the user's password gets; empty if its record is taken."""
    errors: list[str] = []
    producer = Producer(
        {
            "bootstrap.servers": cluster.bootstrap_of("SCRAM"),
            "security.protocol": "SASL_PLAINTEXT",
            "sasl.mechanism": "SCRAM-SHA-256",
            "sasl.username": user,
            "sasl.password": PASSWORD,
            "message.timeout.ms": 20_000,
        }
    )
    producer.produce(topic, b"hello", callback=lambda error, _message: errors.append(error.name() if error else ""))
    producer.flush(30)
    return errors[0] if errors else "no answer"


def test_a_first_manifest_is_proposed_and_a_plan_can_be_made_from_it(world: World) -> None:
    topic = create_topic(world.source.bootstrap, partitions=3)
    user = new_topic_name("proposed")
    make_user(world.source, user)
    folder = world.folder / new_topic_name("init")
    folder.mkdir()
    for name, cluster in (("old", world.source), ("new", world.target)):
        (folder / f"{name}.properties").write_text(f"bootstrap.servers={cluster.bootstrap}\n")
    before = snapshot(world.source), snapshot(world.target)
    files = [str(folder / "old.properties"), str(folder / "new.properties")]
    written = CliRunner().invoke(commands, ["init", *files, "-o", str(folder / "orders.yaml")])
    assert written.exit_code == 0, written.output
    assert (snapshot(world.source), snapshot(world.target)) == before
    text = (folder / "orders.yaml").read_text()
    assert f"{topic} (3 partitions)" in text
    assert f'"{user}": {{mechanism: SCRAM-SHA-256, iterations: 8192' in text
    assert f'clusterId: "{world.source.cluster_id}"' in text
    twice = CliRunner().invoke(commands, ["init", *files, "-o", str(folder / "orders.yaml")])
    assert (twice.exit_code, "exists" in twice.stderr) == (2, True)
    (folder / "one.yaml").write_text(text.replace('include: [".*"]', f'include: ["{topic}"]', 1))
    planned = CliRunner().invoke(commands, ["plan", "-f", str(folder / "one.yaml"), "-o", "json"])
    assert ("topics", topic, "3 partitions, replication factor 1") in actions(planned)


# -- crashes ----------------------------------------------------------------------------------------


class Crash(BaseException):
    """The process ends here."""


@pytest.fixture
def crash_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], list[str]]:
    """Ends the process at the n-th moment of a request to the target's controller: before it, or after its answer."""
    ask = ClusterClient.controller

    def arm(moment: int) -> list[str]:
        moments: list[str] = []

        def note(what: str) -> None:
            moments.append(what)
            if len(moments) - 1 == moment:
                raise Crash

        def controller(self: ClusterClient, call: Any) -> Any:
            if self.side is not Side.TARGET or call.what.startswith("Describe"):
                return ask(self, call)
            note(f"before {call.what}")
            answer = ask(self, call)
            note(f"after {call.what}")
            return answer

        monkeypatch.setattr(ClusterClient, "controller", controller)
        return moments

    return arm


def test_an_apply_that_crashed_at_any_moment_is_finished_by_a_second_one(
    world: World, crash_at: Callable[[int], list[str]]
) -> None:
    alice = new_topic_name("crashed-alice")
    make_user(world.source, alice)
    make_quota(world.source, (("user", alice),), {"consumer_byte_rate": 1e6})
    moment, ended = 0, False
    while not ended:
        topic = create_topic(world.source.bootstrap, partitions=2, config={"flush.ms": "7"})
        user = f"{alice}-{moment}"
        make_rules(world.source, rule(ResourceType.TOPIC, topic, alice, AclOperation.ALL))
        migration = world.migration(
            topic,
            principals={f"User:{alice}": f"User:{user}"},
            users={user: {"mechanism": "SCRAM-SHA-256", "password": "${env:ALICES_PASSWORD}"}},
        )
        moments = crash_at(moment)
        with contextlib.suppress(Crash):
            run("apply", migration, "--yes", environ={"ALICES_PASSWORD": PASSWORD})
        ended = len(moments) <= moment
        crash_at(-1)
        second = run("apply", migration, "--yes", environ={"ALICES_PASSWORD": PASSWORD})
        assert second.exit_code == 0, f"after {moments}: {second.output}"
        assert own_settings(world.target, topic)["flush.ms"] == "7"
        assert user in users(world.target)
        assert quotas(world.target)[("user", user),] == {"consumer_byte_rate": 1e6}
        assert sum(f" {topic} " in each for each in acls(world.target)) == 3
        store = store_of(migration)
        assert [entry.kind for entry in store.effects() if not entry.is_done] == [PROMOTE_ACLS], moments
        assert store.held() == (topic,)
        store.close()
        moment += 1
    assert moment > 8, "four kinds of requests, each with two moments"
