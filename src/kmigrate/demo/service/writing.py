"""A producer of the service: idempotent, acks=all, keyed records at a steady rate, every acknowledgement noted."""

from __future__ import annotations

import sys
import time
from functools import partial

from confluent_kafka import KafkaError, Message, Producer

from kmigrate.demo.service.entries import Identity
from kmigrate.demo.service.plans import RunPhase
from kmigrate.demo.service.running import ONLY_DISASTERS, Running

_TICK_SECONDS = 0.01
_FLUSH_SECONDS = 30.0
_MOST_BEHIND_SECONDS = 0.5


def write(running: Running) -> None:
    """Writes the history at once, then at the rate until it is asked to end; waits for every answer."""
    writer = _Writer(running)
    rate, ending = running.plan.records_per_second, running.stopping
    while writer.sent < running.plan.history_records and not ending.is_set():
        writer.send()
    last, due = time.monotonic(), 0.0
    while not ending.wait(_TICK_SECONDS):
        now = time.monotonic()
        due = min(due + (now - last) * rate, _MOST_BEHIND_SECONDS * rate)
        last = now
        while due >= 1:
            writer.send()
            due -= 1
        writer.serve(0)
    writer.finish()


class _Writer:
    def __init__(self, running: Running) -> None:
        self._running = running
        self._plan = running.plan
        self._producer = Producer(
            {
                "bootstrap.servers": self._plan.bootstrap,
                "client.id": self._plan.name,
                "log_level": ONLY_DISASTERS,
                "enable.idempotence": True,
                "acks": "all",
                "linger.ms": 10,
            }
        )
        self.sent = 0

    def send(self) -> None:
        plan, number = self._plan, self._plan.first_number + self.sent
        key = number % plan.keys
        record = Identity(plan.name, f"key-{key}", number)
        topic = plan.writes[key % len(plan.writes)]
        value, note = record.to_value(time.monotonic_ns()), partial(self._note, record)
        while True:
            try:
                self._producer.produce(topic, key=record.key.encode(), value=value, on_delivery=note)
                break
            except BufferError:  # the client's memory is full: let it send
                self.serve(0.05)
        self.sent += 1

    def serve(self, seconds: float) -> None:
        """Takes in answers, and notes them."""
        self._producer.poll(seconds)
        self._running.notes.flush()
        self._running.tell(seldom=True)

    def finish(self) -> None:
        self._producer.flush(_FLUSH_SECONDS)
        self._running.failed = self.sent - self._running.done

    def _note(self, record: Identity, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            print(f"{record}: {error}", file=sys.stderr, flush=True)
            return
        topic, partition = message.topic(), message.partition()
        assert topic is not None, "an acknowledged record has a partition"
        assert partition is not None, "an acknowledged record has a partition"
        self._running.notes.write(record, topic, partition, message.offset(), time.monotonic_ns())
        self._running.done += 1
        self._running.enter(RunPhase.RUNNING)
