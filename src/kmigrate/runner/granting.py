"""Adds rules, quotas and users to the target, and takes away rules that were added; the outcome is a value.

Rule: nothing is repeated here. What was asked for and not answered may have been done: the
caller comes again, to the same end.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, TypeAlias

from kmigrate.cluster.client import ClusterClient
from kmigrate.topics.create import Failed, Later, judge_error
from kmigrate.wire import acl_calls, quota_calls, user_calls
from kmigrate.wire.acl_calls import Acl
from kmigrate.wire.calls import TopicOutcome
from kmigrate.wire.quota_calls import Entity
from kmigrate.wire.user_calls import Salted


class Granted(NamedTuple):
    """The target did it."""


GrantOutcome: TypeAlias = Granted | Later | Failed


def create_acls(client: ClusterClient, acls: Sequence[Acl]) -> GrantOutcome:
    """Adds rules; the outcome is that of the first that was not taken."""
    return _judge_acls(acls, client.controller(acl_calls.create_acls(acls)))


def delete_acls(client: ClusterClient, acls: Sequence[Acl]) -> GrantOutcome:
    """Takes exactly these rules away; one that is not there is no failure."""
    return _judge_acls(acls, client.controller(acl_calls.delete_acls(acls)))


def set_quota(client: ClusterClient, entity: Entity, values: Mapping[str, float]) -> GrantOutcome:
    """Sets values of one entity."""
    answer = client.controller(quota_calls.alter_client_quotas({entity: values})).get(entity)
    return _judge(answer)


def set_credential(client: ClusterClient, credential: Salted) -> GrantOutcome:
    """Gives a user its credential."""
    return _judge(client.controller(user_calls.set_credential(credential)))


def acl_refusals(acls: Sequence[Acl], outcomes: Sequence[acl_calls.Outcome]) -> Iterator[Later | Failed]:
    """What was not done of a request about rules, named by the rule; outcomes come in the order of the rules."""
    for acl, outcome in zip(acls, outcomes, strict=False):
        if outcome.error:
            found = judge_error(TopicOutcome(outcome.error, outcome.message))
            yield found._replace(reason=f"{acl.resource}, {acl.words}: {found.reason}")


def _judge_acls(acls: Sequence[Acl], outcomes: tuple[acl_calls.Outcome, ...]) -> GrantOutcome:
    for refusal in acl_refusals(acls, outcomes):
        return refusal
    return Granted() if len(outcomes) == len(acls) else Later("the target did not answer for every rule")


def _judge(answer: tuple[int, str] | None) -> GrantOutcome:
    if answer is None or answer[0] == -1:
        return Later("the target did not answer for it")
    return judge_error(TopicOutcome(*answer)) if answer[0] else Granted()
