"""What goes through TLS and what comes out of it is the same, goes in few pieces, and is seen in time.

The other side is Python's own TLS over a pair of sockets.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kmigrate.access.security import PemFile, Tls
from kmigrate.cluster.stream import TlsStream
from kmigrate.cluster.tls import TlsFailed, make_context, shake_hands
from tests.secured.certificates import Authority, KeyPair

TIMEOUT_MS = 1500
NAME = "broker"


class Counted:
    """A socket whose calls are counted."""

    def __init__(self, opened: socket.socket) -> None:
        self._opened = opened
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        if name in ("sendall", "recv_into"):
            self.calls.append(name)
        return getattr(self._opened, name)


class Pair:
    """A stream of ours, and whoever is at the other end, in a thread of its own."""

    def __init__(self, authority: Authority, keys: KeyPair, other: Callable[[ssl.SSLSocket], None]) -> None:
        ours, theirs = socket.socketpair()
        self.opened = Counted(ours)
        self.theirs = theirs
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(keys.certificate, keys.key)
        self.failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(theirs, other), daemon=True)
        self._thread.start()
        tls = Tls(trust=PemFile(authority.certificate))
        shaken = shake_hands(self.opened, make_context(tls), tls, NAME, 5.0)  # type: ignore[arg-type]
        self.stream = TlsStream(shaken, tls, TIMEOUT_MS)
        self.opened.calls.clear()

    def _run(self, theirs: socket.socket, other: Callable[[ssl.SSLSocket], None]) -> None:
        try:
            with self._context.wrap_socket(theirs, server_side=True) as shaken:
                other(shaken)
        except BaseException as error:  # noqa: BLE001 - shown by the test
            self.failure = error

    def close(self) -> None:
        """Both sides have ended; what failed at the other one fails the test."""
        self.stream.close()
        self._thread.join(10.0)
        assert self.failure is None


Meet = Callable[[Callable[[ssl.SSLSocket], None]], Pair]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def keys(authority: Authority) -> KeyPair:
    return authority.issue("broker", names=[f"DNS:{NAME}"])


@pytest.fixture
def meet(authority: Authority, keys: KeyPair) -> Iterator[Meet]:
    pairs: list[Pair] = []

    def meet(other: Callable[[ssl.SSLSocket], None]) -> Pair:
        pairs.append(Pair(authority, keys, other))
        return pairs[-1]

    yield meet
    for pair in pairs:
        pair.close()


def pattern(size: int) -> bytes:
    return (bytes(range(251)) * (size // 251 + 1))[:size]


def read_exactly(other: ssl.SSLSocket, size: int) -> bytes:
    found = bytearray()
    while len(found) < size:
        piece = other.recv(1 << 20)
        assert piece, "it ended early"
        found += piece
    return bytes(found)


def test_whatever_is_sent_arrives_in_order(meet: Meet) -> None:
    large = pattern(700_000)
    buffers = [b"head", large, bytearray(b"between"), b"", memoryview(large)[:16384], b"end"]
    wanted, came = b"".join(map(bytes, buffers)), []
    pair = meet(lambda other: came.append(read_exactly(other, len(wanted))))
    pair.stream.send(buffers)
    pair.close()
    assert came == [wanted]
    assert pair.opened.calls.count("sendall") < 8


def test_many_small_pieces_are_sent_as_a_few(meet: Meet) -> None:
    buffers = [bytes([n % 256]) * 1000 for n in range(1000)]
    wanted, came = b"".join(buffers), []
    pair = meet(lambda other: came.append(read_exactly(other, len(wanted))))
    pair.stream.send(buffers)
    pair.close()
    assert came == [wanted]
    assert pair.opened.calls.count("sendall") < 8


@pytest.mark.parametrize(
    "sizes", [[4, 600_000, 4, 512 << 10, 1], [4, 3_000_000, 4, 20], [1, 16_384, 32_768, 32_769, 300_000], [60_000] * 20]
)
def test_views_are_filled_from_whatever_records_there_are(meet: Meet, sizes: list[int]) -> None:
    data = pattern(sum(sizes))

    def other(shaken: ssl.SSLSocket) -> None:
        at = 0
        for number in range(10_000):
            piece = data[at : at + (1, 5, 40_000, 16_384)[number % 4]]
            if not piece:
                break
            shaken.sendall(piece)
            at += len(piece)
        shaken.recv(1)

    pair, got = meet(other), b""
    for size in sizes:
        into = bytearray(size)
        assert pair.stream.fill(memoryview(into))
        got += into
    assert got == data
    assert not pair.stream.pending()


def test_much_is_taken_with_few_calls_and_nothing_of_what_follows_is_waited_for(meet: Meet) -> None:
    data = pattern(4 << 20)
    go_on = threading.Event()

    def other(shaken: ssl.SSLSocket) -> None:
        shaken.sendall(data)
        go_on.wait(10.0)
        shaken.sendall(b"next")
        shaken.recv(1)

    pair, into = meet(other), bytearray(len(data))
    began = time.monotonic()
    assert pair.stream.fill(memoryview(into))
    assert time.monotonic() - began < TIMEOUT_MS / 1000
    assert into == data
    assert pair.opened.calls.count("recv_into") < 100
    go_on.set()
    assert pair.stream.fill(memoryview(bytearray(4)))


def test_what_lies_here_already_is_told(meet: Meet) -> None:
    def other(shaken: ssl.SSLSocket) -> None:
        shaken.sendall(b"abcdef")
        shaken.recv(1)

    pair = meet(other)
    assert pair.stream.fill(memoryview(bytearray(5)))
    assert pair.stream.pending()
    assert pair.stream.fill(memoryview(bytearray(1)))
    assert not pair.stream.pending()


def test_whoever_is_silent_is_given_up_after_the_request_time_out(meet: Meet) -> None:
    pair = meet(lambda shaken: shaken.recv(1) and None)
    began = time.monotonic()
    with pytest.raises(BlockingIOError):
        pair.stream.fill(memoryview(bytearray(4)))
    assert time.monotonic() - began > 0.9 * TIMEOUT_MS / 1000


@pytest.mark.parametrize("politely", [True, False])
def test_the_end_of_the_stream_is_told(meet: Meet, politely: bool) -> None:
    def other(shaken: ssl.SSLSocket) -> None:
        shaken.sendall(b"ab")
        if politely:
            shaken.settimeout(0.2)
            with contextlib.suppress(OSError):
                shaken.unwrap()

    pair = meet(other)
    assert not pair.stream.fill(memoryview(bytearray(3)))


def test_a_stream_that_is_severed_ends_for_whoever_waits(meet: Meet) -> None:
    pair = meet(lambda shaken: shaken.recv(1) and None)
    threading.Timer(0.1, pair.stream.sever).start()
    assert not pair.stream.fill(memoryview(bytearray(4)))


def test_question_and_answer_take_turns(meet: Meet) -> None:
    def other(shaken: ssl.SSLSocket) -> None:
        for _ in range(50):
            shaken.sendall(b"x" * 1000)
            assert read_exactly(shaken, 3) == b"yes"

    pair = meet(other)
    for _ in range(50):
        assert pair.stream.fill(memoryview(bytearray(1000)))
        pair.stream.send([b"yes"])


def test_a_handshake_with_whoever_says_nothing_ends_at_its_time_out() -> None:
    ours, _theirs = socket.socketpair()
    tls = Tls(check_certificate=False)
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        shake_hands(ours, make_context(tls), tls, NAME, 0.3)
    assert time.monotonic() - began < 5.0
    ours.close()


@pytest.mark.parametrize("listens", [True, False])
def test_a_handshake_that_the_other_side_ends_is_explained(listens: bool) -> None:
    ours, theirs = socket.socketpair()
    ending = threading.Thread(target=lambda: (theirs.recv(1 << 16) if listens else b"", theirs.close()))
    ending.start()
    if not listens:
        ending.join()
    tls = Tls(check_certificate=False)
    with pytest.raises(TlsFailed, match="ended the TLS handshake"):
        shake_hands(ours, make_context(tls), tls, NAME, 5.0)


def test_a_broker_whose_certificate_is_not_trusted_is_told_so(keys: KeyPair, tmp_path: Path) -> None:
    stranger = Authority(tmp_path / "stranger")
    ours, theirs = socket.socketpair()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(keys.certificate, keys.key)
    told: list[str] = []

    def other() -> None:
        try:
            context.wrap_socket(theirs, server_side=True).recv(1)
        except ssl.SSLError as error:
            told.append(error.reason or "")

    thread = threading.Thread(target=other)
    thread.start()
    tls = Tls(trust=PemFile(stranger.certificate))
    with pytest.raises(TlsFailed, match="not signed by an authority that is trusted here"):
        shake_hands(ours, make_context(tls), tls, NAME, 5.0)
    thread.join(5.0)
    assert told == ["TLSV1_ALERT_UNKNOWN_CA"]
