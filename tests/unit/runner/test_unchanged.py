"""What has begun is not changed by another word in the manifest: it is refused, with the way out."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from kmigrate.copy.orders import Remembered
from kmigrate.errors import Refused
from kmigrate.kafka_types import LeaderEpoch, Offset, TopicId, TopicName
from kmigrate.manifest import Manifest, Offsets, OffsetsClass
from kmigrate.manifest.model import Scheme, Selection, Wave
from kmigrate.offsets.beginning import Beginning
from kmigrate.offsets.classes import OffsetClass
from kmigrate.runner.cutover.book import CutoverBook
from kmigrate.runner.unchanged import refuse_changed, wished_offsets
from kmigrate.schemes.cutover import Cutover, Outcome, Phase, begin
from kmigrate.state.store import Store
from tests.unit.plan.known import manifest, place
from tests.unit.schemes.examples import CLEAN

AUTO, IDENTICAL, SHIFTED, MAPPED = OffsetsClass
ID = TopicId("1" * 32)
MEMORY = Remembered(ID, ID, LeaderEpoch(0), Offset(7))
PAY = place("pay")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store.open(tmp_path)
    yield made
    made.close()


# -- classes


def asks(wanted: OffsetsClass = AUTO, **topics: OffsetsClass) -> Manifest:
    return replace(manifest(), offsets=Offsets(offsets_class=wanted, topics=topics))


def decided(
    store: Store, first: Manifest, has: OffsetClass, *topics: str, filler: int | None = 0, appended: int = 7
) -> None:
    """A run with this manifest, which decided this class for these topics and copied something, or nothing."""
    store.decide("run", {}, facts=wished_offsets(first))
    begins = Beginning(ID, Offset(0), filler)
    store.decide_classes({place(topic): has for topic in topics}, {}, {place(topic): begins for topic in topics})
    store.remember({place(topic): MEMORY._replace(appended=Offset(appended)) for topic in topics})


def check(wanted: Manifest, store: Store, *recreate: str) -> None:
    refuse_changed(wanted, store, memories=store.remembered(), recreate=[TopicName(each) for each in recreate])


@pytest.mark.parametrize("first", [AUTO, IDENTICAL])
def test_another_class_is_refused_by_name_for_what_has_begun(store: Store, first: OffsetsClass) -> None:
    decided(store, asks(first), OffsetClass.IDENTICAL, "pay", "orders")
    with pytest.raises(
        Refused, match=r"the class shifted now, but class identical was decided: orders, pay$"
    ) as caught:
        check(asks(SHIFTED), store)
    assert f"first in spec.offsets.topics, with the class {first}:" in caught.value.hint
    with pytest.raises(Refused, match=r"class identical was decided: pay$"):
        check(asks(first, pay=SHIFTED), store)
    check(asks(first, other=SHIFTED), store)
    check(asks(SHIFTED, pay=first, orders=first), store)


def test_the_same_wish_and_no_wish_and_what_is_so_already_are_no_change(store: Store) -> None:
    decided(store, asks(), OffsetClass.IDENTICAL, "pay")
    for wanted in (asks(), asks(AUTO, pay=IDENTICAL), asks(IDENTICAL), asks(SHIFTED, pay=AUTO)):
        check(wanted, store)


def test_the_order_of_regular_expressions_is_part_of_the_wish(store: Store) -> None:
    decided(store, asks(AUTO, **{"pa.*": SHIFTED, "pay": MAPPED}), OffsetClass.SHIFTED, "pay")
    with pytest.raises(Refused, match="the class mapped now, but class shifted was decided: pay"):
        check(asks(AUTO, **{"pay": MAPPED, "pa.*": SHIFTED}), store)


def test_a_class_that_answered_a_stop_is_no_change_of_the_manifest(store: Store) -> None:
    decided(store, asks(IDENTICAL), OffsetClass.SHIFTED, "pay")
    check(asks(IDENTICAL), store)
    check(asks(IDENTICAL, other=SHIFTED), store)
    check(asks(SHIFTED), store)


def test_what_the_copy_decides_anew_takes_another_class(store: Store) -> None:
    decided(store, asks(IDENTICAL), OffsetClass.IDENTICAL, "pay", appended=0)
    check(asks(SHIFTED), store)


@pytest.mark.parametrize(
    ("has", "filler"), [(OffsetClass.MAPPED, 0), (OffsetClass.IDENTICAL, 5), (OffsetClass.IDENTICAL, None)]
)
def test_a_class_that_stays_although_nothing_is_copied_is_not_ignored(
    store: Store, has: OffsetClass, filler: int | None
) -> None:
    decided(store, asks(OffsetsClass(has.value)), has, "pay", filler=filler, appended=0)
    with pytest.raises(Refused, match=f"class {has} was decided: pay"):
        check(asks(SHIFTED), store)


def test_topics_that_were_asked_for_differently_are_told_apart(store: Store) -> None:
    decided(store, asks(AUTO, pay=SHIFTED), OffsetClass.SHIFTED, "pay", "orders")
    with pytest.raises(Refused, match=r"class shifted was decided: orders$") as caught:
        check(asks(MAPPED), store)
    assert "with the class auto:" in caught.value.hint
    with pytest.raises(Refused, match=r"class shifted was decided: pay$") as caught:
        check(asks(MAPPED, orders=AUTO), store)
    assert "with the class shifted:" in caught.value.hint
    check(asks(MAPPED, orders=AUTO, pay=SHIFTED), store)


def test_an_answer_that_nobody_has_carried_out_counts_as_decided(store: Store) -> None:
    decided(store, asks(IDENTICAL), OffsetClass.IDENTICAL, "pay")
    refuse_changed(asks(MAPPED), store, memories=store.remembered(), answered={PAY: OffsetClass.MAPPED})


@pytest.mark.parametrize(("appended", "is_refused"), [(0, False), (7, True)])
def test_another_source_topic_of_which_nothing_is_copied_is_decided_anew(
    store: Store, appended: int, is_refused: bool
) -> None:
    decided(store, asks(MAPPED), OffsetClass.MAPPED, "pay", appended=appended)
    same, other = {PAY.topic: ID}, {PAY.topic: TopicId("2" * 32)}
    with pytest.raises(Refused):
        refuse_changed(asks(SHIFTED), store, memories=store.remembered(), source_ids=same)
    with pytest.raises(Refused) if is_refused else contextlib.nullcontext():
        refuse_changed(asks(SHIFTED), store, memories=store.remembered(), source_ids=other)


def test_a_topic_that_is_to_be_created_anew_may_get_another_class(store: Store) -> None:
    decided(store, asks(), OffsetClass.IDENTICAL, "pay", "orders")
    check(asks(AUTO, pay=MAPPED), store, "pay")
    with pytest.raises(Refused, match="orders"):
        check(asks(MAPPED), store, "pay")


def test_what_only_the_target_remembers_counts_too(store: Store) -> None:
    store.decide("run", {}, facts=wished_offsets(asks()))
    for memories, classes in (({PAY: MEMORY}, {}), ({}, {PAY: OffsetClass.IDENTICAL})):
        with pytest.raises(Refused, match="class identical was decided: pay"):
            refuse_changed(asks(SHIFTED), store, memories=memories, classes=classes)


def test_a_first_run_may_ask_for_anything(store: Store) -> None:
    check(asks(SHIFTED), store)
    refuse_changed(asks(SHIFTED), store, memories={PAY: MEMORY})  # an older version kept no wish


# -- waves

ORDERS = tuple(map(str, CLEAN.topics))


def led(scheme: Scheme, *topics: str, name: str = CLEAN.name) -> Manifest:
    return replace(manifest(), waves=(Wave(name=name, topics=topics or ORDERS, scheme=scheme),))


def began(store: Store, **changes: object) -> Cutover:
    cutover = replace(begin(CLEAN, 0.0), number=1, **changes)  # type: ignore[arg-type]
    CutoverBook(store).save(cutover, "left replicate")
    return cutover


def test_a_wave_that_did_not_begin_may_change(store: Store) -> None:
    check(led(Scheme.PRODUCERS_FIRST), store)


def test_another_scheme_of_a_wave_that_began_is_refused_until_it_is_aborted(store: Store) -> None:
    began(store)
    check(led(Scheme.CONSUMERS_FIRST), store)
    words = f"wave {CLEAN.name} began with the scheme consumers-first, and the manifest says producers-first now"
    with pytest.raises(Refused, match=words) as caught:
        check(led(Scheme.PRODUCERS_FIRST), store)
    assert "`scheme: consumers-first`" in caught.value.hint
    assert "kmigrate cutover abort" in caught.value.hint
    began(store, outcome=Outcome.ABORTED, phase=Phase.RETURNING)
    with pytest.raises(Refused, match=words):
        check(led(Scheme.PRODUCERS_FIRST), store)
    began(store, outcome=Outcome.ABORTED, phase=Phase.OVER)
    check(led(Scheme.PRODUCERS_FIRST), store)


def test_a_wave_under_way_stays_in_the_manifest(store: Store) -> None:
    began(store)
    for wanted in (manifest(), led(Scheme.CONSUMERS_FIRST, name="other")):
        with pytest.raises(Refused, match=f"wave {CLEAN.name} is under way, and the manifest has no such wave now"):
            check(wanted, store)
    without = replace(led(Scheme.CONSUMERS_FIRST, ".*"), topics=Selection(include=(".*",), exclude=(ORDERS[0],)))
    with pytest.raises(Refused, match=f"with topic {ORDERS[0]}, which spec.topics does not select now"):
        check(without, store)


def test_a_topic_of_a_wave_that_began_stays_in_it(store: Store) -> None:
    began(store)
    wanted = led(Scheme.CONSUMERS_FIRST)
    first = Wave(name="other", topics=(".*",), scheme=Scheme.CONSUMERS_FIRST)
    check(replace(wanted, waves=(*wanted.waves, first)), store)
    with pytest.raises(
        Refused, match=f"began with topic {ORDERS[0]}, which the manifest gives to wave other"
    ) as caught:
        check(replace(wanted, waves=(first, *wanted.waves)), store)
    assert "leave it out of the topics of wave other" in caught.value.hint


def test_a_wave_that_is_over_may_go_but_its_topics_do_not_move_again(store: Store) -> None:
    began(store, outcome=Outcome.FINISHED, phase=Phase.OVER)
    check(manifest(), store)
    check(led(Scheme.CONSUMERS_FIRST, "something-else", name="other"), store)
    everything = led(Scheme.CONSUMERS_FIRST, ".*", name="other")
    with pytest.raises(
        Refused, match=f"began with topic {ORDERS[0]}, which the manifest gives to wave other"
    ) as caught:
        check(everything, store)
    assert "abort" not in caught.value.hint
    check(replace(everything, topics=Selection(include=(".*",), exclude=ORDERS)), store)
