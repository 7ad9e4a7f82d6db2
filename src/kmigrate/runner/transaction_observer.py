"""Asks the source who holds partitions back, away from the owner's loop.

One errand at a time, at most every ten seconds: the partitions' leaders for their producers (DescribeProducers), then
all brokers for the transactional ids of those with an open transaction (ListTransactions), and for their details
(DescribeTransactions). What is not allowed, or not offered by an old broker, is told as not readable; nothing fails.
`kmigrate.runner.open_transactions` decides who is asked about, and what the answers mean.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from kmigrate.cluster.client import ClusterClient
from kmigrate.copy.progress import PartitionProgress
from kmigrate.errors import ClusterError
from kmigrate.kafka_types import BrokerId, Offset, ProducerId, TopicPartition
from kmigrate.runner.errand import Errand
from kmigrate.runner.open_transactions import Coordinators, HeldBack, Known, describe_holder, find_holder
from kmigrate.runner.status import OpenTransaction
from kmigrate.wire import calls, transaction_calls
from kmigrate.wire.call import error_name
from kmigrate.wire.calls import ClusterMetadata, ProducerState
from kmigrate.wire.error_codes import ErrorCode
from kmigrate.wire.transaction_calls import DescribedTransaction, ListedTransaction

log = logging.getLogger(__name__)
LOOK_SECONDS = 1.0
EVERY_SECONDS = 10.0

Answers = Mapping[TopicPartition, OpenTransaction | None]
Holders = Mapping[TopicPartition, ProducerState | None]


class TransactionObserver:
    """Knows which open transactions hold the copy back; used by one thread."""

    def __init__(self, source: ClusterClient) -> None:
        """`source`: a client of its own."""
        self._source = source
        self._trouble = ""
        self._held = HeldBack()
        self._told: Mapping[TopicPartition, OpenTransaction] = {}
        self._under_way: tuple[Mapping[TopicPartition, Offset], Errand[Found]] | None = None
        self._next_look = self._next_errand = 0.0

    @property
    def notices(self) -> tuple[str, ...]:
        """Why of some partitions it is not known who holds them back."""
        return (f"who holds partitions back on the source is not readable: {self._trouble}",) if self._trouble else ()

    def step(
        self, latest: Mapping[TopicPartition, PartitionProgress], now: float
    ) -> Mapping[TopicPartition, OpenTransaction] | None:
        """All that is known, if that is different from what was told last; else None. Waits for nothing."""
        if now < self._next_look:
            return None
        self._next_look = now + LOOK_SECONDS
        self._held.look(latest, now)
        if self._under_way is not None and self._under_way[1].done:
            self._collect()
        if self._under_way is None and now >= self._next_errand:
            self._begin(now)
        known = self._held.transactions
        if known == self._told:
            return None
        self._told = known
        return known

    def _begin(self, now: float) -> None:
        due = self._held.take_due(now)
        if not due:
            self._trouble = ""
            return
        self._next_errand = now + EVERY_SECONDS
        self._under_way = due, Errand(lambda: ask(self._source, due), "open transactions")

    def _collect(self) -> None:
        assert self._under_way is not None
        asked, errand = self._under_way
        self._under_way = None
        try:
            answers, trouble = errand.result()
        except ClusterError as error:
            answers, trouble = {}, str(error)
        self._held.adopt(asked, answers)
        if trouble and trouble != self._trouble:
            log.warning("open transactions on the source: %s", trouble)
        self._trouble = trouble


class Found(NamedTuple):
    """The answers about those partitions that could be asked about, and why others could not."""

    answers: Answers
    trouble: str


def ask(source: ClusterClient, readable_ends: Mapping[TopicPartition, Offset]) -> Found:
    """Asks leaders and coordinators who holds these partitions at their readable ends; raises ClusterError."""
    metadata = source.metadata(sorted({partition.topic for partition in readable_ends}))
    holders, trouble = _ask_leaders(source, metadata, readable_ends)
    open_ids = {holder.producer_id for holder in holders.values() if holder is not None}
    coordinators = _ask_coordinators(source, metadata.brokers, open_ids) if open_ids else Coordinators({})
    answers = {
        partition: None if holder is None else describe_holder(partition, holder, coordinators)
        for partition, holder in holders.items()
    }
    return Found(answers, trouble)


def _ask_leaders(
    source: ClusterClient, metadata: ClusterMetadata, readable_ends: Mapping[TopicPartition, Offset]
) -> tuple[Holders, str]:
    holders: dict[TopicPartition, ProducerState | None] = {}
    refused = ((name, topic.error) for name, topic in metadata.topics.items() if topic.error != ErrorCode.NONE)
    trouble = next((f"Metadata of {name}: {error_name(error)}" for name, error in refused), "")
    for leader, led in _by_leader(metadata, readable_ends).items():
        try:
            answer = source.broker(leader, calls.describe_producers(led))
        except ClusterError as error:
            trouble = trouble or str(error)
            continue
        for partition, producers in answer.items():
            if producers.error == ErrorCode.NONE:
                holders[partition] = find_holder(producers.states, readable_ends[partition])
            elif producers.error != ErrorCode.NOT_LEADER_OR_FOLLOWER:
                trouble = trouble or f"DescribeProducers of {partition}: {error_name(producers.error)}"
    return holders, trouble


def _by_leader(metadata: ClusterMetadata, partitions: Iterable[TopicPartition]) -> dict[BrokerId, list[TopicPartition]]:
    found: dict[BrokerId, list[TopicPartition]] = {}
    for partition in partitions:
        topic = metadata.topics.get(partition.topic)
        part = None if topic is None else topic.partitions.get(partition.partition)
        if part is not None and part.leader >= 0:
            found.setdefault(part.leader, []).append(partition)
    return found


def _ask_coordinators(
    source: ClusterClient, brokers: Iterable[BrokerId], producer_ids: Iterable[ProducerId]
) -> Coordinators:
    """Every broker lists what it coordinates, so the one that lists a transactional id can describe it, too."""
    call = transaction_calls.list_transactions(producer_ids)
    known: dict[ProducerId, Known] = {}
    unreadable = ""
    for broker in brokers:
        try:
            error, listed = source.broker(broker, call)
        except ClusterError as failure:
            unreadable = unreadable or str(failure)
            continue
        if error != ErrorCode.NONE:
            unreadable = unreadable or f"ListTransactions of broker {broker}: {error_name(error)}"
        if listed:
            known.update(_describe(source, broker, listed))
    return Coordinators(known, unreadable)


def _describe(
    source: ClusterClient, coordinator: BrokerId, listed: Iterable[ListedTransaction]
) -> dict[ProducerId, Known]:
    names = [each.transactional_id for each in listed]
    try:
        described, refusal = source.broker(coordinator, transaction_calls.describe_transactions(names)), "no answer"
    except ClusterError as failure:
        described, refusal = {}, str(failure)
    return {each.producer_id: _known(each, described.get(each.transactional_id), refusal) for each in listed}


def _known(listed: ListedTransaction, described: DescribedTransaction | None, refusal: str) -> Known:
    if described is not None and described.error != ErrorCode.NONE:
        refusal = f"DescribeTransactions: {error_name(described.error)}"
        described = None
    return Known(listed.transactional_id, listed.state, described, refusal)
