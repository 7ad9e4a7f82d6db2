"""Consumer groups as actions.  (pure)"""

from __future__ import annotations

from collections.abc import Iterator

from kmigrate.groups.foresee import GroupFate
from kmigrate.plan.actions import Kind, PlannedAction, Verb, When
from kmigrate.plan.surroundings import Decisions

_VERBS = {
    GroupFate.FOLLOW: (Verb.FOLLOW, When.COPYING),
    GroupFate.SAME: (Verb.NOTHING, When.NEVER),
    GroupFate.MOVED: (Verb.KEEP, When.NEVER),
    GroupFate.UNSUPPORTED: (Verb.BY_HAND, When.NEVER),
    GroupFate.LEFT_OUT: (Verb.LEAVE_OUT, When.NEVER),
    GroupFate.UNKNOWN: (Verb.UNKNOWN, When.NEVER),
}


def group_actions(decisions: Decisions) -> Iterator[PlannedAction]:
    """One for each group of the source."""
    for each in decisions.groups:
        verb, when = _VERBS[each.fate]
        yield PlannedAction(
            kind=Kind.GROUPS,
            name=each.group,
            action=verb,
            what=each.what,
            reason=each.reason,
            when=when,
            hint=each.hint,
        )
