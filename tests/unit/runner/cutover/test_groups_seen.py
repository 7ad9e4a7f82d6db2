"""A group's lags and commits as facts: what is not known is not told, and what was never read counts whole."""

from __future__ import annotations

from kmigrate.kafka_types import Offset, Partition, Side, TopicName, TopicPartition
from kmigrate.preflight.bounds import Bounds, Unseen
from kmigrate.runner.cutover.groups_seen import FALLING_SECONDS, GroupSeen, LagHistory, facts_of, lag_of, read_by_all
from kmigrate.schemes.facts import GroupFacts

ORDERS, PAY = TopicName("orders"), TopicName("pay")
A, B, P = TopicPartition(ORDERS, Partition(0)), TopicPartition(ORDERS, Partition(1)), TopicPartition(PAY, Partition(0))


def bounds(start: int, end: int, stable: int | None = None) -> Bounds:
    return Bounds(Offset(start), Offset(end), Offset(end), Offset(end if stable is None else stable))


ENDS = {A: bounds(0, 100), B: bounds(10, 50), P: bounds(0, 7)}


def offsets(**at: int) -> dict[TopicPartition, Offset]:
    places = {"a": A, "b": B, "p": P}
    return {places[name]: Offset(offset) for name, offset in at.items()}


def test_a_lag_is_what_can_be_read_behind_the_commits() -> None:
    assert lag_of(offsets(a=90, b=50), [ORDERS], ENDS) == 10
    assert lag_of(offsets(a=100, b=50), [ORDERS], ENDS | {A: bounds(0, 120, stable=105)}) == 5


def test_a_partition_without_a_commit_was_read_to_its_beginning_only() -> None:
    assert lag_of(offsets(a=100), [ORDERS], ENDS) == 40
    assert lag_of(offsets(p=7), [ORDERS, PAY], ENDS) == 0, "a topic without any commit is not one of the group's"


def test_commits_below_the_log_start_lag_from_there() -> None:
    assert lag_of(offsets(a=100, b=3), [ORDERS], ENDS) == 40


def test_what_is_not_known_is_no_lag() -> None:
    assert lag_of(None, [ORDERS], ENDS) is None
    assert lag_of(offsets(a=1), [ORDERS], ENDS | {B: Unseen("no leader")}) is None
    assert lag_of(offsets(a=1), [ORDERS], {}) is None, "a topic that was not seen may hold anything"


def test_a_lag_falls_if_it_is_less_than_a_while_ago() -> None:
    history = LagHistory()
    assert history.is_falling("g", 100, 0.0) is None
    assert history.is_falling("g", 90, 1.0) is True
    assert history.is_falling("g", 130, 2.0) is False
    history.is_falling("g", 120, FALLING_SECONDS)
    assert history.is_falling("g", 125, FALLING_SECONDS + 1) is True, "it was 130 then"
    assert history.is_falling("g", None, FALLING_SECONDS + 2) is None


def test_what_no_consumer_sees_is_no_lag_and_not_late() -> None:
    seen = GroupSeen(1, offsets(a=99, b=50), read=offsets(a=100, b=50))
    assert look(seen, GroupSeen()).source_lag == 0
    assert read_by_all({"g": seen})(A) == 100


def look(source: GroupSeen, target: GroupSeen, prepared: dict[TopicPartition, Offset] | None = None) -> GroupFacts:
    return facts_of(
        "g",
        [ORDERS],
        {Side.SOURCE: source, Side.TARGET: target},
        {Side.SOURCE: ENDS, Side.TARGET: ENDS},
        copied={A: Offset(95), B: Offset(50), P: None},
        prepared=prepared,
        history=LagHistory(),
        now=0.0,
    )


def test_nothing_seen_is_nothing_known() -> None:
    assert look(GroupSeen(), GroupSeen()) == GroupFacts()


def test_commits_are_copied_if_none_is_beyond_the_copy() -> None:
    assert look(GroupSeen(1, offsets(a=95)), GroupSeen()).are_commits_copied is True
    assert look(GroupSeen(1, offsets(a=96)), GroupSeen()).are_commits_copied is False
    assert look(GroupSeen(1, offsets(a=1, p=3)), GroupSeen()).are_commits_copied is True, "pay is in no topic of it"


def test_a_group_is_prepared_while_its_commits_are_there_or_further() -> None:
    prepared = offsets(a=90, b=20)
    assert look(GroupSeen(), GroupSeen(0, offsets(a=90, b=20)), prepared).is_prepared is True
    assert look(GroupSeen(), GroupSeen(1, offsets(a=99, b=20)), prepared).is_prepared is True
    assert look(GroupSeen(), GroupSeen(1, offsets(a=89, b=20)), prepared).is_prepared is False
    assert look(GroupSeen(), GroupSeen(0, offsets(a=90)), prepared).is_prepared is False
    assert look(GroupSeen(), GroupSeen(0, offsets(a=90)), None).is_prepared is None


def test_partitions_that_no_member_has_are_counted() -> None:
    mine = GroupSeen(1, offsets(a=1, b=10))
    assert look(mine, GroupSeen(1, {}, frozenset([A]))).unowned_on_target == 1
    assert look(mine, GroupSeen(1, {}, frozenset([A, B]))).unowned_on_target == 0
    assert look(mine, GroupSeen(1, {}, None)).unowned_on_target is None


def test_what_every_reader_of_a_topic_has_read_is_not_late() -> None:
    one, two = GroupSeen(0, offsets(a=100, b=50)), GroupSeen(0, offsets(a=90))
    read = read_by_all({"one": one, "two": two})
    assert (read(A), read(B), read(P)) == (90, 0, 0)
    assert read_by_all({"one": one})(B) == 50
    assert read_by_all({"one": one, "two": GroupSeen()})(A) == 0, "one that is not known may have read nothing"
