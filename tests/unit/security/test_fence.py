"""What a fence consists of, what speaks against it, how long it stands, and the lines that remove it by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from kmigrate.kafka_types import Side, TopicName
from kmigrate.security.fence import (
    EVERYONE,
    AclPiece,
    Fence,
    FenceKind,
    FencePhase,
    Instant,
    SettingPiece,
)
from kmigrate.security.fence_moves import (
    acls_to_put,
    acls_to_remove,
    is_gone,
    is_shown,
    removal_lines,
    rules_beside,
    settings_to_lift,
    settings_to_put,
)
from kmigrate.security.fence_plan import FenceFacts, FenceWish, plan_fence, writers
from kmigrate.security.told import Told
from kmigrate.wire.acl_calls import Acl, AclOperation, PatternType, Permission, ResourceType

ORDERS, PAY = TopicName("orders"), TopicName("pay")
START = Instant("boot", 1000.0, 1_000_000)


def rule(
    operation: AclOperation,
    *,
    topic: str = "orders",
    principal: str = "User:shop",
    permission: Permission = Permission.ALLOW,
    pattern: PatternType = PatternType.LITERAL,
) -> Acl:
    return Acl(ResourceType.TOPIC, topic, pattern, principal, "*", operation, permission)


READ = rule(AclOperation.READ)
DENY = rule(AclOperation.WRITE, principal=EVERYONE, permission=Permission.DENY)
ALLOW_ALL = rule(AclOperation.ALL, principal=EVERYONE)


def fence(**given: Any) -> Fence:
    told: dict[str, Any] = {
        "number": 1,
        "side": Side.SOURCE,
        "kind": FenceKind.ACL,
        "topics": (ORDERS,),
        "principals": (EVERYONE,),
        "cluster_id": "id",
        "bootstrap": "b:9092",
        "period_seconds": 600.0,
        "begun": START,
        "confirmed": START,
    }
    return Fence(**(told | given))


def later(seconds: float, *, boot: str = "boot") -> Instant:
    steady = 1000.0 + seconds if boot == "boot" else seconds
    return Instant(boot, steady, 1_000_000 + int(seconds * 1000))


def facts(**given: Any) -> FenceFacts:
    told: dict[str, Any] = {
        "side": Side.SOURCE,
        "replicas": {ORDERS: 3},
        "rules": Told(value=(READ, rule(AclOperation.WRITE))),
        "is_everyone_set": False,
        "are_super_users_set": True,
        "may_alter_cluster": True,
        "grant_line": "kafka-acls.sh --add",
        "ours": "User:kmigrate",
        "caps_min_isr": False,
        "own": {ORDERS: "2"},
        "transactions": {ORDERS: 0},
    }
    return FenceFacts(**(told | given))


ACL = FenceWish(kind=FenceKind.ACL)
ISR = FenceWish(kind=FenceKind.MIN_ISR, acks_all=True)


def objection(wish: FenceWish, **given: Any) -> str:
    """What alone speaks against it."""
    plan = plan_fence(wish, facts(**given))
    assert (plan.acls, plan.settings) == ((), ()), "nothing is put against an objection"
    (only,) = plan.objections
    return only


# -- how long it stands -----------------------------------------------------------------------------------------------


def test_it_stands_while_it_is_confirmed() -> None:
    assert not fence().is_due(later(599))
    assert fence().is_due(later(600))
    confirmed = fence().confirm(later(500), 300.0)
    assert confirmed is not None
    assert not confirmed.is_due(later(799))
    assert confirmed.is_due(later(800))


def test_what_is_due_is_not_confirmed_any_more() -> None:
    assert fence().confirm(later(600), 600.0) is None
    assert fence().found_standing(later(600)) is None
    assert fence().lift(later(5), "why").confirm(later(6), 600.0) is None
    assert fence().lift(later(5), "why").found_standing(later(6)) is None


def test_the_wall_clock_counts_only_after_a_restart() -> None:
    jumped = Instant("boot", 1001.0, 0)
    assert not fence().is_due(jumped), "somebody set the clock back"
    assert fence().is_due(later(700, boot="next"))
    assert not fence().is_due(later(300, boot="next"))
    assert fence().is_due(Instant("next", 5.0, 10)), (
        "after a restart nobody knows how late it is: unknown counts as late"
    )


def test_a_fence_that_is_lifted_stays_so() -> None:
    lifted = fence(phase=FencePhase.STANDING, stood=True).lift(later(1), "why").found_lifted(later(2), ["x"])
    assert (lifted.phase, lifted.left, lifted.ended) == (FencePhase.LIFTED, ("x",), later(2))
    assert lifted.lift(later(3), "again") is lifted
    assert lifted.found_lifted(later(4), []) is lifted
    assert not lifted.is_due(later(9999))


def test_only_of_a_putting_that_was_cut_short_something_may_arrive_late() -> None:
    cut = fence().lift(later(1), "why").found_lifted(later(2), [])
    assert cut.may_be_late(later(62)), "until somebody has looked"
    assert cut.settle(later(61)) is cut, "it may come yet"
    assert not cut.settle(later(62)).may_be_late(later(62))
    assert not cut.may_be_late(later(2 + 86_400)), "what is there now is somebody else's"
    assert not fence(stood=True).lift(later(1), "why").found_lifted(later(2), []).may_be_late(later(3))
    assert not fence().may_be_late(later(3))


def test_of_puttings_that_were_cut_short_the_one_that_stood_does_not_make_them_forgotten() -> None:
    once = fence().begin_putting(later(0))
    assert once.cut is None
    twice = once.begin_putting(later(5)).found_standing(later(6))
    assert twice is not None
    assert twice.begin_putting(later(7)) is twice, "it stands"
    lifted = twice.lift(later(8), "why").found_lifted(later(9), [])
    assert lifted.may_be_late(later(10))
    assert lifted.settle(later(64)) is lifted
    assert not lifted.settle(later(65)).may_be_late(later(66))
    assert Fence.from_value(lifted.to_value()) == lifted


def test_its_story_is_limited() -> None:
    told = fence()
    for _ in range(80):
        told = replace(told, phase=FencePhase.PUTTING).lift(later(1), "why")
    assert len(told.events) == 50


def test_what_its_file_holds_is_all_of_it() -> None:
    whole = fence(
        acls=(AclPiece(DENY, True), AclPiece(ALLOW_ALL, False)),
        settings=(SettingPiece(ORDERS, None, "1003"), SettingPiece(PAY, "2", "1003")),
        is_secured=True,
        ended=later(3),
        left=("x",),
    ).lift(later(1), "why")
    assert Fence.from_value(json.loads(json.dumps(whole.to_value()))) == whole


# -- what it consists of ----------------------------------------------------------------------------------------------


def test_a_deny_for_everybody() -> None:
    plan = plan_fence(ACL, facts())
    assert (plan.acls, plan.objections) == ((AclPiece(DENY, False),), ())
    told = "; ".join(plan.notes)
    for words in ("allow writing to: User:shop (1 topic)", "super users pass", "TOPIC_AUTHORIZATION_FAILED"):
        assert words in told


def test_a_rule_that_is_there_already_stays() -> None:
    plan = plan_fence(ACL, facts(rules=Told(value=(READ, DENY))))
    assert plan.acls == (AclPiece(DENY, True),)
    assert "there already, and stay" in "; ".join(plan.notes)


def test_named_writers_and_those_who_are_not_denied() -> None:
    rules = (rule(AclOperation.WRITE), rule(AclOperation.ALL, principal="User:other", topic="*"), READ)
    wish = FenceWish(kind=FenceKind.ACL, principals=("User:shop",))
    plan = plan_fence(wish, facts(rules=Told(value=rules)))
    assert [each.acl.principal for each in plan.acls] == ["User:shop"]
    assert "not denied, and may go on writing: User:other" in plan.notes


def test_a_topic_without_rules_that_everybody_may_use_keeps_its_readers() -> None:
    wish = replace(ACL, everyone_without_rules=True)
    plan = plan_fence(wish, facts(rules=Told(value=()), is_everyone_set=True))
    assert [each.acl for each in plan.acls] == [ALLOW_ALL, DENY]
    assert "a DENY alone would block readers" in "; ".join(plan.notes)
    plan = plan_fence(wish, facts(is_everyone_set=True))
    assert [each.acl for each in plan.acls] == [DENY], "a topic with rules needs none"
    prefixed = rule(AclOperation.READ, topic="ord", pattern=PatternType.PREFIXED)
    plan = plan_fence(wish, facts(rules=Told(value=(prefixed,)), is_everyone_set=True))
    assert [each.acl for each in plan.acls] == [DENY], "nor one whose rule is for a prefix"


@pytest.mark.parametrize(
    ("is_set", "word", "deny_alone"),
    [(False, None, True), (False, True, True), (True, False, True), (None, False, True), (None, True, False)],
)
def test_what_brokers_show_wins_over_the_operators_word(
    is_set: bool | None, word: bool | None, deny_alone: bool
) -> None:
    wish = replace(ACL, everyone_without_rules=word)
    plan = plan_fence(wish, facts(rules=Told(value=()), is_everyone_set=is_set))
    assert ([each.acl for each in plan.acls] == [DENY]) == deny_alone
    assert ("nobody but super users may write there as it is" in "; ".join(plan.notes)) == deny_alone


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"rules": Told(value=(), reason="none", is_off=True), "may_alter_cluster": False}, "has no authorizer"),
        ({"rules": Told(value=None, reason="no DESCRIBE")}, "does not tell its rules (no DESCRIBE)"),
        ({"rules": Told(value=(READ,), reason="2 rules of kinds")}, "not all rules"),
        ({"may_alter_cluster": False}, "ALTER on the cluster, which is not granted: kafka-acls.sh --add"),
        ({"internal": [ORDERS]}, "the brokers themselves write there"),
        ({"rules": Told(value=()), "is_everyone_set": True}, "--everyone-without-rules"),
        ({"rules": Told(value=()), "is_everyone_set": None}, "--everyone-without-rules"),
        ({"side": Side.TARGET, "we_write": True}, "kmigrate writes to these topics of the target as User:kmigrate"),
        ({"side": Side.TARGET, "we_write": True, "ours": None}, "somebody it cannot tell"),
    ],
)
def test_what_speaks_against_a_deny(given: dict[str, Any], words: str) -> None:
    assert words in objection(ACL, **given)


def test_on_the_target_writers_are_named_and_kmigrate_is_none_of_them() -> None:
    for names, refused in ((("User:shop",), False), (("User:shop", "User:kmigrate"), True)):
        wish = FenceWish(kind=FenceKind.ACL, principals=names)
        plan = plan_fence(wish, facts(side=Side.TARGET, we_write=True))
        assert bool(plan.objections) == refused


def test_min_insync_replicas_above_the_replica_count() -> None:
    plan = plan_fence(ISR, facts())
    assert plan.objections == ()
    ((topic, before, wanted),) = plan.settings
    assert (topic, before, int(wanted) > 3) == (ORDERS, "2", True)
    told = "; ".join(plan.notes)
    assert "NOT_ENOUGH_REPLICAS" in told
    assert "acks=0 or acks=1 passes" in told


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"caps_min_isr": True}, "Kafka 3.7 or newer"),
        ({"caps_min_isr": None}, "is not known"),
        ({"we_write": True}, "kmigrate itself writes"),
        ({"refused": {ORDERS: "TOPIC_AUTHORIZATION_FAILED (29)"}}, "orders cannot be altered: TOPIC_AUTH"),
        ({"own": {}}, "orders does not tell"),
        ({"transactions": None}, "open transactions are not told"),
        ({"transactions": {ORDERS: 2}}, "2 open transactions in orders"),
        ({"internal": [ORDERS]}, "the brokers themselves write there"),
    ],
)
def test_what_speaks_against_min_insync_replicas(given: dict[str, Any], words: str) -> None:
    assert words in objection(ISR, **given)


def test_the_word_that_all_writers_use_acks_all_is_asked_for() -> None:
    assert "--acks-all-attested" in objection(replace(ISR, acks_all=False))


def test_writers_are_those_whom_a_rule_lets_write() -> None:
    rules = [
        rule(AclOperation.WRITE, topic="ord", pattern=PatternType.PREFIXED, principal="User:a"),
        rule(AclOperation.ALL, topic="*", principal="User:b"),
        rule(AclOperation.READ, principal="User:c"),
        rule(AclOperation.WRITE, principal="User:d", permission=Permission.DENY),
        rule(AclOperation.WRITE, principal="User:e", topic="pay"),
    ]
    assert writers(rules, "orders") == ("User:a", "User:b")


# -- what is still to be done -----------------------------------------------------------------------------------------


def test_readers_go_on_before_writers_are_denied_and_until_they_are_not() -> None:
    both = fence(acls=(AclPiece(DENY, False), AclPiece(ALLOW_ALL, False)))
    assert acls_to_put(both, {READ}) == ((ALLOW_ALL,), (DENY,))
    assert acls_to_put(both, {ALLOW_ALL, DENY}) == ()
    assert acls_to_remove(both, {ALLOW_ALL, DENY, READ}) == ((DENY,), (ALLOW_ALL,))
    assert acls_to_remove(both, {READ}) == ()


def test_an_equal_rule_from_before_is_never_removed() -> None:
    known = fence(acls=(AclPiece(DENY, True),))
    assert acls_to_remove(known, {DENY}) == ()
    assert removal_lines(known) == ()
    assert is_gone(known, {DENY}, {})
    assert is_shown(known, {DENY}, {})


def test_what_a_fence_put_is_not_the_clusters_own() -> None:
    ours = fence(acls=(AclPiece(DENY, False), AclPiece(ALLOW_ALL, True)))
    assert rules_beside((READ, DENY, ALLOW_ALL), [ours], Side.SOURCE) == (READ, ALLOW_ALL)
    assert rules_beside((READ, DENY), [ours], Side.TARGET) == (READ, DENY)


def test_settings_go_there_and_back_and_what_somebody_set_stays() -> None:
    known = fence(kind=FenceKind.MIN_ISR, settings=(SettingPiece(ORDERS, None, "1003"), SettingPiece(PAY, "2", "1003")))
    assert settings_to_put(known, {ORDERS: None, PAY: "2"}).wanted == {ORDERS: "1003", PAY: "1003"}
    assert settings_to_put(known, {ORDERS: "1003", PAY: "1003"}) == ({}, ())
    assert settings_to_lift(known, {ORDERS: "1003", PAY: "1003"}).wanted == {ORDERS: None, PAY: "2"}
    wanted, strange = settings_to_lift(known, {ORDERS: "7"})
    assert wanted == {}
    assert strange == (
        "topic orders has min.insync.replicas=7, which somebody else set",
        "topic pay does not tell its settings, or is gone",
    )
    assert is_shown(known, (), {ORDERS: "1003", PAY: "1003"})
    assert not is_shown(known, (), {ORDERS: "1003"})
    assert is_gone(known, (), {ORDERS: "7"})
    assert not is_gone(known, (), {ORDERS: "7", PAY: "1003"})


def test_the_lines_that_remove_it_by_hand() -> None:
    both = fence(acls=(AclPiece(ALLOW_ALL, False), AclPiece(DENY, False)), is_secured=True)
    place = "--bootstrap-server b:9092 --command-config CLIENT.properties"
    assert removal_lines(both) == (
        f"kafka-acls.sh {place} --remove --force --deny-principal 'User:*' --operation Write --topic orders",
        f"kafka-acls.sh {place} --remove --force --allow-principal 'User:*' --operation All --topic orders",
    )
    settings = (SettingPiece(ORDERS, None, "1003"), SettingPiece(PAY, "2", "1003"))
    place = "--bootstrap-server b:9092 --alter --entity-type topics --entity-name"
    assert removal_lines(fence(kind=FenceKind.MIN_ISR, settings=settings)) == (
        f"kafka-configs.sh {place} orders --delete-config min.insync.replicas",
        f"kafka-configs.sh {place} pay --add-config min.insync.replicas=2",
    )
    many = fence(acls=tuple(AclPiece(DENY._replace(name=f"t{n}"), False) for n in range(120)))
    assert [line.count("--topic") for line in removal_lines(many)] == [50, 50, 20]
