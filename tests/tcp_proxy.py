"""A proxy on loopback before one broker, which loses answers, flips bits, stalls and strikes on demand.

It understands Kafka's framing (a size of four bytes), the request header and the correlation id of an
answer, and nothing else. Let a broker advertise the proxy's port, or clients will go past it::

    with TcpProxy() as proxy, EmbeddedCluster(version, advertised={1: proxy.port}) as cluster:
        proxy.forward_to(cluster.port(1))
        lost = proxy.cut_after_request(PRODUCE)
        …
        assert lost.done == 1

A *strike* does something to the client at one moment of one exchange: before the broker got the request, before the
client got the answer, or right after that. What the client had sent by then is all that the broker ever gets.
"""

from __future__ import annotations

import contextlib
import enum
import socket
import struct
import threading
from collections.abc import Callable
from types import TracebackType
from typing import NamedTuple, Self, TypeVar

from kmigrate.demo.ports import find_free_ports

PRODUCE = 0
FETCH = 1
DELETE_RECORDS = 21
OFFSET_FOR_LEADER_EPOCH = 23
WRITE_TXN_MARKERS = 27
DESCRIBE_PRODUCERS = 61
HOST = "127.0.0.1"


class Request(NamedTuple):
    """A request that came; `body` is the whole frame without its size, `connection` the number of its connection."""

    api_key: int
    api_version: int
    correlation_id: int
    client_id: str | None
    body: bytes
    connection: int = 0


Matching = Callable[[Request], bool]


class Rule:
    """One kind of harm, done to the first `times` matching exchanges; `done` counts them."""

    def __init__(self, api_key: int, times: int, matching: Matching | None) -> None:
        self._api_key = api_key
        self._times = times
        self._matching = matching
        self._changed = threading.Condition()
        self._taken = 0
        self.done = 0

    def wait(self, seconds: float = 30.0) -> None:
        """Wait until the harm was done as often as it was ordered."""
        with self._changed:
            reached = self._changed.wait_for(lambda: self.done >= self._times, seconds)
        assert reached, f"done {self.done} of {self._times} times"

    def takes(self, request: Request) -> bool:
        if request.api_key != self._api_key or (self._matching and not self._matching(request)):
            return False
        with self._changed:
            if self._taken >= self._times:
                return False
            self._taken += 1
            return True

    def give_back(self) -> None:
        with self._changed:
            self._taken -= 1

    def count(self) -> None:
        with self._changed:
            self.done += 1
            self._changed.notify_all()


class Cut(Rule):
    """The answer came from the broker and is thrown away with the connection."""


class Flip(Rule):
    """One bit of an answer is flipped."""

    def __init__(
        self, api_key: int, times: int, matching: Matching | None, min_size: int, bit: Callable[[bytes], int]
    ) -> None:
        super().__init__(api_key, times, matching)
        self._min_size = min_size
        self._bit = bit

    def apply(self, answer: bytes) -> bytes:
        """The damaged answer; one that is too small stays whole and does not count."""
        if len(answer) < self._min_size:
            self.give_back()
            return answer
        byte, bit = divmod(self._bit(answer), 8)
        damaged = bytearray(answer)
        damaged[byte] ^= 1 << bit
        self.count()
        return bytes(damaged)


class Moment(enum.Enum):
    """When a strike comes, and what becomes of the exchange."""

    UNHEARD = "the broker never gets the request"
    LATE = "the broker gets the request when `Strike.deliver` is called"
    UNANSWERED = "the broker did what was asked, and its answer is lost"
    ANSWERED = "the answer came through, and nothing after it"

    @property
    def precedes_request(self) -> bool:
        """Whether the broker has not got the request at that moment."""
        return self in (Moment.UNHEARD, Moment.LATE)


