"""One blocking connection to one broker: the only place that opens a socket to Kafka.

Hot messages go through `send` and `receive` on buffers of the caller; everything else through `call`, or `ask` now and
`answer` later. A connection that failed once stays failed: every later use raises ConnectionLost with the first cause.
"""

from __future__ import annotations

import random
import select
import struct
import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeVar, cast

from kmigrate.cluster.authentication import NotAuthenticated, authenticate
from kmigrate.cluster.bell import Bell
from kmigrate.cluster.clock import steady_seconds
from kmigrate.cluster.cord import Cord, current_cord
from kmigrate.cluster.network import Buffer, Link
from kmigrate.cluster.opening import NotOpened, open_stream
from kmigrate.cluster.settings import ConnectionSettings
from kmigrate.errors import (
    AuthenticationFailed,
    BrokerRefused,
    ConnectionLost,
    CutOff,
    NoAnswer,
    ProtocolError,
    Unreachable,
)
from kmigrate.kafka_types import BrokerAddress, Side
from kmigrate.wire.call import Call, VersionRanges, api_versions, error_name

T = TypeVar("T")
_CALL_BUFFER_BYTES = 64 * 1024
_MAX_ANSWER_BYTES = 1 << 30
_TLS_ALERT = b"\x15\x03"
_RENEWED_WITHIN = (0.85, 0.95)
"""In which part of a session's life it is renewed: not at the same time as all others."""
_RENEWED_AT_MOST_EVERY_SECONDS = 1.5
"""A broker takes no second renewal within a second."""


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
        self._outstanding = 0
        self._renew_at: float | None = None
        self._answered = 0
        self._offered: VersionRanges = {}
        began = steady_seconds()
        cord = current_cord()
        if cord is not None:
            cord.check()
        try:
            self._stream = open_stream(address.host, address.port, settings)
        except NotOpened as error:
            raise Unreachable(str(error), side=side, broker=str(address), hint=error.hint) from error.__cause__
        if cord is not None:
            self._hang_on(cord)
        self.opened_in_seconds = steady_seconds() - began
        try:
            self._offered = self._ask_versions()
            self._authenticate()
        except NoAnswer:
            raise
        except ConnectionLost as error:
            hint = "the broker's log says more; security.protocol must be that of the listener"
            raise Unreachable(error.reason, side=side, broker=str(address), hint=hint) from None

    def _hang_on(self, cord: Cord) -> None:
        try:
            cord.hold(self)
        except CutOff:
            self._stream.close()
            raise

    def _ask_versions(self) -> VersionRanges:
        versions = api_versions()
        self._send_call(versions, 0)
        error, ranges = self.answer(versions)
        if error:
            raise BrokerRefused(
                "ApiVersions", code=error, name=error_name(error), side=self.side, broker=str(self.address)
            )
        return ranges

    def _authenticate(self) -> None:
        """Says who we are, if the listener wants that: at first, and again before the session ends."""
        sasl = self._settings.security.sasl
        if sasl is None:
            return
        self._renew_at = None
        began = steady_seconds()
        outcome = authenticate(self.call, sasl)
        if isinstance(outcome, NotAuthenticated):
            self._lost(outcome.reason)
            raise AuthenticationFailed(
                outcome.reason,
                mechanism=sasl.mechanism,
                side=self.side,
                broker=str(self.address),
                hint=outcome.hint,
            )
        if outcome > 0:
            wait = outcome / 1000 * random.uniform(*_RENEWED_WITHIN)
            self._renew_at = began + max(wait, _RENEWED_AT_MOST_EVERY_SECONDS)

    @property
    def wants_renewal(self) -> bool:
        """Whether the session ends soon; `send` renews it, if nothing is under way."""
        return self._renew_at is not None and steady_seconds() >= self._renew_at

    def renew(self) -> None:
        """Begins a new session on this connection; nothing may be under way. Raises AuthenticationFailed."""
        self._check()
        self._authenticate()

    def pending(self) -> bool:
        """Whether an answer lies here already, where no poll sees it."""
        return self._stream.pending()

    def fileno(self) -> int:
        return self._stream.fileno()

    def next_correlation_id(self) -> int:
        self._correlation_id = (self._correlation_id + 1) & 0x7FFFFFFF
        return self._correlation_id

    @property
    def offered(self) -> VersionRanges:
        """The requests that this broker offers, each with its oldest and newest version."""
        return self._offered

    def highest_version(self, api_key: int) -> int:
        return self._offered.get(api_key, (0, -1))[1]

    def send(self, buffers: Sequence[Buffer]) -> None:
        """Sends a request's buffers in order; a time-out or a broken connection leaves the outcome unknown."""
        self._check()
        if self._renew_at is not None and not self._outstanding and steady_seconds() >= self._renew_at:
            self._authenticate()
        self._outstanding += 1
        try:
            self._stream.send(buffers)
        except OSError as error:
            raise self._lost(f"sending failed: {self._stream.words(error)}") from error

    def receive(self, into: bytearray) -> memoryview:
        """Waits for one whole answer; a larger one than `into` gets memory of its own."""
        self._check()
        try:
            self._fill(memoryview(self._length))
            (size,) = struct.unpack(">i", self._length)
            if not 4 <= size <= _MAX_ANSWER_BYTES or (not self._answered and self._length[:2] == _TLS_ALERT):
                raise self._lost(self._strange_length(size))
            view = memoryview(into)[:size] if size <= len(into) else memoryview(bytearray(size))
            self._fill(view)
        except BlockingIOError as error:
            self._lost(reason := f"no answer within {self._settings.request_timeout_ms} ms")
            raise NoAnswer(reason, side=self.side, broker=str(self.address)) from error
        except OSError as error:
            raise self._lost(self._stream.words(error)) from error
        self._answered += 1
        self._outstanding -= 1
        return view

    def _fill(self, view: memoryview) -> None:
        if not self._stream.fill(view):
            raise self._lost("the broker closed the connection" + self._why_closed())

    def _strange_length(self, size: int) -> str:
        if not self._answered and self._length[:2] == _TLS_ALERT:
            return "the broker answers in TLS"
        return f"an answer claims to be {size} bytes long"

    def _why_closed(self) -> str:
        """What the end of a connection before the second answer may mean."""
        security = self._settings.security
        if not self._answered:
            if security.tls is None:
                return " at the first request: perhaps this listener speaks TLS"
            return " right after the TLS handshake: perhaps it wants another client certificate, or one at all"
        if self._answered == 1 and security.sasl is None:
            return " at the first request: perhaps this listener wants SASL"
        return ""

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
        self._stream.close()
        return ConnectionLost(reason, side=self.side, broker=str(self.address))

    def sever(self) -> None:
        """Ends what is waited for here, from any thread; the next use raises ConnectionLost."""
        self._stream.sever()

    def close(self) -> None:
        self._failure = self._failure or "closed here"
        self._stream.close()


