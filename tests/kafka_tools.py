"""Independent witnesses: librdkafka (through confluent-kafka) and Kafka's own Java tools.

Nothing here uses kmigrate's own reading and writing of records.
"""

from __future__ import annotations

import contextlib
import re
import subprocess
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from kmigrate.demo.java import java_command
from kmigrate.demo.kafka_jars import ensure_kafka

TIMEOUT_SECONDS = 60.0

_PASSING = frozenset(
    {
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError._TRANSPORT,
        KafkaError._TIMED_OUT,
        KafkaError._UNKNOWN_PARTITION,
        KafkaError._UNKNOWN_TOPIC,
    }
)

Headers = tuple[tuple[str, bytes | None], ...]


class ReadRecord(NamedTuple):
    """A record as librdkafka shows it; the timestamp is in milliseconds."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    timestamp: int


@dataclass(frozen=True, kw_only=True)
class SentRecord:
    """A record for `produce`; without a timestamp librdkafka takes the present one."""

    value: bytes | None
    key: bytes | None = None
    headers: Sequence[tuple[str, bytes | None]] = ()
    timestamp: int | None = None
    partition: int = 0


# -- librdkafka ---------------------------------------------------------------------------------


def new_topic_name(prefix: str = "topic") -> str:
    """A topic name that no other test has."""
    return f"{prefix}-{uuid.uuid4().hex[:12]}"


def create_topic(
    bootstrap: str,
    topic: str | None = None,
    *,
    partitions: int = 1,
    replication: int = 1,
    config: Mapping[str, str] | None = None,
) -> str:
    """Create a topic and wait until every partition has a leader; returns its name."""
    name = topic or new_topic_name()
    admin = AdminClient({"bootstrap.servers": bootstrap})
    wanted = NewTopic(name, num_partitions=partitions, replication_factor=replication, config=dict(config or {}))
    admin.create_topics([wanted])[name].result(TIMEOUT_SECONDS)
    consumer = _consumer(bootstrap)
    try:
        for partition in range(partitions):
            _watermarks(consumer, name, partition)
    finally:
        consumer.close()
    return name


def produce(
    bootstrap: str,
    topic: str,
    records: Iterable[SentRecord | bytes],
    *,
    config: Mapping[str, Any] | None = None,
) -> list[tuple[int, int]]:
    """Write records in order, acks=all; returns (partition, offset) of each. A bare value is a record too.

    With `config={"transactional.id": …}` all of them are one committed transaction. Records carry no
    producer id unless `config={"enable.idempotence": True}` asks for one; librdkafka needs half a
    second to get it, and without it a lost answer may repeat a record.
    """
    settings = {"bootstrap.servers": bootstrap, "acks": "all", "linger.ms": 5, "max.in.flight": 1}
    producer = Producer(settings | dict(config or {}))
    written: dict[int, tuple[int, int]] = {}
    errors: list[KafkaError] = []

    transactional = bool(config and "transactional.id" in config)
    if transactional:
        producer.init_transactions(TIMEOUT_SECONDS)
        producer.begin_transaction()
    count = 0
    for index, each in enumerate(records):
        record = each if isinstance(each, SentRecord) else SentRecord(value=each)

        def note(error: KafkaError | None, message: Any, index: int = index) -> None:
            if error is not None:
                errors.append(error)
            else:
                written[index] = (message.partition(), message.offset())

        arguments: dict[str, Any] = {"partition": record.partition, "on_delivery": note}
        if record.timestamp is not None:
            arguments["timestamp"] = record.timestamp
        if record.headers:
            arguments["headers"] = list(record.headers)
        while True:
            try:
                producer.produce(topic, value=record.value, key=record.key, **arguments)
                break
            except BufferError:
                producer.poll(0.05)
        count += 1
    unsent = producer.flush(TIMEOUT_SECONDS)
    if transactional:
        producer.commit_transaction(TIMEOUT_SECONDS)
    assert not unsent, f"{unsent} records of {topic} were not delivered"
    assert not errors, f"{topic}: {errors[0]}"
    return [written[index] for index in range(count)]


def write_transaction(bootstrap: str, topic: str, values: Sequence[bytes], *, commit: bool, partition: int = 0) -> None:
    """One transaction with these values and one marker behind them; without `commit` it is aborted."""
    producer = Producer({"bootstrap.servers": bootstrap, "transactional.id": uuid.uuid4().hex})
    producer.init_transactions(TIMEOUT_SECONDS)
    producer.begin_transaction()
    for value in values:
        producer.produce(topic, value=value, partition=partition)
    assert producer.flush(TIMEOUT_SECONDS) == 0
    (producer.commit_transaction if commit else producer.abort_transaction)(TIMEOUT_SECONDS)


def delete_records(bootstrap: str, topic: str, before: int, partition: int = 0) -> None:
    """Delete the records below an offset: the log begins there."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    for future in admin.delete_records([TopicPartition(topic, partition, before)]).values():
        assert future.result(TIMEOUT_SECONDS).low_watermark == before