class Strike(Rule):
    """Calls `blow` at a moment of one matching exchange, after `skip` others; every connection ends with it."""

    def __init__(
        self,
        api_key: int,
        moment: Moment,
        matching: Matching | None,
        skip: int,
        blow: Callable[[], None],
        resend: Callable[[bytes], bytes],
    ) -> None:
        super().__init__(api_key, 1, matching)
        self.moment = moment
        self.requests_before = -1
        """How many requests had come when it struck, the one that was struck among them."""
        self._skip = skip
        self._blow = blow
        self._resend = resend
        self._frame = b""

    def takes(self, request: Request) -> bool:
        if not super().takes(request):
            return False
        with self._changed:
            self._frame = request.body
            if self._skip:
                self._skip -= 1
                self._taken -= 1
                return False
            return True

    def strike(self, requests_before: int) -> None:
        self.requests_before = requests_before
        self._blow()

    def deliver(self) -> None:
        """Brings the broker the request that it did not get; returns when it has answered."""
        assert self.moment is Moment.LATE, f"{self.moment.value}: there is nothing to deliver"
        assert self.done, "it has not struck yet"
        self._resend(self._frame)


_R = TypeVar("_R", bound=Rule)


def middle_bit(answer: bytes) -> int:
    """A bit in the middle: of a big Fetch answer, somewhere in its records."""
    return len(answer) // 2 * 8


