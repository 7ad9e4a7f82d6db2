"""One blocking connection to one broker: the only place that opens a socket to Kafka.

Hot messages go through `send` and `receive` on buffers of the caller; everything else through `call`, or `ask` now and
`answer` later. A connection that failed once stays failed: every later use raises ConnectionLost with the first cause.
"""

from __future__ import annotations

import select
import socket
import struct
import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeVar, cast

from kmigrate.cluster.clock import steady_seconds
from kmigrate.cluster.network import Buffer, Link
from kmigrate.cluster.settings import ConnectionSettings
from kmigrate.errors import BrokerRefused, ConnectionLost, NoAnswer, ProtocolError, Unreachable
from kmigrate.kafka_types import BrokerAddress, Side
from kmigrate.wire.call import Call, VersionRanges, api_versions, error_name

T = TypeVar("T")
_SENDMSG_LIMIT = 1000  # the kernel takes at most 1,024 buffers a call
_CALL_BUFFER_BYTES = 64 * 1024
_MAX_ANSWER_BYTES = 1 << 30
_NO_LINGER = struct.pack("ii", 1, 0)
"""What is not sent yet when a connection ends, or its process is killed, is dropped: the kernel would go on sending it
for minutes, long after the quiet period of whoever copies next."""


class _Asked(NamedTuple):
    """A call that was sent and is not answered yet."""

    call: Call[Any]
    version: int
    correlation_id: int


