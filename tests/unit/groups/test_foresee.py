"""What a plan says of groups, from what both clusters tell."""

from __future__ import annotations

import random

import pytest

from kmigrate.groups import foresee, select
from kmigrate.groups.foresee import GroupDecision, GroupFate, GroupsSeen, decide_groups
from kmigrate.kafka_types import Offset, Partition, TopicName, TopicPartition
from kmigrate.manifest import ClusterSettings, Manifest
from kmigrate.manifest.model import Selection
from kmigrate.wire.offset_calls import ListedGroup

SIDE = ClusterSettings(bootstrap=(("host", 9092),))
MANIFEST = Manifest(name="m", source=SIDE, target=SIDE, groups=Selection(include=(".*",), exclude=("not",)))
A, B = TopicName("a"), TopicName("b")
A0, A1, B0 = (TopicPartition(topic, Partition(number)) for topic, number in ((A, 0), (A, 1), (B, 0)))
COMMITS = {A0: Offset(5), A1: Offset(7)}


def listed(group: str = "g", state: str = "Empty", *, protocol: str = "consumer", kind: str = "classic") -> ListedGroup:
    return ListedGroup(group, protocol, state, kind)


def decide(seen: GroupsSeen) -> GroupDecision:
    (found,) = decide_groups(seen, MANIFEST, [A])
    return found


def seen(
    here: str = "Empty",
    there: str | None = None,
    *,
    commits: dict[TopicPartition, Offset] | None = None,
    theirs: dict[TopicPartition, Offset] | None = None,
    begun: bool = False,
) -> GroupsSeen:
    return GroupsSeen(
        source=[listed(state=here)],
        target=[] if there is None else [listed(state=there)],
        source_commits={"g": COMMITS if commits is None else commits},
        target_commits={} if theirs is None else {"g": theirs},
        begun=begun,
    )


@pytest.mark.parametrize(
    ("found", "fate", "reason"),
    [
        (seen(), GroupFate.FOLLOW, foresee.NEW),
        (seen("Stable"), GroupFate.FOLLOW, foresee.NEW),
        (seen(there="Dead"), GroupFate.FOLLOW, foresee.NEW),
        (seen(there="Empty", theirs=COMMITS), GroupFate.SAME, foresee.SAME),
        (seen(there="Empty", theirs={A0: Offset(5)}), GroupFate.FOLLOW, foresee.FOLLOWS),
        (seen(there="Empty", theirs={A0: Offset(6)}), GroupFate.MOVED, foresee.OWN_COMMITS),
        (seen(there="Empty", theirs={A0: Offset(6)}, begun=True), GroupFate.FOLLOW, foresee.FOLLOWS),
        (seen(there="Empty", theirs={B0: Offset(6)}, commits={}), GroupFate.MOVED, foresee.OWN_COMMITS),
        (seen(there="Stable", theirs=COMMITS), GroupFate.MOVED, foresee.USED),
        (seen("Stable", "PreparingRebalance", begun=True), GroupFate.MOVED, foresee.USED_ON_BOTH),
        (seen(commits={B0: Offset(1)}), GroupFate.LEFT_OUT, foresee.HAS_NONE),
        (GroupsSeen(source=[listed()]), GroupFate.UNKNOWN, foresee.UNTOLD_COMMITS),
        (GroupsSeen(source=[listed("not")]), GroupFate.LEFT_OUT, select.EXCLUDED),
        (GroupsSeen(source=[listed("kmigrate-x")]), GroupFate.LEFT_OUT, select.LEASE),
    ],
)
def test_every_group_has_a_fate_and_a_reason(found: GroupsSeen, fate: GroupFate, reason: str) -> None:
    decision = decide(found)
    assert (decision.fate, decision.reason) == (fate, reason)
    assert bool(decision.hint) == (fate is GroupFate.MOVED)


@pytest.mark.parametrize("kind", ["share", "streams"])
def test_what_nobody_can_move_is_named_by_its_kind(kind: str) -> None:
    decision = decide(GroupsSeen(source=[listed(protocol=kind, kind=kind)]))
    assert decision.fate is GroupFate.UNSUPPORTED
    assert kind in decision.reason
    assert kind in decision.what


def test_the_protocol_and_who_uses_it_are_told() -> None:
    source = [listed("c", "Stable"), listed("n", kind="consumer"), listed("o", kind=""), listed("w", "Stable", kind="")]
    commits = {each.group_id: {A0: Offset(1), B0: Offset(2)} for each in source}
    found = decide_groups(GroupsSeen(source=source, source_commits=commits), MANIFEST, [A])
    assert [each.what for each in found] == [
        "classic, in use, 1 commit",
        "new protocol, empty, 1 commit",
        "consumer, empty, 1 commit",
        "consumer, in use, 1 commit",
    ]


def test_the_order_is_that_of_the_names() -> None:
    source = [listed(name) for name in ("not", "b", "a", "kmigrate-x", "z")]
    source.append(listed("s", kind="share"))
    expected = decide_groups(GroupsSeen(source=source), MANIFEST, [A])
    assert [each.group for each in expected] == sorted(each.group_id for each in source)
    random.Random(7).shuffle(source)
    assert decide_groups(GroupsSeen(source=source), MANIFEST, [A]) == expected
