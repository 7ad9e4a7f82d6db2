"""What is decided is done once, each thing journaled before and after; wherever it crashes, a second one finishes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from kmigrate.cluster.client import ClusterClient
from kmigrate.copy.copier import WAITING_FOR_LEASE
from kmigrate.errors import ConnectionLost
from kmigrate.kafka_types import Side, TopicName
from kmigrate.manifest import Manifest, UserSection
from kmigrate.plan.actions import Kind
from kmigrate.plan.surroundings import Surroundings, TopicSeen, decide_surroundings
from kmigrate.runner.applying import Applied, Applier
from kmigrate.runner.granting import Granted
from kmigrate.runner.promoting import PROMOTE_ACLS, acls_of, demote_acls, prepare_acls, promote_acls
from kmigrate.security.told import Told
from kmigrate.state.store import Store
from kmigrate.topics.create import Failed, Later, TargetTraits
from kmigrate.topics.hold import TimestampLimits, wears_hold
from kmigrate.topics.intended import Intended, Origin
from kmigrate.wire import acl_calls
from kmigrate.wire.acl_calls import Acl, AclOperation, Outcome, PatternType, Permission, ResourceType
from kmigrate.wire.call import Call
from kmigrate.wire.calls import TopicOutcome
from kmigrate.wire.config_calls import Setting
from kmigrate.wire.user_calls import ScramMechanism
from tests.unit.plan.known import CLUSTER

NEW, SMALL, BARE = TopicName("new"), TopicName("small"), TopicName("bare")
DEFAULTS = {"flush.ms": "9", "retention.ms": "604800000"}
TRAITS = TargetTraits(limits=TimestampLimits.SPLIT, max_bytes=None, defaults=DEFAULTS)
PASSWORD = "open sesame"
TOPIC_ALREADY_EXISTS, INVALID_PARTITIONS = 36, 37
SECURITY_DISABLED, NOT_CONTROLLER, CLUSTER_AUTHORIZATION_FAILED = 54, 41, 31


_ACTS = {
    "CreateTopics": "create_topics",
    "CreatePartitions": "create_partitions",
    "IncrementalAlterConfigs": "alter_configs",
    "CreateAcls": "create_acls",
    "DeleteAcls": "delete_acls",
    "AlterClientQuotas": "alter_quotas",
    "AlterUserScramCredentials": "set_user",
}


class Crash(BaseException):
    """The process ends here."""


class Target:
    """A cluster that remembers what it was told, and counts every creation; `moment` is called around each request."""

    def __init__(self) -> None:
        self.topics: dict[str, dict[str, str]] = {SMALL: {}, BARE: {}}
        self.partitions = {SMALL: 1, BARE: 1}
        self.acls: list[Acl] = []
        self.quotas: dict[Any, dict[str, float]] = {}
        self.users: dict[str, dict[ScramMechanism, int]] = {}
        self.seen: list[str] = []
        self.moments = 0
        self.crash_at = -1
        self.errors: dict[str, int] = {}

    @property
    def client(self) -> ClusterClient:
        return cast(ClusterClient, self)

    side = Side.TARGET

    def moment(self) -> None:
        self.moments += 1
        if self.moments - 1 == self.crash_at:
            raise Crash

    def any(self, call: Call[Any]) -> Any:
        if call.what == "DescribeAcls":
            return acl_calls.AclsTold(0, "", tuple(self.acls), 0)
        (resource,) = call.build(2).resources
        own = self.topics[resource.resource_name]
        return {
            resource.resource_name: (
                0,
                {key: Setting(own.get(key, DEFAULTS.get(key, "x")), key in own) for key in resource.configuration_keys},
            )
        }

    def controller(self, call: Call[Any]) -> Any:
        self.moment()
        answer = getattr(self, f"_{_ACTS[call.what]}")(call.build(call.newest), self.errors.get(call.what, 0))
        self.moment()
        return answer

    def _create_topics(self, request: Any, error: int) -> Any:
        answer = {}
        for topic in request.topics:
            if topic.name in self.topics or error:
                answer[topic.name] = TopicOutcome(error or TOPIC_ALREADY_EXISTS, "")
                continue
            self.topics[topic.name] = {config.name: config.value for config in topic.configs}
            self.partitions[TopicName(topic.name)] = topic.num_partitions
            answer[topic.name] = TopicOutcome(0, "")
        return answer

    def _create_partitions(self, request: Any, error: int) -> Any:
        answer = {}
        for topic in request.topics:
            is_larger = topic.count > self.partitions[TopicName(topic.name)]
            answer[topic.name] = TopicOutcome(0 if is_larger else INVALID_PARTITIONS, "")
            self.partitions[TopicName(topic.name)] = topic.count
        return answer

    def _alter_configs(self, request: Any, error: int) -> Any:
        answer = {}
        for resource in request.resources:
            self.topics[resource.resource_name] |= {each.name: each.value for each in resource.configs}
            answer[resource.resource_name] = TopicOutcome(0, "")
        return answer

    def _create_acls(self, request: Any, error: int) -> Any:
        for each in request.creations:
            acl = Acl(
                ResourceType(each.resource_type),
                each.resource_name,
                PatternType(each.resource_pattern_type),
                each.principal,
                each.host,
                AclOperation(each.operation),
                Permission(each.permission_type),
            )
            if acl not in self.acls and not error:
                self.acls.append(acl)
        return tuple(Outcome(error, "no authorizer" if error else "") for _ in request.creations)

    def _delete_acls(self, request: Any, error: int) -> Any:
        for each in request.filters:
            acl = Acl(
                ResourceType(each.resource_type_filter),
                each.resource_name_filter,
                PatternType(each.pattern_type_filter),
                each.principal_filter,
                each.host_filter,
                AclOperation(each.operation),
                Permission(each.permission_type),
            )
            if acl in self.acls and not error:
                self.acls.remove(acl)
        return tuple(Outcome(error, "no authorizer" if error else "") for _ in request.filters)

    def _alter_quotas(self, request: Any, error: int) -> Any:
        answer = {}
        for entry in request.entries:
            entity = tuple((part.entity_type, part.entity_name) for part in entry.entity)
            self.quotas.setdefault(entity, {}).update({op.key: op.value for op in entry.ops})
            answer[entity] = (0, "")
        return answer

    def _set_user(self, request: Any, error: int) -> Any:
        (upsertion,) = request.upsertions
        assert PASSWORD.encode() not in upsertion.salted_password
        assert upsertion.name not in self.users, "set twice"
        self.users[upsertion.name] = {ScramMechanism(upsertion.mechanism): upsertion.iterations}
        return 0, ""


def rule(operation: AclOperation, permission: Permission = Permission.ALLOW) -> Acl:
    return Acl(ResourceType.TOPIC, "new", PatternType.LITERAL, "User:app", "*", operation, permission)


MANIFEST = Manifest(
    name="m",
    source=CLUSTER,
    target=CLUSTER,
    users={"app": UserSection(mechanism="SCRAM-SHA-256", password="${env:PASSWORD}")},
)
SETTINGS = {
    "flush.ms": Setting("7", True),
    "retention.ms": Setting("5", False),
    "max.message.bytes": Setting("8", False),
}


class World:
    """A source that has everything, and a target that has almost nothing."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.target = Target()
        self.store = Store.open(folder)
        self.may_write = True
        self.waited: list[float] = []

    def seen(self) -> Surroundings:
        """What a look at both clusters shows now."""
        return Surroundings(
            topics=tuple(self._topic(name) for name in (NEW, SMALL, BARE)),
            target_brokers=1,
            defaults=DEFAULTS,
            acls=(
                Told(value=(rule(AclOperation.ALL), rule(AclOperation.READ, Permission.DENY))),
                Told(value=tuple(self.target.acls)),
            ),
            quotas=(Told(value={(("user", "app"),): {"producer_byte_rate": 5.0}}), Told(value=self.target.quotas)),
            users=(Told(value={"app": {ScramMechanism.SCRAM_SHA_256: 4096}}), Told(value=self.target.users)),
        )

    def _topic(self, name: TopicName) -> TopicSeen:
        own = self.target.topics.get(name)
        there = None
        if own is not None:
            keys = {*DEFAULTS, *own}
            there = {key: Setting(own.get(key, DEFAULTS.get(key, "")), key in own, DEFAULTS.get(key)) for key in keys}
        return TopicSeen(
            name=name,
            partitions=2 if name == SMALL else 1,
            replicas=1,
            settings={} if name == SMALL else SETTINGS,
            target_partitions=self.target.partitions.get(name, 0),
            target_settings=there,
            ours=name != NEW,
        )

    def apply(self, only: tuple[Kind, ...] = tuple(Kind), passwords: Mapping[str, str] | None = None) -> list[Applied]:
        applier = Applier(
            self.store,
            self.target.client,
            TRAITS,
            may_write=lambda: self.may_write,
            passwords={"app": PASSWORD} if passwords is None else passwords,
            wait=self.waited.append,
        )
        decisions = decide_surroundings(self.seen(), MANIFEST)
        return list(applier.apply(decisions, dict.fromkeys((NEW, SMALL, BARE), 2000000), only))

    def begin_process(self) -> None:
        self.store.close()
        self.store = Store.open(self.folder)

    @property
    def planned(self) -> list[str]:
        return [entry.kind for entry in self.store.effects() if not entry.is_done]

    def assert_done(self) -> None:
        found = self.target.topics[NEW]
        assert wears_hold({key: Setting(value, True) for key, value in found.items()})
        assert (found["flush.ms"], found["max.message.bytes"]) == ("7", "2000000")
        assert self.target.topics[BARE] == {"flush.ms": "7"}
        assert self.target.partitions == {NEW: 1, SMALL: 2, BARE: 1}
        assert set(self.target.acls) == {
            rule(AclOperation.READ, Permission.DENY),
            *map(rule, (AclOperation.READ, AclOperation.DESCRIBE, AclOperation.DESCRIBE_CONFIGS)),
        }
        assert self.target.quotas == {(("user", "app"),): {"producer_byte_rate": 5.0}}
        assert self.target.users == {"app": {ScramMechanism.SCRAM_SHA_256: 4096}}
        assert self.planned == [PROMOTE_ACLS]
        (prepared,) = [entry for entry in self.store.effects() if entry.kind == PROMOTE_ACLS]
        assert acls_of(prepared) == [rule(AclOperation.ALL)]
        assert self.store.intended()[NEW] == Intended(
            origin=Origin.SOURCE, settings={"flush.ms": "7", "retention.ms": "5"}
        )
        assert PASSWORD not in str(self.store.effects())


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.store.close()


