"""The proxy forwards frames unharmed, and harms exactly those that it was told to."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator

import pytest

from tests.tcp_proxy import FETCH, HOST, PRODUCE, Moment, TcpProxy, middle_bit

METADATA = 3


class EchoBroker:
    """Answers every request with its correlation id and what follows the client id."""

    def __init__(self) -> None:
        self._listener = socket.create_server((HOST, 0))
        self.port: int = self._listener.getsockname()[1]
        self.got: list[bytes] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as stream:
            while head := stream.read(4):
                frame = stream.read(struct.unpack(">i", head)[0])
                self.got.append(frame[12:])
                answer = frame[4:8] + frame[12:]
                connection.sendall(struct.pack(">i", len(answer)) + answer)


class Client:
    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection((HOST, port), timeout=30)
        self._unread = b""
        self._correlation_id = 0

    def send(self, api_key: int, payload: bytes) -> None:
        self._correlation_id += 1
        frame = struct.pack(">hhih2s", api_key, 7, self._correlation_id, 2, b"me") + payload
        self._socket.sendall(struct.pack(">i", len(frame)) + frame)

    def receive(self, seconds: float = 30) -> bytes | None:
        """The payload of the next answer; none if the connection was closed."""
        self._socket.settimeout(seconds)
        while len(self._unread) < 4 or len(self._unread) < 4 + self._size():
            try:
                piece = self._socket.recv(1 << 20)
            except ConnectionResetError:
                return None
            if not piece:
                return None
            self._unread += piece
        end = 4 + self._size()
        answer, self._unread = self._unread[8:end], self._unread[end:]
        return answer

    def _size(self) -> int:
        size: int = struct.unpack_from(">i", self._unread)[0]
        return size

    def ask(self, api_key: int, payload: bytes) -> bytes | None:
        self.send(api_key, payload)
        return self.receive()

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def broker() -> Iterator[EchoBroker]:
    broker = EchoBroker()
    yield broker
    broker.close()


@pytest.fixture
def proxy(broker: EchoBroker) -> Iterator[TcpProxy]:
    with TcpProxy(broker.port) as proxy:
        yield proxy


@pytest.fixture
def client(proxy: TcpProxy) -> Iterator[Client]:
    client = Client(proxy.port)
    yield client
    client.close()


def test_frames_pass_unharmed_and_are_noted(proxy: TcpProxy, client: Client) -> None:
    big = bytes(range(256)) * 20_000
    assert client.ask(METADATA, b"small") == b"small"
    assert client.ask(FETCH, big) == big
    assert client.ask(FETCH, b"") == b""
    noted = [(each.api_key, each.api_version, each.client_id) for each in proxy.requests]
    assert noted == [(METADATA, 7, "me"), (FETCH, 7, "me"), (FETCH, 7, "me")]


def test_a_cut_loses_the_answer_but_not_the_request(broker: EchoBroker, proxy: TcpProxy, client: Client) -> None:
    rule = proxy.cut_after_request(PRODUCE)
    assert client.ask(METADATA, b"other") == b"other"
    assert client.ask(PRODUCE, b"first") is None
    rule.wait()
    assert broker.got == [b"other", b"first"]
    again = Client(proxy.port)
    assert again.ask(PRODUCE, b"second") == b"second"
    assert rule.done == 1
    again.close()


def test_a_cut_takes_only_matching_requests(proxy: TcpProxy, client: Client) -> None:
    rule = proxy.cut_after_request(PRODUCE, matching=lambda request: request.body.endswith(b"this"))
    assert client.ask(PRODUCE, b"not that") == b"not that"
    assert rule.done == 0
    assert client.ask(PRODUCE, b"but this") is None


def test_answers_before_the_cut_one_still_come(proxy: TcpProxy, client: Client) -> None:
    proxy.cut_after_request(PRODUCE)
    client.send(FETCH, b"one")
    client.send(FETCH, b"two")
    client.send(PRODUCE, b"three")
    assert client.receive() == b"one"
    assert client.receive() == b"two"
    assert client.receive() is None


def test_one_bit_is_flipped_in_big_answers_of_one_kind_only(proxy: TcpProxy, client: Client) -> None:
    rule = proxy.flip_bit_in_response(FETCH, times=2, min_size=100)
    payload = bytes(200)
    assert client.ask(METADATA, payload) == payload
    assert client.ask(FETCH, b"small") == b"small"
    for _ in range(2):
        damaged = client.ask(FETCH, payload)
        assert damaged is not None
        changed = [(place, byte) for place, byte in enumerate(damaged) if byte]
        assert changed == [(middle_bit(bytes(204)) // 8 - 4, 1)]
    assert client.ask(FETCH, payload) == payload
    assert rule.done == 2


def test_a_held_proxy_passes_everything_on_when_released(broker: EchoBroker, proxy: TcpProxy, client: Client) -> None:
    assert client.ask(METADATA, b"before") == b"before"
    proxy.hold()
    client.send(METADATA, b"held")
    with pytest.raises(TimeoutError):
        client.receive(seconds=0.1)
    assert broker.got == [b"before"]
    proxy.release()
    assert client.receive() == b"held"


def test_connections_are_cut_and_new_ones_are_welcome(proxy: TcpProxy, client: Client) -> None:
    assert client.ask(METADATA, b"before") == b"before"
    proxy.cut_all()
    assert client.receive() is None
    again = Client(proxy.port)
    assert again.ask(METADATA, b"after") == b"after"
    again.close()


def test_a_proxy_without_a_broker_closes_connections(broker: EchoBroker) -> None:
    with TcpProxy() as proxy:
        early = Client(proxy.port)
        assert early.receive() is None
        proxy.forward_to(broker.port)
        late = Client(proxy.port)
        assert late.ask(METADATA, b"now") == b"now"
        late.close()


@pytest.mark.parametrize("moment", Moment)
def test_a_strike_comes_at_its_moment_and_ends_every_connection(
    broker: EchoBroker, proxy: TcpProxy, client: Client, moment: Moment
) -> None:
    bystander = Client(proxy.port)
    assert bystander.ask(METADATA, b"bystander") == b"bystander"
    got_at_the_blow: list[bytes] = []
    rule = proxy.strike(
        PRODUCE,
        moment,
        lambda: got_at_the_blow.extend(broker.got),
        skip=1,
        matching=lambda request: request.body.endswith(b"this"),
    )
    assert client.ask(PRODUCE, b"not that") == b"not that"
    assert client.ask(PRODUCE, b"not yet this") == b"not yet this"
    assert client.ask(PRODUCE, b"but this") == (b"but this" if moment is Moment.ANSWERED else None)
    rule.wait()
    assert client.receive() is None
    assert bystander.receive() is None
    heard = not moment.precedes_request
    assert (b"but this" in got_at_the_blow) is heard
    assert broker.got == [b"bystander", b"not that", b"not yet this"] + [b"but this"] * heard
    assert len(proxy.requests) == rule.requests_before
    if moment is Moment.LATE:
        rule.deliver()
        assert broker.got[-1] == b"but this"
    again = Client(proxy.port)
    assert again.ask(PRODUCE, b"this is new") == b"this is new"
    assert rule.done == 1
    bystander.close()
    again.close()


def test_what_is_sent_during_a_strike_never_reaches_the_broker(
    broker: EchoBroker, proxy: TcpProxy, client: Client
) -> None:
    bystander = Client(proxy.port)
    assert bystander.ask(METADATA, b"before") == b"before"
    rule = proxy.strike(PRODUCE, Moment.ANSWERED, lambda: bystander.send(METADATA, b"meanwhile"))
    assert client.ask(PRODUCE, b"this") == b"this"
    rule.wait()
    assert bystander.receive() is None
    again = Client(proxy.port)
    assert again.ask(METADATA, b"after") == b"after"
    assert broker.got == [b"before", b"this", b"after"]
    again.close()
    bystander.close()
