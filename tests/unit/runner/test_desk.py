"""A decision is on the disk before anybody acts on it, and survives whoever acts."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from kmigrate.copy.rates import RateLimits
from kmigrate.copy.states import Choice, PartitionState, Stop, StopKind
from kmigrate.errors import UsageError
from kmigrate.kafka_types import Offset, Partition, TopicName, TopicPartition
from kmigrate.runner.desk import SAVE_SHARE, Answer, Desk
from kmigrate.runner.status import AcceptedStatus, MigrationState, PartitionStatus, StatusDocument, StopStatus
from kmigrate.state.store import Store
from kmigrate.topics.intended import Intended, Origin


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store.open(tmp_path)
    yield store
    store.close()


def key(topic: str, partition: int) -> TopicPartition:
    return TopicPartition(TopicName(topic), Partition(partition))


def stopped(topic: str, partition: int, kind: StopKind) -> PartitionStatus:
    stop = StopStatus.of(Stop(kind=kind, offset=Offset(4), evidence="seen"), topic, partition)
    return PartitionStatus(topic=topic, partition=partition, state=PartitionState.STOPPED, stop=stop)


DOCUMENT = StatusDocument(
    name="orders",
    state=MigrationState.RUNNING,
    partitions=(
        stopped("orders", 0, StopKind.TARGET_REJECTED),
        PartitionStatus(topic="orders", partition=1, state=PartitionState.IN_SYNC),
        stopped("orders", 2, StopKind.TARGET_REJECTED),
        stopped("pay", 0, StopKind.FOREIGN_WRITE),
        PartitionStatus(topic="calm", partition=0, state=PartitionState.IN_SYNC),
    ),
)


def test_pause_and_resume_are_journaled_before_the_owner_wakes(store: Store) -> None:
    seen: list[tuple[bool, str]] = []
    desk = Desk(store, lambda: seen.append((desk.decisions().paused, store.journal(1)[0].kind)))
    desk.pause()
    desk.resume_all()
    assert seen == [(True, "pause"), (False, "resume")]
    assert [entry.kind for entry in store.journal()] == ["resume", "pause"]


def test_a_decision_that_cannot_be_saved_is_not_made(store: Store) -> None:
    woken: list[None] = []
    desk = Desk(store, lambda: woken.append(None))
    store.close()
    with pytest.raises(Exception, match="cannot use"):
        desk.pause()
    assert not desk.decisions().paused
    assert not woken


def test_decisions_wait_for_the_next_owner(store: Store) -> None:
    first = Desk(store, manifest_limits=RateLimits(9))
    first.publish(DOCUMENT)
    first.pause()
    first.throttle(5)
    first.answer("orders", 0, Choice.RESUME)
    first.answer("pay", None, Choice.RECREATE)
    assert Desk(store, manifest_limits=RateLimits(9)).decisions() == first.decisions()


def test_whoever_comes_later_is_woken(store: Store) -> None:
    woken: list[None] = []
    desk = Desk(store)
    desk.pause()
    desk.on_decision(lambda: woken.append(None))
    desk.resume_all()
    assert len(woken) == 1


def test_the_manifests_limit_counts_at_first(store: Store) -> None:
    assert Desk(store, manifest_limits=RateLimits(9)).decisions().limits.total == 9
    assert Desk(store).decisions().limits.total is None


@pytest.mark.parametrize("wanted", [5, None])
def test_a_throttle_wins_until_the_manifest_says_something_else(store: Store, wanted: int | None) -> None:
    Desk(store, manifest_limits=RateLimits(9)).throttle(wanted)
    assert Desk(store, manifest_limits=RateLimits(9)).decisions().limits.total == wanted
    assert Desk(store, manifest_limits=RateLimits(10)).decisions().limits.total == 10
    assert Desk(store, manifest_limits=RateLimits(None)).decisions().limits.total is None


def test_a_throttle_stays_overridden_once_the_manifest_changed(store: Store) -> None:
    Desk(store, manifest_limits=RateLimits(9)).throttle(5)
    changed = Desk(store, manifest_limits=RateLimits(10))
    changed.pause()
    assert Desk(store, manifest_limits=RateLimits(9)).decisions().limits.total == 9


@pytest.mark.parametrize("wanted", [0, -1])
def test_a_throttle_that_stops_everything_is_refused(store: Store, wanted: int) -> None:
    with pytest.raises(UsageError) as caught:
        Desk(store).throttle(wanted)
    assert "pause" in caught.value.hint


def test_answers_rise_in_revision(store: Store) -> None:
    desk = Desk(store)
    desk.publish(DOCUMENT)
    assert desk.answer("orders", 0, Choice.RESUME) == (key("orders", 0),)
    assert desk.answer("orders", None, Choice.IGNORE) == (key("orders", 0), key("orders", 2))
    assert desk.decisions().answers == {
        key("orders", 0): Answer(choice=Choice.IGNORE, revision=2),
        key("orders", 2): Answer(choice=Choice.IGNORE, revision=1),
    }
    assert desk.decisions().recreate == ()


def test_a_topic_to_be_recreated_is_listed_until_it_is(store: Store) -> None:
    woken: list[None] = []
    desk = Desk(store, lambda: woken.append(None))
    desk.publish(DOCUMENT)
    assert desk.answer("orders", 0, Choice.RECREATE) == (key("orders", 0), key("orders", 2))
    desk.answer("orders", None, Choice.RECREATE)
    desk.answer("pay", None, Choice.RECREATE)
    assert desk.decisions().recreate == ("orders", "pay")
    desk.recreated("orders")
    assert desk.decisions().recreate == ("pay",)
    assert Desk(store).decisions().recreate == ("pay",)
    assert len(woken) == 3  # the owner need not be told what it did
    assert store.journal(1)[0].kind == "recreated"


def test_what_was_accepted_stays_until_the_topic_is_created_anew(store: Store) -> None:
    desk = Desk(store, wall_ms=lambda: 77)
    late = stopped("pay", 1, StopKind.TOMBSTONES_MAY_BE_LOST)
    desk.publish(replace(DOCUMENT, partitions=(*DOCUMENT.partitions, late)))
    assert desk.answer("pay", 1, Choice.ACCEPT) == (key("pay", 1),)
    accepted = AcceptedStatus(kind=StopKind.TOMBSTONES_MAY_BE_LOST, offset=4, evidence="seen", at=77)
    assert desk.decisions().accepted == {key("pay", 1): accepted}
    assert store.journal(1)[0].detail["accepted"] == [["pay", 1, "TOMBSTONES_MAY_BE_LOST", 4, "seen", 77]]
    desk.answer("pay", 1, Choice.IGNORE)
    assert Desk(store).decisions().accepted == {key("pay", 1): accepted}
    with pytest.raises(UsageError, match="accept is no answer to FOREIGN_WRITE of pay-0"):
        desk.answer("pay", 0, Choice.ACCEPT)
    desk.answer("pay", None, Choice.RECREATE)
    desk.recreated("pay")
    assert Desk(store).decisions().accepted == {}


def test_a_choice_that_the_stop_does_not_offer_is_refused_with_those_it_offers(store: Store) -> None:
    desk = Desk(store)
    desk.publish(DOCUMENT)
    with pytest.raises(UsageError, match="resume is no answer to FOREIGN_WRITE of pay-0") as caught:
        desk.answer("pay", 0, Choice.RESUME)
    assert "--recreate" in caught.value.hint
    assert "--ignore" in caught.value.hint
    assert desk.decisions().answers == {}
    assert store.journal() == []


@pytest.mark.parametrize(
    ("topic", "partition", "message"),
    [
        ("calm", None, "calm is not stopped"),
        ("orders", 1, "orders-1 is not stopped"),
        ("orders", 9, "orders-9 is not stopped"),
        ("nobody", None, "has no topic 'nobody'"),
    ],
)
def test_what_is_not_stopped_needs_no_answer(store: Store, topic: str, partition: int | None, message: str) -> None:
    desk = Desk(store)
    desk.publish(DOCUMENT)
    with pytest.raises(UsageError, match=message):
        desk.answer(topic, partition, Choice.RESUME)


def test_without_any_status_there_is_nothing_to_answer(store: Store) -> None:
    with pytest.raises(UsageError):
        Desk(store).answer("orders", None, Choice.RESUME)


def test_a_waived_stop_can_be_answered_again(store: Store) -> None:
    desk = Desk(store)
    waived = replace(DOCUMENT.partitions[0], state=PartitionState.IGNORED, waived=True)
    desk.publish(replace(DOCUMENT, partitions=(waived,)))
    assert desk.answer("orders", 0, Choice.RESUME) == (key("orders", 0),)


def test_what_was_answered_of_a_topic_is_over_when_it_is_created_anew(store: Store) -> None:
    desk = Desk(store)
    asking = stopped("pay", 1, StopKind.CLASS_QUESTION)
    desk.publish(replace(DOCUMENT, partitions=(asking,)))
    desk.answer("pay", 1, Choice.MAPPED)
    desk.publish(replace(DOCUMENT, partitions=(stopped("pay", 0, StopKind.GAP_LOST),)))
    assert desk.answer("pay", None, Choice.RECREATE) == (key("pay", 0),)
    assert desk.decisions().answers[key("pay", 1)] == Answer(choice=Choice.RECREATE, revision=2)
    desk.publish(replace(DOCUMENT, partitions=(asking,)))
    assert desk.answered_classes() == {}


def test_a_topics_answer_leaves_its_waived_stops_alone(store: Store) -> None:
    desk = Desk(store)
    waived = replace(DOCUMENT.partitions[0], state=PartitionState.IGNORED, waived=True)
    desk.publish(replace(DOCUMENT, partitions=(waived, *DOCUMENT.partitions[1:])))
    assert desk.answer("orders", None, Choice.RESUME) == (key("orders", 2),)
    assert desk.answer("orders", None, Choice.RECREATE) == (key("orders", 0), key("orders", 2))


def test_a_topic_is_recreated_if_one_of_its_stops_offers_it(store: Store) -> None:
    desk = Desk(store)
    partitions = (stopped("pay", 0, StopKind.UNAUTHORIZED), stopped("pay", 1, StopKind.GAP_LOST))
    desk.publish(replace(DOCUMENT, partitions=partitions))
    assert desk.answer("pay", None, Choice.RECREATE) == (key("pay", 0), key("pay", 1))
    with pytest.raises(UsageError, match="resume is no answer to GAP_LOST of pay-1"):
        desk.answer("pay", None, Choice.RESUME)
    desk.publish(replace(DOCUMENT, partitions=partitions[:1]))
    with pytest.raises(UsageError, match="recreate is no answer to UNAUTHORIZED of pay-0"):
        desk.answer("pay", None, Choice.RECREATE)


def test_status_is_saved_at_most_once_a_second_and_at_the_end(store: Store) -> None:
    now = [100.0]
    desk = Desk(store, lambda: None, monotonic_seconds=lambda: now[0])

    def saved() -> str | None:
        text = store.load_status()
        return None if text is None else StatusDocument.from_json(text).reason

    desk.publish(replace(DOCUMENT, reason="one"))
    now[0] += 0.9
    desk.publish(replace(DOCUMENT, reason="two"))
    assert saved() == "one"
    status = desk.status()
    assert status is not None
    assert status.reason == "two"
    now[0] += 0.2
    desk.publish(replace(DOCUMENT, reason="three"))
    assert saved() == "three"
    desk.publish(replace(DOCUMENT, reason="four"))
    desk.save()
    assert saved() == "four"


def test_a_status_that_is_slow_to_save_is_saved_less_often(store: Store) -> None:
    late = 100.0 + 0.5 / SAVE_SHARE + 0.1
    ticks = iter([100.0, 100.0, 100.5, late - 0.2, late, late, late])
    desk = Desk(store, lambda: None, monotonic_seconds=lambda: next(ticks))
    desk.publish(replace(DOCUMENT, reason="one"))  # takes half a second
    desk.publish(replace(DOCUMENT, reason="two"))
    assert "two" not in (store.load_status() or "")
    desk.publish(replace(DOCUMENT, reason="three"))
    assert "three" in (store.load_status() or "")


def test_the_status_of_a_gone_owner_is_told_as_such(store: Store) -> None:
    assert Desk(store).status() is None
    owner = Desk(store, lambda: None)
    owner.publish(DOCUMENT)
    without, starting = Desk(store).status(), Desk(store, lambda: None).status()
    assert without is not None
    assert without.state is MigrationState.NOT_STARTED  # DOCUMENT lists no topics
    assert starting is not None
    assert starting.state is MigrationState.WAITING
    assert without.stopped == starting.stopped == DOCUMENT.stopped


def test_without_an_owner_the_store_says_what_is_held(store: Store) -> None:
    orders, pay = TopicName("orders"), TopicName("pay")
    store.record_intended(dict.fromkeys((orders, pay), Intended(origin=Origin.SOURCE, settings={})))
    Desk(store, lambda: None).publish(replace(DOCUMENT, held=("orders", "pay")))
    store.end_effect(store.plan_effect("restore-hold", orders, {}), ends_hold=True)
    status = Desk(store).status()
    assert status is not None
    assert status.held == ("pay",)


def test_limits_of_every_kind_hold_together_and_each_has_its_manifests(store: Store) -> None:
    manifest = RateLimits(9, 8, ((TopicName("clicks"), 7),), 50)
    desk = Desk(store, manifest_limits=manifest)
    desk.throttle_brokers(3)
    desk.throttle_topics(["orders", "clicks"], 2)
    wanted = RateLimits(9, 3, ((TopicName("clicks"), 2), (TopicName("orders"), 2)), 50)
    assert desk.decisions().limits == Desk(store, manifest_limits=manifest).decisions().limits == wanted
    desk.throttle_topics(["clicks"], None)
    assert desk.decisions().limits.topics == ((TopicName("orders"), 2),)
    other = Desk(store, manifest_limits=manifest._replace(broker=5)).decisions().limits
    assert (other.broker, other.topics) == (5, ((TopicName("orders"), 2),))


def test_only_so_many_topics_have_a_limit_of_their_own(store: Store) -> None:
    with pytest.raises(UsageError, match="at most 1,000 topics"):
        Desk(store).throttle_topics([str(number) for number in range(1001)], 5)
    desk = Desk(store)
    desk.throttle_topics([str(number) for number in range(1000)], 5)
    with pytest.raises(UsageError, match="at most 1,000 topics"):
        desk.throttle_topics(["another"], 5)
    desk.throttle_topics(["0"], None)
    desk.throttle_topics(["another"], 5)
    assert len(desk.decisions().limits.topics) == 1000
