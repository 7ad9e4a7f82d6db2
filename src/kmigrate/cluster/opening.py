"""Opens the bytes of a connection: name, TCP, TLS. What is wrong is said in words that a person can act on."""

from __future__ import annotations

import socket
import ssl
import struct

from kmigrate.access.security import Tls
from kmigrate.cluster.settings import ConnectionSettings
from kmigrate.cluster.stream import PlainStream, Stream, TlsStream
from kmigrate.cluster.tls import Contexts, NameMismatch, TlsFailed, presented_names, shake_hands

_NO_LINGER = struct.pack("ii", 1, 0)
"""What is not sent yet when a connection ends, or its process is killed, is dropped: the kernel would go on sending it
for minutes, long after the quiet period of whoever copies next."""
_AS_ADVERTISED = "the address must be reachable from this machine, exactly as the broker advertises it"
_AS_MAPPED = "addressMap must lead to an address that is reachable from this machine"

_CONTEXTS = Contexts()


class NotOpened(Exception):
    """Why there is no connection, and what to do."""

    def __init__(self, reason: str, hint: str) -> None:
        super().__init__(reason)
        self.hint = hint


def open_stream(host: str, port: int, settings: ConnectionSettings) -> Stream:
    """A connection to the broker that advertises itself so; raises NotOpened."""
    place = settings.address_map.get((host, port), (host, port))
    opened = _connect(place, (host, port), settings)
    tls = settings.security.tls
    if tls is None:
        return PlainStream(opened, settings.request_timeout_ms)
    try:
        context = _CONTEXTS.context(tls)
        shaken = shake_hands(opened, context, tls, host, settings.connect_timeout_ms / 1000)
    except NameMismatch:
        raise _mismatch(place, host, tls, settings) from None
    except TlsFailed as error:
        opened.close()
        raise NotOpened(str(error), error.hint) from None
    except TimeoutError:
        opened.close()
        raise NotOpened(
            "no TLS handshake within the time-out", "perhaps this listener speaks PLAINTEXT, or the broker hangs"
        ) from None
    return TlsStream(shaken, tls, settings.request_timeout_ms)


def _connect(place: tuple[str, int], advertised: tuple[str, int], settings: ConnectionSettings) -> socket.socket:
    mapped = place != advertised
    where, hint = (f" (at {place[0]}:{place[1]}, by addressMap)", _AS_MAPPED) if mapped else ("", _AS_ADVERTISED)
    try:
        opened = socket.create_connection(place, timeout=settings.connect_timeout_ms / 1000)
    except socket.gaierror as error:
        raise NotOpened(f"the name {place[0]!r} cannot be resolved: {error.strerror}{where}", hint) from error
    except ConnectionRefusedError as error:
        raise NotOpened(f"connection refused{where}", hint) from error
    except TimeoutError as error:
        raise NotOpened(f"no connection within the time-out{where}", hint) from error
    except (OSError, UnicodeError) as error:
        raise NotOpened(f"{error}{where}", hint) from error
    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
    return opened


def _mismatch(place: tuple[str, int], host: str, tls: Tls, settings: ConnectionSettings) -> NotOpened:
    """Looks at the certificate once more, to name whose it is."""
    seconds = settings.connect_timeout_ms / 1000
    names: list[str] = []
    try:
        with socket.create_connection(place, timeout=seconds) as opened:
            names = presented_names(opened, tls, seconds)
    except (OSError, ssl.SSLError, TlsFailed):
        pass  # then only one of the names is told
    whose = f"is for {', '.join(names)}" if names else "is for another name"
    return NotOpened(
        f"the broker's certificate {whose}, and not for {host!r}, the name by which it is reached",
        "the broker must advertise a name of its certificate; with addressMap, too, the advertised name counts",
    )