def test_everything_is_done_and_the_second_time_nothing_is_left(world: World) -> None:
    done = world.apply()
    assert not [each for each in done if each.trouble]
    assert [each.kind for each in done] == [
        *(Kind.TOPICS, Kind.TOPICS, Kind.CONFIGS, Kind.ACLS, Kind.QUOTAS, Kind.USERS, Kind.ACLS),
    ]
    world.assert_done()
    moments = world.target.moments
    assert moments == 12, "six requests"
    assert world.apply() == []
    assert world.target.moments == moments
    world.assert_done()


@pytest.mark.parametrize("moment", range(12))
def test_a_crash_at_any_request_is_finished_by_a_second_one(world: World, moment: int) -> None:
    world.target.crash_at = moment
    with pytest.raises(Crash):
        world.apply()
    world.begin_process()
    assert not [each for each in world.apply() if each.trouble]
    world.assert_done()


JOURNALED = {"plan_effects": 7, "end_effect": 6, "record_intended": 1}
"""How often each is called."""


@pytest.mark.parametrize(
    ("name", "times"), [(name, number) for name, count in JOURNALED.items() for number in range(count)]
)
@pytest.mark.parametrize("after", [False, True])
def test_a_crash_at_any_entry_of_the_journal_is_finished_by_a_second_one(
    world: World, name: str, times: int, after: bool
) -> None:
    act, left = getattr(world.store, name), [times]

    def stepping(*args: Any, **options: Any) -> Any:
        left[0] -= 1
        if left[0] < 0 and not after:
            raise Crash
        result = act(*args, **options)
        if left[0] < 0:
            raise Crash
        return result

    setattr(world.store, name, stepping)
    with pytest.raises(Crash):
        world.apply()
    world.begin_process()
    assert not [each for each in world.apply() if each.trouble]
    world.assert_done()


