"""Which topics and groups are in which wave, and what would be torn apart or left behind."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import pytest

from kmigrate.groups.foresee import GroupsSeen
from kmigrate.kafka_types import Offset, Partition, TopicName, TopicPartition
from kmigrate.manifest import (
    ApplicationSection,
    CutoverSection,
    Ending,
    FenceChoice,
    History,
    Manifest,
    Scheme,
    Selection,
    Wave,
)
from kmigrate.plan.surroundings import Surroundings, TopicSeen
from kmigrate.runner.cutover.waves import fence_kind_of, outside_of, plan_of, problems_of, waves_of
from kmigrate.schemes.wave import Limits, MoveKind
from kmigrate.security.fence import FenceKind
from kmigrate.wire.offset_calls import ListedGroup
from tests.unit.plan.known import CLUSTER

ORDERS, BILLS, CLICKS = (TopicName(name) for name in ("orders", "bills", "clicks"))
TOPICS = (ORDERS, BILLS, CLICKS)
FIRST, CONSUMERS, LATER = Scheme.PRODUCERS_FIRST, Scheme.CONSUMERS_FIRST, Scheme.PRODUCERS_LATER
BILLING = ApplicationSection(name="billing", groups=("bill.*",), reads=("orders",), writes=("bills",))


def manifest(*waves: Wave, scheme: Scheme | None = CONSUMERS, **options: Any) -> Manifest:
    return Manifest(name="m", source=CLUSTER, target=CLUSTER, scheme=scheme, waves=waves, **options)


def wave(name: str, *topics: str, groups: tuple[str, ...] = (), **options: Any) -> Wave:
    return Wave(name=name, topics=topics, groups=groups, **options)


Reads = Mapping[str, Collection[TopicName]]
READS: Reads = {"billing": (ORDERS,), "shop": (BILLS,), "views": (CLICKS,)}


def sorted_into(wanted: Manifest, reads: Reads = READS) -> dict[str, tuple[tuple[str, ...], tuple[str, ...]]]:
    return {each.name: (each.topics, each.groups) for each in waves_of(wanted, TOPICS, reads)}


def told(wanted: Manifest, reads: Reads = READS, **options: Any) -> list[str]:
    return [f"{each.told} ({each.way})" for each in problems_of(wanted, TOPICS, reads, **options)]


def test_without_a_scheme_there_is_no_wave() -> None:
    wanted = manifest(wave("a", "nothing"), scheme=None, applications=(BILLING,))
    assert (waves_of(wanted, TOPICS, READS), problems_of(wanted, TOPICS, READS)) == ((), ())
    assert outside_of(wanted, TOPICS, READS) == ((), ())


def test_without_waves_everything_is_one_wave_also_what_reads_nothing_that_is_known() -> None:
    reads = READS | {"new": ()}
    (found,) = waves_of(manifest(), reversed(TOPICS), reads)
    assert (found.name, found.topics, found.groups) == ("all", (BILLS, CLICKS, ORDERS), tuple(sorted(reads)))
    assert told(manifest(), reads) == []
    assert outside_of(manifest(), TOPICS, reads) == ((), ())


def test_a_wave_has_what_its_manifest_says() -> None:
    wanted = manifest(
        wave("a", "orders", scheme=FIRST, history=History.ROLLING, fence=FenceChoice.MIN_ISR),
        wave("b", "bills", way_back=False),
        wave("c", "clicks", scheme=LATER, fence=FenceChoice.NONE),
        ending=Ending.OVERLAP,
        fence=FenceChoice.ACL,
        cutover=CutoverSection(
            freeze_seconds=60, still_seconds=5, approval_seconds=90, auto_hold_seconds=3, tail_offsets=7
        ),
    )
    a, b, c = waves_of(wanted, TOPICS, READS)
    assert (a.scheme, a.history, a.ending, a.is_fenced, a.has_way_back) == (
        *(FIRST, History.ROLLING, Ending.CLEAN),
        *(True, False),
    ), "its writers go on at the source after the copy has ended"
    assert (b.scheme, b.history, b.ending, b.is_fenced, b.has_way_back) == (
        *(CONSUMERS, History.NONE, Ending.OVERLAP),
        *(True, False),
    )
    assert (c.scheme, c.history, c.is_fenced) == (LATER, History.ROLLING, False)
    assert [fence_kind_of(wanted, name) for name in "abc"] == [FenceKind.MIN_ISR, FenceKind.ACL, None]
    assert a.limits == Limits(
        freeze_seconds=60.0,
        still_seconds=5.0,
        fenced_still_seconds=Limits().fenced_still_seconds,
        approval_seconds=90.0,
        tail_offsets=7,
        auto_hold_seconds=3.0,
    )
    with pytest.raises(KeyError):
        fence_kind_of(wanted, "d")


def test_the_manifests_defaults_are_those_of_the_schemes() -> None:
    (found,) = waves_of(manifest(), TOPICS, READS)
    assert found.limits == Limits()


def test_waves_come_in_the_manifests_order_and_a_group_follows_its_topics() -> None:
    wanted = manifest(wave("z", "clicks"), wave("a", "orders", "bills"))
    assert sorted_into(wanted) == {"z": ((CLICKS,), ("views",)), "a": ((BILLS, ORDERS), ("billing", "shop"))}
    assert list(sorted_into(wanted)) == ["z", "a"]
    assert told(wanted) == []


def test_a_group_that_is_named_is_in_the_wave_that_names_it() -> None:
    wanted = manifest(wave("a", "orders", "bills", groups=("billing", "shop", "new")), wave("b", "clicks"))
    assert sorted_into(wanted, READS | {"new": ()})["a"] == ((BILLS, ORDERS), ("billing", "new", "shop"))
    assert told(wanted, READS | {"new": ()}) == []


def test_what_no_wave_names_is_told_and_blocks_only_where_it_would_be_left_behind() -> None:
    wanted = manifest(wave("a", "orders", groups=("billing",)))
    reads = READS | {"audit": (ORDERS, CLICKS), "new": (), "elsewhere": (TopicName("other"),)}
    assert outside_of(wanted, TOPICS, reads) == ((BILLS, CLICKS), ("audit", "elsewhere", "new", "shop", "views"))
    assert told(wanted, reads) == [
        "group audit reads orders of wave a, and moves with no wave: it would be left behind"
        " (add it to the groups of wave a, or leave it out by spec.groups.exclude)",
        "group new moves with no wave, and what it reads is not known"
        " (add it to the groups of wave a, or leave it out by spec.groups.exclude)",
    ]


def test_a_group_that_reads_nothing_of_any_wave_stays_although_it_is_named() -> None:
    wanted = manifest(wave("a", "orders", groups=(".*",)))
    assert sorted_into(wanted) == {"a": ((ORDERS,), ("billing",))}
    assert told(wanted) == []


def test_a_topic_or_a_group_that_two_waves_name_is_a_problem_that_names_both() -> None:
    wanted = manifest(
        wave("a", "o.*", "bills", groups=("b.*",)), wave("b", "ord.*", "clicks", groups=("bill.*", "views"))
    )
    assert told(wanted, {"billing": (ORDERS,), "views": (CLICKS,)}) == [
        "topic orders is in the waves a and b: a topic moves with one wave"
        " (let only one of the waves a and b name topic orders)",
        "group billing is in the waves a and b: a group moves with one wave"
        " (let only one of the waves a and b name group billing)",
    ]
    assert sorted_into(wanted)["b"] == ((CLICKS,), ("views",))


def test_a_wave_without_a_topic_is_a_problem() -> None:
    (problem,) = told(manifest(wave("a", ".*"), wave("b", "nix")))
    assert problem.startswith("wave b has no topic: none that is selected is named by it")


def test_what_crosses_waves_is_a_problem_with_the_way_to_mend_it() -> None:
    wanted = manifest(wave("a", "orders"), wave("b", "bills", "clicks"))
    reads = READS | {"audit": (ORDERS, CLICKS)}
    assert told(wanted, reads, transactions={"pay": (ORDERS, BILLS), "one": (BILLS, CLICKS)}) == [
        "group audit crosses waves: orders in wave a; clicks in wave b (put everything of group audit into one of the"
        " waves a and b; or give each of its topics a group of its own)",
        "transactional id pay crosses waves: orders in wave a; bills in wave b (put everything of transactional id pay"
        " into one of the waves a and b; or let it write to the topics of one wave only)",
    ]
    assert told(manifest(*wanted.waves, applications=(BILLING,))) == [
        "application billing crosses waves: billing, orders in wave a; bills in wave b (put everything of application"
        " billing into one of the waves a and b)",
    ]
    assert told(manifest(), reads, transactions={"pay": (ORDERS, BILLS)}) == []


def test_an_application_is_one_move_of_its_wave_and_of_no_other() -> None:
    wanted = manifest(wave("a", "orders", "bills"), wave("b", "clicks"), applications=(BILLING,))
    a, b = waves_of(wanted, TOPICS, READS)
    assert [(move.name, move.topics, move.groups) for move in a.moves] == [
        ("shop", (), ("shop",)),
        ("billing", (BILLS,), ("billing",)),
        ("producers", (ORDERS,), ()),
    ]
    assert [move.name for move in b.moves] == ["views", "producers"]
    assert told(wanted) == []


def test_an_application_reads_what_its_groups_have_committed() -> None:
    quiet = ApplicationSection(name="billing", groups=("billing",), writes=("bills",))
    (found,) = waves_of(manifest(scheme=FIRST, applications=(quiet,)), TOPICS, READS)
    assert [move.name for move in found.moves] == ["producers", "billing", "shop", "views"]


def test_what_an_application_declares_places_a_group_that_has_committed_nothing() -> None:
    wanted = manifest(wave("a", "orders", "bills"), wave("b", "clicks"), applications=(BILLING,))
    assert sorted_into(wanted, {"billing": ()})["a"] == ((BILLS, ORDERS), ("billing",))
    assert told(wanted, {"billing": ()}) == []


def test_an_application_with_its_own_checkpoints_is_in_its_wave_only() -> None:
    flink = ApplicationSection(name="flink", reads=("clicks",), own_checkpoints=True)
    a, b = waves_of(manifest(wave("a", "orders"), wave("b", "clicks"), applications=(flink,)), TOPICS, {})
    assert [move.name for move in a.moves] == ["producers"]
    assert [(move.name, move.kind) for move in b.moves] == [
        ("flink", MoveKind.READERS),
        ("producers", MoveKind.WRITERS),
    ]


def test_an_application_that_stands_for_nothing_is_a_problem() -> None:
    typo = ApplicationSection(name="billing", groups=("bil",), reads=("order",), writes=("bill.",))
    assert told(manifest(applications=(typo,))) == [
        "application billing reads 'order', and no wave has such a topic"
        " (correct it in spec.applications, or add the topic to a wave)",
        "application billing reads as 'bil', and no wave has such a group"
        " (correct it in spec.applications, or add the group to a wave)",
    ]


def test_what_a_scheme_cannot_lead_is_a_problem() -> None:
    wanted = manifest(scheme=LATER, applications=(BILLING,))
    assert told(wanted) == [
        "wave all: billing reads and writes, and would run on both clusters at once"
        " (choose producers-first or consumers-first for it)"
    ]


def test_moves_have_names_of_their_own() -> None:
    reads = {"producers": (ORDERS,), "billing": (ORDERS,), "": (BILLS,)}
    other = ApplicationSection(name="billing", writes=("bills",))
    (found,) = waves_of(manifest(applications=(other,)), TOPICS, reads)
    assert sorted(move.name for move in found.moves) == [
        *("billing", "group ", "group billing", "group producers", "producers")
    ]
    for move in found.moves:
        assert found.scope(move.name) is move


def seen(commits: Mapping[str, Collection[TopicName]], *untold: str) -> Surroundings:
    listed = [ListedGroup(name, "consumer", "Stable", "classic") for name in (*commits, *untold)]
    return Surroundings(
        topics=tuple(TopicSeen(name=name, partitions=1, replicas=1, settings={}) for name in TOPICS),
        groups=GroupsSeen(
            source=listed,
            source_commits={
                group: {TopicPartition(topic, Partition(0)): Offset(1) for topic in topics}
                for group, topics in commits.items()
            },
        ),
    )


def test_the_plan_counts_with_the_groups_that_take_part_and_with_what_they_have_committed() -> None:
    commits = {"shop": (BILLS,), "other": (TopicName("unselected"),), "left": (ORDERS,), "idle": ()}
    wanted = manifest(groups=Selection(exclude=("left",)))
    around = seen(commits, "silent")
    assert around.groups_moving(wanted) == {"shop": {BILLS}, "silent": frozenset()}
    plan = plan_of(wanted, around)
    assert [(each.name, each.groups) for each in plan.waves] == [("all", ("shop", "silent"))]
    assert (plan.problems, plan.topics_outside, plan.groups_outside) == ((), (), ())
    blocked = plan_of(manifest(wave("a", "bills", groups=("x",)), groups=wanted.groups), around)
    assert [told.split(",")[0] for told, _ in blocked.problems] == [
        "group shop reads bills of wave a",
        "group silent moves with no wave",
    ]
    assert (blocked.topics_outside, blocked.groups_outside) == ((CLICKS, ORDERS), ("shop", "silent"))
