"""Producers under way: a child process writes records at a steady rate and tells which were acknowledged.

Every record carries its partition and an id that rises by one there, so that a witness sees what was lost, repeated or
changed places. librdkafka writes them: idempotent, acks=all.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from confluent_kafka import KafkaError, Producer

FLUSH_SECONDS = 120.0
_STEP_SECONDS = 0.01
_TOLD_EVERY_SECONDS = 0.1

Place = tuple[str, int]


def record_value(record_id: int, size: int) -> bytes:
    """A value that begins with its record's id."""
    return b"%d:" % record_id + bytes(size)


def parse_id(value: bytes | None) -> int:
    """The id in a value."""
    assert value is not None, "a record of a load has a value"
    return int(value[: value.index(b":")])


class Load:
    """A load on some topics, each with the same number of partitions; a context manager.

    `age_seconds` dates the records back. `rate` is in records a second, for all partitions together.
    """

    def __init__(
        self,
        bootstrap: str,
        topics: Sequence[str],
        *,
        partitions: int,
        rate: int = 6_000,
        age_seconds: int = 0,
        compression: str = "none",
        seed: int = 0,
    ) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="kmigrate-load-")
        self._result = Path(self._folder.name) / "acknowledged"
        self._errors = Path(self._folder.name) / "stderr"
        order = {
            "bootstrap": bootstrap,
            "topics": list(topics),
            "partitions": partitions,
            "rate": rate,
            "age_seconds": age_seconds,
            "compression": compression,
            "seed": seed,
            "result": str(self._result),
        }
        with self._errors.open("wb") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.fault.load", json.dumps(order)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                cwd=Path(__file__).parents[2],
                start_new_session=True,
            )
        self.acknowledged = 0
        """How many records were acknowledged so far."""
        self._seconds = 0.0
        self._ended: dict[Place, dict[int, int]] | None = None
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def wait_for(self, records: int, seconds: float = 60.0) -> None:
        """Wait until so many more records were acknowledged."""
        wanted = self.acknowledged + records
        deadline = time.monotonic() + seconds
        while self.acknowledged < wanted:
            assert self._process.poll() is None, f"the load ended early:\n{self._errors.read_text()}"
            assert time.monotonic() < deadline, (
                f"{self.acknowledged} of {wanted} records were acknowledged after {seconds:.0f} s:\n"
                f"{self._errors.read_text()}"
            )
            time.sleep(0.02)

    def stop(self) -> Mapping[Place, Mapping[int, int]]:
        """End it; returns what was acknowledged: (topic, partition) → id → offset."""
        if self._ended is not None:
            return self._ended
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            code = self._process.wait(FLUSH_SECONDS + 30)
        except subprocess.TimeoutExpired:
            self.kill()
            raise
        self._listener.join()
        assert code == 0, f"the load ended with code {code}:\n{self._errors.read_text()}"
        self._ended = {}
        for line in self._result.read_text().splitlines():
            topic, partition, record_id, offset = line.split()
            self._ended.setdefault((topic, int(partition)), {})[int(record_id)] = int(offset)
        return self._ended

    @property
    def rate(self) -> float:
        """Records acknowledged a second, so far."""
        return self.acknowledged / self._seconds if self._seconds else 0.0

    def kill(self) -> None:
        """End it at once."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self.kill()
        self._folder.cleanup()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            told = json.loads(line)
            self.acknowledged, self._seconds = told["acknowledged"], told["seconds"]


# -- the child --------------------------------------------------------------------------------------------------------


class _Child:
    def __init__(self, order: Mapping[str, Any]) -> None:
        self._order = order
        self._places: list[Place] = [(t, p) for t in order["topics"] for p in range(order["partitions"])]
        self._next = dict.fromkeys(self._places, 0)
        self._acknowledged: list[tuple[str, int, int, int]] = []
        self._failures: list[str] = []
        self._chance = random.Random(order["seed"])
        self._over = threading.Event()
        self._producer = Producer(
            {
                "bootstrap.servers": order["bootstrap"],
                "enable.idempotence": True,
                "acks": "all",
                "linger.ms": 5,
                "compression.type": order["compression"],
                "batch.num.messages": 500,
                "queue.buffering.max.messages": 2_000_000,
                "message.timeout.ms": 600_000,
                "retry.backoff.ms": 50,
                "retry.backoff.max.ms": 200,
                "reconnect.backoff.ms": 50,
                "reconnect.backoff.max.ms": 500,
                "log_level": 0,
            }
        )

    def run(self) -> None:
        threading.Thread(target=self._wait_for_the_end, daemon=True).start()
        begun = told = time.monotonic()
        sent = 0
        while not self._over.is_set():
            due = int((time.monotonic() - begun) * self._order["rate"])
            while sent < due:
                self._produce()
                sent += 1
            self._producer.poll(_STEP_SECONDS)
            if time.monotonic() - told > _TOLD_EVERY_SECONDS:
                told = time.monotonic()
                self._tell(told - begun)
        unsent = self._producer.flush(FLUSH_SECONDS)
        self._tell(time.monotonic() - begun)
        if unsent or self._failures:
            sys.exit(f"{unsent} records were not delivered; {self._failures[:3]}")
        Path(self._order["result"]).write_text(
            "".join(
                f"{topic} {partition} {record_id} {offset}\n"
                for topic, partition, record_id, offset in self._acknowledged
            )
        )

    def _wait_for_the_end(self) -> None:
        sys.stdin.read()
        self._over.set()

    def _produce(self) -> None:
        chance = self._chance
        topic, partition = place = chance.choice(self._places)
        record_id = self._next[place]
        self._next[place] += 1

        def note(error: KafkaError | None, message: Any) -> None:
            if error is not None:
                self._failures.append(str(error))
            else:
                self._acknowledged.append((topic, partition, record_id, message.offset()))

        arguments: dict[str, Any] = {}
        if chance.random() < 0.1:
            arguments["headers"] = [("kind", b"odd"), ("empty", b""), ("none", None)]
        if self._order["age_seconds"]:
            arguments["timestamp"] = int((time.time() - self._order["age_seconds"]) * 1000)
        self._producer.produce(
            topic,
            value=record_value(record_id, chance.randrange(20, 200)),
            key=None if chance.random() < 0.2 else b"key-%d" % chance.randrange(100),
            partition=partition,
            on_delivery=note,
            **arguments,
        )

    def _tell(self, seconds: float) -> None:
        print(json.dumps({"acknowledged": len(self._acknowledged), "seconds": seconds}), flush=True)  # noqa: T201


def _main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("order", type=json.loads)
    _Child(parser.parse_args().order).run()


if __name__ == "__main__":
    _main()
