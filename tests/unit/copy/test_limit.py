"""A batch that is too large waits for a higher limit, is sent again a few times, and only then will not fit."""

from __future__ import annotations

from kmigrate.copy.copier import Copier
from kmigrate.copy.limit import MOST_TRIES, LimitWish, TooLarge
from kmigrate.copy.orders import Limit
from kmigrate.copy.states import PartitionState, StopKind
from kmigrate.kafka_types import Offset
from kmigrate.wire.error_codes import ErrorCode
from tests.unit.copy.test_copier import ORDER, bad, batch, copying, fetch, good, send_all, standing, stop_of

NOTHING_DONE = Limit()


def test_where_nobody_raises_limits_the_answer_is_final() -> None:
    wish = LimitWish()
    assert wish.on_too_large(0, 100, None) is TooLarge.FINAL
    assert wish.open_bytes(None) == 0


def test_a_wish_is_open_until_it_is_raised_or_refused() -> None:
    wish = LimitWish()
    assert wish.on_too_large(0, 100, NOTHING_DONE) is TooLarge.WAIT
    assert wish.open_bytes(NOTHING_DONE) == wish.open_bytes(Limit(99)) == wish.open_bytes(Limit(0, 101)) == 100
    assert wish.open_bytes(Limit(100)) == wish.open_bytes(Limit(0, 100)) == 0
    wish.on_limit(Limit(100))
    assert wish.open_bytes(NOTHING_DONE) == 0, "it was answered"


def test_a_refused_size_is_final_and_so_is_every_larger_one() -> None:
    wish = LimitWish()
    assert wish.on_too_large(0, 100, Limit(0, 100)) is TooLarge.FINAL
    assert wish.on_too_large(0, 101, Limit(0, 100)) is TooLarge.FINAL
    assert wish.on_too_large(0, 99, Limit(0, 100)) is TooLarge.WAIT


def test_what_should_fit_is_sent_again_a_few_times() -> None:
    wish = LimitWish()
    tries = [wish.on_too_large(7, 100, Limit(100)) for _ in range(MOST_TRIES)]
    assert set(tries) == {TooLarge.AGAIN}
    assert wish.on_too_large(8, 90, Limit(100)) is TooLarge.AGAIN, "another batch begins to count anew"
    for _ in range(MOST_TRIES):
        assert wish.on_too_large(9, 95, Limit(100)) is TooLarge.AGAIN
    assert wish.on_too_large(9, 95, Limit(100)) is TooLarge.FINAL
    assert wish.on_too_large(20, 96, Limit(100)) is TooLarge.FINAL, "it was of no use"
    wish.forget()
    assert wish.on_too_large(20, 96, Limit(100)) is TooLarge.AGAIN


def too_large(copier: Copier) -> int:
    """The next batch is refused; returns its size."""
    fetch(copier, batch(0, 4))
    (sent,) = send_all(copier)
    bad(copier, sent, ErrorCode.MESSAGE_TOO_LARGE)
    return sent.size


def resume(copier: Copier) -> None:
    assert copier.wants_standing()
    copier.on_standing(standing(0))


def test_a_copier_waits_for_the_owner_and_then_sends_the_batch_as_it_is() -> None:
    order = ORDER._replace(limit=NOTHING_DONE)
    copier = copying(order=order)
    size = too_large(copier)
    seen = copier.progress(paused=False, hindrance="")
    assert (seen.state, seen.limit_wish_bytes, seen.stop) == (PartitionState.WAITING, size, None)
    assert f"is to be raised to {size}" in seen.reason
    assert not copier.wants_standing()
    copier.on_order(order._replace(limit=Limit(size)))
    assert copier.progress(paused=False, hindrance="").limit_wish_bytes == 0
    resume(copier)
    too_large(copier)  # it is not in force yet
    resume(copier)
    fetch(copier, batch(0, 4))
    (sent,) = send_all(copier)
    good(copier, sent)
    assert (sent.records, copier.position, copier.reencoded, copier.stop) == (4, 4, 0, None)


def test_a_refused_limit_splits_the_batch() -> None:
    order = ORDER._replace(limit=NOTHING_DONE)
    copier = copying(order=order)
    size = too_large(copier)
    copier.on_order(order._replace(limit=Limit(0, size, "no right")))
    resume(copier)
    too_large(copier)
    resume(copier)
    fetch(copier, batch(0, 4))
    assert [each.records for each in send_all(copier)] == [2]


def test_a_single_record_stops_with_the_remedy_and_why_nobody_else_did_it() -> None:
    order = ORDER._replace(limit=Limit(0, 1, "no right"))
    copier = copying(order=order)
    fetch(copier, batch(0, 1))
    (sent,) = send_all(copier)
    bad(copier, sent, ErrorCode.MESSAGE_TOO_LARGE)
    assert stop_of(copier) == (StopKind.TARGET_REJECTED, 0)
    assert copier.stop is not None
    assert "raise the target topic's max.message.bytes to that (kmigrate may not: no right)" in copier.stop.evidence
    copier.on_order(order._replace(revision=1, limit=NOTHING_DONE))
    resume(copier)
    fetch(copier, batch(0, 1))
    (sent,) = send_all(copier)
    bad(copier, sent, ErrorCode.MESSAGE_TOO_LARGE)
    assert copier.progress(paused=False, hindrance="").limit_wish_bytes == sent.size, (
        "after an answer it is tried again"
    )


def test_a_list_of_records_that_is_too_large_for_a_segment_is_split_at_once() -> None:
    copier = copying(order=ORDER._replace(limit=NOTHING_DONE))
    fetch(copier, batch(0, 4))
    (sent,) = send_all(copier)
    bad(copier, sent, ErrorCode.RECORD_LIST_TOO_LARGE)
    assert copier.progress(paused=False, hindrance="").limit_wish_bytes == 0
    copier.wants_standing()
    copier.on_standing(standing(0)._replace(target_end=Offset(0)))
    fetch(copier, batch(0, 4))
    assert [each.records for each in send_all(copier)] == [2]
