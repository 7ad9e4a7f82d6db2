"""Produce by hand and the codec library's Produce are the same messages."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka.protocol.producer.produce import ProduceRequest, ProduceResponse

from kmigrate.wire.produce import VERSION, AppendAnswer, parse_produce, serialize_produce

INT16 = st.integers(-(2**15), 2**15 - 1)
INT32 = st.integers(-(2**31), 2**31 - 1)
INT64 = st.integers(-(2**63), 2**63 - 1)
INDEX = st.integers(0, 2**31 - 1)
NAMES = st.text(min_size=1, max_size=60)


@given(
    INT32,
    st.text(max_size=20),
    INT32,
    st.dictionaries(
        NAMES,
        st.dictionaries(INDEX, st.binary(min_size=1, max_size=200), min_size=1, max_size=4),
        min_size=1,
        max_size=4,
    ),
)
def test_a_request_is_read_by_the_library_as_it_was_meant(
    correlation_id: int, client_id: str, timeout_ms: int, topics: dict[str, dict[int, bytes]]
) -> None:
    lent = bytearray(b"".join(batch for parts in topics.values() for batch in parts.values()))
    at, batches = 0, {}
    for name, parts in topics.items():
        pairs = batches[name.encode()] = []
        for index, batch in parts.items():
            pairs.append((index, memoryview(lent)[at : at + len(batch)]))
            at += len(batch)
    buffers = serialize_produce(
        correlation_id=correlation_id, client_id=client_id.encode(), timeout_ms=timeout_ms, batches=batches
    )
    assert [b.obj for b in buffers if isinstance(b, memoryview)] == [lent] * sum(map(len, topics.values()))
    framed = b"".join(buffers)
    assert int.from_bytes(framed[:4], "big") == len(framed) - 4
    read = ProduceRequest.decode(memoryview(framed)[4:], version=VERSION, header=True)
    header = read.header
    assert (header.request_api_key, header.request_api_version) == (0, VERSION)
    assert (header.correlation_id, header.client_id) == (correlation_id, client_id)
    assert (read.transactional_id, read.acks, read.timeout_ms) == (None, -1, timeout_ms)
    assert {
        topic.name: {part.index: bytes(part.records) for part in topic.partition_data} for topic in read.topic_data
    } == topics


PART = st.tuples(INT16, INT64, st.lists(st.none() | st.text(max_size=9), max_size=3), st.none() | st.text(max_size=9))


def answer_bytes(correlation_id: int, topics: dict[str, dict[int, tuple]], throttle_ms: int = 0) -> bytes:
    topic_class = ProduceResponse.TopicProduceResponse
    part_class = topic_class.PartitionProduceResponse
    answer = ProduceResponse(
        version=VERSION,
        throttle_time_ms=throttle_ms,
        responses=[
            topic_class(
                name=name,
                partition_responses=[
                    part_class(
                        index=index,
                        error_code=error,
                        base_offset=base,
                        log_append_time_ms=-1,
                        log_start_offset=0,
                        record_errors=[
                            part_class.BatchIndexAndErrorMessage(batch_index=n, batch_index_error_message=text)
                            for n, text in enumerate(words)
                        ],
                        error_message=message,
                    )
                    for index, (error, base, words, message) in parts.items()
                ],
            )
            for name, parts in topics.items()
        ],
    )
    answer.with_header(correlation_id=correlation_id)
    return bytes(answer.encode(header=True))


@given(INT32, st.dictionaries(NAMES, st.dictionaries(INDEX, PART, max_size=4), max_size=4))
def test_an_answer_of_the_library_is_read_as_it_was_meant(
    correlation_id: int, topics: dict[str, dict[int, tuple]]
) -> None:
    found_id, throttle_ms, found = parse_produce(memoryview(answer_bytes(correlation_id, topics, throttle_ms=250)))
    assert (found_id, throttle_ms) == (correlation_id, 250)
    assert found == {
        (name.encode(), index): AppendAnswer(error, base, "; ".join(text for text in [message, *words] if text))
        for name, parts in topics.items()
        for index, (error, base, words, message) in parts.items()
    }


def test_an_answer_that_ends_early_is_refused_at_every_length() -> None:
    whole = answer_bytes(5, {"orders": {0: (87, -1, ["no key"], "invalid"), 7: (0, 33, [], None)}})
    assert len(parse_produce(memoryview(whole)).partitions) == 2
    for length in range(len(whole)):
        with pytest.raises(ValueError, match="early"):
            parse_produce(memoryview(whole)[:length])
