"""A load that leaves everything in a partition at once, while it is copied.

In every partition of three topics there are plain records, and transactions that are committed or aborted all the time,
some over several topics, some open for a while. One topic is *kept*. One is *cleaned*: compacted by an eager cleaner.
One is *trimmed*: it starts above 0 before the copy begins, and its start moves on behind the copy.
"""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from confluent_kafka import KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from kmigrate.demo.embedded import EmbeddedCluster
from tests.content.trimmed import delete_records
from tests.fault.harness import log_ends
from tests.fault.load import Child, Load, Place, Written, read_places, run_child, write_places
from tests.kafka_tools import SentRecord, create_topic, new_topic_name, produce

LOG_START = 1_023
"""Where the trimmed partitions begin before anything is copied: ten batches of filler, 512, 256, … 1."""
CLEANED = {
    "cleanup.policy": "compact",
    "min.cleanable.dirty.ratio": "0.0",
    "segment.bytes": "150000",  # more than a batch may have
}  # markers stay for a day: with a shorter delete.retention.ms a copier that was away for longer would have to stop
HOT_KEYS = 40
KEPT_RUN = 30
"""So many records in a row have keys of their own, and as many hot ones behind them: of these a long gap is left."""
HOT_RECORDS = 1_500
"""Written to each cleaned partition before the load: of most nothing is left when the copy begins."""
PLAIN_RATE = 2_000
"""Plain records a second, unless another rate is wanted."""
WRITERS = 2
TRANSACTION_SECONDS = 0.03
"""A writer begins one so often, at most."""
TRIM_SECONDS = 0.5
TIMEOUT_SECONDS = 30.0


class MixedTopics(NamedTuple):
    """The topics of a mixed load, each with so many partitions."""

    kept: str
    cleaned: str
    trimmed: str


def create_mixed_topics(
    source: EmbeddedCluster, *, partitions: int, replication: int = 1, age_seconds: int = 0
) -> MixedTopics:
    """Creates them on the source, with what lies in them before the load."""
    prefix = new_topic_name("mixed")
    topics = MixedTopics(*(f"{prefix}-{kind}" for kind in MixedTopics._fields))
    for topic in topics:
        config = CLEANED if topic == topics.cleaned else {"retention.ms": "-1"}
        create_topic(source.direct_bootstrap, topic, partitions=partitions, replication=replication, config=config)
    then_ms = int((time.time() - age_seconds) * 1000)
    for topic, count in ((topics.cleaned, HOT_RECORDS), (topics.trimmed, LOG_START)):
        early = [
            SentRecord(key=b"hot %d" % (number % HOT_KEYS), value=b"0:early" * 30, timestamp=then_ms, partition=each)
            for each in range(partitions)
            for number in range(count)
        ]
        produce(source.direct_bootstrap, topic, early, config={"batch.num.messages": 100})
    delete_records(source, topics.trimmed, dict.fromkeys(range(partitions), LOG_START))
    return topics


class MixedLoad(Load):
    """The load; a context manager. `options` are those of `Load`, `rate` is that of the plain records."""

    _child_module = "tests.fault.mixed_load"

    def __init__(
        self, source: EmbeddedCluster, target: EmbeddedCluster, topics: MixedTopics, *, partitions: int, **options: Any
    ) -> None:
        options = {"rate": PLAIN_RATE} | options
        super().__init__(source.direct_bootstrap, topics, partitions=partitions, **options)
        self.aborted: Mapping[Place, Mapping[int, int]] = {}
        """Records that nobody may see, once the load has ended."""
        self._trimmer = _Trimmer(source, target, topics.trimmed, partitions)
        self._trimmer.start()

    def stop(self) -> Mapping[Place, Mapping[int, int]]:
        self._trimmer.stop()
        has_ended = self._ended is not None
        acknowledged = super().stop()
        if not has_ended:
            self.aborted = read_places(_aborted_beside(self._result))
        return acknowledged

    def kill(self) -> None:
        self._trimmer.stop()
        super().kill()


