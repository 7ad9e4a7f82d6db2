"""The bytes of one connection: plain, with one system call for as much as the kernel takes, or through TLS.

Both give up with BlockingIOError when an answer does not come in time.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
from collections.abc import Sequence
from typing import Protocol

from kmigrate.access.security import Tls
from kmigrate.cluster.network import Buffer
from kmigrate.cluster.tls import refusal

_SENDMSG_LIMIT = 1000  # the kernel takes at most 1,024 buffers a call
_JOIN_BELOW_BYTES = 16 << 10
_JOINED_BYTES = 64 << 10
"""TLS makes records of at most 16 KB: pieces below that are sent together, larger ones from where they lie."""


class Stream(Protocol):
    """An open connection."""

    def fileno(self) -> int:
        """For polling."""

    def pending(self) -> bool:
        """Whether bytes can be read that the kernel knows nothing of."""

    def send(self, buffers: Sequence[Buffer]) -> None:
        """Sends the buffers in order, completely."""

    def fill(self, view: memoryview) -> bool:
        """Reads until the view is full; False if the other side ended the connection before."""

    def words(self, error: OSError) -> str:
        """What an error of this stream means."""

    def sever(self) -> None:
        """Ends it for whoever waits on it, from any other thread; it is still to be closed."""

    def close(self) -> None:
        """Ends it; what was not sent is dropped."""


class PlainStream:
    """Blocking, with the kernel's own time-outs: one call takes or gives everything, no poll before each part."""

    def __init__(self, opened: socket.socket, timeout_ms: int) -> None:
        self._socket = opened
        opened.settimeout(None)
        seconds, milliseconds = divmod(timeout_ms, 1000)
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            opened.setsockopt(socket.SOL_SOCKET, option, struct.pack("@ll", seconds, milliseconds * 1000))

    def fileno(self) -> int:
        return self._socket.fileno()

    def pending(self) -> bool:
        return False

    def send(self, buffers: Sequence[Buffer]) -> None:
        for first in range(0, len(buffers), _SENDMSG_LIMIT):
            self._send_some(buffers[first : first + _SENDMSG_LIMIT])

    def _send_some(self, buffers: Sequence[Buffer]) -> None:
        sent = self._socket.sendmsg(buffers)
        for buffer in buffers:
            size = len(buffer)
            if sent >= size:
                sent -= size
                continue
            self._socket.sendall(memoryview(buffer)[sent:])
            sent = 0

    def fill(self, view: memoryview) -> bool:
        got = 0
        while got < len(view):
            count = self._socket.recv_into(view[got:], 0, socket.MSG_WAITALL)
            if not count:
                return False
            got += count
        return True

    def words(self, error: OSError) -> str:
        return str(error)

    def sever(self) -> None:
        _shut(self._socket)

    def close(self) -> None:
        self._socket.close()


class TlsStream:
    """Through TLS. A time-out of the kernel would only make OpenSSL ask again: Python's is set, and polls."""

    def __init__(self, shaken: ssl.SSLSocket, tls: Tls, timeout_ms: int) -> None:
        self._socket = shaken
        self._tls = tls
        shaken.settimeout(timeout_ms / 1000)

    def fileno(self) -> int:
        return self._socket.fileno()

    def pending(self) -> bool:
        return self._socket.pending() > 0

    def send(self, buffers: Sequence[Buffer]) -> None:
        joined = bytearray()
        for buffer in buffers:
            if len(buffer) < _JOIN_BELOW_BYTES:
                joined += buffer
            if joined and (len(joined) >= _JOINED_BYTES or len(buffer) >= _JOIN_BELOW_BYTES):
                self._socket.sendall(joined)
                joined = bytearray()
            if len(buffer) >= _JOIN_BELOW_BYTES:
                self._socket.sendall(buffer)
        if joined:
            self._socket.sendall(joined)

    def fill(self, view: memoryview) -> bool:
        got = 0
        try:
            while got < len(view):
                count = self._socket.recv_into(view[got:])
                if not count:
                    return False
                got += count
        except TimeoutError as error:
            raise BlockingIOError(str(error)) from error
        return True

    def words(self, error: OSError) -> str:
        return refusal(error, self._tls) or str(error)

    def sever(self) -> None:
        _shut(self._socket)

    def close(self) -> None:
        self._socket.close()


def _shut(opened: socket.socket) -> None:
    """The kernel's own end: that of TLS would let go of the keys while another thread uses them."""
    with contextlib.suppress(OSError):
        socket.socket.shutdown(opened, socket.SHUT_RDWR)
