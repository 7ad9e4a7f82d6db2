"""Committed offsets of many groups, laid out and read by hand as the codec library does."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka.protocol.consumer.group import OffsetCommitResponse, OffsetFetchResponse

from kmigrate.kafka_types import Partition, TopicName, TopicPartition
from kmigrate.wire import offset_calls
from kmigrate.wire.call import Call, HandCall
from kmigrate.wire.offset_calls import DescribedGroup, Member, OffsetsSeen
from kmigrate.wire.varints import uvarint

NAMES = st.text(min_size=1, max_size=40)
PLACES = st.builds(TopicPartition, NAMES.map(TopicName), st.integers(0, 2**31 - 1).map(Partition))
INTS = st.integers(-(2**31), 2**31 - 1)
OFFSETS = st.integers(-1, 2**63 - 1)
COMMITTED = st.tuples(st.integers(-1, 120), OFFSETS, st.integers(-1, 2**31 - 1), st.text(max_size=150) | st.none())
GROUPS = st.dictionaries(
    NAMES, st.tuples(st.integers(-1, 120), st.dictionaries(PLACES, COMMITTED, max_size=5)), max_size=5
)

Group = tuple[int, dict[TopicPartition, tuple[int, int, int, str | None]]]


def by_library(call: HandCall[Any]) -> Call[Any]:
    """The same call as the library makes it."""
    names = ("what", "request", "response", "oldest", "newest", "build", "parse")
    return Call(**{name: getattr(call, name) for name in names})


def framed(answer: Any) -> bytes:
    answer.with_header(correlation_id=5)
    return bytes(answer.encode(header=True))


def offsets_answer(groups: dict[str, Group]) -> bytes:
    group_class = OffsetFetchResponse.OffsetFetchResponseGroup
    topic_class = group_class.OffsetFetchResponseTopics
    part_class = topic_class.OffsetFetchResponsePartitions
    return framed(
        OffsetFetchResponse(
            version=8,
            throttle_time_ms=0,
            groups=[
                group_class(
                    group_id=name,
                    error_code=error,
                    topics=[
                        topic_class(
                            name=tp.topic,
                            partitions=[
                                part_class(
                                    partition_index=tp.partition,
                                    committed_offset=offset,
                                    committed_leader_epoch=epoch,
                                    metadata=metadata,
                                    error_code=code,
                                )
                            ],
                        )
                        for tp, (code, offset, epoch, metadata) in partitions.items()
                    ],
                )
                for name, (error, partitions) in groups.items()
            ],
        )
    )


@given(st.lists(NAMES, max_size=8), st.booleans(), INTS, st.text(max_size=20))
def test_offsets_are_asked_for_as_the_library_does(
    groups: list[str], require_stable: bool, correlation_id: int, client_id: str
) -> None:
    call = offset_calls.fetch_offsets(groups, OffsetsSeen(), require_stable=require_stable)
    arguments = (8, correlation_id, client_id)
    assert call.encode(*arguments) == by_library(call).encode(*arguments)


@given(GROUPS)
def test_offsets_are_read_as_the_library_does(groups: dict[str, Group]) -> None:
    call, answer = offset_calls.fetch_offsets([], OffsetsSeen()), offsets_answer(groups)
    assert call.decode(8, answer) == by_library(call).decode(8, answer)


@given(st.lists(GROUPS, min_size=2, max_size=4))
def test_what_was_seen_before_does_not_change_what_is_read(answers: list[dict[str, Group]]) -> None:
    seen = OffsetsSeen()
    for groups in answers:
        call, answer = offset_calls.fetch_offsets([], seen), offsets_answer(groups)
        assert call.decode(8, answer) == by_library(call).decode(8, answer)


def test_a_group_that_says_the_same_again_has_the_very_same_value() -> None:
    a, b = TopicPartition(TopicName("t"), Partition(0)), TopicPartition(TopicName("t"), Partition(1))
    seen = OffsetsSeen()
    call = offset_calls.fetch_offsets(["idle", "busy"], seen)
    first = call.decode(8, offsets_answer({"idle": (0, {a: (0, 5, -1, "")}), "busy": (0, {b: (0, 6, -1, "")})}))
    again = call.decode(8, offsets_answer({"busy": (0, {b: (0, 7, -1, "")}), "idle": (0, {a: (0, 5, -1, "")})}))
    assert again["idle"] is first["idle"]
    assert again["busy"].partitions[b].offset == 7


@given(st.text(min_size=1, max_size=30), st.dictionaries(PLACES, st.tuples(OFFSETS, st.text(max_size=90)), max_size=8))
def test_commits_are_laid_out_as_the_library_does(group: str, offsets: dict[TopicPartition, tuple[int, str]]) -> None:
    call = offset_calls.commit_from_outside(group, offsets)
    assert call.encode(7, 3, "id") == by_library(call).encode(7, 3, "id")


@given(st.dictionaries(PLACES, st.integers(-1, 120), max_size=8))
def test_answers_to_commits_are_read_as_the_library_does(errors: dict[TopicPartition, int]) -> None:
    topic_class = OffsetCommitResponse.OffsetCommitResponseTopic
    part_class = topic_class.OffsetCommitResponsePartition
    topics = [
        topic_class(name=tp.topic, partitions=[part_class(partition_index=tp.partition, error_code=error)])
        for tp, error in errors.items()
    ]
    answer = framed(OffsetCommitResponse(version=7, throttle_time_ms=0, topics=topics))
    call = offset_calls.commit_from_outside("g", {})
    assert call.decode(7, answer) == by_library(call).decode(7, answer) == errors


def text(value: str | None) -> bytes:
    return b"\0" if value is None else uvarint(len(value.encode()) + 1) + value.encode()


def assignment(topics: list[tuple[str, list[int]]]) -> bytes:
    body = uvarint(len(topics) + 1)
    for name, partitions in topics:
        body += b"\7" * 16 + text(name) + uvarint(len(partitions) + 1)
        body += b"".join(struct.pack(">i", each) for each in partitions) + b"\0"
    return body + b"\0"


def described_answer() -> bytes:
    """An answer to ConsumerGroupDescribe v0, as ConsumerGroupDescribeResponse.json lays it out."""
    member = text("m-1") + text("static-1") + text(None) + struct.pack(">i", 4) + text("app") + text("/10.0.0.7")
    member += uvarint(3) + text("orders") + text("pay") + text("re.*")
    member += assignment([("orders", [0, 1, 2])]) + assignment([]) + b"\0"
    good = struct.pack(">h", 0) + text(None) + text("new") + text("Stable") + struct.pack(">ii", 3, 3) + text("uniform")
    good += uvarint(2) + member + struct.pack(">i", -(2**31)) + b"\0"
    bad = struct.pack(">h", 69) + text("not there") + text("old") + text("") + struct.pack(">ii", 0, 0) + text("")
    bad += uvarint(1) + struct.pack(">i", -(2**31)) + b"\0"
    return struct.pack(">i", 5) + b"\0" + struct.pack(">i", 0) + uvarint(3) + good + bad + b"\0"


def orders(number: int) -> TopicPartition:
    return TopicPartition(TopicName("orders"), Partition(number))


def test_an_assignment_tells_its_partitions() -> None:
    topic = struct.pack(">h", 6) + b"orders" + struct.pack(">iii", 2, 0, 2)
    data = struct.pack(">hi", 1, 1) + topic + struct.pack(">i", -1)
    assert offset_calls.read_assignment(data) == (orders(0), orders(2))
    assert offset_calls.read_assignment(b"") == (), "a member that has none yet"
    assert offset_calls.read_assignment(data[:9]) is None, "of another kind of client"


def test_a_group_of_the_new_protocol_tells_its_members() -> None:
    found = offset_calls.describe_consumer_groups(["new", "old"]).decode(0, described_answer())
    assert found == {
        "new": DescribedGroup(
            0,
            "Stable",
            "consumer",
            (Member("m-1", "app", "10.0.0.7", "static-1", tuple(orders(number) for number in range(3))),),
        ),
        "old": DescribedGroup(69, "", "consumer", ()),
    }


A0 = TopicPartition(TopicName("a"), Partition(0))


@pytest.mark.parametrize(
    ("call", "version", "answer"),
    [
        (offset_calls.fetch_offsets(["g"], OffsetsSeen()), 8, offsets_answer({"g": (0, {A0: (0, 1, -1, "note")})})),
        (offset_calls.describe_consumer_groups(["new"]), 0, described_answer()),
    ],
    ids=["OffsetFetch", "ConsumerGroupDescribe"],
)
def test_an_answer_of_another_length_is_no_answer(call: Call[Any], version: int, answer: bytes) -> None:
    assert call.decode(version, answer)
    for end in range(4, len(answer)):
        with pytest.raises((ValueError, IndexError)):
            call.decode(version, answer[:end])
    with pytest.raises(ValueError, match="bytes long"):
        call.decode(version, answer + b"\0")
