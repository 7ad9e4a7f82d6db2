"""An application that reads one topic and writes another: what it reads, writes and commits is one transaction.

Rule: a record that is handed on keeps its identity and its key, so that those who read it judge the application, too.
It is alone in its group. Whatever fails ends it, with its transaction aborted: nothing of it counts.
"""

from __future__ import annotations

import sys

from confluent_kafka import Consumer, KafkaException, Message, Producer, TopicPartition

from kmigrate.demo.service.plans import MOST_AT_ONCE, RunPhase
from kmigrate.demo.service.reading import POLL_SECONDS, consumer_settings
from kmigrate.demo.service.running import ONLY_DISASTERS, Running

_PATIENCE_SECONDS = 30.0


def relay(running: Running) -> None:
    """Hands records on until it is asked to end, and leaves the group."""
    plan = running.plan
    producer = Producer(
        {
            "bootstrap.servers": plan.bootstrap,
            "client.id": plan.name,
            "transactional.id": plan.name,
            "log_level": ONLY_DISASTERS,
            "linger.ms": 5,
        }
    )
    producer.init_transactions(_PATIENCE_SECONDS)
    consumer = Consumer(consumer_settings(plan))

    def on_assign(_consumer: Consumer, _partitions: list[TopicPartition]) -> None:
        running.enter(RunPhase.RUNNING)

    consumer.subscribe(list(plan.reads), on_assign=on_assign)
    while not running.stopping.is_set():
        messages = consumer.consume(MOST_AT_ONCE, POLL_SECONDS)
        if messages and not _hand_on(running, producer, consumer, messages):
            break
        running.tell(seldom=True)
    consumer.close()


def _hand_on(running: Running, producer: Producer, consumer: Consumer, messages: list[Message]) -> bool:
    """One transaction; returns whether it was committed."""
    ends: dict[tuple[str, int], int] = {}
    (topic,) = running.plan.writes
    try:
        producer.begin_transaction()
        for message in messages:
            if (error := message.error()) is not None:
                raise KafkaException(error)
            producer.produce(topic, key=message.key(), value=message.value())
            source, partition, offset = message.topic(), message.partition(), message.offset()
            assert source is not None, "a record that was read has a place"
            assert partition is not None, "a record that was read has a place"
            assert offset is not None, "a record that was read has a place"
            ends[source, partition] = offset + 1
        positions = [TopicPartition(*place, offset) for place, offset in ends.items()]
        producer.send_offsets_to_transaction(positions, consumer.consumer_group_metadata(), _PATIENCE_SECONDS)
        producer.commit_transaction(_PATIENCE_SECONDS)
    except KafkaException as exception:
        print(f"transaction: {exception}", file=sys.stderr, flush=True)
        running.failed += 1
        producer.abort_transaction(_PATIENCE_SECONDS)
        return False
    running.done += len(messages)
    return True
