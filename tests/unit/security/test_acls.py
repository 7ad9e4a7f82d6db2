"""Every rule of the source comes along, waits for the promotion, or is left out for a reason."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kmigrate.security.acls import AclDecision, Fate, Scope, concerns, decide_acls
from kmigrate.wire.acl_calls import Acl, AclOperation, PatternType, Permission, ResourceType

SCOPE = Scope(
    topic=lambda name: name.startswith("pay"),
    group=lambda name: name != "console",
    own_group="kmigrate-m",
    principals={"User:app": "User:app2"},
)
TOPICS = {"pay.in", "pay.out"}


def acl(
    resource: ResourceType = ResourceType.TOPIC,
    name: str = "pay.in",
    operation: AclOperation = AclOperation.READ,
    *,
    pattern: PatternType = PatternType.LITERAL,
    principal: str = "User:bob",
    permission: Permission = Permission.ALLOW,
) -> Acl:
    return Acl(resource, name, pattern, principal, "*", operation, permission)


def decided(*source: Acl, target: tuple[Acl, ...] = (), scope: Scope = SCOPE) -> list[tuple[Acl, Fate]]:
    return [(each.acl, each.fate) for each in decide_acls(source, target, TOPICS, scope)]


@pytest.mark.parametrize(
    "operation",
    [
        AclOperation.WRITE,
        AclOperation.CREATE,
        AclOperation.DELETE,
        AclOperation.ALTER,
        AclOperation.ALTER_CONFIGS,
    ],
)
def test_a_right_to_change_a_topic_waits_for_the_promotion(operation: AclOperation) -> None:
    for name, pattern in (("pay.in", PatternType.LITERAL), ("*", PatternType.LITERAL), ("pay.", PatternType.PREFIXED)):
        rule = acl(name=name, operation=operation, pattern=pattern)
        assert decided(rule) == [(rule, Fate.PREPARE)]
        denied = rule._replace(permission=Permission.DENY)
        assert decided(denied) == [(denied, Fate.CREATE)]


def test_of_a_right_to_do_everything_the_reading_part_is_granted_at_once() -> None:
    everything = acl(operation=AclOperation.ALL)
    assert dict(decided(everything)) == {
        everything: Fate.PREPARE,
        acl(operation=AclOperation.READ): Fate.CREATE,
        acl(operation=AclOperation.DESCRIBE): Fate.CREATE,
        acl(operation=AclOperation.DESCRIBE_CONFIGS): Fate.CREATE,
    }
    on_group = acl(ResourceType.GROUP, "g", AclOperation.ALL)
    assert decided(on_group) == [(on_group, Fate.CREATE)]


def test_what_the_target_has_is_left_alone() -> None:
    assert decided(acl(), target=(acl(),)) == [(acl(), Fate.PRESENT)]
    everything = acl(operation=AclOperation.ALL)
    assert (everything, Fate.PRESENT) in decided(everything, target=(everything,))


@pytest.mark.parametrize(
    ("rule", "moves"),
    [
        (acl(name="orders"), False),
        (acl(name="pay.later"), True),  # it would move, though it does not exist yet
        (acl(name="*"), True),
        (acl(name="pa", pattern=PatternType.PREFIXED), True),
        (acl(name="ord", pattern=PatternType.PREFIXED), False),
        (acl(ResourceType.GROUP, "console"), False),
        (acl(ResourceType.GROUP, "con", pattern=PatternType.PREFIXED), True),
        (acl(ResourceType.GROUP, "kmigrate-m"), False),
        (acl(ResourceType.GROUP, "*"), True),
        (acl(ResourceType.TRANSACTIONAL_ID, "t", AclOperation.WRITE), True),
        (acl(ResourceType.CLUSTER, "kafka-cluster", AclOperation.CLUSTER_ACTION), False),
        (acl(ResourceType.CLUSTER, "kafka-cluster", AclOperation.IDEMPOTENT_WRITE), True),
        (acl(ResourceType.DELEGATION_TOKEN, "abc", AclOperation.DESCRIBE), False),
        (acl(ResourceType.DELEGATION_TOKEN, "*", AclOperation.DESCRIBE), True),
        (acl(ResourceType.USER, "User:bob", AclOperation.CREATE_TOKENS), True),
    ],
)
def test_a_rule_about_what_does_not_move_is_left_out_with_its_reason(rule: Acl, moves: bool) -> None:
    (decision,) = decide_acls([rule], [], TOPICS, SCOPE)
    assert decision.fate is (Fate.CREATE if moves else Fate.LEFT_OUT)
    assert decision.reason


def test_principals_get_their_new_names() -> None:
    rule = acl(principal="User:app")
    renamed = acl(principal="User:app2")
    assert decided(rule) == [(renamed, Fate.CREATE)]
    assert decided(rule, target=(renamed,)) == [(renamed, Fate.PRESENT)]
    about_user = acl(ResourceType.USER, "User:app", AclOperation.CREATE_TOKENS)
    assert decided(about_user) == [(about_user._replace(name="User:app2"), Fate.CREATE)]
    two = acl(principal="User:app"), acl(principal="User:app2")
    assert decided(*two) == [(renamed, Fate.CREATE)]
    assert decided(rule, scope=replace(SCOPE, principals={})) == [(rule, Fate.CREATE)]


def test_the_order_does_not_depend_on_the_clusters() -> None:
    rules = [
        acl(name=name, operation=each)
        for name in ("pay.out", "pay.in")
        for each in (AclOperation.READ, AclOperation.ALL)
    ]
    assert decided(*rules) == decided(*reversed(rules))
    found = decide_acls(rules, [], TOPICS, SCOPE)
    assert list(found) == sorted(found)
    assert isinstance(found[0], AclDecision)


@pytest.mark.parametrize(
    ("name", "pattern", "expected"),
    [
        ("pay.in", PatternType.LITERAL, True),
        ("pay", PatternType.LITERAL, False),
        ("*", PatternType.LITERAL, True),
        ("pay", PatternType.PREFIXED, True),
        ("*", PatternType.PREFIXED, False),
    ],
)
def test_a_rule_is_about_a_topic_by_its_pattern(name: str, pattern: PatternType, expected: bool) -> None:
    assert concerns(acl(name=name, pattern=pattern), "pay.in") is expected


def test_rules_are_told_in_kafkas_words() -> None:
    assert acl(name="pay.", pattern=PatternType.PREFIXED).resource == "topic pay.*"
    assert acl(ResourceType.TRANSACTIONAL_ID, "t").resource == "transactional id t"
    assert acl()._replace(host="10.0.0.1").words == "allow User:bob READ from 10.0.0.1"
