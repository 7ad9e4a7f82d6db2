"""Access control rules as actions.  (pure)"""

from __future__ import annotations

from collections.abc import Iterator

from kmigrate.plan.actions import Kind, PlannedAction, Verb, When
from kmigrate.plan.surroundings import Decisions
from kmigrate.security.acls import Fate

_VERBS = {
    Fate.CREATE: (Verb.CREATE, When.NOW),
    Fate.PREPARE: (Verb.PREPARE, When.PROMOTION),
    Fate.PRESENT: (Verb.NOTHING, When.NEVER),
    Fate.LEFT_OUT: (Verb.LEAVE_OUT, When.NEVER),
}


def acl_actions(decisions: Decisions) -> Iterator[PlannedAction]:
    """One for each rule of the source, by the target's names."""
    for acl, fate, reason in decisions.acls:
        verb, when = _VERBS[fate]
        yield PlannedAction(kind=Kind.ACLS, name=acl.resource, action=verb, what=acl.words, reason=reason, when=when)
