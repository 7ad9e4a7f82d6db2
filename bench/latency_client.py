"""A writer that stamps every record, and a reader that compares the stamps with the clock it sees them at.

Both are librdkafka in processes of their own. The clock is the monotonic one, which all processes of a machine share.
The last record of a stream says how many there were. Both end when their standard input does.
"""

from __future__ import annotations

import json
import os
import struct
import sys
import threading
import time
from array import array

from confluent_kafka import Consumer, Message, Producer, TopicPartition

from bench.figures import percentile

_STAMP = struct.Struct(">qqq")  # monotonic time in ns, number, records in all (0: not the last one)
LINGER_MS = 5
_TICK_SECONDS = 0.001
_SHARES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999, "max": 1.0}


def write(bootstrap: str, topic: str, partitions: int, rate: int, record_bytes: int, seconds: float) -> None:
    """Writes at a steady rate, each tick into the next partition; what it has fallen behind is caught up at once.

    With a record here and a record there the brokers would be busy with batches of one, and not with latency.
    """
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": LINGER_MS, "acks": "all"})
    filling = bytes(record_bytes - _STAMP.size)
    total = round(rate * seconds)
    began = time.monotonic()
    written, partition = 0, 0
    while written < total:
        due = min(total, int((time.monotonic() - began) * rate) + 1)
        for number in range(written, due):
            last = total if number == total - 1 else 0
            value = _STAMP.pack(time.monotonic_ns(), number, last) + filling
            producer.produce(topic, value=value, partition=partition)
        written, partition = due, (partition + 1) % partitions
        producer.poll(0)
        time.sleep(_TICK_SECONDS)
    if producer.flush(30):
        raise SystemExit("not all records could be written")
    print(json.dumps({"records": total}), flush=True)


def read(bootstrap: str, topic: str, partitions: int, lead_records: int) -> None:
    """Reads from the present end on; the first `lead_records` written are not counted as latencies."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": f"bench-latency-{topic}",
            "enable.auto.commit": False,
            "fetch.wait.max.ms": 20,
            "fetch.queue.backoff.ms": 1,
        }
    )
    places = [TopicPartition(topic, index) for index in range(partitions)]
    for place in places:
        place.offset = consumer.get_watermark_offsets(place, timeout=30)[1]
    consumer.assign(places)
    consumer.poll(1.0)
    print("ready", flush=True)
    latencies, seen, total = array("q"), 0, 0
    while not total or seen < total:
        message = consumer.poll(0.1)
        if message is None:
            continue
        now = time.monotonic_ns()
        sent, number, last = _stamp_of(message)
        seen += 1
        total = last or total
        if number >= lead_records:
            latencies.append(now - sent)
    consumer.close()
    ordered = sorted(latencies)
    found = {name: percentile(ordered, share) / 1e6 for name, share in _SHARES.items()}
    print(json.dumps({"records": seen, **found}), flush=True)


def _stamp_of(message: Message) -> tuple[int, int, int]:
    error, value = message.error(), message.value()
    if error is not None or value is None:
        raise SystemExit(f"reading failed: {error}")
    sent, number, last = _STAMP.unpack_from(value)
    return sent, number, last


def _end_with_the_parent() -> None:
    while os.read(0, 1024):
        pass
    os._exit(1)


def main(arguments: list[str]) -> None:
    """Arguments: write|read, bootstrap, topic, partitions, records a second, record bytes, lead and counted seconds."""
    role, bootstrap, topic = arguments[:3]
    partitions, rate, record_bytes = map(int, arguments[3:6])
    lead, counted = map(float, arguments[6:])
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    if role == "write":
        write(bootstrap, topic, partitions, rate, record_bytes, lead + counted)
    else:
        read(bootstrap, topic, partitions, round(lead * rate))


if __name__ == "__main__":
    main(sys.argv[1:])
