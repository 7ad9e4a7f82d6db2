"""Fetch by hand and the codec library's Fetch are the same messages."""

from __future__ import annotations

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka.protocol.consumer.fetch import FetchRequest, FetchResponse

from kmigrate.wire.fetch import BY_ID, BY_NAME, FetchAnswer, Wish, parse_fetch, serialize_fetch, topic_key

INT16 = st.integers(-(2**15), 2**15 - 1)
INT32 = st.integers(-(2**31), 2**31 - 1)
INT64 = st.integers(-(2**63), 2**63 - 1)
INDEX = st.integers(0, 2**31 - 1)
VERSIONS = st.sampled_from([BY_NAME, BY_ID])
TOPICS = st.tuples(st.text(min_size=1, max_size=200).filter(lambda name: len(name.encode()) < 249), st.uuids())
WISHES = st.lists(st.builds(Wish, INDEX, INT32, INT64, INT32, INT32), max_size=4)


@given(
    VERSIONS,
    st.lists(st.tuples(TOPICS, WISHES), max_size=4, unique_by=(lambda t: t[0][0], lambda t: t[0][1])),
    st.lists(
        st.tuples(TOPICS, st.lists(INDEX, max_size=200)), max_size=3, unique_by=(lambda t: t[0][0], lambda t: t[0][1])
    ),
    st.tuples(INT32, INT32, INT32, st.integers(0, 1), INT32, INT32),
    st.text(max_size=20),
)
def test_a_request_is_read_by_the_library_as_it_was_meant(
    version: int,
    wished: list[tuple[tuple[str, uuid.UUID], list[Wish]]],
    forgotten: list[tuple[tuple[str, uuid.UUID], list[int]]],
    numbers: tuple[int, int, int, int, int, int],
    client_id: str,
) -> None:
    correlation_id, max_wait_ms, max_bytes, isolation_level, session_id, session_epoch = numbers
    request = serialize_fetch(
        version=version,
        correlation_id=correlation_id,
        client_id=client_id.encode(),
        max_wait_ms=max_wait_ms,
        max_bytes=max_bytes,
        isolation_level=isolation_level,
        session_id=session_id,
        session_epoch=session_epoch,
        wishes={topic_key(version, name, topic_id.hex): parts for (name, topic_id), parts in wished},
        forgotten={topic_key(version, name, topic_id.hex): parts for (name, topic_id), parts in forgotten},
    )
    assert int.from_bytes(request[:4], "big") == len(request) - 4
    read = FetchRequest.decode(memoryview(request)[4:], version=version, header=True)
    header = read.header
    assert (header.request_api_key, header.request_api_version) == (1, version)
    assert (header.correlation_id, header.client_id) == (correlation_id, client_id)
    assert (read.replica_id, read.min_bytes, read.rack_id) == (-1, 1, "")
    assert (read.max_wait_ms, read.max_bytes, read.isolation_level) == (max_wait_ms, max_bytes, isolation_level)
    assert (read.session_id, read.session_epoch) == (session_id, session_epoch)

    def named(topic: object) -> object:
        return topic.topic if version == BY_NAME else topic.topic_id  # type: ignore[attr-defined]

    place = 0 if version == BY_NAME else 1
    assert [
        (
            named(topic),
            [
                (p.partition, p.current_leader_epoch, p.fetch_offset, p.last_fetched_epoch, p.partition_max_bytes)
                for p in topic.partitions
            ],
        )
        for topic in read.topics
    ] == [(each[0][place], [tuple(wish) for wish in each[1]]) for each in wished]
    assert all(p.log_start_offset == -1 for topic in read.topics for p in topic.partitions)
    assert [(named(topic), topic.partitions) for topic in read.forgotten_topics_data] == [
        (each[0][place], each[1]) for each in forgotten
    ]


PARTITION = st.fixed_dictionaries(
    {
        "partition_index": INDEX,
        "error_code": INT16,
        "high_watermark": INT64,
        "last_stable_offset": INT64,
        "log_start_offset": INT64,
        "diverging": st.none() | st.tuples(INT32, st.integers(0, 2**63 - 1)),
        "leader": st.none() | st.tuples(INT32, INT32),
        "aborted": st.none() | st.lists(st.tuples(INT64, INT64), max_size=3),
        "records": st.none() | st.binary(max_size=300),
    }
)