class RealNetwork:
    """The network as it is: sockets and this machine's clocks. A `bell` ends a wait before its time."""

    def __init__(self, settings: Mapping[Side, ConnectionSettings], bell: Bell | None = None) -> None:
        self._settings = settings
        self._bell = bell

    def hearing(self, bell: Bell) -> RealNetwork:
        """The same network for a thread whose waits this bell ends."""
        return RealNetwork(self._settings, bell)

    def connect(self, side: Side, address: BrokerAddress) -> Connection:
        return Connection(side, address, self._settings[side])

    def wait(self, links: Sequence[Link], timeout_seconds: float) -> Sequence[Link]:
        connections = {cast(Connection, link).fileno(): link for link in links}
        bell = self._bell
        if bell is None and not connections:
            time.sleep(max(0.0, timeout_seconds))
            return ()
        pending = [link for link in links if cast(Connection, link).pending()]
        if pending:
            timeout_seconds = 0.0  # what TLS has decrypted already, no poll tells; others may be ready, too
        poller = select.poll()
        for number in connections:
            poller.register(number, select.POLLIN)
        if bell is None:
            heard = poller.poll(max(0.0, timeout_seconds) * 1000)
        else:
            poller.register(bell, select.POLLIN)
            heard = poller.poll(max(0.0, timeout_seconds) * 1000)
            if any(number == bell.fileno() for number, _event in heard):
                bell.silence()
        ready = [connections[number] for number, _event in heard if number in connections]
        return [*ready, *(link for link in pending if link not in ready)] if pending else ready

    def steady_seconds(self) -> float:
        return steady_seconds()

    def cpu_seconds(self) -> float:
        return time.thread_time()

    def wall_ms(self) -> int:
        return time.time_ns() // 1_000_000