class Connection:
    """A framed connection with a version table; not thread-safe: one owner at a time."""

    def __init__(self, side: Side, address: BrokerAddress, settings: ConnectionSettings) -> None:
        self.side = side
        self.address = address
        self.client_id = settings.client_id.encode()
        self._settings = settings
        self._correlation_id = 0
        self._asked: deque[_Asked] = deque()
        self._buffer = bytearray(_CALL_BUFFER_BYTES)
        self._length = bytearray(4)
        self._failure: str | None = None
        began = steady_seconds()
        self._socket = self._open()
        self.opened_in_seconds = steady_seconds() - began
        self._offered: VersionRanges = {}
        self._offered = self._ask_versions()

    def _open(self) -> socket.socket:
        place = (self.address.host, self.address.port)
        try:
            opened = socket.create_connection(place, timeout=self._settings.connect_timeout_ms / 1000)
        except socket.gaierror as error:
            raise self._unreachable(f"the name {self.address.host!r} cannot be resolved: {error.strerror}") from error
        except ConnectionRefusedError as error:
            raise self._unreachable("connection refused") from error
        except TimeoutError as error:
            raise self._unreachable("no connection within the time-out") from error
        except OSError as error:
            raise self._unreachable(str(error)) from error
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        # Blocking, with the kernel's own time-outs: one call takes or gives everything, no poll before each part.
        opened.settimeout(None)
        seconds, milliseconds = divmod(self._settings.request_timeout_ms, 1000)
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            opened.setsockopt(socket.SOL_SOCKET, option, struct.pack("@ll", seconds, milliseconds * 1000))
        return opened

    def _unreachable(self, reason: str) -> Unreachable:
        return Unreachable(
            reason,
            side=self.side,
            broker=str(self.address),
            hint="the address must be reachable from this machine, exactly as the broker advertises it",
        )

    def _ask_versions(self) -> VersionRanges:
        versions = api_versions()
        self._send_call(versions, 0)
        error, ranges = self.answer(versions)
        if error:
            raise BrokerRefused(
                "ApiVersions", code=error, name=error_name(error), side=self.side, broker=str(self.address)
            )
        return ranges

    def fileno(self) -> int:
        return self._socket.fileno()

    def next_correlation_id(self) -> int:
        self._correlation_id = (self._correlation_id + 1) & 0x7FFFFFFF
        return self._correlation_id

    def highest_version(self, api_key: int) -> int:
        return self._offered.get(api_key, (0, -1))[1]

    def send(self, buffers: Sequence[Buffer]) -> None:
        """Sends the buffers in order; a time-out or a broken connection leaves the outcome unknown."""
        self._check()
        try:
            for first in range(0, len(buffers), _SENDMSG_LIMIT):
                self._send_some(buffers[first : first + _SENDMSG_LIMIT])
        except OSError as error:
            raise self._lost(f"sending failed: {error}") from error

    def _send_some(self, buffers: Sequence[Buffer]) -> None:
        sent = self._socket.sendmsg(buffers)
        for buffer in buffers:
            size = len(buffer)
            if sent >= size:
                sent -= size
                continue
            self._socket.sendall(memoryview(buffer)[sent:])
            sent = 0

    def receive(self, into: bytearray) -> memoryview:
        """Waits for one whole answer; a larger one than `into` gets memory of its own."""
        self._check()
        try:
            self._fill(memoryview(self._length))
            (size,) = struct.unpack(">i", self._length)
            if not 4 <= size <= _MAX_ANSWER_BYTES:
                raise self._lost(f"an answer claims to be {size} bytes long")
            view = memoryview(into)[:size] if size <= len(into) else memoryview(bytearray(size))
            self._fill(view)
        except BlockingIOError as error:
            self._lost(reason := f"no answer within {self._settings.request_timeout_ms} ms")
            raise NoAnswer(reason, side=self.side, broker=str(self.address)) from error
        except OSError as error:
            raise self._lost(str(error)) from error
        return view

    def _fill(self, view: memoryview) -> None:
        got = 0
        while got < len(view):
            count = self._socket.recv_into(view[got:], 0, socket.MSG_WAITALL)
            if not count:
                raise self._lost("the broker closed the connection")
            got += count

    def call(self, call: Call[T]) -> T:
        self.ask(call)
        return self.answer(call)

    def ask(self, call: Call[Any]) -> None:
        """Sends a call; one that the broker does not offer is refused here, and leaves the connection as it is."""
        version = call.version(self._offered)
        if version is None:
            raise BrokerRefused(
                call.what,
                code=35,
                name="UNSUPPORTED_VERSION",
                side=self.side,
                broker=str(self.address),
                hint="clusters from 2.8 on are supported",
            )
        self._send_call(call, version)

    def _send_call(self, call: Call[Any], version: int) -> None:
        correlation_id = self.next_correlation_id()
        self.send([call.encode(version, correlation_id, self._settings.client_id)])
        self._asked.append(_Asked(call, version, correlation_id))

    def answer(self, call: Call[T]) -> T:
        """Waits for the answer to the call that was asked first; any failure ends the connection."""
        asked = self._asked[0]
        assert asked.call is call, "answers are read in the order in which they were asked for"
        answer = self.receive(self._buffer)
        self._asked.popleft()
        if int.from_bytes(answer[:4], "big", signed=True) != asked.correlation_id:
            raise self._lost(f"the answer to {call.what} carries a wrong correlation id")
        try:
            return call.decode(asked.version, answer)
        except (ValueError, IndexError, TypeError, struct.error, UnicodeDecodeError) as error:
            self._lost(f"the answer to {call.what} cannot be decoded")
            raise ProtocolError(
                f"the answer to {call.what} cannot be decoded: {error}", side=self.side, broker=str(self.address)
            ) from error

    def _check(self) -> None:
        if self._failure is not None:
            raise ConnectionLost(self._failure, side=self.side, broker=str(self.address))

    def _lost(self, reason: str) -> ConnectionLost:
        self._failure = self._failure or reason
        self._socket.close()
        return ConnectionLost(reason, side=self.side, broker=str(self.address))

    def close(self) -> None:
        self._failure = self._failure or "closed here"
        self._socket.close()


class RealNetwork:
    """The network as it is: sockets and this machine's clocks."""

    def __init__(self, settings: Mapping[Side, ConnectionSettings]) -> None:
        self._settings = settings

    def connect(self, side: Side, address: BrokerAddress) -> Connection:
        return Connection(side, address, self._settings[side])

    def wait(self, links: Sequence[Link], timeout_seconds: float) -> Sequence[Link]:
        connections = {cast(Connection, link).fileno(): link for link in links}
        if len(connections) == 0:
            time.sleep(max(0.0, timeout_seconds))
            return ()
        poller = select.poll()
        for number in connections:
            poller.register(number, select.POLLIN)
        return [connections[number] for number, _event in poller.poll(max(0.0, timeout_seconds) * 1000)]

    def steady_seconds(self) -> float:
        return steady_seconds()

    def wall_ms(self) -> int:
        return time.time_ns() // 1_000_000
