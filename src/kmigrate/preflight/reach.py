"""Connects to every broker that a cluster advertises, and sees which of Kafka's requests it knows.

A pipeline talks to the leaders themselves, so one broker that cannot be reached from here is enough to hold up its
partitions. Many are tried side by side, because one that drops packets takes the whole time-out.
"""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from kmigrate.cluster.connection import Connection
from kmigrate.cluster.settings import ConnectionSettings
from kmigrate.errors import ClusterError
from kmigrate.kafka_types import BrokerAddress, Side
from kmigrate.preflight.findings import Finding, found
from kmigrate.preflight.registry import FindingId
from kmigrate.wire.call import VersionRanges

_SIDE_BY_SIDE = 16
_DESCRIBE_PRODUCERS = 61
"""Kafka 2.8 was the first to offer it; the copier cannot do without."""


_STEPS = {
    "gaierror": "DNS",
    "ConnectionRefusedError": "refused",
    "TimeoutError": "time-out",
    "NoAnswer": "time-out",
    "SSLError": "TLS",
    "SSLCertVerificationError": "TLS",
    "TlsFailed": "TLS",
    "AuthenticationFailed": "SASL",
}
"""Exception, or what caused it, by name → how far a connection came. The socket library is the cluster room's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """What came of connecting to one broker: `failure` is empty if it worked; `offered` are its API ranges."""

    side: Side
    broker: BrokerAddress
    failure: str
    too_old: bool
    step: str = ""
    offered: VersionRanges = field(default_factory=dict)


def step_of(error: BaseException) -> str:
    """Which step of connecting failed: DNS, refused, time-out, TLS, SASL, or the network."""
    cause: BaseException | None = error
    while cause is not None:
        for kind in type(cause).__mro__:
            if kind.__name__ in _STEPS:
                return _STEPS[kind.__name__]
        cause = cause.__cause__
    return "network"


def try_brokers(side: Side, brokers: Iterable[BrokerAddress], settings: ConnectionSettings) -> tuple[Reach, ...]:
    """Connects to each broker once."""

    def attempt(broker: BrokerAddress) -> Reach:
        try:
            connection = Connection(side, broker, settings)
        except ClusterError as error:
            return Reach(side=side, broker=broker, failure=error.reason, too_old=False, step=step_of(error))
        try:
            offered = connection.offered
        finally:
            connection.close()
        too_old = offered.get(_DESCRIBE_PRODUCERS, (0, -1))[1] < 0
        return Reach(side=side, broker=broker, failure="", too_old=too_old, offered=offered)

    with ThreadPoolExecutor(_SIDE_BY_SIDE, thread_name_prefix="reach") as pool:
        return tuple(pool.map(attempt, brokers))


def judge_reach(side: Side, tried: Iterable[Reach]) -> list[Finding]:
    """A finding for every broker that is not fit, or one that all are."""
    findings = []
    for each in tried:
        if each.failure:
            step = each.step or "network"
            findings.append(
                found(FindingId.BROKER_UNREACHABLE, side=side, broker=each.broker, step=step, reason=each.failure)
            )
        elif each.too_old:
            findings.append(found(FindingId.BROKER_TOO_OLD, side=side, broker=each.broker))
    return findings or [found(FindingId.BROKERS_REACHABLE, side=side)]
