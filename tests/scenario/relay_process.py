"""`python -m tests.scenario.relay_process SETTINGS`: hands records on, in transactions, until SIGTERM.

SETTINGS is JSON: `client`, what librdkafka needs; `group`, also its transactional id; the topics it `reads` and
`writes`. It ends between two transactions.
"""

from __future__ import annotations

import json
import signal
import sys
import threading
from collections.abc import Mapping
from typing import Any

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

TRANSACTION_SECONDS = 10.0
SESSION_MS = 10_000
"""Who is killed holds nobody up for longer than that."""


def main(settings: Mapping[str, Any]) -> None:
    """Begins anew after whatever fails, which ends what is open: brokers come back."""
    ending = threading.Event()
    signal.signal(signal.SIGTERM, lambda _number, _frame: ending.set())
    while True:
        try:
            return relay(settings, ending)
        except KafkaException:
            continue


def relay(settings: Mapping[str, Any], ending: threading.Event) -> None:
    """Until it is to end; raises KafkaException if a transaction fails, or takes too long."""
    client, group = settings["client"], settings["group"]
    timeout_ms = int(TRANSACTION_SECONDS * 1000)
    producer = Producer({**client, "transactional.id": group, "linger.ms": 5, "transaction.timeout.ms": timeout_ms})
    producer.init_transactions(TRANSACTION_SECONDS)
    consumer = Consumer(
        {
            **client,
            "group.id": group,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "session.timeout.ms": SESSION_MS,
        }
    )
    consumer.subscribe([settings["reads"]])
    try:
        while not ending.is_set():
            _hand_on(producer, consumer, settings["reads"], settings["writes"])
    finally:
        consumer.close()


def _hand_on(producer: Producer, consumer: Consumer, reads: str, writes: str) -> None:
    """One transaction: what it reads, writes and commits."""
    messages = [each for each in consumer.consume(200, 0.2) if each.error() is None]
    if not messages:
        return
    producer.begin_transaction()
    ends: dict[int, int] = {}
    for each in messages:
        producer.produce(writes, each.value(), partition=each.partition())
        ends[each.partition()] = each.offset() + 1
    places = [TopicPartition(reads, *end) for end in ends.items()]
    producer.send_offsets_to_transaction(places, consumer.consumer_group_metadata(), TRANSACTION_SECONDS)
    producer.commit_transaction(TRANSACTION_SECONDS)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
