"""Client quotas as actions.  (pure)"""

from __future__ import annotations

from collections.abc import Iterator

from kmigrate.plan.actions import Kind, PlannedAction, Verb, When
from kmigrate.plan.surroundings import Decisions
from kmigrate.security.quotas import QuotaFate, name_entity, show_value

_VERBS = {
    QuotaFate.SET: (Verb.SET, When.NOW),
    QuotaFate.PRESENT: (Verb.NOTHING, When.NEVER),
    QuotaFate.DIFFERENT: (Verb.KEEP, When.NEVER),
    QuotaFate.LEFT_OUT: (Verb.LEAVE_OUT, When.NEVER),
}


def quota_actions(decisions: Decisions) -> Iterator[PlannedAction]:
    """One for each value of each client."""
    for each in decisions.quotas:
        verb, when = _VERBS[each.fate]
        yield PlannedAction(
            kind=Kind.QUOTAS,
            name=name_entity(each.entity),
            action=verb,
            what=f"{each.key}={show_value(each.value)}",
            reason=each.reason,
            when=when,
        )