def test_only_the_kinds_that_are_asked_for(world: World) -> None:
    world.apply((Kind.QUOTAS,))
    assert world.target.quotas
    assert (NEW in world.target.topics, world.target.acls, world.target.users) == (False, [], {})
    assert world.store.effects()[0].is_done
    assert len(world.store.effects()) == 1


def test_what_the_target_refuses_is_told_and_the_rest_is_done(world: World) -> None:
    world.target.errors["CreateAcls"] = SECURITY_DISABLED
    troubles = [each for each in world.apply() if each.trouble]
    assert [(each.kind, each.passing) for each in troubles] == [(Kind.ACLS, False)]
    assert "no authorizer" in troubles[0].trouble
    assert world.target.users
    assert world.planned == ["create-acls", PROMOTE_ACLS]
    world.target.errors.clear()
    world.apply()
    world.assert_done()


def test_what_may_work_later_is_tried_again_and_then_told(world: World) -> None:
    world.target.errors["CreateTopics"] = NOT_CONTROLLER
    (trouble,) = world.apply((Kind.TOPICS,))[:1]
    assert trouble.passing
    assert len(world.waited) == 9
    assert world.planned == ["create-topic"]


def test_without_the_lease_nothing_is_written(world: World) -> None:
    world.may_write = False
    assert {each.trouble for each in world.apply() if each.name != "topic new" or each.trouble} == {WAITING_FOR_LEASE}
    assert world.target.moments == 0


