"""What goes through TLS goes in few pieces, and what comes out of it is seen in time. The socket is a fake."""

from __future__ import annotations

from typing import Any, cast

import pytest

from kmigrate.access.security import Tls
from kmigrate.cluster.stream import TlsStream


class Socket:
    """Notes what is sent, and hands out what was put into it, in records."""

    def __init__(self) -> None:
        self.timeout: float | None = None
        self.sent: list[bytes] = []
        self.records: list[bytes] = []
        self.failure: OSError | None = None

    def settimeout(self, seconds: float) -> None:
        self.timeout = seconds

    def sendall(self, data: Any) -> None:
        self.sent.append(bytes(data))

    def recv_into(self, view: memoryview) -> int:
        if self.failure is not None:
            raise self.failure
        if not self.records:
            return 0
        piece = self.records[0][: len(view)]
        view[: len(piece)] = piece
        self.records[0] = self.records[0][len(piece) :]
        if not self.records[0]:
            self.records.pop(0)
        return len(piece)

    def pending(self) -> int:
        return len(self.records[0]) if self.records else 0


@pytest.fixture
def fake() -> Socket:
    return Socket()


@pytest.fixture
def stream(fake: Socket) -> TlsStream:
    return TlsStream(cast(Any, fake), Tls(), 1500)


def test_a_stream_gives_up_after_the_request_time_out(fake: Socket, stream: TlsStream) -> None:
    """The kernel's time-out would only make OpenSSL ask again."""
    assert fake.timeout == 1.5
    fake.failure = TimeoutError("The read operation timed out")
    with pytest.raises(BlockingIOError):
        stream.fill(memoryview(bytearray(4)))


def test_small_pieces_are_sent_together(fake: Socket, stream: TlsStream) -> None:
    stream.send([b"a", bytearray(b"b"), memoryview(b"c")])
    assert fake.sent == [b"abc"]


def test_large_pieces_are_sent_from_where_they_lie_and_in_order(fake: Socket, stream: TlsStream) -> None:
    large = bytes(range(256)) * 100
    buffers = [b"head", large, b"between", b"", large[:16384], b"end"]
    stream.send(buffers)
    assert fake.sent == [b"head", large, b"between", large[:16384], b"end"]


def test_many_small_pieces_are_sent_as_a_few(fake: Socket, stream: TlsStream) -> None:
    buffers = [bytes([n % 256]) * 1000 for n in range(1000)]
    stream.send(buffers)
    assert b"".join(fake.sent) == b"".join(buffers)
    assert len(fake.sent) < 20
    assert max(map(len, fake.sent)) < 80_000


def test_a_view_is_filled_from_several_records(fake: Socket, stream: TlsStream) -> None:
    fake.records = [b"ab", b"cdef"]
    into = bytearray(5)
    assert stream.fill(memoryview(into))
    assert (bytes(into), stream.pending()) == (b"abcde", True)
    assert stream.fill(memoryview(bytearray(1)))
    assert not stream.pending()


def test_the_end_of_the_stream_is_told(fake: Socket, stream: TlsStream) -> None:
    fake.records = [b"ab"]
    assert not stream.fill(memoryview(bytearray(3)))
