"""Who moves before whom, who moves as one, and what crosses waves."""

from __future__ import annotations

from dataclasses import replace

from kmigrate.kafka_types import TopicName
from kmigrate.manifest.model import Scheme
from kmigrate.schemes.crossings import CrossingKind, find_crossings
from kmigrate.schemes.order import Application, moves_of, wave_problems
from kmigrate.schemes.wave import History, Move, MoveKind
from tests.unit.schemes.examples import CLEAN, LATER, WAVES

A, B, C = (TopicName(name) for name in "abc")
BILLING = Application(name="billing", groups=("billing",), reads=(A,), writes=(B,))
GROUPS = {"billing": (A,), "shop": (B,)}


def order(scheme: Scheme, applications: tuple[Application, ...] = (BILLING,)) -> list[str]:
    return [move.name for move in moves_of(scheme, (A, B), GROUPS, applications)]


def test_what_writes_a_topic_moves_before_what_reads_it_and_the_other_way_round() -> None:
    assert order(Scheme.PRODUCERS_FIRST) == ["producers", "billing", "shop"]
    assert order(Scheme.CONSUMERS_FIRST) == ["shop", "billing", "producers"]


def test_an_application_is_one_move_with_its_groups_and_the_topics_it_writes() -> None:
    (_, billing, _) = moves_of(Scheme.PRODUCERS_FIRST, (A, B), GROUPS, (BILLING,))
    assert billing == Move(name="billing", topics=(B,), groups=("billing",))
    assert billing.kind is MoveKind.APPLICATION


def test_applications_that_feed_each_other_in_a_circle_move_as_one() -> None:
    back = Application(name="refunds", groups=("shop",), reads=(B,), writes=(A,))
    (move,) = moves_of(Scheme.CONSUMERS_FIRST, (A, B), GROUPS, (BILLING, back))
    assert move == Move(name="billing + refunds", topics=(A, B), groups=("billing", "shop"))


def test_two_that_write_to_one_topic_move_as_one() -> None:
    other = Application(name="import", writes=(B,))
    assert "billing + import" in order(Scheme.PRODUCERS_FIRST, (BILLING, other))


def test_an_application_with_its_own_checkpoints_is_a_move_that_is_attested() -> None:
    flink = Application(name="flink", reads=(A,), has_own_checkpoints=True)
    move = next(each for each in moves_of(Scheme.CONSUMERS_FIRST, (A, B), GROUPS, (flink,)) if each.name == "flink")
    assert (move.is_attested, move.kind) == (True, MoveKind.READERS)


def test_a_group_that_is_named_as_an_application_is_a_move_with_a_name_of_its_own() -> None:
    moves = moves_of(
        Scheme.PRODUCERS_FIRST, (A, B), {"import": (A,), "producers": ()}, (Application(name="import", writes=(B,)),)
    )
    assert [move.name for move in moves] == ["import", "producers", "group import", "group producers"]


def test_a_chain_of_applications_moves_in_its_order() -> None:
    chain = tuple(
        Application(name=name, groups=(name,), reads=(reads,), writes=(writes,))
        for name, reads, writes in (("z", A, B), ("y", B, C), ("x", C, TopicName("d")))
    )
    groups = {"z": (A,), "y": (B,), "x": (C,), "last": (TopicName("d"),)}
    topics = (A, B, C, TopicName("d"))
    forwards = [move.name for move in moves_of(Scheme.PRODUCERS_FIRST, topics, groups, chain)]
    assert forwards == ["producers", "z", "y", "x", "last"]
    backwards = [move.name for move in moves_of(Scheme.CONSUMERS_FIRST, topics, groups, chain)]
    assert backwards == forwards[::-1]


def test_what_a_scheme_cannot_lead_is_said_before_anything_begins() -> None:
    assert [list(wave_problems(wave)) for wave in WAVES] == [[]] * len(WAVES)
    assert "producers-first" in next(wave_problems(replace(LATER, history=History.STOPPED)))
    wave = replace(LATER, topics=CLEAN.topics, groups=CLEAN.groups, moves=CLEAN.moves)
    assert "application reads and writes" in next(wave_problems(wave))
    assert "topic c is in the wave or in a move" in next(wave_problems(replace(CLEAN, topics=(*CLEAN.topics, C))))
    twice = replace(CLEAN, moves=(*CLEAN.moves, CLEAN.moves[0]))
    assert "in more than one move" in next(wave_problems(twice))


def test_what_crosses_waves_is_named_with_the_way_to_mend_it() -> None:
    first = replace(CLEAN, name="first", topics=(A,), groups=("billing",), moves=())
    second = replace(CLEAN, name="second", topics=(B,), groups=("shop",), moves=())
    found = list(
        find_crossings(
            (first, second),
            groups={"billing": (A, C), "audit": (A, B), "shop": (B,)},
            transactions={"pay": (A, B), "alone": (A, C)},
            applications=(BILLING,),
        )
    )
    assert [(each.kind, each.name) for each in found] == [
        (CrossingKind.GROUP, "audit"),
        (CrossingKind.TRANSACTION, "pay"),
        (CrossingKind.APPLICATION, "billing"),
    ]
    assert str(found[0]) == "group audit crosses waves: a in wave first; b in wave second"
    assert "first and second" in found[0].way


def test_a_group_of_one_wave_that_reads_a_topic_of_another_crosses() -> None:
    first = replace(CLEAN, name="first", topics=(A,), groups=("shop",), moves=())
    second = replace(CLEAN, name="second", topics=(B,), groups=(), moves=())
    (crossing,) = find_crossings((first, second), groups={"shop": (B,)}, transactions={})
    assert crossing.waves == {"first": ("its commits",), "second": ("b",)}