def answer_bytes(
    version: int, numbers: tuple[int, int, int, int], topics: list[tuple[tuple[str, uuid.UUID], list[dict]]]
) -> bytes:
    correlation_id, throttle_ms, error, session_id = numbers
    topic_class = FetchResponse.FetchableTopicResponse
    part_class = topic_class.PartitionData
    answer = FetchResponse(
        version=version,
        throttle_time_ms=throttle_ms,
        error_code=error,
        session_id=session_id,
        responses=[
            topic_class(
                topic=name,
                topic_id=topic_id,
                partitions=[
                    part_class(
                        **{key: value for key, value in part.items() if key not in ("diverging", "leader", "aborted")},
                        **(
                            {}
                            if part["diverging"] is None
                            else {
                                "diverging_epoch": part_class.EpochEndOffset(
                                    epoch=part["diverging"][0], end_offset=part["diverging"][1]
                                )
                            }
                        ),
                        **(
                            {}
                            if part["leader"] is None
                            else {
                                "current_leader": part_class.LeaderIdAndEpoch(
                                    leader_id=part["leader"][0], leader_epoch=part["leader"][1]
                                )
                            }
                        ),
                        aborted_transactions=part["aborted"]
                        and [
                            part_class.AbortedTransaction(producer_id=pid, first_offset=first)
                            for pid, first in part["aborted"]
                        ],
                    )
                    for part in parts
                ],
            )
            for (name, topic_id), parts in topics
        ],
    )
    answer.with_header(correlation_id=correlation_id)
    return bytes(answer.encode(header=True))


@given(
    VERSIONS,
    st.tuples(INT32, INT32, INT16, INT32),
    st.lists(st.tuples(TOPICS, st.lists(PARTITION, max_size=3)), max_size=3),
)
def test_an_answer_of_the_library_is_walked_without_loss(
    version: int,
    numbers: tuple[int, int, int, int],
    topics: list[tuple[tuple[str, uuid.UUID], list[dict]]],
) -> None:
    answer = answer_bytes(version, numbers, topics)
    parsed = parse_fetch(memoryview(answer), version)
    assert parsed[:4] == numbers
    expected = [(topic_key(version, name, topic_id.hex), part) for (name, topic_id), parts in topics for part in parts]
    assert len(parsed.partitions) == len(expected)
    for found, (topic, part) in zip(parsed.partitions, expected, strict=True):
        assert found.topic == topic
        assert found[1:6] == (
            part["partition_index"],
            part["error_code"],
            part["high_watermark"],
            part["last_stable_offset"],
            part["log_start_offset"],
        )
        assert found.diverging == part["diverging"] or (found.diverging is None and part["diverging"] == (-1, -1))
        assert answer[found.start : found.end] == (part["records"] or b"")
        assert found.aborted == tuple(part["aborted"] or ())


SAMPLE = answer_bytes(
    BY_NAME,
    (7, 0, 0, 99),
    [
        (
            ("orders", uuid.UUID(int=1)),
            [
                {
                    "partition_index": 3,
                    "error_code": 0,
                    "high_watermark": 20,
                    "last_stable_offset": 20,
                    "log_start_offset": 0,
                    "diverging": (4, 17),
                    "leader": (2, 9),
                    "aborted": [(1, 2)],
                    "records": b"r" * 200,
                }
            ],
        )
    ],
)


def test_an_answer_that_ends_early_is_refused_at_every_length() -> None:
    whole = SAMPLE[:-1]  # what comes last, the tags of the answer itself, is not read
    assert parse_fetch(memoryview(whole), BY_NAME).partitions[0].diverging == (4, 17)
    for length in range(len(whole)):
        with pytest.raises(ValueError, match=r"early|beyond"):
            parse_fetch(memoryview(whole)[:length], BY_NAME)


@given(st.binary(max_size=400), VERSIONS)
def test_garbage_is_refused_or_walked_within_its_bounds(garbage: bytes, version: int) -> None:
    try:
        parsed = parse_fetch(memoryview(garbage), version)
    except ValueError:
        return
    assert isinstance(parsed, FetchAnswer)
    assert all(0 <= part.start <= part.end <= len(garbage) for part in parsed.partitions)


def test_a_length_of_more_than_five_bytes_is_refused() -> None:
    with pytest.raises(ValueError, match="five bytes"):
        parse_fetch(memoryview(bytes(4) + b"\x00" + bytes(10) + b"\xff\xff\xff\xff\xff\xff\x01"), BY_NAME)
