"""A session is renewed before it ends, while nothing is under way. The socket is a fake, and so is time."""

from __future__ import annotations

import socket
import struct

import pytest

from kmigrate.access.security import Mechanism, Password, Sasl, Secret, Security
from kmigrate.cluster import connection as connection_module
from kmigrate.cluster.connection import Connection, RealNetwork
from kmigrate.cluster.settings import ConnectionSettings
from kmigrate.errors import AuthenticationFailed, ConnectionLost, Unreachable
from kmigrate.kafka_types import Side
from kmigrate.wire import calls
from tests.unit.cluster.test_connection import ADDRESS, Socket, latest_answer, versions

PASSWORD = Password(user="me", password=Secret("hunter2"))
SETTINGS = ConnectionSettings(
    client_id="kmigrate",
    request_timeout_ms=1_000,
    security=Security(sasl=Sasl(mechanism=Mechanism.PLAIN, credentials=PASSWORD)),
)
RANGES = {2: (1, 9), 17: (0, 1), 36: (0, 1)}
HANDSHAKE = 17


def handshake(correlation_id: int, error: int = 0) -> bytes:
    return struct.pack(">ihi", correlation_id, error, 1) + b"\0\5PLAIN"


def authenticated(correlation_id: int, lifetime_ms: int, error: int = 0, message: bytes = b"") -> bytes:
    return struct.pack(">ihh", correlation_id, error, len(message)) + message + struct.pack(">iq", 0, lifetime_ms)


class Time:
    """The steady clock, turned by hand."""

    now = 100.0


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    made = Time()
    monkeypatch.setattr(connection_module, "steady_seconds", lambda: made.now)
    return made


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Socket:
    made = Socket()
    monkeypatch.setattr(socket, "create_connection", lambda place, timeout: made)
    return made


@pytest.fixture
def link(fake: Socket, time: Time) -> Connection:
    """One whose session lasts ten seconds."""
    for answer in (versions(1, RANGES), handshake(2), authenticated(3, 10_000)):
        fake.answer(answer)
    opened = Connection(Side.TARGET, ADDRESS, SETTINGS)
    fake.outgoing.clear()
    return opened


def requests(fake: Socket) -> list[int]:
    """The api keys of what was sent."""
    found, at = [], 0
    while at < len(fake.outgoing):
        size, key = struct.unpack_from(">ih", fake.outgoing, at)
        found.append(key)
        at += 4 + size
    return found


def test_a_session_is_renewed_in_the_last_part_of_its_life(fake: Socket, link: Connection, time: Time) -> None:
    time.now += 8.4
    assert not link.wants_renewal
    time.now += 1.2
    assert link.wants_renewal
    for answer in (handshake(5), authenticated(6, 10_000)):
        fake.answer(answer)
    fake.answer(latest_answer(4, 7))
    assert link.next_correlation_id() == 4
    link.send([b"\0\0\0\6\0\2abcd"])
    assert requests(fake) == [17, 36, 2]
    assert not link.wants_renewal


def test_a_session_is_not_renewed_while_an_answer_is_to_come(fake: Socket, link: Connection, time: Time) -> None:
    first, second = (calls.list_offsets([], calls.LATEST) for _ in range(2))
    link.ask(first)
    time.now += 9.6
    link.ask(second)
    assert requests(fake) == [2, 2], "the answers would be mixed up"
    assert link.wants_renewal


def test_a_broker_that_names_no_end_is_never_asked_again(fake: Socket, time: Time) -> None:
    for answer in (versions(1, RANGES), handshake(2), authenticated(3, 0)):
        fake.answer(answer)
    link = Connection(Side.TARGET, ADDRESS, SETTINGS)
    time.now += 1e9
    assert not link.wants_renewal


def test_a_refused_renewal_ends_the_connection(fake: Socket, link: Connection, time: Time) -> None:
    time.now += 9.6
    fake.answer(handshake(5))
    fake.answer(authenticated(6, 0, error=58, message=b"no more"))
    with pytest.raises(AuthenticationFailed, match="by PLAIN failed: the broker refused: no more"):
        link.call(calls.list_offsets([], calls.LATEST))
    assert fake.closed
    with pytest.raises(ConnectionLost, match="no more"):
        link.send([b"x"])


def test_a_password_is_in_no_error(fake: Socket) -> None:
    for answer in (versions(1, RANGES), handshake(2), authenticated(3, 0, error=58, message=b"no")):
        fake.answer(answer)
    with pytest.raises(AuthenticationFailed) as caught:
        Connection(Side.TARGET, ADDRESS, SETTINGS)
    error: BaseException | None = caught.value
    while error is not None:
        assert "hunter2" not in f"{error!r} {vars(error)!r}"
        error = error.__cause__ or error.__context__
    assert caught.value.mechanism == "PLAIN"


def test_an_answer_in_tls_is_told_from_an_answer(fake: Socket) -> None:
    fake.incoming += b"\x15\x03\x03\x00\x02\x02\x50"
    with pytest.raises(Unreachable, match="the broker answers in TLS"):
        Connection(Side.TARGET, ADDRESS, ConnectionSettings(client_id="k"))


def test_an_address_is_mapped_and_both_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    places = []

    def refuse(place: tuple[str, int], timeout: float) -> None:
        places.append(place)
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "create_connection", refuse)
    settings = ConnectionSettings(client_id="k", address_map={("broker", 9092): ("nat", 19092)})
    with pytest.raises(Unreachable, match=r"broker:9092 .*\(at nat:19092, by addressMap\)"):
        Connection(Side.TARGET, ADDRESS, settings)
    assert places == [("nat", 19092)]


def test_a_link_with_decrypted_bytes_is_ready_at_once(
    fake: Socket, link: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No poll tells of them: the kernel has nothing left."""
    asked = []

    class Poller:
        def register(self, number: int, events: int) -> None:
            pass

        def poll(self, timeout_ms: float) -> list[tuple[int, int]]:
            asked.append(timeout_ms)
            return []

    monkeypatch.setattr(connection_module.select, "poll", Poller)
    network = RealNetwork({Side.TARGET: SETTINGS})
    assert list(network.wait([link], 5.0)) == []
    monkeypatch.setattr(link, "pending", lambda: True)
    assert list(network.wait([link], 5.0)) == [link]
    assert asked == [5000.0, 0.0]
