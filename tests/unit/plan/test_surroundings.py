"""What surrounds the partitions is decided once, for the plan and for `apply`, and listed in a stable order."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest

from kmigrate.groups.foresee import GroupsSeen
from kmigrate.kafka_types import Offset, Partition, Side, TopicName, TopicPartition
from kmigrate.manifest import Manifest, Offsets, OffsetsClass, Selection, UserSection
from kmigrate.plan.actions import Kind, PlannedAction, Verb, When
from kmigrate.plan.document import make_plan
from kmigrate.plan.kinds import list_actions
from kmigrate.plan.surroundings import Surroundings, TopicSeen, decide_surroundings
from kmigrate.security.quotas import QuotaFate
from kmigrate.security.told import Told
from kmigrate.topics.hold import TimestampLimits, hold_settings
from kmigrate.topics.internal import RunningGroup
from kmigrate.wire.acl_calls import Acl, AclOperation, PatternType, Permission, ResourceType
from kmigrate.wire.config_calls import Setting
from kmigrate.wire.offset_calls import ListedGroup
from kmigrate.wire.user_calls import ScramMechanism
from tests.unit.plan.known import CLUSTER, facts

HOLD = {
    key: Setting(value, True, None)
    for key, value in hold_settings(TimestampLimits.SPLIT, source_max_bytes=None, broker_max_bytes=None).items()
}
DEFAULTS = {"flush.ms": "9", "retention.ms": "604800000"}


def manifest(*include: str, **options: Any) -> Manifest:
    return Manifest(name="m", source=CLUSTER, target=CLUSTER, topics=Selection(include=include or (".*",)), **options)


def topic(name: str = "orders", **options: Any) -> TopicSeen:
    values = {"partitions": 3, "replicas": 3, "settings": {}} | options
    return TopicSeen(name=TopicName(name), **values)


def actions(seen: Surroundings, wanted: Manifest | None = None) -> tuple[PlannedAction, ...]:
    return list_actions(decide_surroundings(seen, wanted or manifest()))


def only(seen: Surroundings, kind: Kind, wanted: Manifest | None = None) -> list[tuple[str, Verb, str]]:
    return [(each.name, each.action, each.what) for each in actions(seen, wanted) if each.kind is kind]


def test_a_topic_that_the_target_does_not_have_is_created_with_the_replicas_asked_for() -> None:
    seen = Surroundings(topics=(topic(),), target_brokers=2, defaults=DEFAULTS)
    assert only(seen, Kind.TOPICS, manifest(replication_factor="fit")) == [
        ("orders", Verb.CREATE, "3 partitions, replication factor 2")
    ]
    (blocked,) = [each for each in actions(seen) if each.kind is Kind.TOPICS]
    assert (blocked.action, "3 replicas" in blocked.reason) == (Verb.BLOCKED, True)


@pytest.mark.parametrize(
    ("there", "settings", "ours", "expected"),
    [
        (3, HOLD, True, Verb.NOTHING),
        (2, HOLD, False, Verb.ENLARGE),
        (2, {}, True, Verb.ENLARGE),
        (2, {}, False, Verb.NOTHING),  # made by hand: `run` looks inside first
        (4, HOLD, True, Verb.BLOCKED),
    ],
)
def test_a_topic_that_the_target_has(there: int, settings: Any, ours: bool, expected: Verb) -> None:
    seen = topic(target_partitions=there, target_settings=settings, ours=ours)
    found = only(Surroundings(topics=(seen,), target_brokers=3, defaults=DEFAULTS), Kind.TOPICS)
    assert [verb for _, verb, _ in found] == [expected]


def test_replicas_that_are_fewer_lower_what_must_be_in_sync() -> None:
    seen = topic(settings={"min.insync.replicas": Setting("2", True)})
    around = Surroundings(topics=(seen,), target_brokers=1, defaults={"min.insync.replicas": "1"})
    assert only(around, Kind.CONFIGS, manifest(replication_factor="fit")) == [
        ("orders", Verb.SET, "min.insync.replicas=1")
    ]


def test_settings_are_set_now_or_at_the_end_of_the_hold() -> None:
    settings = {"flush.ms": Setting("7", True), "retention.ms": Setting("5", False)}
    seen = Surroundings(topics=(topic(settings=settings),), target_brokers=3, defaults=DEFAULTS)
    found = [each for each in actions(seen) if each.kind is Kind.CONFIGS]
    assert [(each.what, each.when, each.is_change) for each in found] == [
        ("flush.ms=7", When.NOW, True),
        ("retention.ms=5", When.END_OF_HOLD, False),
    ]


def test_of_a_topic_that_is_there_its_own_inheritance_counts() -> None:
    mine = HOLD | {"flush.ms": Setting("7", False, "7")}
    seen = topic(settings={"flush.ms": Setting("7", False)}, target_partitions=3, target_settings=mine)
    assert only(Surroundings(topics=(seen,), target_brokers=3, defaults=DEFAULTS), Kind.CONFIGS) == []


STREAMS = "billing-store-changelog"
IDENTICAL = Offsets(topics={STREAMS: OffsetsClass.IDENTICAL})


@pytest.mark.parametrize(
    ("offsets", "running", "expected"),
    [
        (IDENTICAL, (), Verb.CREATE),
        (IDENTICAL, (RunningGroup("billing", "consumer"),), Verb.BLOCKED),
        (IDENTICAL, None, Verb.BLOCKED),
        (Offsets(), (), Verb.BLOCKED),
    ],
)
def test_state_of_an_application_blocks_unless_it_is_stopped_and_identical(
    offsets: Offsets, running: Any, expected: Verb
) -> None:
    seen = Surroundings(topics=(topic(STREAMS),), target_brokers=3, defaults=DEFAULTS, running=running)
    (found,) = [each for each in actions(seen, manifest(STREAMS, offsets=offsets)) if each.kind is Kind.TOPICS]
    assert found.action is expected
    document = make_plan(manifest(), facts(), [], [found])
    assert [each.what for each in document.blockers] == ([found.reason] if expected is Verb.BLOCKED else [])


def rule(operation: AclOperation, name: str = "orders") -> Acl:
    return Acl(ResourceType.TOPIC, name, PatternType.LITERAL, "User:app", "*", operation, Permission.ALLOW)


EVERYTHING = Surroundings(
    topics=(
        topic("b", settings={"flush.ms": Setting("7", True)}),
        topic("a", target_partitions=1, target_settings=HOLD),
    ),
    left_out={TopicName("__x"): "internal"},
    target_brokers=3,
    defaults=DEFAULTS,
    acls=(Told(value=(rule(AclOperation.WRITE), rule(AclOperation.READ))), Told(value=())),
    quotas=(Told(value={(("user", "app"),): {"b": 1.0, "a": 2.0}}), Told(value={})),
    users=(Told(value={"app": {ScramMechanism.SCRAM_SHA_256: 4096}}), Told(value={})),
)


def test_two_plans_of_the_same_clusters_are_the_same_line_by_line(chance: random.Random) -> None:
    shuffled = replace(
        EVERYTHING,
        topics=tuple(reversed(EVERYTHING.topics)),
        acls=(Told(value=tuple(reversed(EVERYTHING.acls[0].value or ()))), Told(value=())),
        quotas=(Told(value={(("user", "app"),): {"a": 2.0, "b": 1.0}}), Told(value={})),
    )
    assert actions(shuffled) == actions(EVERYTHING)
    places = [each.place for each in actions(EVERYTHING)]
    assert places == sorted(places)
    assert [each.kind for each in actions(EVERYTHING)] == sorted(
        (each.kind for each in actions(EVERYTHING)), key=list(Kind).index
    )


def test_only_what_apply_would_change_counts_as_a_change() -> None:
    def changes(seen: Surroundings) -> bool:
        return make_plan(manifest(), facts(), [], actions(seen)).changes

    assert changes(EVERYTHING)
    prepared = Surroundings(acls=(Told(value=(rule(AclOperation.WRITE),)), Told(value=())))
    assert [each.action for each in actions(prepared)] == [Verb.PREPARE]
    assert not changes(prepared)


def test_what_a_cluster_does_not_tell_is_told_and_nothing_is_decided_about_it() -> None:
    no: Told[Any] = Told(value=None, reason="the right DESCRIBE on the cluster is missing")
    seen = Surroundings(
        topics=(topic(settings=None),), target_brokers=3, acls=(no, Told(value=())), quotas=(Told(value={}), no)
    )
    found = [(each.kind, each.name) for each in actions(seen) if each.action is Verb.UNKNOWN]
    assert found == [
        (Kind.CONFIGS, "source orders"),
        (Kind.CONFIGS, "target"),
        (Kind.ACLS, "source"),
        (Kind.QUOTAS, "target"),
    ]
    assert not [each for each in actions(seen) if each.kind is Kind.ACLS and each.action is not Verb.UNKNOWN]


def test_a_cluster_without_an_authorizer_is_told_where_there_are_rules_that_it_cannot_take() -> None:
    off: Told[Any] = Told(value=(), reason="it has no authorizer", is_off=True)
    for source, target in ((off, Told(value=())), (Told(value=()), off), (off, off)):
        assert actions(Surroundings(acls=(source, target))) == ()
    found = actions(replace(EVERYTHING, acls=(EVERYTHING.acls[0], off)))
    assert ("target", Verb.UNKNOWN) in [(each.name, each.action) for each in found if each.kind is Kind.ACLS]


def test_users_of_the_manifest_are_set() -> None:
    user = UserSection(mechanism="SCRAM-SHA-256", password="${env:PASSWORD}")
    assert only(EVERYTHING, Kind.USERS, manifest(users={"app": user})) == [
        ("app", Verb.SET, "SCRAM-SHA-256, 4096 iterations")
    ]
    assert only(EVERYTHING, Kind.USERS) == [("app", Verb.BY_HAND, "SCRAM-SHA-256, 4096 iterations")]


def test_groups_come_last_and_count_as_no_change() -> None:
    groups = GroupsSeen(
        source=[ListedGroup("app", "consumer", "Stable", "classic"), ListedGroup("s", "share", "Empty", "share")],
        source_commits={"app": {}},
        untold=((Side.TARGET, "it is silent"),),
    )
    found = actions(Surroundings(topics=(topic(target_partitions=3),), target_brokers=3, groups=groups))
    of_groups = [each for each in found if each.kind is Kind.GROUPS]
    assert found[-len(of_groups) :] == tuple(of_groups)
    assert [(each.name, each.action) for each in of_groups] == [
        ("app", Verb.LEAVE_OUT),
        ("s", Verb.BY_HAND),
        ("target", Verb.UNKNOWN),
    ]
    assert not any(each.is_change for each in of_groups)


def test_a_group_that_follows_does_so_while_copying() -> None:
    commits = {TopicPartition(TopicName("orders"), Partition(0)): Offset(4)}
    groups = GroupsSeen(source=[ListedGroup("app", "consumer", "Stable", "classic")], source_commits={"app": commits})
    (found,) = [
        each
        for each in actions(Surroundings(topics=(topic(),), target_brokers=3, groups=groups))
        if each.kind is Kind.GROUPS
    ]
    assert (found.action, found.when, found.what) == (Verb.FOLLOW, When.COPYING, "classic, in use, 1 commit")
    assert not found.is_change


def test_quotas_of_the_client_ids_by_which_we_are_known_stay_behind() -> None:
    names = ("kmigrate-m", "ours-on-source", "ours-on-target", "app")
    quotas = {(("client-id", name),): {"producer_byte_rate": 1.0} for name in names}
    seen = Surroundings(quotas=(Told(value=quotas), Told(value={})))

    def left_out(source: str | None, target: str | None) -> list[str]:
        wanted = replace(
            manifest(), source=replace(CLUSTER, client_id=source), target=replace(CLUSTER, client_id=target)
        )
        decided = decide_surroundings(seen, wanted).quotas
        return [str(dict(each.entity)["client-id"]) for each in decided if each.fate is QuotaFate.LEFT_OUT]

    assert left_out(None, None) == ["kmigrate-m"]
    assert left_out("ours-on-source", None) == ["kmigrate-m", "ours-on-source"]
    assert left_out("ours-on-source", "ours-on-target") == ["ours-on-source", "ours-on-target"]
