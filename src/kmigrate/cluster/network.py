"""What the copying path needs of the outside: links to brokers, waiting, and two clocks.

A simulation replaces this and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

from kmigrate.kafka_types import BrokerAddress, Side
from kmigrate.wire.call import Call

Buffer = bytes | bytearray | memoryview
T = TypeVar("T")


class Link(Protocol):
    """One connection to one broker. Every method may raise ConnectionLost; the link is of no use afterwards."""

    @property
    def client_id(self) -> bytes:
        """What requests laid out by hand carry as client id; quotas go by it."""

    @property
    def opened_in_seconds(self) -> float:
        """How long opening it took: about one round trip to the broker."""

    @property
    def wants_renewal(self) -> bool:
        """Whether the session with the broker ends soon: no more requests should be sent before it is renewed."""

    def renew(self) -> None:
        """Begins a new session; nothing may be under way. The next request does it too, if nothing is."""

    def send(self, buffers: Sequence[Buffer]) -> None:
        """Sends the buffers of one request, in order, completely."""

    def receive(self, into: bytearray) -> memoryview:
        """Waits for one whole answer and returns it without its length.

        The view lies in `into`, or in memory of its own if the answer is larger than that.
        """

    def next_correlation_id(self) -> int:
        """A fresh correlation id for a request laid out by hand."""

    def call(self, call: Call[T]) -> T:
        """Sends a call and waits for its answer; nothing else may be under way on this link."""

    def ask(self, call: Call[Any]) -> None:
        """Sends a call without waiting for its answer.

        Several may be asked in a row; the broker handles them one after the other. `Network.wait` tells when an answer
        can be read. Raises BrokerRefused if the broker does not offer the request: then nothing was sent.
        """

    def answer(self, call: Call[T]) -> T:
        """Waits for the answer to the oldest call that was asked and is not answered: it must be this one."""

    def highest_version(self, api_key: int) -> int:
        """The highest version of a request that this broker offers; -1 if none."""

    def close(self) -> None:
        """Ends the connection; safe to call twice."""


class Network(Protocol):
    """Links and clocks."""

    def connect(self, side: Side, address: BrokerAddress) -> Link:
        """Opens a link; raises Unreachable or ConnectionLost."""

    def wait(self, links: Sequence[Link], timeout_seconds: float) -> Sequence[Link]:
        """Waits until an answer can be read from one of the links, or the time is over; returns those that can."""

    def steady_seconds(self) -> float:
        """The monotonic clock, the same in every process of this machine."""

    def cpu_seconds(self) -> float:
        """The CPU time of the calling thread."""

    def wall_ms(self) -> int:
        """The wall clock in milliseconds since the epoch."""
