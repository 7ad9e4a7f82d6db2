"""SCRAM users as actions.  (pure)"""

from __future__ import annotations

from collections.abc import Iterator

from kmigrate.plan.actions import Kind, PlannedAction, Verb, When
from kmigrate.plan.surroundings import Decisions
from kmigrate.security.users import UserFate

_VERBS = {
    UserFate.SET: (Verb.SET, When.NOW),
    UserFate.PRESENT: (Verb.NOTHING, When.NEVER),
    UserFate.BY_HAND: (Verb.BY_HAND, When.NEVER),
}


def user_actions(decisions: Decisions) -> Iterator[PlannedAction]:
    """One for each credential; never the credential itself."""
    for each in decisions.users:
        verb, when = _VERBS[each.fate]
        yield PlannedAction(
            kind=Kind.USERS,
            name=each.user,
            action=verb,
            what=f"{each.mechanism.words}, {each.iterations} iterations",
            reason=each.reason,
            when=when,
        )