def test_a_lost_answer_is_looked_up_by_doing_it_again(world: World) -> None:
    def lose() -> None:
        world.target.moments += 1
        if world.target.moments == 2:
            raise ConnectionLost("gone", side=Side.TARGET)

    world.target.moment = lose  # type: ignore[method-assign]
    assert not [each for each in world.apply() if each.trouble]
    world.assert_done()


def test_a_user_without_a_password_is_not_set(world: World) -> None:
    (trouble,) = world.apply((Kind.USERS,), passwords={})
    assert trouble.trouble
    assert world.target.users == {}


def test_a_topic_that_was_made_by_hand_keeps_what_it_is_to_become(world: World) -> None:
    by_hand = Intended(origin=Origin.TARGET, settings={"retention.ms": "77"})
    world.store.record_intended({NEW: by_hand})
    world.apply((Kind.TOPICS,))
    assert world.store.intended()[NEW] == by_hand


def test_what_cannot_be_looked_up_now_stays_open(world: World) -> None:
    world.target.crash_at = 7
    with pytest.raises(Crash):
        world.apply()
    assert "create-acls" in world.planned
    world.begin_process()
    silent: Told[Any] = Told(value=None, reason="the right DESCRIBE on the cluster is missing")
    seen = replace(world.seen(), acls=(silent, silent))
    applier = Applier(world.store, world.target.client, TRAITS, may_write=lambda: True, passwords={"app": PASSWORD})
    list(applier.apply(decide_surroundings(seen, MANIFEST), {}, tuple(Kind)))
    assert world.planned == ["create-acls"]
    world.apply()
    world.assert_done()


# -- promotion ---------------------------------------------------------------------------------------


def test_rights_to_change_a_topic_are_created_when_it_is_promoted_and_once(world: World) -> None:
    world.apply()
    before = list(world.target.acls)
    assert promote_acls(world.store, world.target.client, ["other"], lambda: True) == {}
    waiting = promote_acls(world.store, world.target.client, [NEW], lambda: False)
    assert list(waiting.values()) == [Later(WAITING_FOR_LEASE)]
    assert world.target.acls == before
    assert list(promote_acls(world.store, world.target.client, [NEW], lambda: True).values()) == [Granted()]
    assert world.target.acls == [*before, rule(AclOperation.ALL)]
    assert promote_acls(world.store, world.target.client, [NEW], lambda: True) == {}
    assert world.apply() == []
    assert world.planned == []


