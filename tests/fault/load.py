"""Producers under way: a child process writes records at a steady rate and tells which were acknowledged.

Every record carries its partition and an id that rises by one there, so that a witness sees what was lost, repeated or
changed places. librdkafka writes them: idempotent, acks=all.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from confluent_kafka import KafkaError, Producer

FLUSH_SECONDS = 120.0
_STEP_SECONDS = 0.01
_TOLD_EVERY_SECONDS = 0.1

Place = tuple[str, int]


class Written(NamedTuple):
    """A record of a load, where it lies."""

    topic: str
    partition: int
    record_id: int
    offset: int


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

    _child_module = "tests.fault.load"

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
        self._result = Path(self._folder.name) / "result"
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
                [sys.executable, "-m", self._child_module, json.dumps(order)],
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
        self._ended = read_places(self._result)
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


def read_places(file: Path) -> dict[Place, dict[int, int]]:
    """The records that a child wrote down, as `write_places` lays them out: (topic, partition) → id → offset."""
    found: dict[Place, dict[int, int]] = {}
    for line in file.read_text().splitlines():
        topic, partition, record_id, offset = line.split()
        found.setdefault((topic, int(partition)), {})[int(record_id)] = int(offset)
    return found


def write_places(file: Path, records: Iterable[Written]) -> None:
    """Writes down records."""
    file.write_text("".join(" ".join(map(str, record)) + "\n" for record in records))


# -- the child --------------------------------------------------------------------------------------------------------


class Child:
    """The process that writes; `run` is all of its life."""

    def __init__(self, order: Mapping[str, Any]) -> None:
        self.order = order
        self.places: list[Place] = [(t, p) for t in order["topics"] for p in range(order["partitions"])]
        self.acknowledged: list[Written] = []
        self.over = threading.Event()
        self._ids = {place: itertools.count() for place in self.places}
        self._failures: list[str] = []
        self._chance = random.Random(order["seed"])
        self._producer = Producer(
            {
                **self.client_settings(),
                "enable.idempotence": True,
                "acks": "all",
                "linger.ms": 5,
                "batch.num.messages": 500,
                "queue.buffering.max.messages": 2_000_000,
                "retry.backoff.ms": 50,
                "retry.backoff.max.ms": 200,
            }
        )

    def client_settings(self) -> dict[str, Any]:
        """What all producers here have in common: they wait for the brokers, and come back soon."""
        return {
            "bootstrap.servers": self.order["bootstrap"],
            "compression.type": self.order["compression"],
            "message.timeout.ms": 600_000,
            "reconnect.backoff.ms": 50,
            "reconnect.backoff.max.ms": 500,
            "log_level": 0,
        }

    def run(self) -> None:
        threading.Thread(target=self._wait_for_the_end, daemon=True).start()
        begun = time.monotonic()
        self.write_until_over(begun)
        unsent = self._producer.flush(FLUSH_SECONDS)
        self._tell(time.monotonic() - begun)
        if unsent or self._failures:
            sys.exit(f"{unsent} records were not delivered; {self._failures[:3]}")
        self.write_down(Path(self.order["result"]))

    def write_until_over(self, begun: float) -> None:
        sent, told = 0, begun
        while not self.over.is_set():
            due = int((time.monotonic() - begun) * self.order["rate"])
            while sent < due:
                self._produce()
                sent += 1
            self._producer.poll(_STEP_SECONDS)
            if time.monotonic() - told > _TOLD_EVERY_SECONDS:
                told = time.monotonic()
                self._tell(told - begun)

    def write_down(self, result: Path) -> None:
        write_places(result, self.acknowledged)

    def draw_record(self, chance: random.Random, place: Place) -> tuple[int, dict[str, Any]]:
        """The next id of a place, and a record with it as the arguments of `produce`."""
        record_id = next(self._ids[place])
        arguments: dict[str, Any] = {
            "topic": place[0],
            "partition": place[1],
            "value": record_value(record_id, chance.randrange(20, 200)),
            "key": self.draw_key(chance, record_id),
        }
        if chance.random() < 0.1:
            arguments["headers"] = [("kind", b"odd"), ("empty", b""), ("none", None)]
        if self.order["age_seconds"]:
            arguments["timestamp"] = int((time.time() - self.order["age_seconds"]) * 1000)
        return record_id, arguments

    def draw_key(self, chance: random.Random, record_id: int) -> bytes | None:
        return None if chance.random() < 0.2 else b"key-%d" % chance.randrange(100)

    def _produce(self) -> None:
        place = self._chance.choice(self.places)
        record_id, arguments = self.draw_record(self._chance, place)

        def note(error: KafkaError | None, message: Any) -> None:
            if error is not None:
                self._failures.append(str(error))
            else:
                self.acknowledged.append(Written(*place, record_id, message.offset()))

        self._producer.produce(**arguments, on_delivery=note)

    def _wait_for_the_end(self) -> None:
        sys.stdin.read()
        self.over.set()

    def _tell(self, seconds: float) -> None:
        print(json.dumps({"acknowledged": len(self.acknowledged), "seconds": seconds}), flush=True)  # noqa: T201


def run_child(kind: type[Child]) -> None:
    """The whole of a child process: its order is the command line's one argument."""
    parser = argparse.ArgumentParser()
    parser.add_argument("order", type=json.loads)
    kind(parser.parse_args().order).run()


if __name__ == "__main__":
    run_child(Child)
