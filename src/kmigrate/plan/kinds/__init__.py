"""One module for each kind of thing: its decisions as actions of a plan."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from kmigrate.plan.actions import Kind, PlannedAction, Verb
from kmigrate.plan.kinds.acls import acl_actions
from kmigrate.plan.kinds.configs import config_actions
from kmigrate.plan.kinds.groups import group_actions
from kmigrate.plan.kinds.quotas import quota_actions
from kmigrate.plan.kinds.topics import topic_actions
from kmigrate.plan.kinds.users import user_actions
from kmigrate.plan.kinds.waves import wave_actions
from kmigrate.plan.surroundings import Decisions
from kmigrate.plan.waves import CutoverPlan

KINDS: tuple[Callable[[Decisions], Iterable[PlannedAction]], ...] = (
    topic_actions,
    config_actions,
    acl_actions,
    quota_actions,
    user_actions,
    group_actions,
)


def list_actions(decisions: Decisions, cutover: CutoverPlan | None = None) -> tuple[PlannedAction, ...]:
    """Everything, in the order of kinds and names; then the moves of a cutover, in the order in which they are made."""
    found = [action for of_kind in KINDS for action in of_kind(decisions)]
    found += [
        PlannedAction(
            kind=Kind(kind),
            name=side,
            action=Verb.UNKNOWN,
            what=f"{kind} are not told, or not all of them",
            reason=reason,
        )
        for kind, side, reason in decisions.untold
    ]
    moves = () if cutover is None else wave_actions(cutover)
    return (*sorted(found, key=lambda each: each.place), *moves)
