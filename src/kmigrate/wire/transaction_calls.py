"""What transaction coordinators tell of transactions (KIP-664); brokers offer both calls from 3.0 on.

A transactional id without the right DESCRIBE on it is left out of a list without a word, so an id that nobody lists
may be unknown or only unreadable.

Sources: ListTransactionsRequest.json, DescribeTransactionsRequest.json; KafkaApis.handleListTransactionsRequest.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from kmigrate.kafka_types import ProducerId, TopicPartition
from kmigrate.wire.call import Call
from kmigrate.wire.library import (
    DescribeTransactionsRequest,
    DescribeTransactionsResponse,
    ListTransactionsRequest,
    ListTransactionsResponse,
)


class ListedTransaction(NamedTuple):
    """A transactional id and who has it now; `state` is Kafka's word, as `Ongoing` or `CompleteCommit`."""

    transactional_id: str
    producer_id: ProducerId
    state: str


class ListedTransactions(NamedTuple):
    """The answer of one broker to ListTransactions: what it coordinates itself."""

    error: int
    transactions: tuple[ListedTransaction, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribedTransaction:
    """A transactional id as its coordinator describes it.

    `start_ms` is -1 where none was ever begun. `partitions` are those of the transaction that is open; while its end
    is being written, those whose marker is not written yet.
    """

    error: int
    state: str
    timeout_ms: int
    start_ms: int
    producer_id: ProducerId
    producer_epoch: int
    partitions: frozenset[TopicPartition]


def list_transactions(producer_ids: Iterable[ProducerId]) -> Call[ListedTransactions]:
    """The transactional ids of these producer ids that a broker coordinates; goes to every broker."""
    wanted = sorted(producer_ids)
    return Call(
        what="ListTransactions",
        request=ListTransactionsRequest,
        response=ListTransactionsResponse,
        oldest=0,
        newest=0,
        build=lambda _version: ListTransactionsRequest(state_filters=[], producer_id_filters=wanted),
        parse=lambda answer: ListedTransactions(
            answer.error_code,
            tuple(
                ListedTransaction(each.transactional_id, each.producer_id, each.transaction_state)
                for each in answer.transaction_states
            ),
        ),
    )


def describe_transactions(transactional_ids: Sequence[str]) -> Call[Mapping[str, DescribedTransaction]]:
    """Transactional ids in detail; goes to their coordinator, which is the broker that lists them."""
    return Call(
        what="DescribeTransactions",
        request=DescribeTransactionsRequest,
        response=DescribeTransactionsResponse,
        oldest=0,
        newest=0,
        build=lambda _version: DescribeTransactionsRequest(transactional_ids=list(transactional_ids)),
        parse=_parse_described,
    )


def _parse_described(answer: Any) -> Mapping[str, DescribedTransaction]:
    return {
        each.transactional_id: DescribedTransaction(
            error=each.error_code,
            state=each.transaction_state,
            timeout_ms=each.transaction_timeout_ms,
            start_ms=each.transaction_start_time_ms,
            producer_id=each.producer_id,
            producer_epoch=each.producer_epoch,
            partitions=frozenset(
                TopicPartition(topic.topic, partition) for topic in each.topics for partition in topic.partitions
            ),
        )
        for each in answer.transaction_states
    }
