"""A connection that ends takes what it has not sent with it; one that failed stays failed. The socket is a fake."""

from __future__ import annotations

import socket
import struct

import pytest

from kmigrate.cluster.connection import Connection
from kmigrate.cluster.settings import ConnectionSettings
from kmigrate.errors import BrokerRefused, ConnectionLost, NoAnswer, ProtocolError, Unreachable
from kmigrate.kafka_types import BrokerAddress, BrokerId, Partition, Side, TopicName, TopicPartition
from kmigrate.wire import calls

ADDRESS = BrokerAddress(BrokerId(1), "broker", 9092)
A0 = TopicPartition(TopicName("a"), Partition(0))
SETTINGS = ConnectionSettings(client_id="kmigrate", request_timeout_ms=1_000)


def versions(correlation_id: int, ranges: dict[int, tuple[int, int]], error: int = 0) -> bytes:
    """An ApiVersions answer of version 0."""
    body = struct.pack(">ihi", correlation_id, error, len(ranges))
    return body + b"".join(struct.pack(">hhh", key, *span) for key, span in ranges.items())


class Socket:
    """Hands out what was put into it, and notes what is done with it."""

    def __init__(self) -> None:
        self.options: dict[tuple[int, int], object] = {}
        self.incoming = bytearray()
        self.outgoing = bytearray()
        self.closed = False
        self.failure: OSError | None = None
        self.at_most = 1 << 30

    def answer(self, answer: bytes) -> None:
        self.incoming += len(answer).to_bytes(4, "big") + answer

    def setsockopt(self, level: int, name: int, value: object) -> None:
        self.options[level, name] = value

    def settimeout(self, seconds: float | None) -> None:
        pass

    def sendmsg(self, buffers: list[bytes]) -> int:
        if self.failure is not None:
            raise self.failure
        assert len(buffers) <= 1024, "the kernel takes no more"
        sent = b"".join(buffers)[: self.at_most]
        self.outgoing += sent
        return len(sent)

    def sendall(self, data: bytes) -> None:
        self.outgoing += data

    def recv_into(self, view: memoryview, size: int = 0, flags: int = 0) -> int:
        if self.failure is not None:
            raise self.failure
        size = min(len(view), len(self.incoming), 7)
        view[:size] = self.incoming[:size]
        del self.incoming[:size]
        return size

    def fileno(self) -> int:
        return 5

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Socket:
    made = Socket()
    made.answer(versions(1, {1: (4, 17), 2: (1, 9)}))
    monkeypatch.setattr(socket, "create_connection", lambda place, timeout: made)
    return made


@pytest.fixture
def connection(fake: Socket) -> Connection:
    opened = Connection(Side.TARGET, ADDRESS, SETTINGS)
    fake.outgoing.clear()
    return opened


def test_what_is_not_sent_when_it_ends_is_dropped(fake: Socket, connection: Connection) -> None:
    """Else the kernel sends it later, also for a process that was killed."""
    assert fake.options[socket.SOL_SOCKET, socket.SO_LINGER] == struct.pack("ii", 1, 0)


def test_a_connection_knows_what_its_broker_offers(connection: Connection) -> None:
    assert (connection.highest_version(1), connection.highest_version(99)) == (17, -1)


def test_buffers_are_sent_in_order_and_completely(fake: Socket, connection: Connection) -> None:
    fake.at_most = 10
    buffers = [bytes([n % 256]) * 3 for n in range(2500)]
    connection.send(buffers)
    assert bytes(fake.outgoing) == b"".join(buffers)


@pytest.mark.parametrize("size", [4, 100])
def test_an_answer_lies_in_the_buffer_or_in_memory_of_its_own(fake: Socket, connection: Connection, size: int) -> None:
    fake.answer(b"x" * size)
    buffer = bytearray(50)
    view = connection.receive(buffer)
    assert bytes(view) == b"x" * size
    assert (view.obj is buffer) == (size <= 50)


@pytest.mark.parametrize("size", [-1, 0, 3, 2**31 - 1])
def test_an_impossible_length_ends_the_connection(fake: Socket, connection: Connection, size: int) -> None:
    fake.incoming += size.to_bytes(4, "big", signed=True)
    with pytest.raises(ConnectionLost, match=f"{size} bytes"):
        connection.receive(bytearray(10))
    assert fake.closed


