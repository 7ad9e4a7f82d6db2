"""A view of a cluster grows wiser with every answer, and an incomplete one takes nothing away."""

from __future__ import annotations

from kmigrate.kafka_types import BrokerAddress, BrokerId, LeaderEpoch, Partition, TopicId, TopicName
from kmigrate.runner.observe import CERTAIN_SECONDS, LONELY_SECONDS, ClusterView, repeated
from kmigrate.wire import calls
from kmigrate.wire.calls import ClusterMetadata, PartitionMetadata, TopicMetadata

T = TopicName("t")
OTHER = TopicName("other")


def topic(
    topic_id: str = "1", *, leader: int = 1, epoch: int = 5, error: int = 0, partitions: int = 1
) -> TopicMetadata:
    part = PartitionMetadata(
        error=0, leader=BrokerId(leader), leader_epoch=LeaderEpoch(epoch), replicas=(BrokerId(1), BrokerId(2))
    )
    return TopicMetadata(
        error=error,
        topic_id=TopicId(topic_id),
        is_internal=False,
        partitions={Partition(n): part for n in range(partitions)},
    )


UNKNOWN = topic(error=3, partitions=0)


def answer(**topics: TopicMetadata) -> ClusterMetadata:
    return ClusterMetadata(
        cluster_id="c",
        controller=BrokerId(1),
        brokers={BrokerId(1): BrokerAddress(BrokerId(1), "b", 9092)},
        topics={TopicName(name): each for name, each in topics.items()},
    )


def test_the_same_answer_changes_nothing() -> None:
    view = ClusterView()
    first = answer(t=topic())
    assert view.adopt(first, 0.0)
    assert not view.adopt(first, 2.0)
    assert not view.adopt(answer(t=topic()), 4.0)
    assert view.adopt(answer(t=topic(leader=2)), 6.0)


def test_a_topic_is_gone_after_two_answers_a_second_apart() -> None:
    view = ClusterView()
    view.adopt(answer(t=topic(), other=topic()), 0.0)
    missing = answer(t=UNKNOWN, other=topic())
    view.adopt(missing, 10.0)
    assert T in view.topics
    assert view.unsure
    view.adopt(missing, 10.0 + CERTAIN_SECONDS / 2)
    assert T in view.topics
    assert view.adopt(missing, 10.0 + CERTAIN_SECONDS)
    assert view.gone == {T}
    assert T not in view.topics
    assert not view.unsure


def test_a_topic_that_comes_back_in_between_is_not_gone() -> None:
    view = ClusterView()
    view.adopt(answer(t=topic(), other=topic()), 0.0)
    view.adopt(answer(t=UNKNOWN, other=topic()), 1.0)
    view.adopt(answer(t=topic(), other=topic()), 2.0)
    view.adopt(answer(t=UNKNOWN, other=topic()), 3.0)
    assert not view.gone


def test_a_topic_that_is_only_not_listed_stays() -> None:
    view = ClusterView()
    view.adopt(answer(t=topic(), other=topic()), 0.0)
    view.adopt(answer(other=topic()), 100.0)
    assert T in view.topics
    view.adopt(answer(t=topic(error=29, partitions=0), other=topic()), 200.0)
    assert view.topics[T].partitions


def test_a_cluster_that_lists_nothing_is_not_believed_at_once() -> None:
    view = ClusterView()
    view.adopt(answer(t=topic()), 0.0)
    view.adopt(answer(t=UNKNOWN), 1.0)
    view.adopt(answer(t=UNKNOWN), LONELY_SECONDS)
    assert T in view.topics
    view.adopt(answer(t=UNKNOWN), 1.0 + LONELY_SECONDS)
    assert view.gone == {T}


def test_a_broker_that_lags_behind_does_not_bring_an_old_leader_back() -> None:
    view = ClusterView()
    view.adopt(answer(t=topic(leader=2, epoch=6)), 0.0)
    view.adopt(answer(t=topic(leader=1, epoch=5)), 1.0)
    assert view.topics[T].partitions[Partition(0)] == (2, 6)
    view.adopt(answer(t=topic("2", leader=1, epoch=0)), 2.0)
    assert view.topics[T].topic_id == "2"
    assert view.topics[T].partitions[Partition(0)] == (1, 0)


def test_no_leader_is_nobody() -> None:
    view = ClusterView()
    view.adopt(answer(t=topic(leader=-1)), 0.0)
    assert view.topics[T].partitions[Partition(0)].leader is None


def test_an_answer_with_the_same_bytes_is_the_same_object() -> None:
    decoded: list[bytes] = []
    call = repeated(calls.metadata(None))

    class Response:
        @staticmethod
        def decode(view: memoryview, *, version: int, header: bool) -> object:
            decoded.append(bytes(view))
            return view

    spied = type(call)(
        what=call.what,
        request=call.request,
        response=Response,
        oldest=call.oldest,
        newest=call.newest,
        build=call.build,
        parse=lambda answer: answer,
    )
    first = spied.decode(10, b"\0\0\0\1body")
    assert spied.decode(10, b"\0\0\0\2body") is first
    assert spied.decode(10, b"\0\0\0\3other") is not first
    assert decoded == [b"\0\0\0\1body", b"\0\0\0\3other"]
