"""What a cluster does not tell is a value with its reason: no authorizer, a missing right, a lost connection."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest

from kmigrate.cluster.client import ClusterClient
from kmigrate.errors import ConnectionLost
from kmigrate.kafka_types import Side
from kmigrate.security.ask import ask_acls, ask_quotas, ask_users
from kmigrate.security.told import Told
from kmigrate.wire.acl_calls import Acl, AclOperation, AclsTold, PatternType, Permission, ResourceType
from kmigrate.wire.call import Call
from kmigrate.wire.quota_calls import QuotasTold
from kmigrate.wire.user_calls import UsersTold

READ = Acl(ResourceType.TOPIC, "t", PatternType.LITERAL, "User:a", "*", AclOperation.READ, Permission.ALLOW)
NO_RIGHT, NO_AUTHORIZER = 31, 54


class Cluster:
    """Answers every request with the same."""

    side = Side.SOURCE

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def any(self, call: Call[Any]) -> Any:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def controller(self, call: Call[Any]) -> Any:
        return self.any(call)


def client(answer: Any) -> ClusterClient:
    return cast(ClusterClient, Cluster(answer))


def test_what_is_told_is_passed_on() -> None:
    assert ask_acls(client(AclsTold(0, "", (READ,), 0))) == Told(value=(READ,))
    assert ask_quotas(client(QuotasTold(0, "", {(("ip", "1"),): {"a": 1.0}}))).value == {(("ip", "1"),): {"a": 1.0}}
    assert ask_users(client(UsersTold(0, "", {"a": {}}))).value == {"a": {}}


def test_a_cluster_without_an_authorizer_has_no_rules() -> None:
    told = ask_acls(client(AclsTold(NO_AUTHORIZER, "", (), 0)))
    assert (told.value, told.is_off) == ((), True)


def test_rules_of_unknown_kinds_are_told_beside_the_others() -> None:
    told = ask_acls(client(AclsTold(0, "", (READ,), 3)))
    assert told.value == (READ,)
    assert "3 rules" in told.reason


@pytest.mark.parametrize(
    ("ask", "answer", "right"),
    [
        (ask_acls, AclsTold(NO_RIGHT, "", (), 0), "DESCRIBE on"),
        (ask_quotas, QuotasTold(NO_RIGHT, "", {}), "DESCRIBE_CONFIGS on"),
        (ask_users, UsersTold(NO_RIGHT, "", {}), "DESCRIBE on"),
    ],
)
def test_a_missing_right_is_named(ask: Callable[[ClusterClient], Told[Any]], answer: Any, right: str) -> None:
    told = ask(client(answer))
    assert told.value is None
    assert f"the right {right} the cluster is missing" in told.reason
    lost = ask(client(ConnectionLost("gone", side=Side.SOURCE)))
    assert (lost.value, lost.reason) == (None, "gone")
    other = ask(client(answer._replace(error=42, message="why")))
    assert "(42): why" in other.reason
