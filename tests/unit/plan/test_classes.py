"""Every partition gets a class for a reason, always the same one, and a class that must be is never another."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmigrate.kafka_types import Offset
from kmigrate.manifest import Offsets, OffsetsClass
from kmigrate.plan.classes import ClassDecision, decide_class, decide_classes, needs
from kmigrate.plan.facts import PartitionFacts, Right, TargetContent, TopicFacts
from kmigrate.records.census import Census
from tests.unit.plan.known import COMPACTED, facts, partition, place, seen

AUTO, IDENTICAL, SHIFTED, MAPPED = OffsetsClass
BUDGETS = Offsets(pad_budget=100, pad_budget_total=1000, gap_budget=10)


def decide(
    known: PartitionFacts,
    wishes: Offsets = BUDGETS,
    *,
    may_write_markers: Right = Right.GRANTED,
    topic: TopicFacts | None = None,
) -> ClassDecision:
    topics = {} if topic is None else {"t": topic}
    return decide_class(known, facts(known, may_write_markers=may_write_markers, topics=topics), wishes)


def forced(offset_class: OffsetsClass) -> Offsets:
    return BUDGETS.model_copy(update={"offsets_class": offset_class})


# -- what fits is identical ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("known", "reason", "filler", "markers"),
    [
        (partition(), "no filler needed, no gaps", 0, 0),
        (partition(end=0), "no filler needed, no gaps", 0, 0),
        (partition(start=100), "filler up to the log start, no gaps", 100, 0),
        (partition(gaps=10), "no filler needed, gaps are filled", 0, 10),
        (partition(start=100, gaps=10), "filler up to the log start, gaps are filled", 100, 10),
        (partition(census=Census()), "no filler needed, gaps are not known", 0, None),
        (
            partition(start=5_000, target=TargetContent.FILLER, target_end=4_900),
            "filler up to the log start, no gaps",
            100,
            0,
        ),
    ],
)
def test_what_fits_the_budgets_is_identical(
    known: PartitionFacts, reason: str, filler: int, markers: int | None
) -> None:
    decision = decide(known)
    assert (decision.offset_class, decision.reason) == (IDENTICAL, reason)
    assert (decision.filler, decision.markers, decision.blocked) == (filler, markers, None)


@pytest.mark.parametrize("census", [seen(1000, transactional_batches=1), seen(1000, control_batches=1)])
def test_transactions_announce_gaps(census: Census) -> None:
    assert decide(partition(census=census)).reason == "no filler needed, gaps to come are filled"


def test_compaction_announces_gaps() -> None:
    assert decide(partition(), topic=COMPACTED).reason == "no filler needed, gaps to come are filled"


def test_filler_and_markers_take_time() -> None:
    known = partition(start=4_000_000, gaps=0, end=5_000_000)
    assert decide(known, Offsets()).seconds == pytest.approx(2.0)
    assert decide(partition(end=50_000, gaps=25_000), Offsets()).seconds == pytest.approx(1.0)


# -- what does not fit ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("known", "markers_right", "offset_class", "reason"),
    [
        (partition(start=101), Right.GRANTED, SHIFTED, "more filler than padBudget; no gaps"),
        (partition(start=101, gaps=1), Right.GRANTED, MAPPED, "more filler than padBudget"),
        (partition(gaps=11), Right.GRANTED, MAPPED, "more markers than gapBudget"),
        (partition(start=100, gaps=11), Right.GRANTED, MAPPED, "more markers than gapBudget"),
        (partition(gaps=1), Right.DENIED, MAPPED, "no right to write markers"),
        (partition(gaps=11), Right.DENIED, MAPPED, "more markers than gapBudget; no right to write markers"),
        (partition(start=1, may_delete=Right.DENIED), Right.GRANTED, SHIFTED, "no right to delete records; no gaps"),
        (partition(start=1, gaps=1, may_delete=Right.DENIED), Right.GRANTED, MAPPED, "no right to delete records"),
        (partition(start=1, may_delete=Right.DENIED), Right.DENIED, SHIFTED, "no right to delete records; no gaps"),
    ],
)
def test_what_speaks_against_identical_offsets_names_the_class(
    known: PartitionFacts, markers_right: Right, offset_class: OffsetsClass, reason: str
) -> None:
    decision = decide(known, may_write_markers=markers_right)
    assert (decision.offset_class, decision.reason) == (offset_class, reason)
    assert (decision.filler, decision.markers, decision.seconds, decision.blocked) == (0, 0, 0.0, None)


@pytest.mark.parametrize(
    ("known", "topic"),
    [
        (partition(), COMPACTED),
        (partition(census=seen(1000, transactional_batches=1)), None),
    ],
)
def test_gaps_to_come_need_the_right_too(known: PartitionFacts, topic: TopicFacts | None) -> None:
    assert decide(known, may_write_markers=Right.DENIED, topic=topic).offset_class is MAPPED
    assert decide(partition(), may_write_markers=Right.DENIED).offset_class is IDENTICAL


@pytest.mark.parametrize("known", [partition(start=7, may_delete=Right.UNKNOWN), partition(gaps=3)])
def test_an_unknown_right_counts_as_granted(known: PartitionFacts) -> None:
    assert decide(known, may_write_markers=Right.UNKNOWN).offset_class is IDENTICAL


# -- what must be --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wish", "known", "blocked"),
    [
        (IDENTICAL, partition(start=100, gaps=10), None),
        (IDENTICAL, partition(start=101), "it needs 101 filler records, padBudget allows 100"),
        (IDENTICAL, partition(gaps=11), "it needs about 11 markers, gapBudget allows 10"),
        (SHIFTED, partition(start=101), None),
        (SHIFTED, partition(), None),
        (SHIFTED, partition(gaps=1), "it has gaps, or must be expected to"),
        (MAPPED, partition(start=101, gaps=11), None),
        (MAPPED, partition(), None),
    ],
)
def test_a_class_that_is_asked_for_is_taken_or_blocks(
    wish: OffsetsClass, known: PartitionFacts, blocked: str | None
) -> None:
    decision = decide(known, forced(wish))
    assert decision.offset_class is wish
    assert (decision.blocked.full if decision.blocked is not None else None) == blocked
    assert blocked is not None or decision.reason == "asked for by the manifest"


def test_a_class_that_is_asked_for_one_topic_is_for_that_one() -> None:
    wishes = BUDGETS.model_copy(update={"topics": {"a.*": MAPPED}})
    decisions = decide_classes(facts(partition("audit"), partition("orders")), wishes)
    assert [each.offset_class for each in decisions.values()] == [MAPPED, IDENTICAL]


@pytest.mark.parametrize(("wish", "blocked"), [(AUTO, False), (IDENTICAL, False), (SHIFTED, True), (MAPPED, True)])
def test_what_was_begun_stays_identical_whatever_it_costs(wish: OffsetsClass, blocked: bool) -> None:
    known = partition(start=500, gaps=400, target=TargetContent.OURS, target_end=500)
    decision = decide(known, forced(wish), may_write_markers=Right.DENIED)
    assert (decision.offset_class, decision.reason) == (IDENTICAL, "begun as identical")
    assert (decision.filler, decision.markers) == (0, 400)
    assert (decision.blocked is not None) is blocked


@pytest.mark.parametrize(
    ("known", "reason"),
    [
        (partition(unseen="it has no leader now"), "it has no leader now"),
        (partition(target=TargetContent.FOREIGN, target_end=3), "the target holds what is not this migration's"),
        (partition(target=TargetContent.UNSEEN), "the target's partition could not be looked at"),
    ],
)
def test_what_could_not_be_looked_at_has_no_class(known: PartitionFacts, reason: str) -> None:
    decision = decide(known, forced(IDENTICAL))
    assert (decision.offset_class, decision.reason, decision.markers) == (None, reason, None)
    assert decision.blocked is None


# -- the budget for all of them ------------------------------------------------------------------------------------


def test_the_largest_filler_gives_way_first() -> None:
    some = [partition("t", number, start=start) for number, start in enumerate((30, 90, 90, 50))]
    decisions = decide_classes(facts(*some), Offsets(pad_budget=100, pad_budget_total=170))
    assert [each.offset_class for each in decisions.values()] == [IDENTICAL, SHIFTED, IDENTICAL, IDENTICAL]
    assert decisions[place("t", 1)].reason == "padBudgetTotal is used up; no gaps"


def test_what_gives_way_and_has_gaps_is_mapped() -> None:
    (decision,) = decide_classes(facts(partition(start=50, gaps=1)), Offsets(pad_budget_total=49)).values()
    assert (decision.offset_class, decision.reason) == (MAPPED, "padBudgetTotal is used up")


def test_what_needs_no_filler_or_gets_none_anyway_does_not_count() -> None:
    some = facts(
        partition("a", start=60),
        partition("b", start=90, gaps=11),
        partition("c", start=101),
        partition("d", start=900, target=TargetContent.OURS, target_end=900),
    )
    assert (
        decide_classes(some, Offsets(pad_budget=100, pad_budget_total=60, gap_budget=10))[place("a")].offset_class
        is IDENTICAL
    )


def test_who_must_be_identical_gives_way_last_and_then_blocks() -> None:
    some = facts(partition("free", start=10), partition("must", start=90), partition("must", 1, start=80))
    topics = {"must": IDENTICAL}
    roomy = decide_classes(some, Offsets(topics=topics, pad_budget_total=170))
    assert [each.offset_class for each in roomy.values()] == [SHIFTED, IDENTICAL, IDENTICAL]
    assert [each.blocked for each in roomy.values()] == [None, None, None]
    tight = decide_classes(some, Offsets(topics=topics, pad_budget_total=80))
    assert [each.blocked is not None for each in tight.values()] == [False, True, False]


# -- laws ----------------------------------------------------------------------------------------------------------


@st.composite
def partitions(draw: st.DrawFn) -> list[PartitionFacts]:
    number = draw(st.integers(1, 8))
    some = []
    for index in range(number):
        start, backlog = draw(st.integers(0, 60)), draw(st.integers(0, 40))
        some.append(
            partition(
                draw(st.sampled_from(["a", "b", "forced", "shifted"])),
                index,
                start=start,
                end=start + backlog,
                gaps=draw(st.integers(0, backlog)),
                target=draw(st.sampled_from(TargetContent)),
                target_end=draw(st.integers(0, start + backlog)),
                may_delete=draw(st.sampled_from(Right)),
            )
        )
    return some


WISHES = st.builds(
    Offsets,
    topics=st.just({"forced": IDENTICAL, "shifted": SHIFTED}),
    pad_budget=st.integers(0, 60),
    pad_budget_total=st.integers(0, 200),
    gap_budget=st.integers(0, 30),
)


@given(partitions(), WISHES, st.sampled_from(Right), st.randoms(use_true_random=False))
def test_classes_keep_the_budgets_and_do_not_depend_on_the_order(
    some: list[PartitionFacts], wishes: Offsets, right: Right, chance: random.Random
) -> None:
    known = facts(*some, may_write_markers=right, topics={"b": COMPACTED})
    decisions = decide_classes(known, wishes)
    chance.shuffle(some)
    assert decide_classes(facts(*some, may_write_markers=right, topics={"b": COMPACTED}), wishes) == decisions

    fillers = 0
    for each in known.partitions:
        decision, need = decisions[each.partition], needs(each, known)
        if decision.blocked is not None or decision.offset_class is None:
            continue
        begun = each.target.content is TargetContent.OURS
        if decision.offset_class is IDENTICAL and not begun:
            fillers += decision.filler
            assert decision.filler == each.filler <= wishes.pad_budget
            assert decision.markers is None or decision.markers <= wishes.gap_budget
            assert right is not Right.DENIED or not need.gaps
            assert each.target.may_delete is not Right.DENIED or not each.filler
        if decision.offset_class is SHIFTED:
            assert not need.gaps
    assert fillers <= wishes.pad_budget_total


@given(st.lists(st.integers(1, 50), min_size=1, max_size=10), st.integers(0, 300))
def test_no_more_gives_way_than_must(starts: list[int], budget: int) -> None:
    some = [partition("t", number, start=start) for number, start in enumerate(starts)]
    decisions = decide_classes(facts(*some), Offsets(pad_budget_total=budget))
    given_way = [each for each in some if decisions[each.partition].offset_class is SHIFTED]
    kept = [each.filler for each in some if decisions[each.partition].offset_class is IDENTICAL]
    assert sum(kept) <= budget
    if given_way:
        smallest = min(each.filler for each in given_way)
        assert sum(kept) + smallest > budget
        assert smallest >= max(kept, default=0)


def test_a_reason_says_what_filler_leads_up_to() -> None:
    wanted = replace(partition(start=7), wanted_start=Offset(40))
    (decision,) = decide_classes(facts(wanted), Offsets()).values()
    assert (decision.filler, decision.reason) == (40, "filler up to spec.start, no gaps")
    (decision,) = decide_classes(facts(wanted), Offsets(pad_budget=39)).values()
    assert decision.offset_class is OffsetsClass.SHIFTED
