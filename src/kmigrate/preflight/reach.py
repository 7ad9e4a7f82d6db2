"""Connects to every broker that a cluster advertises, and sees which of Kafka's requests it knows.

A pipeline talks to the leaders themselves, so one broker that cannot be reached from here is enough to hold up its
partitions. Many are tried side by side, because one that drops packets takes the whole time-out.
"""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from kmigrate.cluster.connection import Connection
from kmigrate.cluster.settings import ConnectionSettings
from kmigrate.errors import ClusterError
from kmigrate.kafka_types import BrokerAddress, Side
from kmigrate.preflight.findings import Finding, Level

_SIDE_BY_SIDE = 16
_DESCRIBE_PRODUCERS = 61
"""Kafka 2.8 was the first to offer it; the copier cannot do without."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """What came of connecting to one broker: `failure` is empty if it worked."""

    side: Side
    broker: BrokerAddress
    failure: str
    too_old: bool


def try_brokers(side: Side, brokers: Iterable[BrokerAddress], settings: ConnectionSettings) -> tuple[Reach, ...]:
    """Connects to each broker once."""

    def attempt(broker: BrokerAddress) -> Reach:
        try:
            connection = Connection(side, broker, settings)
        except ClusterError as error:
            return Reach(side=side, broker=broker, failure=error.reason, too_old=False)
        try:
            too_old = connection.highest_version(_DESCRIBE_PRODUCERS) < 0
        finally:
            connection.close()
        return Reach(side=side, broker=broker, failure="", too_old=too_old)

    with ThreadPoolExecutor(_SIDE_BY_SIDE, thread_name_prefix="reach") as pool:
        return tuple(pool.map(attempt, brokers))


def judge_reach(side: Side, tried: Iterable[Reach]) -> list[Finding]:
    """A finding for every broker that is not fit, or one that all are."""
    findings = []
    for each in tried:
        place = f"{side} cluster, broker {each.broker}"
        if each.failure:
            findings.append(
                Finding(
                    level=Level.BLOCK,
                    what=f"{place} cannot be reached: {each.failure}",
                    hint="this machine must reach every broker at the address that it advertises",
                )
            )
        elif each.too_old:
            findings.append(
                Finding(
                    level=Level.BLOCK,
                    what=f"{place} is older than Kafka 2.8",
                    hint="sources and targets from 2.8 on are supported",
                )
            )
    return findings or [Finding(level=Level.PASS, what=f"every broker of the {side} cluster can be reached")]
