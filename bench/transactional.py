"""Throughput and CPU where every hundredth record is followed by the marker that commits its transaction.

kmigrate leaves each record at its offset, so that it must put a marker of its own where the source has one.
MirrorMaker 2 reads committed data only and numbers it anew.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

from confluent_kafka import Producer

from bench.figures import Goal
from bench.lab import BATCH_BYTES, Lab, Load
from bench.report import CaseResult
from bench.turns import COMMITTED_TOOLS, Goals, measure_in_turns
from kmigrate.kafka_types import Side

PARTITIONS = 12
RECORD_BYTES = 1024
RECORDS_EACH = 100
"""Of a transaction; all of them go to one partition, where they may lie among those of other transactions."""
TRANSACTIONS, SHORT_TRANSACTIONS = 15_120, 2_160
WARM_UP_TRANSACTIONS, SHORT_WARM_UP_TRANSACTIONS = 2_160, 720
PRODUCERS = 6
"""At a time: one writes while others wait for their commit."""
GOALS = Goals(cpu=Goal(limit=1 / 4, words="1/4"), speed=Goal(limit=1.5, at_most=False))
_PATIENCE_SECONDS = 60.0


def measure(lab: Lab) -> CaseResult:
    """Both tools copy committed transactions."""
    transactions = SHORT_TRANSACTIONS if lab.short else TRANSACTIONS
    warm_up_transactions = SHORT_WARM_UP_TRANSACTIONS if lab.short else WARM_UP_TRANSACTIONS
    return measure_in_turns(
        lab,
        case="transactional",
        title=f"Transactions of {RECORDS_EACH} records of {RECORD_BYTES} bytes in {PARTITIONS} partitions, no codec.",
        goals=GOALS,
        warm=lambda: fill(lab, "warm-up-transactions", warm_up_transactions),
        load=lambda: fill(lab, "transactions", transactions),
        describe=lambda load: {
            "Transactions": load.offsets - load.records,
            "Median batch": f"{load.batch_bytes:,} bytes (batch.size {BATCH_BYTES:,})",
            "MirrorMaker 2 reads": "isolation.level read_committed",
        },
        tools=COMMITTED_TOOLS,
    )


def fill(lab: Lab, topic: str, transactions: int) -> Load:
    """Creates a topic on the source and writes about so many transactions, an equal number into each partition."""
    lab.create_topic(Side.SOURCE, topic, PARTITIONS)
    rounds = transactions // (PRODUCERS * PARTITIONS)
    records = rounds * PRODUCERS * PARTITIONS * RECORDS_EACH
    lab.say(f"writing {records:,} records in transactions of {RECORDS_EACH} into {PARTITIONS} partitions of {topic}")
    with ThreadPoolExecutor(PRODUCERS) as pool:
        bootstrap = lab.bootstrap(Side.SOURCE)
        for writing in [pool.submit(_write, bootstrap, topic, number, rounds) for number in range(PRODUCERS)]:
            writing.result()
    offsets = records + records // RECORDS_EACH
    lab.wait_until(  # the coordinator writes markers after it has answered
        lambda: lab.end_offsets(Side.SOURCE, topic, PARTITIONS) >= offsets, f"{topic} has not every marker"
    )
    return lab.keep(topic, PARTITIONS, records)


def _write(bootstrap: str, topic: str, number: int, rounds: int) -> None:
    """The transactions of one producer, so many for each partition; raises KafkaException if one is not committed."""
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "transactional.id": f"{topic}-{number}",
            "batch.size": BATCH_BYTES,
            "linger.ms": 100,
            "compression.type": "none",
            "log_level": 2,  # a coordinator that is being loaded is worth no line
        }
    )
    value = os.urandom(RECORD_BYTES)
    producer.init_transactions(_PATIENCE_SECONDS)
    for partition in rounds * [(number * PARTITIONS // PRODUCERS + step) % PARTITIONS for step in range(PARTITIONS)]:
        producer.begin_transaction()
        for _ in range(RECORDS_EACH):
            producer.produce(topic, value=value, partition=partition)
        producer.commit_transaction(_PATIENCE_SECONDS)