def read_all(
    bootstrap: str,
    topic: str,
    *,
    isolation_level: str = "read_committed",
    config: Mapping[str, Any] | None = None,
) -> list[ReadRecord]:
    """Every record of a topic up to its present end, sorted by partition and offset."""
    messages = consume_all(bootstrap, topic, isolation_level=isolation_level, config=config)
    return sorted(map(_read_record, messages), key=lambda record: record[:2])


def consume_all(
    bootstrap: str,
    topic: str,
    *,
    isolation_level: str = "read_committed",
    config: Mapping[str, Any] | None = None,
) -> list[Message]:
    """Every record of a topic up to its present end, as librdkafka hands them out: in order by partition."""
    settings = {"isolation.level": isolation_level, "enable.partition.eof": True}
    consumer = _consumer(bootstrap, settings | dict(config or {}))
    try:
        metadata = consumer.list_topics(topic, timeout=TIMEOUT_SECONDS).topics[topic]
        assert metadata.error is None, f"{topic}: {metadata.error}"
        starts = {each: _watermarks(consumer, topic, each)[0] for each in metadata.partitions}
        consumer.assign([TopicPartition(topic, each, start) for each, start in starts.items()])
        unfinished = set(starts)
        found: list[Message] = []
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while unfinished:
            messages = consumer.consume(1000, timeout=0.05)  # waits that long for a full thousand
            if messages:
                deadline = time.monotonic() + TIMEOUT_SECONDS
            assert time.monotonic() < deadline, f"{topic}: nothing comes from partitions {unfinished}"
            for message in messages:
                error = message.error()
                if error is None:
                    found.append(message)
                elif error.code() == KafkaError._PARTITION_EOF:
                    unfinished.discard(message.partition())
                else:
                    raise AssertionError(f"{topic}: {error}")
        return found
    finally:
        consumer.close()


def watermarks(bootstrap: str, topic: str, partition: int = 0) -> tuple[int, int]:
    """The log start offset and the high watermark of a partition."""
    consumer = _consumer(bootstrap)
    try:
        return _watermarks(consumer, topic, partition)
    finally:
        consumer.close()


def _consumer(bootstrap: str, config: Mapping[str, Any] | None = None) -> Consumer:
    settings: dict[str, Any] = {
        "bootstrap.servers": bootstrap,
        "group.id": "kmigrate-witness",
        "enable.auto.commit": False,
        "auto.offset.reset": "error",
        "check.crcs": False,  # librdkafka aborts the process at a bad one; dump_log tells `isvalid`
        "fetch.wait.max.ms": 20,
    }
    return Consumer(settings | dict(config or {}))


def _watermarks(consumer: Consumer, topic: str, partition: int) -> tuple[int, int]:
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while True:
        try:
            answer = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=5.0)
        except KafkaException as exception:  # a new or moved leader answers a moment later
            if not exception.args[0].retriable() and exception.args[0].code() not in _PASSING:
                raise
            answer = None
        if answer is not None:
            low, high = answer
            return low, high
        assert time.monotonic() < deadline, f"{topic}-{partition} does not tell its watermarks"
        time.sleep(0.02)


