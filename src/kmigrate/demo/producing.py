"""The producer's process: real clients that write the demo's records and note every acknowledgement.

A client compresses all that it sends with one codec, so there is one for each codec.
"""

from __future__ import annotations

import os
import random
import sys
import threading
import time
from functools import partial
from pathlib import Path

from confluent_kafka import KafkaError, Message, Producer

from kmigrate.demo.ledger import Entry, LedgerWriter, digest_of
from kmigrate.demo.shapes import SHAPES, make_record
from kmigrate.demo.workload import Phase, ProducerPlan, Progress

HISTORY_SECONDS = 6 * 3600
"""How far the timestamps of the history reach back."""

_TELL_SECONDS = 0.25
_TICK_SECONDS = 0.02
_FLUSH_SECONDS = 30.0
_MOST_BEHIND_SECONDS = 0.5
_SERVE_EVERY = 100


class Producing:
    """Writes records of rising numbers until it is asked to end."""

    def __init__(self, plan: ProducerPlan, ledger: LedgerWriter, stopping: threading.Event) -> None:
        self._plan = plan
        self._ledger = ledger
        self._stopping = stopping
        self._chance = random.Random(plan.history_records)
        self._began_ms = time.time_ns() // 1_000_000
        self._phase = Phase.HISTORY
        self._sent = self._acknowledged = self._failed = 0
        self._told_at = 0.0
        self._clients = {
            codec: Producer(
                {
                    "bootstrap.servers": plan.bootstrap,
                    "client.id": "kmigrate-demo-producer",
                    "compression.codec": codec,
                    "enable.idempotence": True,
                    "linger.ms": 20,
                    "queue.buffering.max.kbytes": 32_768,
                }
            )
            for codec in sorted({shape.codec for shape in SHAPES if shape.make})
        }

    def run(self) -> int:
        """Writes the history, goes on at the rate, ends; returns an exit code."""
        while self._sent < self._plan.history_records and not self._stopping.is_set():
            self._send(self._history_timestamp_ms())
        self._flush()
        self._phase = Phase.LIVE
        self._tell()
        self._go_on()
        self._flush()
        self._failed = self._sent - self._acknowledged
        self._phase = Phase.ENDED
        self._tell()
        return 1 if self._failed else 0

    def _go_on(self) -> None:
        rate = self._plan.records_per_second
        last, due = time.monotonic(), 0.0
        while not self._stopping.wait(_TICK_SECONDS) and self._sent < self._plan.most_records:
            now = time.monotonic()
            due = min(due + (now - last) * rate, _MOST_BEHIND_SECONDS * rate)
            last = now
            while due >= 1:
                self._send(time.time_ns() // 1_000_000)
                due -= 1
            self._serve()

    def _send(self, timestamp_ms: int) -> None:
        number = self._sent
        shape, (key, value, headers) = make_record(self._chance, number)
        digest = digest_of(key, value, headers, timestamp_ms=timestamp_ms)
        client = self._clients[shape.codec]
        note = partial(self._note, number, digest)
        while True:
            try:
                client.produce(
                    shape.name, value=value, key=key, headers=list(headers), timestamp=timestamp_ms, on_delivery=note
                )
                break
            except BufferError:  # the client's memory is full: let it send
                client.poll(0.05)
        self._sent += 1
        if self._sent % _SERVE_EVERY == 0:
            self._serve()

    def _note(self, number: int, digest: bytes, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            print(f"record {number}: {error}", file=sys.stderr, flush=True)
            return
        topic, partition, offset = message.topic(), message.partition(), message.offset()
        assert topic is not None, "an acknowledged record has a partition"
        assert partition is not None, "an acknowledged record has a partition"
        self._ledger.write(topic, partition, Entry(offset, number, digest))
        self._acknowledged += 1

    def _serve(self) -> None:
        for client in self._clients.values():
            client.poll(0)
        if time.monotonic() - self._told_at >= _TELL_SECONDS:
            self._tell()

    def _flush(self) -> None:
        for client in self._clients.values():
            client.flush(_FLUSH_SECONDS)

    def _tell(self) -> None:
        self._told_at = time.monotonic()
        progress = Progress(phase=self._phase, sent=self._sent, acknowledged=self._acknowledged, failed=self._failed)
        print(progress.to_json(), flush=True)

    def _history_timestamp_ms(self) -> int:
        share_left = 1 - self._sent / self._plan.history_records
        return self._began_ms - round(share_left * HISTORY_SECONDS * 1000)


def _wait_for_end_of_input(stopping: threading.Event) -> None:
    os.read(sys.stdin.fileno(), 1)  # sys.stdin has a lock, which a daemon thread would hold when Python ends
    stopping.set()


def main() -> int:
    """Runs a producer with the plan that the command line carries."""
    plan = ProducerPlan.from_json(sys.argv[1])
    stopping = threading.Event()
    threading.Thread(target=_wait_for_end_of_input, args=(stopping,), daemon=True).start()
    with Path(plan.ledger).open("wb") as file:
        return Producing(plan, LedgerWriter(file), stopping).run()
