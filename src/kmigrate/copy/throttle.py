"""What a worker's pipelines may send: buckets that all workers of a migration draw from together.

Sending is never refused, only followed by a delay: a batch goes out whole and leaves a debt that time pays off. So a
rate is exact in the long run, whatever the size of the batches and however many workers share it. Unused time is
credited for at most half a second.

Buckets lie in a file in memory that the workers inherit; the kernel's lock on it guards them, and ends with a process
that is killed.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import struct
import tempfile
import threading
from collections.abc import Iterator, Mapping
from typing import IO

from kmigrate.copy.rates import SLOTS, UNLIMITED, Broker, Rate, Rates
from kmigrate.kafka_types import TopicName

CREDIT_SECONDS = 0.5
_BUCKET = struct.Struct("=ddd")
"""The rate that it was left at, what may be sent now or must be paid off first, and when that was so."""
_NEVER = -1.0


def make_memory() -> IO[bytes]:
    """A file without a name for the buckets of one migration; it lasts as long as somebody has it open.

    Its room is taken now: a hole that finds none on a full disk later would kill whoever writes there.
    """
    file = tempfile.TemporaryFile()  # noqa: SIM115 - it is the caller who closes it
    file.write(bytes(SLOTS * _BUCKET.size))
    file.flush()
    return file


class Throttle:
    """The limits of one migration as one process sees them; safe to share between threads. The clock is a value.

    Delays are seconds from `now` on the monotonic clock, 0 without a limit.
    """

    def __init__(self, memory_fd: int | None = None) -> None:
        """`memory_fd` is the file of `make_memory`; without it the limits are this process's own."""
        self._fd = memory_fd
        self._memory = mmap.mmap(-1 if memory_fd is None else memory_fd, SLOTS * _BUCKET.size)
        self._lock = threading.Lock()
        self._total: Rate | None = None
        self._brokers: Mapping[Broker, Rate] = {}
        self.topics: Mapping[TopicName, Rate] = {}
        """The topics that have a limit of their own."""
        self.latency_ms: int | None = None
        self._rates = UNLIMITED

    def set_rates(self, rates: Rates) -> None:
        """Adopts limits; a debt keeps its length in seconds, and is forgotten where there is no limit any more."""
        if rates == self._rates:
            return
        self._rates = rates
        self._total, self._brokers, self.topics = rates.total, dict(rates.brokers), dict(rates.topics)
        self.latency_ms = rates.latency_ms
        for rate in filter(None, (rates.total, *self._brokers.values(), *self.topics.values())):
            with self._locked():
                before, tokens, seen = self._read(rate.slot)
                if before != rate.bytes_per_second:
                    tokens = tokens * rate.bytes_per_second / before if before else 0.0
                    self._write(rate.slot, rate.bytes_per_second, tokens, seen if before else _NEVER)

    def take(
        self, size_bytes: int, brokers: tuple[Broker, ...] = (), topics: Mapping[TopicName, int] | None = None
    ) -> None:
        """Notes that so many bytes were sent, between which brokers, and how many of which limited topics."""
        by_topic = self.topics
        amounts = [(rate, size_bytes) for rate in self._shared(brokers)]
        amounts += [(by_topic[topic], size) for topic, size in (topics or {}).items() if topic in by_topic]
        if not amounts:
            return
        with self._locked():
            for rate, size in amounts:
                before, tokens, seen = self._read(rate.slot)
                self._write(rate.slot, before, tokens - size, seen)

    @property
    def has_broker_limits(self) -> bool:
        """Whether brokers have limits of their own."""
        return bool(self._brokers)

    def delay_seconds(self, now: float, brokers: tuple[Broker, ...] = ()) -> float:
        """How long sending between these brokers must wait."""
        return max((self._delay(rate, now) for rate in self._shared(brokers)), default=0.0)

    def topic_delay_seconds(self, topic: TopicName, now: float) -> float:
        """How long a topic must wait, for its own limit."""
        rate = self.topics.get(topic)
        return 0.0 if rate is None else self._delay(rate, now)

    def _shared(self, brokers: tuple[Broker, ...]) -> list[Rate]:
        total, by_broker = self._total, self._brokers  # taken once: another thread may adopt others meanwhile
        found = [] if total is None else [total]
        if by_broker:
            found += [by_broker[broker] for broker in brokers if broker in by_broker]
        return found

    def _delay(self, rate: Rate, now: float) -> float:
        with self._locked():
            speed, tokens, seen = self._read(rate.slot)
            if not speed:
                return 0.0
            if seen != _NEVER and now > seen:
                tokens = min(tokens + (now - seen) * speed, CREDIT_SECONDS * speed)
            self._write(rate.slot, speed, tokens, max(now, seen))
            return max(0.0, -tokens / speed)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        with self._lock:
            if self._fd is None:
                yield
                return
            fcntl.lockf(self._fd, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.lockf(self._fd, fcntl.LOCK_UN)

    def _read(self, slot: int) -> tuple[float, float, float]:
        rate, tokens, seen = _BUCKET.unpack_from(self._memory, slot * _BUCKET.size)
        return rate, tokens, seen

    def _write(self, slot: int, rate: float, tokens: float, seen: float) -> None:
        _BUCKET.pack_into(self._memory, slot * _BUCKET.size, rate, tokens, seen)


class Gate:
    """Where one pipeline waits for the limits of its brokers.

    Rule: where brokers have limits, a delay is waited out once. Who needs room under two of them would else find one
    taken whenever it looks, by those that need only that one. The debt is a little longer for it, and is paid off as
    any other.
    """

    def __init__(self, throttle: Throttle, brokers: tuple[Broker, ...]) -> None:
        self._throttle = throttle
        self._brokers = brokers
        self._until: float | None = None

    def delay_seconds(self, now: float) -> float:
        """How long what is ready must still wait."""
        delay = self._throttle.delay_seconds(now, self._brokers)
        if delay <= 0 or not self._throttle.has_broker_limits:
            self._until = None
            return delay
        if self._until is None:
            self._until = now + delay
        return max(0.0, min(delay, self._until - now))

    def passed(self) -> None:
        """It was sent, or there is nothing to send any more: what comes next waits anew."""
        self._until = None