@pytest.mark.parametrize("failure", [ConnectionResetError("reset by peer"), TimeoutError(), BrokenPipeError()])
def test_a_connection_that_failed_stays_failed_with_its_first_cause(
    fake: Socket, connection: Connection, failure: OSError
) -> None:
    fake.failure = failure
    with pytest.raises(ConnectionLost) as first:
        connection.receive(bytearray(10))
    fake.failure = None
    for again in (lambda: connection.send([b"x"]), lambda: connection.receive(bytearray(10))):
        with pytest.raises(ConnectionLost) as later:
            again()
        assert later.value.reason == first.value.reason
    assert (fake.closed, bytes(fake.outgoing)) == (True, b"")


def test_the_end_of_the_stream_is_a_lost_connection(connection: Connection) -> None:
    with pytest.raises(ConnectionLost, match="closed the connection"):
        connection.receive(bytearray(10))


def test_a_call_whose_answer_is_not_its_own_ends_the_connection(fake: Socket, connection: Connection) -> None:
    fake.answer(struct.pack(">ii", 77, 0))
    with pytest.raises(ConnectionLost, match="wrong correlation id"):
        connection.call(calls.list_offsets([], calls.LATEST))


def test_a_call_whose_answer_cannot_be_read_ends_the_connection(fake: Socket, connection: Connection) -> None:
    fake.answer(struct.pack(">i", 2))
    with pytest.raises(ProtocolError, match="ListOffsets"):
        connection.call(calls.list_offsets([], calls.LATEST))
    assert fake.closed


def test_a_request_that_the_broker_does_not_offer_is_refused_here(fake: Socket, connection: Connection) -> None:
    with pytest.raises(BrokerRefused) as refused:
        connection.call(calls.describe_producers([]))
    assert (refused.value.name, bytes(fake.outgoing)) == ("UNSUPPORTED_VERSION", b"")


def latest_answer(correlation_id: int, offset: int) -> bytes:
    """A ListOffsets answer of version 5 for the first partition of topic `a`."""
    return struct.pack(">iiih1siihqqi", correlation_id, 0, 1, 1, b"a", 1, 0, 0, -1, offset, -1)


def test_several_calls_are_asked_in_a_row_and_answered_in_that_order(fake: Socket, connection: Connection) -> None:
    asked = [calls.list_offsets([A0], calls.LATEST) for _ in range(3)]
    for call in asked:
        connection.ask(call)
    assert fake.outgoing.count(b"kmigrate") == 3, "all three are sent before the first answer is there"
    for number in (2, 3, 4):  # the first correlation id asked for the versions
        fake.answer(latest_answer(number, number * 10))
    assert [connection.answer(call)[A0].offset for call in asked] == [20, 30, 40]


def test_an_answer_out_of_turn_ends_the_connection(fake: Socket, connection: Connection) -> None:
    first, second = (calls.list_offsets([A0], calls.LATEST) for _ in range(2))
    connection.ask(first)
    connection.ask(second)
    fake.answer(latest_answer(3, 0))
    with pytest.raises(ConnectionLost, match="wrong correlation id"):
        connection.answer(first)
    with pytest.raises(ConnectionLost, match="wrong correlation id"):
        connection.answer(second)


def test_what_was_asked_when_a_connection_fails_is_never_answered(fake: Socket, connection: Connection) -> None:
    call = calls.list_offsets([A0], calls.LATEST)
    connection.ask(call)
    fake.failure = BlockingIOError()
    with pytest.raises(NoAnswer, match="1000 ms"):
        connection.answer(call)
    fake.failure = None
    fake.answer(latest_answer(2, 0))
    with pytest.raises(ConnectionLost, match="1000 ms"):
        connection.answer(call)
    with pytest.raises(ConnectionLost, match="1000 ms"):
        connection.ask(call)


def test_a_refused_request_leaves_what_was_asked_before_it(fake: Socket, connection: Connection) -> None:
    call = calls.list_offsets([A0], calls.LATEST)
    connection.ask(call)
    with pytest.raises(BrokerRefused):
        connection.ask(calls.describe_producers([]))
    fake.answer(latest_answer(2, 7))
    assert connection.answer(call)[A0].offset == 7


@pytest.mark.parametrize(
    ("failure", "words"),
    [
        (socket.gaierror(-2, "Name or service not known"), "cannot be resolved"),
        (ConnectionRefusedError(), "connection refused"),
        (TimeoutError(), "within the time-out"),
        (OSError(113, "No route to host"), "No route to host"),
    ],
)
def test_a_broker_that_cannot_be_reached_is_named(
    monkeypatch: pytest.MonkeyPatch, failure: OSError, words: str
) -> None:
    def fail(place: object, timeout: float) -> None:
        raise failure

    monkeypatch.setattr(socket, "create_connection", fail)
    with pytest.raises(Unreachable, match=words) as unreachable:
        Connection(Side.SOURCE, ADDRESS, SETTINGS)
    assert "broker:9092" in str(unreachable.value)
