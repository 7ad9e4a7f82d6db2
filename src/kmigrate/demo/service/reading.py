"""A member of a group: notes each record as processed, and commits some of them together, never in the background.

Rule: notes before the commit. Killed in between it repeats at most `MOST_AT_ONCE` records, and loses none.
"""

from __future__ import annotations

import sys
import time

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from kmigrate.demo.service.entries import Identity
from kmigrate.demo.service.plans import MOST_AT_ONCE, RunPhase, RunPlan
from kmigrate.demo.service.running import ONLY_DISASTERS, Running

POLL_SECONDS = 0.1
_COMMIT_SECONDS = 0.2
_PASSING = frozenset({KafkaError._PARTITION_EOF, KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN})


def consumer_settings(plan: RunPlan) -> dict[str, str | int | bool]:
    """How a member of the service reads: the same on both sides, as an application has it that only moves."""
    return {
        "bootstrap.servers": plan.bootstrap,
        "client.id": plan.name,
        "group.id": plan.group,
        "log_level": ONLY_DISASTERS,
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "earliest",
        "isolation.level": "read_committed",
        "session.timeout.ms": 10_000,
        "heartbeat.interval.ms": 500,
        "topic.metadata.refresh.interval.ms": 5_000,
        "fetch.wait.max.ms": 50,
    }


def read(running: Running) -> None:
    """Reads until it is asked to end, and leaves the group."""
    reader = _Reader(running)
    while not running.stopping.is_set():
        reader.turn()
    reader.finish()


class _Reader:
    def __init__(self, running: Running) -> None:
        self._running = running
        self._pending: dict[tuple[str, int], int] = {}
        self._count = 0
        self._committed_at = time.monotonic()
        self._consumer = Consumer(consumer_settings(running.plan))
        self._consumer.subscribe(
            list(running.plan.reads), on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
        )

    def turn(self) -> None:
        """Processes a record, if there is one, and commits where it is time to."""
        message = self._consumer.poll(POLL_SECONDS)
        if message is not None:
            self._process(message)
        is_due = time.monotonic() - self._committed_at >= _COMMIT_SECONDS
        if self._count and (message is None or is_due or self._count >= MOST_AT_ONCE):
            self._commit()
        self._running.tell(seldom=True)

    def finish(self) -> None:
        self._commit()
        self._consumer.close()

    def _process(self, message: Message) -> None:
        if (error := message.error()) is not None:
            if error.code() not in _PASSING:
                raise KafkaException(error)
            return
        topic, partition, offset = message.topic(), message.partition(), message.offset()
        assert topic is not None, "a record that was read has a place"
        assert partition is not None, "a record that was read has a place"
        assert offset is not None, "a record that was read has a place"
        record = Identity.of_value(message.value())
        if record is not None:
            self._running.notes.write(record, topic, partition, offset, time.monotonic_ns())
            self._running.notes.flush()
            self._running.done += 1
        self._pending[topic, partition] = offset + 1
        self._count += 1

    def _commit(self) -> None:
        """A commit that is refused is told in the log; its records may come again, and the judge will see them."""
        offsets = [TopicPartition(*place, offset) for place, offset in self._pending.items()]
        self._pending.clear()
        self._count = 0
        self._committed_at = time.monotonic()
        if not offsets:
            return
        try:
            self._consumer.commit(offsets=offsets, asynchronous=False)
        except KafkaException as exception:
            print(f"commit: {exception}", file=sys.stderr, flush=True)

    def _on_assign(self, _consumer: Consumer, _partitions: list[TopicPartition]) -> None:
        self._running.enter(RunPhase.RUNNING)

    def _on_revoke(self, _consumer: Consumer, _partitions: list[TopicPartition]) -> None:
        self._commit()

    def _on_lost(self, _consumer: Consumer, _partitions: list[TopicPartition]) -> None:
        self._pending.clear()  # somebody else has them by now: a commit would be refused
        self._count = 0