class TcpProxy:
    """Listens from the start on `port`; connections that come before `forward_to` are closed."""

    def __init__(self, upstream_port: int | None = None, *, comes_from: str = HOST) -> None:
        """`comes_from` is the address from which the broker sees clients come: any of 127.0.0.0/8."""
        self._upstream_port = upstream_port
        self._comes_from = comes_from
        self._listener = _listen()
        self.port: int = self._listener.getsockname()[1]
        self.requests: list[Request] = []
        self._rules: list[Rule] = []
        self._open = threading.Event()
        self._open.set()
        self._lock = threading.Lock()
        self._connections: set[_Connection] = set()
        self._accepted = 0
        self._accepting = threading.Thread(target=self._accept, name=f"proxy-{self.port}", daemon=True)
        self._accepting.start()

    # -- orders ---------------------------------------------------------------------------------

    def forward_to(self, port: int) -> None:
        """Name the broker's port; for connections from now on."""
        self._upstream_port = port

    def cut_after_request(self, api_key: int, times: int = 1, matching: Matching | None = None) -> Cut:
        """Let the next requests of this kind reach the broker, and lose the answer and the connection.

        The connection is cut when the broker's answer is there, so the broker did what was asked.
        """
        return self._add(Cut(api_key, times, matching))

    def flip_bit_in_response(
        self,
        api_key: int,
        times: int = 1,
        *,
        min_size: int = 0,
        matching: Matching | None = None,
        bit: Callable[[bytes], int] = middle_bit,
    ) -> Flip:
        """Damage one bit of the next answers of this kind which have at least `min_size` bytes.

        `bit` chooses it: answer (from the correlation id on) to index in bits.
        """
        return self._add(Flip(api_key, times, matching, min_size, bit))

    def strike(
        self,
        api_key: int,
        moment: Moment,
        blow: Callable[[], None],
        *,
        skip: int = 0,
        matching: Matching | None = None,
    ) -> Strike:
        """Call `blow` at this moment of the first matching exchange after `skip` others.

        Meanwhile nothing passes; afterwards every connection is closed, and new ones are welcome.
        """
        return self._add(Strike(api_key, moment, matching, skip, blow, self._resend))

    def hold(self) -> None:
        """Let nothing through, in both directions; connections stay open."""
        self._open.clear()

    def release(self) -> None:
        """Let everything through that was held."""
        self._open.set()

    def cut_all(self) -> None:
        """Close every connection now; new ones are welcome."""
        with self._lock:
            connections = list(self._connections)
        for connection in connections:
            connection.close()

    def clear(self) -> None:
        """Forget all rules and release what is held."""
        with self._lock:
            self._rules.clear()
        self.release()

    def close(self) -> None:
        """Stop listening and close every connection."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the accepting thread
        self._listener.close()
        self._accepting.join()
        self.cut_all()
        self.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- inside ---------------------------------------------------------------------------------

    def strike_down(self, rule: Strike) -> None:
        """Carries out a strike; called by the connection that it hits."""
        try:
            rule.strike(len(self.requests))
        finally:
            self.cut_all()  # before anything is released: what was held belongs to who was struck
            self.release()
        rule.count()

    def _connect(self) -> socket.socket:
        if self._upstream_port is None:
            raise ConnectionRefusedError("no broker named yet")
        return socket.create_connection((HOST, self._upstream_port), source_address=(self._comes_from, 0))

    def _resend(self, frame: bytes) -> bytes:
        with self._connect() as upstream:
            _send_frame(upstream, frame)
            answer = _read_frame(upstream)
        assert answer is not None, "the broker does not answer"
        return answer

    def _add(self, rule: _R) -> _R:
        with self._lock:
            self._rules.append(rule)
        return rule

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                upstream = self._connect()
            except OSError:
                client.close()
                continue
            self._accepted += 1
            connection = _Connection(self, self._accepted, client, upstream)
            with self._lock:
                self._connections.add(connection)
            connection.start()

    def wait_while_held(self) -> None:
        self._open.wait()

    def rule_for(self, request: Request) -> Rule | None:
        with self._lock:
            self.requests.append(request)
            return next((rule for rule in self._rules if rule.takes(request)), None)

    def forget(self, connection: _Connection) -> None:
        with self._lock:
            self._connections.discard(connection)


class _Connection:
    """Two threads, one a direction; `_awaited` maps a correlation id to the rule of its answer."""

    def __init__(self, proxy: TcpProxy, number: int, client: socket.socket, upstream: socket.socket) -> None:
        self._proxy = proxy
        self._number = number
        self._client = client
        self._upstream = upstream
        self._awaited: dict[int, Rule] = {}
        self._closed = False
        for each in (client, upstream):
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def start(self) -> None:
        for work in (self._forward_requests, self._forward_answers):
            threading.Thread(target=self._until_closed, args=(work,), daemon=True).start()

    def close(self) -> None:
        self._closed = True
        for each in (self._client, self._upstream):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        self._proxy.forget(self)

    def _until_closed(self, work: Callable[[], None]) -> None:
        try:
            work()
        except OSError:
            pass  # the other end, or the other thread, closed the connection
        finally:
            self.close()

    def _forward_requests(self) -> None:
        while (frame := _read_frame(self._client)) is not None:
            self._proxy.wait_while_held()
            if self._closed:
                return
            request = parse_request(frame)._replace(connection=self._number)
            rule = self._proxy.rule_for(request)
            if isinstance(rule, Strike) and rule.moment.precedes_request:
                self._proxy.hold()
                self._proxy.strike_down(rule)
                return
            if rule is not None:
                self._awaited[request.correlation_id] = rule
            _send_frame(self._upstream, frame)

    def _forward_answers(self) -> None:
        while (frame := _read_frame(self._upstream)) is not None:
            self._proxy.wait_while_held()
            (correlation_id,) = struct.unpack_from(">i", frame)
            rule = self._awaited.pop(correlation_id, None)
            if isinstance(rule, Cut):
                self.close()
                rule.count()
                return
            if isinstance(rule, Strike):
                self._proxy.hold()
                if rule.moment is Moment.ANSWERED:
                    _send_frame(self._client, frame)
                self._proxy.strike_down(rule)
                return
            if isinstance(rule, Flip):
                frame = rule.apply(frame)
            _send_frame(self._client, frame)


def parse_request(frame: bytes) -> Request:
    """The header of a request frame; every version of it begins with these four fields."""
    api_key, api_version, correlation_id, size = struct.unpack_from(">hhih", frame)
    client_id = None if size < 0 else frame[10 : 10 + size].decode("utf-8", errors="replace")
    return Request(api_key, api_version, correlation_id, client_id, frame)


def _listen() -> socket.socket:
    for attempt in range(3):
        try:
            return socket.create_server((HOST, find_free_ports(1)[0]))
        except OSError:
            if attempt == 2:
                raise
    raise AssertionError("unreachable")


def _read_frame(connection: socket.socket) -> bytes | None:
    head = _read(connection, 4)
    if head is None:
        return None
    return _read(connection, struct.unpack(">i", head)[0])


def _read(connection: socket.socket, size: int) -> bytes | None:
    data = bytearray()
    while len(data) < size:
        piece = connection.recv(min(size - len(data), 1 << 20))
        if not piece:
            return None
        data += piece
    return bytes(data)


def _send_frame(connection: socket.socket, frame: bytes) -> None:
    connection.sendall(struct.pack(">i", len(frame)) + frame)