class _Trimmer(threading.Thread):
    """Moves the source's log starts on, never past what the target has."""

    def __init__(self, source: EmbeddedCluster, target: EmbeddedCluster, topic: str, partitions: int) -> None:
        super().__init__(name=f"trims {topic}", daemon=True)
        self._target = target
        self._topic = topic
        self._starts = dict.fromkeys(range(partitions), LOG_START)
        self._chance = random.Random(topic)
        self._over = threading.Event()
        self._admin = AdminClient(
            {"bootstrap.servers": source.direct_bootstrap, "log_level": 0, "reconnect.backoff.max.ms": 300}
        )

    def run(self) -> None:
        while not self._over.wait(TRIM_SECONDS):
            with contextlib.suppress(KafkaException):  # a cluster is down: later
                self._trim()

    def stop(self) -> None:
        """Returns when no log start moves any more."""
        self._over.set()
        self.join()

    def _trim(self) -> None:
        ends = log_ends(self._target, [self._topic], missing=0, seconds=1.0)
        wanted = [
            TopicPartition(self._topic, partition, self._chance.randint(start + 1, ends[self._topic, partition]))
            for partition, start in self._starts.items()
            if ends.get((self._topic, partition), 0) > start
        ]
        if not wanted:
            return
        asked = self._admin.delete_records(wanted, request_timeout=TIMEOUT_SECONDS, operation_timeout=TIMEOUT_SECONDS)
        for place, answer in asked.items():
            with contextlib.suppress(KafkaException):  # it may have happened all the same
                answer.result(TIMEOUT_SECONDS)
            self._starts[place.partition] = place.offset


def _aborted_beside(result: Path) -> Path:
    return result.with_name("aborted")


# -- the child --------------------------------------------------------------------------------------------------------


class _MixedChild(Child):
    def __init__(self, order: Mapping[str, Any]) -> None:
        super().__init__(order)
        self.aborted: list[Written] = []

    def write_until_over(self, begun: float) -> None:
        with ThreadPoolExecutor(WRITERS) as pool:
            ends = [pool.submit(_Writer(self, number).run) for number in range(WRITERS)]
            super().write_until_over(begun)
            for end in ends:
                end.result()

    def write_down(self, result: Path) -> None:
        super().write_down(result)
        write_places(_aborted_beside(result), self.aborted)

    def draw_key(self, chance: random.Random, record_id: int) -> bytes:
        is_hot = record_id // KEPT_RUN % 2
        return b"hot %d" % chance.randrange(HOT_KEYS) if is_hot else chance.randbytes(6)


class _Writer:
    """A transactional producer, which decides whatever it begins."""

    def __init__(self, child: _MixedChild, number: int) -> None:
        self._child = child
        self._chance = random.Random(f"{child.order['seed']}/{number}")
        self._id = f"{child.places[0][0]}-{number}"
        self._pending: list[Written] = []

    def run(self) -> None:
        self._producer = self._register()
        while not self._child.over.wait(TRANSACTION_SECONDS):
            self._transact()

    def _register(self) -> Producer:
        """A new producer; what an earlier one left open is aborted."""
        settings = {"transactional.id": self._id, "transaction.timeout.ms": 600_000, "linger.ms": 2}
        producer = Producer(self._child.client_settings() | settings)
        _until_done(lambda: producer.init_transactions(TIMEOUT_SECONDS))
        return producer

    def _transact(self) -> None:
        chance, producer = self._chance, self._producer
        self._pending = []
        producer.begin_transaction()
        for place in chance.sample(self._child.places, chance.randint(1, min(3, len(self._child.places)))):
            for _ in range(chance.randint(1, 4)):
                self._write(place)
        if chance.random() < 0.05:
            producer.flush(TIMEOUT_SECONDS)
            self._child.over.wait(chance.uniform(0.1, 0.8))  # others write behind it meanwhile
        while producer.flush(TIMEOUT_SECONDS):
            pass
        try:
            if chance.random() < 0.3:
                self._abort()
            else:
                _until_done(lambda: producer.commit_transaction(TIMEOUT_SECONDS))
                self._child.acknowledged += self._pending
        except KafkaException as error:
            if error.args[0].txn_requires_abort():
                self._abort()
            else:
                self._producer = self._register()  # whether it was committed is not known: nothing is said of it

    def _abort(self) -> None:
        _until_done(lambda: self._producer.abort_transaction(TIMEOUT_SECONDS))
        self._child.aborted += self._pending

    def _write(self, place: Place) -> None:
        record_id, arguments = self._child.draw_record(self._chance, place)

        def note(error: KafkaError | None, message: Any) -> None:
            if error is None:
                self._pending.append(Written(*place, record_id, message.offset()))

        self._producer.produce(**arguments, on_delivery=note)


def _until_done(act: Callable[[], object]) -> None:
    """Asks again where librdkafka says that this may help."""
    while True:
        try:
            act()
        except KafkaException as error:
            if not error.args[0].retriable():
                raise
        else:
            return


if __name__ == "__main__":
    run_child(_MixedChild)
