"""Creating and enlarging topics: every outcome is a value, and only our own creation counts as ours."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import pytest

from kmigrate.cluster.client import ClusterClient
from kmigrate.kafka_types import TopicName
from kmigrate.topics import create
from kmigrate.topics.create import (
    Created,
    Enlarged,
    Failed,
    Gone,
    Later,
    Present,
    TargetTraits,
    WantedTopic,
    create_topics,
    delete_topics,
    enlarge_topics,
)
from kmigrate.topics.hold import TimestampLimits
from kmigrate.topics.replicas import decide_replication_factor
from kmigrate.wire.call import Call
from kmigrate.wire.calls import TopicOutcome

KNOWN = TargetTraits(limits=TimestampLimits.SPLIT, max_bytes=None)
UNKNOWN = TargetTraits(limits=None, max_bytes=None)


class Controller:
    """Answers every request with what `answer` says of each topic's name and configuration."""

    def __init__(self, answer: Callable[[str, dict[str, str]], int | None]) -> None:
        self.answer = answer
        self.requests: list[Sequence[str]] = []

    def controller(self, call: Call[Any]) -> Any:
        message = call.build(call.newest)
        asked = getattr(message, "topics", None) or [type("T", (), {"name": n}) for n in message.topic_names]
        self.requests.append([topic.name for topic in asked])
        answers = {}
        for topic in asked:
            configs = {config.name: config.value for config in getattr(topic, "configs", ())}
            error = self.answer(topic.name, configs)
            if error is not None:
                answers[topic.name] = TopicOutcome(error, "said the target" if error else "")
        return answers


def client(answer: Callable[[str, dict[str, str]], int | None]) -> tuple[Controller, ClusterClient]:
    controller = Controller(answer)
    return controller, cast(ClusterClient, controller)


def wanted(*names: str, partitions: int = 3) -> list[WantedTopic]:
    return [
        WantedTopic(name=TopicName(name), partitions=partitions, replication_factor=1, source_max_bytes=None)
        for name in names
    ]


def test_each_topic_has_its_own_outcome() -> None:
    codes = {"new": 0, "old": 36, "slow": 7, "moved": 41, "forbidden": 29, "silent": None}
    _, cluster = client(lambda name, _: codes[name])
    outcomes = create_topics(cluster, wanted(*codes), KNOWN)
    assert outcomes["new"] == Created()
    assert outcomes["old"] == Present()
    assert isinstance(outcomes["slow"], Later)
    assert isinstance(outcomes["moved"], Later)
    assert outcomes["forbidden"] == Failed("TOPIC_AUTHORIZATION_FAILED (29): said the target")
    assert isinstance(outcomes["silent"], Later)


def test_at_most_a_hundred_topics_go_into_a_request() -> None:
    controller, cluster = client(lambda *_: 0)
    outcomes = create_topics(cluster, wanted(*(f"t{n}" for n in range(250))), KNOWN)
    assert [len(names) for names in controller.requests] == [100, 100, 50]
    assert set(outcomes.values()) == {Created()}


def test_no_request_takes_more_records_than_a_controller_accepts() -> None:
    controller, cluster = client(lambda *_: 0)
    names = [f"t{number}" for number in range(100)]
    outcomes = create_topics(cluster, wanted(*names, partitions=100), KNOWN)
    assert [name for request in controller.requests for name in request] == names
    assert set(outcomes.values()) == {Created()}
    assert max(map(len, controller.requests)) * 100 <= create.RECORDS_A_REQUEST
    controller.requests.clear()
    create_topics(cluster, wanted("a", "huge", "b", partitions=8_000), KNOWN)
    assert controller.requests == [["a"], ["huge"], ["b"]]
    controller.requests.clear()
    enlarge_topics(cluster, {TopicName(name): 4_000 for name in "abc"})
    assert controller.requests == [["a"], ["b"], ["c"]]


def test_a_target_that_told_nothing_is_offered_both_spellings() -> None:
    def old_broker(_name: str, configs: dict[str, str]) -> int:
        return create.INVALID_CONFIG if "message.timestamp.after.max.ms" in configs else 0

    controller, cluster = client(old_broker)
    assert create_topics(cluster, wanted("a"), UNKNOWN) == {"a": Created()}
    assert len(controller.requests) == 2
    controller, cluster = client(old_broker)
    assert isinstance(create_topics(cluster, wanted("a"), KNOWN)["a"], Failed)


def test_a_topic_that_is_large_enough_is_present() -> None:
    codes = {"small": 0, "large": create.INVALID_PARTITIONS, "busy": create.THROTTLING_QUOTA_EXCEEDED}
    _, cluster = client(lambda name, _: codes[name])
    outcomes = enlarge_topics(cluster, dict.fromkeys(map(TopicName, codes), 5))
    assert outcomes["small"] == Enlarged()
    assert outcomes["large"] == Present()
    assert isinstance(outcomes["busy"], Later)


def test_a_topic_that_was_never_there_is_gone() -> None:
    codes = {"there": 0, "never": 3, "kept": 73}
    _, cluster = client(lambda name, _: codes[name])
    outcomes = delete_topics(cluster, [TopicName(name) for name in codes])
    assert outcomes["there"] == outcomes["never"] == Gone()
    assert isinstance(outcomes["kept"], Failed)


@pytest.mark.parametrize(("wanted_factor", "expected"), [("source", 3), ("fit", 2), (1, 1), (5, 5)])
def test_replicas_follow_the_manifest(wanted_factor: Any, expected: int) -> None:
    assert decide_replication_factor(wanted_factor, 3, 2) == expected


def test_a_setting_that_the_target_refuses_does_not_keep_the_topic_from_being_held() -> None:
    controller, target = client(lambda _name, configs: 40 if "flush.ms" in configs else 0)
    topics = [
        WantedTopic(name=TopicName("a"), partitions=1, replication_factor=1, source_max_bytes=None, settings=each)
        for each in ({"flush.ms": "7"},)
    ]
    assert create_topics(target, topics, KNOWN) == {"a": Created()}
    assert controller.requests == [["a"], ["a"]]
