"""What is asked of coordinators is in the request, what they tell comes out, and an old broker is not asked."""

from __future__ import annotations

from kafka.protocol.admin.transactions import (
    DescribeTransactionsRequest,
    DescribeTransactionsResponse,
    ListTransactionsRequest,
    ListTransactionsResponse,
)

from kmigrate.kafka_types import Partition, ProducerId, TopicName, TopicPartition
from kmigrate.wire.transaction_calls import (
    DescribedTransaction,
    ListedTransaction,
    ListedTransactions,
    describe_transactions,
    list_transactions,
)


def test_only_transactions_of_the_given_producer_ids_are_asked_for() -> None:
    call = list_transactions([ProducerId(9), ProducerId(4)])
    request = ListTransactionsRequest.decode(call.encode(0, 5, "us")[4:], version=0, header=True)
    assert (request.producer_id_filters, request.state_filters) == ([4, 9], [])


def test_a_list_names_id_producer_and_state() -> None:
    state = ListTransactionsResponse.TransactionState
    answer = ListTransactionsResponse(
        version=0,
        throttle_time_ms=0,
        error_code=14,
        unknown_state_filters=[],
        transaction_states=[state(transactional_id="billing", producer_id=4, transaction_state="Ongoing")],
    )
    answer.with_header(correlation_id=5)
    assert list_transactions([ProducerId(4)]).decode(0, answer.encode(header=True)) == ListedTransactions(
        14, (ListedTransaction("billing", ProducerId(4), "Ongoing"),)
    )


def test_a_description_has_times_producer_and_partitions() -> None:
    call = describe_transactions(["billing", "gone"])
    request = DescribeTransactionsRequest.decode(call.encode(0, 5, "us")[4:], version=0, header=True)
    assert request.transactional_ids == ["billing", "gone"]
    state = DescribeTransactionsResponse.TransactionState
    told = state(
        error_code=0,
        transactional_id="billing",
        transaction_state="Ongoing",
        transaction_timeout_ms=60_000,
        transaction_start_time_ms=1_790_000_000_000,
        producer_id=4,
        producer_epoch=2,
        topics=[state.TopicData(topic="orders", partitions=[0, 3]), state.TopicData(topic="pay", partitions=[1])],
    )
    gone = state(
        error_code=105,
        transactional_id="gone",
        transaction_state="",
        transaction_timeout_ms=0,
        transaction_start_time_ms=-1,
        producer_id=-1,
        producer_epoch=-1,
        topics=[],
    )
    answer = DescribeTransactionsResponse(version=0, throttle_time_ms=0, transaction_states=[told, gone])
    answer.with_header(correlation_id=5)
    found = call.decode(0, answer.encode(header=True))
    partitions = [("orders", 0), ("orders", 3), ("pay", 1)]
    assert found["billing"] == DescribedTransaction(
        error=0,
        state="Ongoing",
        timeout_ms=60_000,
        start_ms=1_790_000_000_000,
        producer_id=ProducerId(4),
        producer_epoch=2,
        partitions=frozenset(TopicPartition(TopicName(name), Partition(number)) for name, number in partitions),
    )
    assert (found["gone"].error, found["gone"].partitions) == (105, frozenset())


def test_a_broker_that_offers_neither_is_not_asked() -> None:
    for call in (list_transactions([ProducerId(4)]), describe_transactions(["billing"])):
        assert call.version({61: (0, 0)}) is None
        assert call.version({call.api_key: (0, 2)}) == 0
    assert (list_transactions([]).api_key, describe_transactions([]).api_key) == (66, 65)
