"""The judge counts every kind of wrong from what was noted, and objects to what proves nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from kmigrate.demo.service.entries import Acknowledged, Identity, Kind, Place, Processed, ServiceLedger
from kmigrate.demo.service.judge import GroupVerdict, Verdict, judge
from kmigrate.demo.service.notes import Notes, notes_path, read_notes
from kmigrate.demo.service.promise import Promise, broken_by, promise_of
from kmigrate.kafka_types import Side
from kmigrate.manifest.model import Scheme
from kmigrate.schemes.wave import Ending

SOURCE, TARGET = Side.SOURCE, Side.TARGET
SECOND = 1_000_000_000


def record(number: int, *, key: str = "k", producer: str = "p") -> Identity:
    return Identity(producer, key, number)


def acknowledged(number: int, at: float, *, side: Side = SOURCE, topic: str = "orders", key: str = "k") -> Acknowledged:
    return Acknowledged(record(number, key=key), Place(side, topic, 0, number), int(at * SECOND))


def processed(
    number: int, at: float, *, side: Side = SOURCE, topic: str = "orders", key: str = "k", group: str = "shop"
) -> Processed:
    return Processed(group, f"{group}-1", record(number, key=key), Place(side, topic, 0, number), int(at * SECOND))


def verdict(*entries: Acknowledged | Processed, expected: dict[str, frozenset[str]] | None = None) -> Verdict:
    return judge(
        ServiceLedger(
            acknowledged=[each for each in entries if isinstance(each, Acknowledged)],
            processed=[each for each in entries if isinstance(each, Processed)],
            expected={"shop": frozenset({"orders"})} if expected is None else expected,
        )
    )


def shop(*entries: Acknowledged | Processed) -> GroupVerdict:
    (group,) = verdict(*entries).groups
    return group


GOOD = (
    *(acknowledged(number, number) for number in range(4)),
    *(acknowledged(number, number, side=TARGET) for number in range(4, 6)),
    *(processed(number, number + 0.5, side=SOURCE if number < 4 else TARGET) for number in range(6)),
)


def test_a_service_without_a_fault() -> None:
    found = verdict(*GOOD)
    assert (found.acknowledged, found.processed, found.lost, found.repeated, found.out_of_order) == (6, 6, 0, 0, 0)
    (producer,), (group,) = found.producers, found.groups
    assert (producer.by_side, group.by_side) == ({SOURCE: 4, TARGET: 2}, {SOURCE: 4, TARGET: 2})
    assert (group.expected, group.unacknowledged) == (6, 0)
    assert found.findings == ()


def test_a_record_that_was_acknowledged_and_never_processed_is_lost() -> None:
    found = verdict(*(each for each in GOOD if each != processed(2, 2.5)))
    assert (found.lost, found.repeated, found.out_of_order) == (1, 0, 0)
    assert found.findings == (
        "group shop: lost: record 2 of p (key k): acknowledged at orders-0@2 on the source, never processed",
    )


def test_a_group_that_processed_nothing_has_lost_all() -> None:
    assert shop(acknowledged(0, 0), acknowledged(1, 1)).lost == 2


def test_only_records_of_the_groups_topics_can_be_lost() -> None:
    assert shop(*GOOD, acknowledged(9, 9, topic="bills")).lost == 0


def test_each_further_processing_is_repeated_wherever_it_is() -> None:
    found = verdict(*GOOD, processed(2, 9, side=TARGET), processed(2, 10))
    assert (found.lost, found.repeated, found.out_of_order, found.processed) == (0, 2, 0, 6)
    again = "at orders-0@2 on the source by shop-1, and again at orders-0@2 on the target by shop-1"
    assert found.findings[0] == f"group shop: repeated: record 2 of p (key k): {again}"


def test_a_record_is_out_of_order_behind_a_later_one_of_its_key() -> None:
    swapped = (processed(3, 2.4) if each == processed(3, 3.5) else each for each in GOOD)
    found = verdict(*swapped)
    assert (found.lost, found.repeated, found.out_of_order) == (0, 0, 1)
    assert "record 2 of p (key k): at orders-0@2 on the source, after record 3 at orders-0@3" in found.findings[0]


def test_a_stretch_that_was_processed_too_late_counts_record_by_record() -> None:
    assert shop(*GOOD, processed(90, 0.1)).out_of_order == 6


def test_other_keys_producers_and_groups_have_an_order_of_their_own() -> None:
    other = Processed("shop", "shop-1", record(90, producer="q"), Place(SOURCE, "orders", 0, 9), 0)
    elsewhere = processed(91, 0, group="audit")
    expected = {"shop": frozenset({"orders"}), "audit": frozenset[str]()}
    found = verdict(*GOOD, processed(90, 0, key="l"), other, elsewhere, expected=expected)
    assert found.out_of_order == 0


def test_a_repetition_is_no_disorder() -> None:
    assert shop(*GOOD, processed(0, 9)).out_of_order == 0


def test_a_record_that_nobody_knows_of_is_counted_and_judged() -> None:
    group = shop(*GOOD, processed(7, 9), processed(7, 10))
    assert (group.unacknowledged, group.repeated, group.processed, group.expected) == (1, 1, 7, 6)


def test_what_comes_at_second_hand_is_judged_by_its_first_topic() -> None:
    bills = [replace_topic(each) for each in GOOD if isinstance(each, Processed)]
    origins = [each for each in GOOD if isinstance(each, Acknowledged)]
    found = verdict(*origins, *bills[1:], expected={"shop": frozenset({"orders"})})
    assert (found.lost, found.repeated, found.groups[0].processed) == (1, 0, 5)


def replace_topic(each: Processed) -> Processed:
    return each._replace(place=each.place._replace(topic="bills"))


def test_the_pause_of_a_producer_is_the_longest_time_between_two_acknowledgements() -> None:
    found = verdict(acknowledged(0, 1), acknowledged(1, 1.5), acknowledged(2, 5, side=TARGET), acknowledged(3, 6))
    assert found.longest_producer_pause_seconds == 3.5


def test_a_group_pauses_only_while_a_record_is_there() -> None:
    entries = (
        *(acknowledged(0, 1), acknowledged(1, 2), acknowledged(2, 7)),
        *(processed(0, 1), processed(1, 2), processed(2, 7.5)),
    )
    assert shop(*entries).longest_pause_seconds == 0.5


def test_a_group_pauses_from_the_last_record_on_where_more_were_there() -> None:
    entries = (
        *(acknowledged(0, 1), acknowledged(1, 1.1), acknowledged(2, 3)),
        *(processed(0, 2), processed(2, 6), processed(1, 6.25)),
    )
    assert shop(*entries).longest_pause_seconds == 4


def test_repetitions_do_not_shorten_a_pause() -> None:
    entries = (acknowledged(0, 1), acknowledged(1, 1), processed(0, 1), processed(0, 3), processed(1, 5))
    assert shop(*entries).longest_pause_seconds == 4


def test_a_record_that_was_processed_before_its_acknowledgement_is_no_pause() -> None:
    assert shop(acknowledged(0, 1), acknowledged(1, 9), processed(0, 1), processed(1, 5)).longest_pause_seconds == 0


# -- promises

STRICT = Promise()
LOOSE = Promise(most_repeated=2, is_in_order=False)


def test_a_good_verdict_keeps_every_promise() -> None:
    assert list(broken_by(verdict(*GOOD), STRICT)) == []
    assert list(broken_by(verdict(*GOOD), LOOSE)) == []


def test_loss_breaks_every_promise() -> None:
    found = verdict(*(each for each in GOOD if each != processed(5, 5.5, side=TARGET)))
    for promise in (STRICT, LOOSE):
        assert list(broken_by(found, promise)) == ["1 records were lost"]


def test_repetitions_are_promised_up_to_a_bound() -> None:
    twice = verdict(*GOOD, processed(0, 9), processed(1, 9))
    assert list(broken_by(twice, STRICT)) == ["2 records were repeated, and no more than 0 may be"]
    assert list(broken_by(twice, LOOSE)) == []
    assert len(list(broken_by(verdict(*GOOD, *(processed(0, at) for at in (7, 8, 9))), LOOSE))) == 1


def test_disorder_breaks_only_a_promise_of_order() -> None:
    found = verdict(*GOOD, processed(90, 0.1))
    assert list(broken_by(found, STRICT)) == ["6 records were out of order"]
    assert list(broken_by(found, LOOSE)) == []


def test_what_proves_nothing_keeps_no_promise() -> None:
    assert list(broken_by(verdict(expected={}), STRICT)) != []
    stayed = verdict(acknowledged(0, 0), processed(0, 0))
    assert list(broken_by(stayed, STRICT)) == [
        "group shop has processed no new record on the target",
        "producer p has written nothing to the target",
    ]
    assert list(broken_by(stayed, replace(STRICT, is_moved=False))) == []
    silent = verdict(*GOOD, expected={"shop": frozenset({"orders"}), "audit": frozenset({"clicks"})})
    assert "no record was there for group audit: that proves nothing" in list(broken_by(silent, STRICT))


@pytest.mark.parametrize(
    ("scheme", "ending", "is_in_order", "most_repeated"),
    [
        (Scheme.PRODUCERS_FIRST, Ending.CLEAN, True, 0),
        (Scheme.PRODUCERS_LATER, Ending.CLEAN, False, 7),
        (Scheme.CONSUMERS_FIRST, Ending.CLEAN, True, 0),
        (Scheme.CONSUMERS_FIRST, Ending.OVERLAP, False, 0),
    ],
)
def test_a_scheme_promises_order_or_not(scheme: Scheme, ending: Ending, is_in_order: bool, most_repeated: int) -> None:
    promise = promise_of(scheme, ending, most_repeated=7)
    assert (promise.is_in_order, promise.most_repeated) == (is_in_order, most_repeated)


# -- notes


def test_notes_come_back_and_a_line_that_was_cut_short_does_not(tmp_path: Path) -> None:
    written = Notes(notes_path(tmp_path, "shop-1", 0), Kind("shop-1", TARGET, "shop"))
    written.write(record(1), "orders", 3, 17, 5)
    written.close()
    sent = Notes(notes_path(tmp_path, "p", 0), Kind("p", SOURCE))
    sent.write(record(1), "orders", 3, None, 4)
    sent.flush()
    sent.write(record(2), "orders", 3, 18, 6)  # and then it is killed
    with notes_path(tmp_path, "p", 0).open("a") as file:
        file.write('["p", "k", 2')
    notes_path(tmp_path, "q", 0).touch()
    ledger = read_notes(tmp_path, {"shop": frozenset({"orders"})})
    assert ledger.acknowledged == [Acknowledged(record(1), Place(SOURCE, "orders", 3, None), 4)]
    assert ledger.processed == [Processed("shop", "shop-1", record(1), Place(TARGET, "orders", 3, 17), 5)]


def test_a_record_is_known_by_its_value_and_others_are_not() -> None:
    assert Identity.of_value(record(7).to_value(5)) == record(7)
    for value in (None, b"", b"[]", b"7", b'{"producer": "p"}', b"\xff"):
        assert Identity.of_value(value) is None
