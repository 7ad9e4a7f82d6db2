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
from kmigrate.cluster.tls import Shaken, refusal

_SENDMSG_LIMIT = 1000  # the kernel takes at most 1,024 buffers a call
_JOIN_BELOW_BYTES = 16 << 10
_JOINED_BYTES = 64 << 10
"""TLS makes records of at most 16 KB: pieces below that are sent together, larger ones from where they lie."""
_FEW_BYTES, _MANY_BYTES, _MUCH_BYTES = 16 << 10, 256 << 10, 512 << 10
"""How much of what is encrypted is moved at once where little is wanted, and where as much is as the last of these."""


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
        _give_up_after(opened, timeout_ms)

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
    """Through TLS. What comes is read from the socket as it lies there, many records with one system call."""

    def __init__(self, shaken: Shaken, tls: Tls, timeout_ms: int) -> None:
        self._shaken = shaken
        self._tls = tls
        self._room = memoryview(bytearray(_FEW_BYTES))
        _give_up_after(shaken.opened, timeout_ms)

    def fileno(self) -> int:
        return self._shaken.opened.fileno()

    def pending(self) -> bool:
        return self._shaken.incoming.pending > 0 or self._shaken.engine.pending() > 0

    def send(self, buffers: Sequence[Buffer]) -> None:
        joined = bytearray()
        for buffer in buffers:
            if len(buffer) < _JOIN_BELOW_BYTES:
                joined += buffer
            if joined and (len(joined) >= _JOINED_BYTES or len(buffer) >= _JOIN_BELOW_BYTES):
                self._write(joined)
                joined = bytearray()
            if len(buffer) >= _JOIN_BELOW_BYTES:
                self._write(buffer)
        if joined:
            self._write(joined)
        self._shaken.flush()

    def _write(self, buffer: Buffer) -> None:
        view, written = memoryview(buffer), 0
        while written < len(view):
            written += self._shaken.engine.write(view[written : written + _MANY_BYTES])
            if self._shaken.outgoing.pending >= _MANY_BYTES:
                self._shaken.flush()

    def fill(self, view: memoryview) -> bool:
        got, size = 0, len(view)
        while got < size:
            try:
                count = self._shaken.read_into(view[got:])
            except ssl.SSLWantReadError:
                if not self._receive(size - got):
                    return False
                continue
            except ssl.SSLZeroReturnError:
                return False
            if not count:
                return False
            got += count
        return True

    def _receive(self, wanted: int) -> bool:
        """Takes what has come, and of much that is wanted a large part at once: what is encrypted is never less.

        False if nothing comes any more; whatever came before was read then, a last alert, too.
        """
        self._shaken.flush()  # what the other side may wait for
        if wanted >= _MUCH_BYTES:
            if len(self._room) < _MANY_BYTES:
                self._room = memoryview(bytearray(_MANY_BYTES))
            count = self._shaken.opened.recv_into(self._room, 0, socket.MSG_WAITALL)
        else:
            count = self._shaken.opened.recv_into(self._room)
        self._shaken.incoming.write(self._room[:count])
        return count > 0

    def words(self, error: OSError) -> str:
        return refusal(error, self._tls) or str(error)

    def sever(self) -> None:
        _shut(self._shaken.opened)

    def close(self) -> None:
        self._shaken.opened.close()


def _give_up_after(opened: socket.socket, timeout_ms: int) -> None:
    """Blocking calls, with the kernel's own time-outs."""
    opened.settimeout(None)
    seconds, milliseconds = divmod(timeout_ms, 1000)
    for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
        opened.setsockopt(socket.SOL_SOCKET, option, struct.pack("@ll", seconds, milliseconds * 1000))


def _shut(opened: socket.socket) -> None:
    """Both ways, from any thread."""
    with contextlib.suppress(OSError):
        opened.shutdown(socket.SHUT_RDWR)