def _read_record(message: Any) -> ReadRecord:
    return ReadRecord(
        message.partition(),
        message.offset(),
        message.key(),
        message.value(),
        tuple(message.headers() or ()),
        message.timestamp()[1],
    )


# -- Kafka's Java tools -------------------------------------------------------------------------


def run_java_tool(version: str, main_class: str, *arguments: str) -> str:
    """Run a class of a Kafka release and return what it printed; its failure fails the test."""
    command = java_command(
        ensure_kafka(version),
        main_class,
        arguments,
        options=["-Xmx256m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"],
    )
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert result.returncode == 0, f"{main_class} {arguments}:\n{result.stdout}{result.stderr}"
    return result.stdout


def dump_log(
    version: str, data_dir: Path, topic: str, partition: int = 0, *, deep: bool = False
) -> list[dict[str, Any]]:
    """The record batches of a partition's segment files, as DumpLogSegments prints them.

    Keys are Kafka's: baseOffset, lastOffset, count, baseSequence, lastSequence, producerId,
    producerEpoch, partitionLeaderEpoch, isTransactional, isControl, position, CreateTime (or
    LogAppendTime; the batch's newest timestamp), size, magic, compresscodec, crc, isvalid.
    Numbers are ints, true and false are bools. A message of an old format has offset, its last one, in place of
    baseOffset to producerEpoch. With `deep`, each batch also has `records`, a list of
    dicts with offset, CreateTime, keySize, valueSize, sequence, headerKeys, payload, key, …
    """
    arguments = ["--deep-iteration", "--print-data-log"] if deep else []
    output = _dump_files(version, data_dir / f"{topic}-{partition}", arguments)
    batches: list[dict[str, Any]] = []
    for line in output.splitlines():
        if line.startswith(("baseOffset: ", "offset: ")):
            batches.append(_parse_dumped(line) | ({"records": []} if deep else {}))
        elif line.startswith("| offset: "):
            batches[-1]["records"].append(_parse_dumped(line.removeprefix("| ")))
        else:
            assert "invalid" not in line.lower(), f"DumpLogSegments: {line}"
    return batches


def _dump_files(version: str, folder: Path, arguments: Sequence[str]) -> str:
    """What DumpLogSegments prints of a folder's segments; once more where the cleaner replaced some meanwhile."""
    for _ in range(10):
        segments = list_segments(folder)
        assert segments, f"no segments in {folder}"
        files = ",".join(str(path) for path, _ in segments)
        try:
            output = run_java_tool(version, "kafka.tools.DumpLogSegments", "--files", files, *arguments)
        except AssertionError:
            if list_segments(folder) == segments:
                raise
            continue
        if list_segments(folder) == segments:
            return output
    raise AssertionError(f"the segments of {folder} change all the time")


def list_segments(folder: Path) -> list[tuple[Path, int]]:
    """The segments by name, each with its inode, which is another one after cleaning."""
    found = []
    for path in folder.glob("*.log"):
        with contextlib.suppress(FileNotFoundError):
            found.append((path, path.stat().st_ino))
    return sorted(found)


_KEY = re.compile(
    r"(?:^| )(baseOffset|lastOffset|count|baseSequence|lastSequence|producerId|producerEpoch"
    r"|partitionLeaderEpoch|isTransactional|isControl|deleteHorizonMs|position|CreateTime|LogAppendTime"
    r"|NoTimestampType|size|magic|compresscodec|crc|isvalid|isValid|offset|keySize|keysize|valueSize|valuesize"
    r"|sequence|headerKeys|key|payload|endTxnMarker|coordinatorEpoch): "
)
_TEXTS = frozenset({"key", "payload", "compresscodec", "headerKeys"})


def _parse_dumped(line: str) -> dict[str, Any]:
    pieces = _KEY.split(line.strip())[1:]
    return {key: _parse_value(key, text.strip()) for key, text in zip(pieces[::2], pieces[1::2], strict=True)}


def _parse_value(key: str, text: str) -> Any:
    if key in _TEXTS:
        return text
    if text in ("true", "false"):
        return text == "true"
    return int(text) if re.fullmatch(r"-?\d+", text) else text
