"""The late book keeps decisions before they are acted on, and what has landed."""

from __future__ import annotations

from pathlib import Path

from kmigrate.kafka_types import Offset, Partition, TopicId, TopicName, TopicPartition
from kmigrate.late.values import Batch, Handover, Kept
from kmigrate.state.late_book import LateBook
from kmigrate.state.store import Store

PLACE = TopicPartition(TopicName("orders"), Partition(1))
HANDOVER = Handover(TopicId("s"), TopicId("t"), Offset(40), Offset(55))
FIRST = Batch(0, 0, Offset(40), Offset(50), 8)
LANDED = FIRST._replace(target_base=Offset(60))
SECOND = Batch(1, 8, Offset(50), Offset(53), 3)


def test_what_is_saved_is_there_for_the_next_process(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    book = LateBook(store)
    book.open({PLACE: HANDOVER})
    assert book.load() == {PLACE: Kept(HANDOVER)}
    book.save([(PLACE, FIRST)])
    store.close()

    book = LateBook(Store.open(tmp_path))
    assert book.load() == {PLACE: Kept(HANDOVER, pending=FIRST)}
    book.save([(PLACE, LANDED), (PLACE, SECOND)])
    assert book.load() == {PLACE: Kept(HANDOVER, last=LANDED, pending=SECOND, landed=8)}
    smaller = SECOND._replace(records=1, source_next=Offset(51))
    book.save([(PLACE, smaller)])
    assert book.load()[PLACE].pending == smaller, "a decision that was given up is replaced"
    assert book.counts() == {PLACE: 8}


def test_nothing_that_was_wanted_is_wanted_twice(tmp_path: Path) -> None:
    book = LateBook(Store.open(tmp_path))
    book.open({PLACE: HANDOVER})
    again = HANDOVER._replace(source_from=Offset(10), target_from=Offset(99), until=Offset(70))
    assert book.open({PLACE: again}) == {PLACE: HANDOVER._replace(until=Offset(70))}
    later = again._replace(source_from=Offset(75), until=Offset(80))
    assert book.open({PLACE: later})[PLACE] == HANDOVER._replace(source_from=Offset(75), until=Offset(80))
    assert book.load()[PLACE].handover.target_from == 55


def test_what_was_compared_is_not_compared_again(tmp_path: Path) -> None:
    book = LateBook(Store.open(tmp_path))
    book.open({PLACE: HANDOVER})
    book.save([(PLACE, LANDED), (PLACE, SECOND)])
    assert book.uncompared(PLACE, 10) == [LANDED]
    book.mark_compared(PLACE, [LANDED])
    assert book.uncompared(PLACE, 10) == []
    book.save([(PLACE, SECOND._replace(target_base=Offset(80)))])
    assert [each.number for each in book.uncompared(PLACE, 10)] == [1]
