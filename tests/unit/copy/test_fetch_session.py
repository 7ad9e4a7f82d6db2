"""The mirror of a fetch session names only what changed, and starts over when the broker forgot."""

from __future__ import annotations

from kmigrate.copy.fetch_session import FetchSession, Request
from kmigrate.wire.fetch import FetchAnswer, Wish


def wish(partition: int, offset: int = 0) -> Wish:
    return Wish(partition, 1, offset, -1, 1024)


def answer(session_id: int = 0, error: int = 0, throttle_ms: int = 0) -> FetchAnswer:
    return FetchAnswer(1, throttle_ms, error, session_id, [])


def granted(*partitions: int) -> FetchSession:
    session = FetchSession()
    for partition in partitions:
        session.wish(b"t", wish(partition))
    session.request()
    session.on_answer(answer(session_id=77))
    return session


def test_the_first_request_asks_for_a_session_and_names_everything() -> None:
    session = FetchSession()
    session.wish(b"t", wish(0))
    session.wish(b"u", wish(0))
    assert session.request() == Request(0, 0, {b"t": [wish(0)], b"u": [wish(0)]}, {})


def test_in_a_session_only_changes_are_named() -> None:
    session = granted(0, 1)
    session.wish(b"t", wish(0))
    session.wish(b"t", wish(1, offset=5))
    assert session.request() == Request(77, 1, {b"t": [wish(1, offset=5)]}, {})


def test_epochs_rise_and_wrap_to_one() -> None:
    session = granted(0)
    assert session.request().session_epoch == 1
    session.on_answer(answer(77))
    assert session.request().session_epoch == 2
    session._epoch = 2**31 - 1
    session.on_answer(answer(77))
    assert session.request().session_epoch == 1


def test_a_forgotten_partition_leaves_the_session_once() -> None:
    session = granted(0, 1)
    session.forget(b"t", 1)
    session.forget(b"t", 1)
    assert session.request() == Request(77, 1, {}, {b"t": [1]})
    session.on_answer(answer(77))
    assert session.request() == Request(77, 2, {}, {})


def test_a_partition_wished_again_before_the_broker_heard_is_not_forgotten() -> None:
    session = granted(0)
    session.forget(b"t", 0)
    session.wish(b"t", wish(0))
    assert session.request() == Request(77, 1, {b"t": [wish(0)]}, {})


def test_what_was_never_wished_cannot_be_forgotten() -> None:
    session = granted(0)
    session.forget(b"t", 9)
    assert session.request().forgotten == {}


def test_a_lost_session_is_asked_for_again_with_everything() -> None:
    session = granted(0, 1)
    session.wish(b"t", wish(1, offset=5))
    session.request()
    session.on_answer(answer(error=70))
    assert session.request() == Request(0, 0, {b"t": [wish(0), wish(1, offset=5)]}, {})


def test_without_a_session_everything_is_named_each_time_in_turn() -> None:
    session = FetchSession()
    for partition in range(3):
        session.wish(b"t", wish(partition))
    orders = []
    for _ in range(4):
        request = session.request()
        assert (request.session_id, request.session_epoch) == (0, 0)
        orders.append([each.partition for each in request.wishes[b"t"]])
        session.on_answer(answer(session_id=0))
    assert orders == [[0, 1, 2], [1, 2, 0], [2, 0, 1], [0, 1, 2]]


def test_the_asked_offset_is_known_until_it_is_forgotten() -> None:
    session = granted(0)
    session.wish(b"t", wish(0, offset=44))
    assert session.asked(b"t", 0) == 44
    session.forget(b"t", 0)
    assert session.asked(b"t", 0) == -1


def test_a_session_is_empty_when_the_broker_knows_that_nothing_is_wanted() -> None:
    session = FetchSession()
    assert session.empty
    session = granted(0)
    assert not session.empty
    session.forget(b"t", 0)
    assert not session.empty, "the broker must be told"
    session.request()
    session.on_answer(answer(77))
    assert session.empty


def test_after_a_reset_nothing_is_left_to_forget() -> None:
    session = granted(0, 1)
    session.forget(b"t", 1)
    session.reset()
    assert session.request() == Request(0, 0, {b"t": [wish(0)]}, {})


def test_a_partition_is_silent_as_of_the_last_answer_since_its_wish_was_named() -> None:
    session = FetchSession()
    session.wish(b"t", wish(0))
    assert session.silent_ms(b"t", 0) == -1
    session.request(1_000)
    session.on_answer(answer(77))
    assert (session.asked_ms(), session.silent_ms(b"t", 0)) == (1_000, 1_000)
    assert session.silent_ms(b"t", 0, before_last=True) == -1
    session.request(2_000)
    assert session.silent_ms(b"t", 0) == 1_000, "it is not answered yet"
    session.on_answer(answer(77))
    assert (session.silent_ms(b"t", 0), session.silent_ms(b"t", 0, before_last=True)) == (2_000, 1_000)
    session.wish(b"t", wish(0, offset=5))
    session.request(3_000)
    assert session.silent_ms(b"t", 0) == -1, "from another offset nothing was asked"
    session.on_answer(answer(77))
    assert session.silent_ms(b"t", 0) == 3_000
    session.forget(b"t", 0)
    assert session.silent_ms(b"t", 0) == -1


def test_an_answer_that_a_quota_holds_back_or_that_failed_says_nothing() -> None:
    session = granted(0)
    session.request(1_000)
    session.on_answer(answer(77, throttle_ms=200))
    assert (session.asked_ms(), session.silent_ms(b"t", 0)) == (1_000, -1)
    session.request(2_000)
    session.on_answer(answer(77))
    assert session.silent_ms(b"t", 0) == 2_000
    session.request(3_000)
    session.on_answer(answer(77, error=70))
    session.request(4_000)
    assert session.silent_ms(b"t", 0) == -1, "it is named anew"


def test_silence_does_not_count_where_what_was_told_was_dropped() -> None:
    session = granted(0)
    session.request(1_000)
    session.on_answer(answer(77))
    session.miss(b"t", 0)
    assert session.silent_ms(b"t", 0) == -1
    session.hear(b"t", 0)
    assert session.silent_ms(b"t", 0) == 1_000
    session.miss(b"t", 0)
    session.reset()
    session.request(2_000)
    session.on_answer(answer(78))
    assert session.silent_ms(b"t", 0) == 2_000, "in a new session everything is told anew"


def test_what_was_dropped_does_not_count_as_silence_after_a_reset() -> None:
    session = FetchSession()
    session.wish(b"t", Wish(0, 1, 10, 1, 100))
    session.request(1_000)
    session.on_answer(FetchAnswer(1, 0, 0, 9, []))
    session.hear(b"t", 0)
    session.request(2_000)
    session.on_answer(FetchAnswer(2, 0, 0, 9, []))
    assert session.silent_ms(b"t", 0) == 2_000
    session.miss(b"t", 0)
    session.reset()
    assert session.silent_ms(b"t", 0) == -1
