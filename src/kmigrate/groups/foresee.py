"""What will become of every group of the source, as far as the clusters alone tell: for a plan.  (pure)

A plan reads no store. So it knows no latches: that a group was used on the target and left it again shows only in its
commits there.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from kmigrate.groups.decide import EMPTY_STATES
from kmigrate.groups.select import select_groups
from kmigrate.kafka_types import Offset, Side, TopicName, TopicPartition
from kmigrate.manifest import Manifest
from kmigrate.wire.offset_calls import ListedGroup
from kmigrate.words import count_of

Commits = Mapping[TopicPartition, Offset]

NEW = "its commits are translated and follow"
HAS_NONE = "it has committed nothing for topics that take part"
UNTOLD_COMMITS = "its commits are not told"
SAME = "the target has the same commits"
FOLLOWS = "its commits on the target follow; should one be not ours, it counts as moved"
USED = "it has members on the target: it counts as moved, and is not touched there"
USED_ON_BOTH = "it has members on both sides: it counts as moved, and is not touched on the target"
OWN_COMMITS = "it has commits of its own on the target: it counts as moved, and is not touched there"
RELEASE = "kmigrate group sync -f FILE --release GROUP ends that once nobody uses it there; its commits are overwritten"


class GroupFate(enum.Enum):
    """What becomes of a group."""

    FOLLOW = "follow"
    SAME = "same"
    MOVED = "moved"
    UNSUPPORTED = "unsupported"
    LEFT_OUT = "left out"
    UNKNOWN = "unknown"


class GroupDecision(NamedTuple):
    """One group, its fate and why; `what` says of which kind it is and who uses it."""

    group: str
    fate: GroupFate
    what: str
    reason: str
    hint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupsSeen:
    """The groups of both clusters, and the commits of those that the manifest selects (target: those that it has).

    `begun`: this migration has copied something already, so commits on the target may be ours. `untold` are sides that
    did not tell, or not everything, and why.
    """

    source: Collection[ListedGroup] = ()
    target: Collection[ListedGroup] = ()
    source_commits: Mapping[str, Commits] = field(default_factory=dict)
    target_commits: Mapping[str, Commits] = field(default_factory=dict)
    begun: bool = False
    untold: tuple[tuple[Side, str], ...] = ()


def decide_groups(seen: GroupsSeen, manifest: Manifest, topics: Collection[TopicName]) -> tuple[GroupDecision, ...]:
    """What becomes of every group of the source; `topics` are those that take part."""
    selected = select_groups(seen.source, manifest)
    there = {each.group_id: each for each in seen.target}
    whats = {each.group_id: _what(each) for each in seen.source}
    found = [_decide(each, there.get(group), seen, {*topics}) for group, each in selected.groups.items()]
    found += [
        GroupDecision(group, GroupFate.LEFT_OUT, whats[group], reason) for group, reason in selected.left_out.items()
    ]
    found += [
        GroupDecision(group, GroupFate.UNSUPPORTED, whats[group], reason)
        for group, reason in selected.unsupported.items()
    ]
    return tuple(sorted(found, key=lambda each: each.group))


def _decide(here: ListedGroup, there: ListedGroup | None, seen: GroupsSeen, topics: set[TopicName]) -> GroupDecision:
    group, what = here.group_id, _what(here)
    if there is not None and there.state not in EMPTY_STATES:
        reason = USED if here.state in EMPTY_STATES else USED_ON_BOTH
        return GroupDecision(group, GroupFate.MOVED, what, reason, RELEASE)
    commits = seen.source_commits.get(group)
    if commits is None:
        return GroupDecision(group, GroupFate.UNKNOWN, what, UNTOLD_COMMITS)
    wanted = _of_topics(commits, topics)
    what = f"{what}, {count_of(len(wanted), 'commit')}"
    theirs = seen.target_commits.get(group, {})
    if not wanted and not theirs:
        return GroupDecision(group, GroupFate.LEFT_OUT, what, HAS_NONE)
    if not theirs:
        return GroupDecision(group, GroupFate.FOLLOW, what, NEW)
    if theirs == wanted:
        return GroupDecision(group, GroupFate.SAME, what, SAME)
    if seen.begun or theirs.items() <= wanted.items():
        return GroupDecision(group, GroupFate.FOLLOW, what, FOLLOWS)
    return GroupDecision(group, GroupFate.MOVED, what, OWN_COMMITS, RELEASE)


def _of_topics(commits: Commits, topics: set[TopicName]) -> Commits:
    return {tp: offset for tp, offset in commits.items() if tp.topic in topics}


def _what(group: ListedGroup) -> str:
    """`new protocol, empty`; brokers before 3.8 do not tell the protocol."""
    protocols = {"classic": "classic", "consumer": "new protocol"}
    kind = protocols.get(group.group_type, group.group_type or group.protocol_type or "no protocol yet")
    return f"{kind}, {'in use' if group.has_members else 'empty'}"