@pytest.mark.parametrize("moment", range(2))
def test_a_promotion_that_crashed_is_finished(world: World, moment: int) -> None:
    world.apply()
    world.target.moments, world.target.crash_at = 0, moment
    with pytest.raises(Crash):
        promote_acls(world.store, world.target.client, [NEW], lambda: True)
    world.begin_process()
    assert list(promote_acls(world.store, world.target.client, [NEW], lambda: True).values()) == [Granted()]
    assert world.target.acls.count(rule(AclOperation.ALL)) == 1


@pytest.mark.parametrize("moment", range(2))
def test_a_promotion_that_is_taken_back_leaves_no_right_and_may_come_again(world: World, moment: int) -> None:
    world.apply()
    before = list(world.target.acls)
    promote_acls(world.store, world.target.client, [NEW], lambda: True)
    assert demote_acls(world.store, world.target.client, ["other"], lambda: True) == Granted()
    assert demote_acls(world.store, world.target.client, [NEW], lambda: False) == Later(WAITING_FOR_LEASE)
    assert rule(AclOperation.ALL) in world.target.acls
    world.target.moments, world.target.crash_at = 0, moment
    with pytest.raises(Crash):
        demote_acls(world.store, world.target.client, [NEW], lambda: True)
    world.begin_process()
    assert demote_acls(world.store, world.target.client, [NEW], lambda: True) == Granted()
    assert demote_acls(world.store, world.target.client, [NEW], lambda: True) == Granted()
    assert world.target.acls == before
    assert world.planned == [PROMOTE_ACLS]
    assert list(promote_acls(world.store, world.target.client, [NEW], lambda: True).values()) == [Granted()]
    assert world.target.acls == [*before, rule(AclOperation.ALL)]


def test_what_a_promotion_that_was_cut_short_may_have_created_is_taken_away_too(world: World) -> None:
    world.apply()
    before = list(world.target.acls)
    world.target.moments, world.target.crash_at = 0, 1
    with pytest.raises(Crash):
        promote_acls(world.store, world.target.client, [NEW], lambda: True)
    world.begin_process()
    assert rule(AclOperation.ALL) in world.target.acls
    assert demote_acls(world.store, world.target.client, [NEW], lambda: True) == Granted()
    assert world.target.acls == before
    assert world.planned == [PROMOTE_ACLS]


def test_who_may_not_take_rights_away_need_not_where_none_is_there(world: World) -> None:
    world.apply()
    before = list(world.target.acls)
    world.target.errors = dict.fromkeys(("CreateAcls", "DeleteAcls"), CLUSTER_AUTHORIZATION_FAILED)
    (promoted,) = promote_acls(world.store, world.target.client, [NEW], lambda: True).values()
    assert isinstance(promoted, Failed)
    assert demote_acls(world.store, world.target.client, [NEW], lambda: True) == Granted()
    assert (world.target.acls, world.planned) == (before, [PROMOTE_ACLS])
    world.target.acls.append(rule(AclOperation.ALL))
    assert isinstance(demote_acls(world.store, world.target.client, [NEW], lambda: True), Failed)


def test_a_right_about_many_topics_waits_for_the_last_of_them(world: World) -> None:
    wide = rule(AclOperation.WRITE)._replace(name="n", pattern_type=PatternType.PREFIXED)
    world.store.record_intended({TopicName(name): Intended(origin=Origin.SOURCE, settings={}) for name in ("n1", "n2")})
    assert prepare_acls(world.store, [wide]) == [wide]
    assert prepare_acls(world.store, [wide]) == []
    assert promote_acls(world.store, world.target.client, ["n1"], lambda: True) == {}
    assert list(promote_acls(world.store, world.target.client, ["n1", "n2"], lambda: True).values()) == [Granted()]
