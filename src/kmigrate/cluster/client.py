"""Finds the right broker for a call, keeps one connection to each, and says what is unreachable.

For everything outside the hot path. Not thread-safe: each thread has its own client.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from kmigrate.cluster.connection import Connection
from kmigrate.cluster.settings import ConnectionSettings
from kmigrate.errors import BrokerRefused, ClusterError, ConnectionLost, NoAnswer, Unreachable
from kmigrate.kafka_types import BrokerAddress, BrokerId, Side, TopicName
from kmigrate.wire import calls
from kmigrate.wire.call import Call
from kmigrate.wire.calls import ClusterMetadata

T = TypeVar("T")
_BOOTSTRAP = BrokerId(-1)


class ClusterClient:
    """One cluster seen from this process."""

    def __init__(self, side: Side, bootstrap: Sequence[tuple[str, int]], settings: ConnectionSettings) -> None:
        self.side = side
        self._bootstrap = [BrokerAddress(_BOOTSTRAP, host, port) for host, port in bootstrap]
        self._settings = settings
        self._connections: dict[tuple[str, int], Connection] = {}
        """By place: the broker that was asked first is not connected to anew when its id is known."""
        self._brokers: dict[BrokerId, BrokerAddress] = {}
        self._controller = _BOOTSTRAP
        self._preferred: BrokerAddress | None = None
        self._avoided: BrokerAddress | None = None

    def metadata(self, topics: Sequence[TopicName] | None) -> ClusterMetadata:
        """Brokers and topics (None: all); the addresses it brings are used from now on."""
        found = self.any(calls.metadata(topics))
        self._brokers = dict(found.brokers)
        self._controller = found.controller
        return found

    def any(self, call: Call[T]) -> T:
        """Asks whichever broker answers, first the one that did last time; raises the last failure if none does.

        A broker that was silent for a whole request time-out is not asked once more on a new connection.
        """
        failure: ClusterError | None = None
        tried: set[tuple[str, int]] = set()
        known = [*self._brokers.values(), *self._bootstrap]
        for address in sorted(known, key=lambda address: (address == self._avoided, address != self._preferred)):
            place = (address.host, address.port)
            if place in tried:
                continue
            tried.add(place)
            try:
                answer = self._ask(address, call)
            except (Unreachable, ConnectionLost) as error:
                failure = error
            else:
                self._preferred, self._avoided = address, None
                return answer
        assert failure is not None, "a cluster has at least one bootstrap address"
        raise failure

    def prefer(self, address: BrokerAddress) -> None:
        """From now on `any` asks this broker first, until another one answers."""
        self._preferred, self._avoided = address, None

    def avoid(self, address: BrokerAddress) -> None:
        """The next `any` asks this broker last."""
        self._avoided = address

    def broker(self, broker: BrokerId, call: Call[T]) -> T:
        """Asks the given broker and no other."""
        return self._ask(self._address(broker), call)

    def connect(self, broker: BrokerId) -> Connection:
        """One more connection to this broker; it is the caller's."""
        return Connection(self.side, self._address(broker), self._settings)

    def link(self, broker: BrokerId) -> Connection:
        """The connection to this broker that is kept, for requests that are laid out by hand.

        Between two of them nothing may be under way. After a failure: `drop` it.
        """
        address = self._address(broker)
        if (address.host, address.port) not in self._connections:
            self._connections[address.host, address.port] = self.connect(broker)
        return self._connections[address.host, address.port]

    def drop(self, broker: BrokerId) -> None:
        """Closes the connection to this broker, if there is one: an answer may still be on its way."""
        address = self._brokers.get(broker)
        connection = None if address is None else self._connections.pop((address.host, address.port), None)
        if connection is not None:
            connection.close()

    def _address(self, broker: BrokerId) -> BrokerAddress:
        address = self._brokers.get(broker)
        if address is None:
            self.metadata([])
            address = self._brokers.get(broker)
        if address is None:
            raise Unreachable("the cluster does not know this broker now", side=self.side, broker=f"id {broker}")
        return address

    def controller(self, call: Call[T]) -> T:
        """Asks the broker that takes admin requests."""
        if self._controller not in self._brokers:
            self.metadata([])
        return self.broker(self._controller, call)

    def _ask(self, address: BrokerAddress, call: Call[T]) -> T:
        place = (address.host, address.port)
        connection = self._connections.pop(place, None)
        if connection is not None:
            try:
                answer = connection.call(call)
            except NoAnswer:
                raise
            except BrokerRefused:
                self._connections[place] = connection  # a request that it does not offer was not even sent
                raise
            except ConnectionLost:
                connection.close()  # perhaps only idle for too long: once more on a new one
            else:
                self._connections[place] = connection
                return answer
        connection = Connection(self.side, address, self._settings)
        try:
            answer = connection.call(call)
        except BrokerRefused:
            self._connections[place] = connection
            raise
        self._connections[place] = connection
        return answer

    def close(self) -> None:
        for connection in self._connections.values():
            connection.close()
        self._connections.clear()
