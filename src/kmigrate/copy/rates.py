"""What may go through in a second: of everything, of each broker, of a topic; and how long a write may take.  (pure)

`RateLimits` is what an operator wants. `Rates` is the same for a worker: every limit has a slot in the memory where
all workers of a migration count together (`kmigrate.copy.throttle`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from kmigrate.kafka_types import BrokerId, Side, TopicName

if TYPE_CHECKING:
    from kmigrate.manifest.model import Limits  # too heavy for a worker

SLOTS = 4096
"""How many limits there may be."""

Broker: TypeAlias = tuple[Side, BrokerId]


class RateLimits(NamedTuple):
    """Bytes a second, None for no limit; `broker` holds for each broker of either side, `topics` for those named.

    `latency_ms` is how long the target may take to answer a Produce before less is sent.
    """

    total: int | None = None
    broker: int | None = None
    topics: tuple[tuple[TopicName, int], ...] = ()
    latency_ms: int | None = None


NO_LIMITS = RateLimits()


def rate_limits(limits: Limits) -> RateLimits:
    """What a manifest says of rates."""
    topics = tuple(sorted((TopicName(topic), rate) for topic, rate in limits.topic_bytes_per_second.items()))
    return RateLimits(limits.bytes_per_second, limits.broker_bytes_per_second, topics, limits.produce_latency_ms)


class Rate(NamedTuple):
    """One limit, and where it is counted."""

    slot: int
    bytes_per_second: int


class Rates(NamedTuple):
    """All limits of a migration."""

    total: Rate | None = None
    brokers: tuple[tuple[Broker, Rate], ...] = ()
    topics: tuple[tuple[TopicName, Rate], ...] = ()
    latency_ms: int | None = None

    @classmethod
    def together(cls, bytes_per_second: int | None) -> Rates:
        """Only one limit, for everything; None for none."""
        return cls() if bytes_per_second is None else cls(Rate(0, bytes_per_second))


UNLIMITED = Rates()


class Slots:
    """Gives every limit a slot, the same one as long as this lives."""

    def __init__(self) -> None:
        self._given: dict[Broker | TopicName | None, int] = {None: 0}

    def rates(self, limits: RateLimits, brokers: frozenset[Broker]) -> Rates:
        """The limits for these brokers; what finds no slot has no limit."""
        return Rates(
            total=self._rate(None, limits.total),
            brokers=tuple(
                (broker, rate)
                for broker in sorted(brokers, key=lambda each: (each[0].value, each[1]))
                if (rate := self._rate(broker, limits.broker)) is not None
            ),
            topics=tuple(
                (topic, rate) for topic, wanted in limits.topics if (rate := self._rate(topic, wanted)) is not None
            ),
            latency_ms=limits.latency_ms,
        )

    def _rate(self, of: Broker | TopicName | None, bytes_per_second: int | None) -> Rate | None:
        if bytes_per_second is None or (of not in self._given and len(self._given) >= SLOTS):
            return None
        return Rate(self._given.setdefault(of, len(self._given)), bytes_per_second)
