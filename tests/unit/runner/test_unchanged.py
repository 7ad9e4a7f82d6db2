"""What has begun is not changed by another word in the manifest: it is refused, with the way out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from kmigrate.copy.orders import Remembered
from kmigrate.errors import Refused
from kmigrate.kafka_types import LeaderEpoch, Offset, TopicId
from kmigrate.manifest import Manifest, Offsets, OffsetsClass
from kmigrate.manifest.model import Scheme, Wave
from kmigrate.offsets.classes import OffsetClass
from kmigrate.runner.cutover.book import CutoverBook
from kmigrate.runner.unchanged import refuse_changed, wished_offsets
from kmigrate.schemes.cutover import Outcome, begin
from kmigrate.state.store import Store
from tests.unit.plan.known import manifest, place
from tests.unit.schemes.examples import CLEAN

AUTO, IDENTICAL, SHIFTED = OffsetsClass.AUTO, OffsetsClass.IDENTICAL, OffsetsClass.SHIFTED
ID = TopicId("1" * 32)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store.open(tmp_path)
    yield made
    made.close()


def asks(wanted: OffsetsClass = AUTO, **topics: OffsetsClass) -> Manifest:
    return replace(manifest(), offsets=Offsets(offsets_class=wanted, topics=topics))


def begun(store: Store, first: Manifest, has: OffsetClass, *topics: str, appended: int = 7) -> None:
    """A run with this manifest, which decided this class for these topics and copied something, or nothing."""
    store.decide("run", {}, facts=wished_offsets(first))
    store.decide_classes({place(topic): has for topic in topics}, {}, {})
    store.remember({place(topic): Remembered(ID, ID, LeaderEpoch(0), Offset(appended)) for topic in topics})


@pytest.mark.parametrize("first", [AUTO, IDENTICAL])
def test_another_class_is_refused_by_name_for_what_has_begun(store: Store, first: OffsetsClass) -> None:
    begun(store, asks(first), OffsetClass.IDENTICAL, "pay", "orders")
    with pytest.raises(Refused, match=r"asks for the class shifted now, .* began in class identical: orders, pay$"):
        refuse_changed(asks(SHIFTED), store)
    with pytest.raises(Refused, match=r"began in class identical: pay$"):
        refuse_changed(asks(first, pay=SHIFTED), store)
    refuse_changed(asks(first, other=SHIFTED), store)


def test_the_same_wish_and_no_wish_and_what_is_so_already_are_no_change(store: Store) -> None:
    begun(store, asks(), OffsetClass.IDENTICAL, "pay")
    for wanted in (asks(), asks(AUTO, pay=IDENTICAL), asks(IDENTICAL), asks(SHIFTED, pay=AUTO)):
        refuse_changed(wanted, store)


def test_a_class_that_answered_a_stop_is_no_change_of_the_manifest(store: Store) -> None:
    begun(store, asks(IDENTICAL), OffsetClass.SHIFTED, "pay")
    refuse_changed(asks(IDENTICAL), store)
    refuse_changed(asks(IDENTICAL, other=SHIFTED), store)
    refuse_changed(asks(SHIFTED), store)


def test_what_has_not_begun_takes_another_class(store: Store) -> None:
    begun(store, asks(IDENTICAL), OffsetClass.IDENTICAL, "pay", appended=0)
    refuse_changed(asks(SHIFTED), store)


def test_a_first_run_may_ask_for_anything(store: Store) -> None:
    refuse_changed(asks(SHIFTED), store)


def led(scheme: Scheme) -> Manifest:
    return replace(manifest(), waves=(Wave(name=CLEAN.name, topics=("orders",), scheme=scheme),))


def test_another_scheme_of_a_wave_that_began_is_refused_until_it_is_aborted(store: Store) -> None:
    book, cutover = CutoverBook(store), replace(begin(CLEAN, 0.0), number=1)
    refuse_changed(led(Scheme.PRODUCERS_FIRST), store)
    book.save(cutover, "left replicate")
    refuse_changed(led(Scheme.CONSUMERS_FIRST), store)
    refuse_changed(manifest(), store)
    with pytest.raises(
        Refused, match=f"wave {CLEAN.name} began with the scheme consumers-first, and the manifest says producers-first"
    ) as caught:
        refuse_changed(led(Scheme.PRODUCERS_FIRST), store)
    assert "put consumers-first back" in caught.value.hint
    book.save(replace(cutover, outcome=Outcome.ABORTED), "aborted")
    refuse_changed(led(Scheme.PRODUCERS_FIRST), store)
