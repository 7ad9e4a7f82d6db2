"""A service with an application in the middle: it reads what the writer writes, and the reader reads what it writes."""

from __future__ import annotations

from typing import Any

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

from kmigrate.demo.embedded import EmbeddedCluster
from tests.fault.harness import LIVENESS_SECONDS
from tests.kafka_tools import create_topic, new_topic_name
from tests.scenario.leading import Application, ClientOf, Reader, Service, plain_client


class RelayedService(Service):
    """The application is called `relay`; what it reads, writes and commits is one transaction."""

    def __init__(
        self,
        source: EmbeddedCluster,
        target: EmbeddedCluster,
        *,
        partitions: int = 3,
        client_of: ClientOf = plain_client,
    ) -> None:
        super().__init__(source, target, partitions=partitions, client_of=client_of)
        self.bills = create_topic(source.bootstrap, partitions=partitions)
        self.relay_group = new_topic_name("relay")
        self.relay = Relay(self.relay_group, self.topic, self.bills, client_of=client_of)
        self.reader, self.newer = (Reader(self.group, self.bills, client_of=client_of) for _ in range(2))
        self.topics, self.groups = (self.topic, self.bills), (self.group, self.relay_group)

    def start(self) -> None:
        self.relay.start(self.source)
        super().start()

    def close(self) -> None:
        self.relay.stop()
        super().close()

    def spec(self) -> dict[str, Any]:
        relay = {"name": "relay", "groups": [self.relay_group], "reads": [self.topic], "writes": [self.bills]}
        return {**super().spec(), "applications": [relay]}


def make_service(
    source: EmbeddedCluster, target: EmbeddedCluster, *, has_application: bool, client_of: ClientOf = plain_client
) -> Service:
    """A service with or without an application in the middle."""
    kind = RelayedService if has_application else Service
    return kind(source, target, client_of=client_of)


class Relay(Application):
    """Hands records on from one topic to the same partition of another; it ends between two transactions."""

    def __init__(self, group: str, reads: str, writes: str, *, client_of: ClientOf = plain_client) -> None:
        super().__init__(client_of)
        self._group, self._reads, self._writes = group, reads, writes

    def _run(self, client: dict[str, Any]) -> None:
        producer = Producer({**client, "transactional.id": self._group, "linger.ms": 5})
        producer.init_transactions(LIVENESS_SECONDS)
        settings = {"group.id": self._group, "auto.offset.reset": "earliest", "enable.auto.commit": False}
        consumer = Consumer({**client, **settings})
        consumer.subscribe([self._reads])
        try:
            while not self._ending.is_set():
                self._hand_on(producer, consumer)
        finally:
            consumer.close()

    def _hand_on(self, producer: Producer, consumer: Consumer) -> None:
        """One transaction; one that fails is aborted, and its records are read again."""
        messages = [each for each in consumer.consume(200, 0.2) if each.error() is None]
        if not messages:
            return
        producer.begin_transaction()
        ends: dict[int, int] = {}
        for each in messages:
            producer.produce(self._writes, each.value(), partition=each.partition())
            ends[each.partition()] = each.offset() + 1
        try:
            places = [TopicPartition(self._reads, *end) for end in ends.items()]
            producer.send_offsets_to_transaction(places, consumer.consumer_group_metadata(), LIVENESS_SECONDS)
            producer.commit_transaction(LIVENESS_SECONDS)
        except KafkaException:
            producer.abort_transaction(LIVENESS_SECONDS)
            for each in consumer.committed(consumer.assignment(), LIVENESS_SECONDS):
                consumer.seek(each)
